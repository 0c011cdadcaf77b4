"""How good a federation's models are: the global one on the common test, and on each client's own mix of classes both
the global one and the one that the client serves itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.batches import as_records
from fl.data.tables import Split, Table
from fl.evaluate import Evaluation, evaluate
from fl.fixed_point import Floats
from fl.round_setup import Setup
from fl.simulate.engines.base import Engine, Rows, ServeOrder
from fl.simulate.own_mix import own_share
from fl.threads import one_thread


@dataclass(frozen=True, slots=True)
class Measured:
    """tested: the global model on the common test. own, own_global: by client, as in RoundResult."""

    tested: Evaluation
    own: tuple[float | None, ...]
    own_global: tuple[float | None, ...]


class Measures:
    """What each client is tested on: its own records, where all share no test; else the common ones of its classes."""

    def __init__(self, clients: Sequence[Split], test: Table, setup: Setup) -> None:
        self.test: Rows = (test.features, test.labels)
        self.class_counts: list[NDArray[np.int64]] = [split.train.class_counts() for split in clients]
        common = all(_same(split.test, test) for split in clients)
        self.own_tests: list[Rows] = [] if common else [(each.test.features, each.test.labels) for each in clients]
        self._setup = setup
        self._records = as_records(*self.test).to(setup.device)

    def of(self, engine: Engine, blob: bytes, model: Floats, state_of: Callable[[int], bytes | None]) -> Measured:
        """Of the global model, float32 [n], whose blob `blob` is. `state_of`: what a client remembers."""
        with one_thread():
            tested = evaluate(self._setup.network, self._records, model)
        own_global = [own_share(tested, counts) for counts in self.class_counts]
        own = list(own_global)
        # Who remembers nothing and fits nothing serves the global model, which was tested already.
        everybody = bool(self.own_tests) or self._setup.rule.unseen > 0
        states = ((client, state_of(client)) for client in range(len(own)))
        orders = (ServeOrder(client, state) for client, state in states if everybody or state is not None)
        for answer in engine.serve(blob, orders):
            if self.own_tests:
                own_global[answer.client] = answer.on_global
            own[answer.client] = own_global[answer.client] if answer.is_global else answer.served
        return Measured(tested, tuple(own), tuple(own_global))


def _same(one: Table, other: Table) -> bool:
    return one is other or (np.array_equal(one.labels, other.labels) and np.array_equal(one.features, other.features))
