"""What a federation is measured against: one model on everybody's records in one place, and everybody's own alone.

The same models and the same training as in a round, without a federation: as many passes over the records in all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from fl.batches import as_records
from fl.data.tables import Split, Table
from fl.evaluate import Evaluation, evaluate, own_accuracy
from fl.fixed_point import Floats, Ints, decode
from fl.models.registry import build
from fl.train import LocalPlan, local_train
from fl.vectors import parameter_vector


@dataclass(frozen=True, slots=True)
class Compared:
    """`local`: by factory, of the model it trained alone, as the first two on the pooled test records. `federated_own`
    and `local_own`: accuracies on each factory's own mix of classes, of the global model and of its own alone.
    `without_noise`: accuracy of the same federation without privacy on the pooled test, None where it had none.
    """

    federated: Evaluation
    centralised: Evaluation
    local: tuple[Evaluation, ...]
    local_own: tuple[float, ...]
    federated_own: tuple[float, ...]
    without_noise: float | None = None

    @property
    def local_mean(self) -> float:
        """Mean accuracy of the factories that trained alone, on the pooled test records."""
        return float(np.mean([each.accuracy for each in self.local]))


def compare(
    model: str,
    arguments: Mapping[str, str],
    seed: int,
    plan: LocalPlan,
    splits: Sequence[Split],
    pooled_test: Table,
    global_q: Ints,
    scale_bits: int,
    common_test: bool,
) -> Compared:
    """`plan.epochs` counts all rounds together; `global_q`: the federation's model, int32 [parameters]. `common_test`:
    the factories hold the same test records, so that a factory's own mix is that of its training records.

    Raises ModelError, UnusableTable, Diverged as their makers do.
    """
    net = build(model, arguments, seed)
    first = parameter_vector(net).copy()
    test = as_records(pooled_test.features, pooled_test.labels)
    own_tests = [as_records(split.test.features, split.test.labels) for split in splits]
    everything = as_records(
        np.concatenate([split.train.features for split in splits]),
        np.concatenate([split.train.labels for split in splits]),
    )
    central = local_train(net, first, everything, plan).vector
    alone = [
        local_train(
            net, first, as_records(split.train.features, split.train.labels), replace(plan, seed=plan.seed + at)
        ).vector
        for at, split in enumerate(splits)
    ]
    federated = decode(global_q, scale_bits)

    def own(at: int, vector: Floats) -> float:
        evaluation = evaluate(net, own_tests[at], vector)
        return own_accuracy(evaluation, splits[at].train.class_counts()) if common_test else evaluation.accuracy

    return Compared(
        federated=evaluate(net, test, federated),
        centralised=evaluate(net, test, central),
        local=tuple(evaluate(net, test, vector) for vector in alone),
        local_own=tuple(own(at, vector) for at, vector in enumerate(alone)),
        federated_own=tuple(own(at, federated) for at in range(len(splits))),
    )
