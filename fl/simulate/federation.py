"""A federation from its first model to its last: clients train, some may cheat, a rule makes one model of it all.

Clients run `fl.round.run_round` and the committee's part is `fl.aggregate.aggregate_blobs`, as in a league; there is no
ledger, so nobody is paid. One seed gives one course of events, whatever engine carries it out. What is trained on what
is in `scenarios.py`, what attackers do in `attacks.py`, who trains where in `engines/`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import Self, TypeAlias

import numpy as np
import torch

from fl.aggregate import Aggregated, aggregate_blobs, check_rule
from fl.data.tables import Split, Table
from fl.delta_blob import unpack_update
from fl.devices import DeviceError, device_of
from fl.fixed_point import Bytes, Floats, Ints, InvalidVector, decode, limit_in_steps, pack, unpack
from fl.round import Served, first_model, served_model
from fl.round_setup import setup_of
from fl.simulate.attacks import Attack, AttackError, Seen
from fl.simulate.blob_shelf import MEMORY_BYTES_MAX, BlobShelf
from fl.simulate.checkpoint import Checkpoint, CheckpointError, asked, check_same, records_digest
from fl.simulate.client_work import job_of
from fl.simulate.cohort import Cohort
from fl.simulate.engines.base import Engine, TrainAnswer, Work
from fl.simulate.engines.inline import Inline
from fl.simulate.measuring import Measured, Measures
from fl.simulate.results import ClientRound, Course, RoundResult
from fl.simulate.terms import SimulationError, Terms
from fl.strategies.agreed_rule import agreed_rule

__all__ = ["Course", "Federation", "RoundDone", "RoundResult", "Terms"]

RoundDone: TypeAlias = Callable[[RoundResult], object]


class Federation:
    """Clients with their records, and what they remember between rounds. `attackers`: places of those that cheat.

    A context manager: leaving it ends what its engine started.
    """

    def __init__(
        self,
        terms: Terms,
        clients: Sequence[Split],
        test: Table,
        seed: int,
        attack: Attack | None = None,
        attackers: Sequence[int] = (),
        engine: Engine | None = None,
        batch_seeds: Sequence[int] | None = None,
        clock: Callable[[], float] = perf_counter,
        memory_bytes_max: int = MEMORY_BYTES_MAX,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        """`engine`: who carries out the rounds, this process where it is None. `batch_seeds`: by client, what orders
        its mini-batches, as a league's providers do; drawn from `seed` where it is None. `memory_bytes_max`: of what
        clients remember, and again of a round's updates; what is beyond lies in files until the federation is closed.

        `checkpoint`: what it goes on from, to the bits that it would have come to without a break. Engine, device and
        how often the model is tested may be others than they were; so may the number of rounds, where no noise was
        chosen by it.

        Raises AttackError for attackers that are no clients, PrivacyRefused for noise that keeps no promise,
        ModelError, StrategyError and AggregateError for what does not exist, SimulationError for terms that do not fit
        the clients, and for a GPU that is not here, CheckpointError for a checkpoint of other terms, seed, attack or
        records.
        """
        self.terms, self.seed = terms, seed
        self.attackers = tuple(sorted(attackers))
        self.rounds_done = 0
        self._attack, self._clock, self._memory_bytes_max = attack, clock, memory_bytes_max
        self._batch_seeds = batch_seeds
        self._data_digest: str | None = None
        self._limit_q = limit_in_steps(terms.limit, terms.scale_bits)
        job = job_of(terms, 0, 0, 0.0)
        self._setup = setup_of(job, _device(terms))
        rule = self._setup.rule
        self._aggregation = agreed_rule(rule, terms.rule, terms.rule_settings)
        check_rule(self._aggregation.rule, self._aggregation.settings)
        if (attack is None and attackers) or not set(attackers) <= set(range(len(clients))):
            raise AttackError(f"attackers {list(attackers)} of {len(clients)} clients, want an attack and some of them")
        if attackers and (rule.pooled or not rule.uploads):
            raise AttackError(f"an attack on strategy {rule.name}, in which nobody sends an update")
        tables = [split.train for split in clients]
        if attack is not None:
            tables = [attack.poison(table) if at in self.attackers else table for at, table in enumerate(tables)]
        earlier = BlobShelf(memory_bytes_max) if rule.mirrors_sum else None
        self._cohort = Cohort(terms, tables, seed, batch_seeds, BlobShelf(memory_bytes_max), rule.pooled, earlier)
        self._measures = Measures(clients, test, self._setup)
        self.base = first_model(job, seed)
        self.previous: Ints | None = None
        self._engine = engine or Inline()
        self._engine.open(self._work())
        if checkpoint is not None:
            try:
                self._go_on_from(checkpoint)
            except BaseException:
                self.close()
                raise

    @property
    def blob(self) -> bytes:
        """The global model as it would lie in a league's store."""
        return pack(self.base, self.terms.scale_bits)

    @property
    def model(self) -> Floats:
        """The global model, float32 [n]: the first of the vectors that travel."""
        return decode(self.base[: self._setup.layout.count], self.terms.scale_bits)

    def run(self, done: RoundDone | None = None) -> Course:
        """All rounds that are left. Raises what `run_round` does."""
        results = []
        for number in range(self.rounds_done, self.terms.rounds):
            results.append(self.round(number))
            if done is not None:
                done(results[-1])
        return Course(tuple(results), self.base)

    def round(self, number: int) -> RoundResult:
        """The next round, counted from 0. Raises what `run_round` does, SimulationError for another round."""
        if number != self.rounds_done:
            raise SimulationError(f"round {number} (from 0) of a federation that has done {self.rounds_done}")
        began = self._clock()
        chosen, base = self._cohort.chosen(number), self.blob
        updates = BlobShelf(self._memory_bytes_max)
        try:
            answers = self._trained(base, chosen, number, updates)
            sent = [each.client for each in answers if each.left_out is None]
            if self._attack is not None and self.attackers:
                self._cheat(sent, number, updates)
            result = self._aggregated(base, [each for each in answers if each.left_out is None], updates)
            sizes = {client: updates.size(client) for client in sent}
        finally:
            updates.close()
        self._cohort.settle([sent[at] for at, _ in result.rejected] if result.blob else sent)
        if result.blob:
            # Else nothing was sent, or all was rejected: the round is void, and the next begins where this one did.
            self.previous, self.base = self.base, self._unpacked(result.blob)
        self.rounds_done = number + 1
        blob = result.blob or base
        measured = self._measured(blob)
        if not self._setup.rule.uploads or self._cohort.pooled:
            # Nobody sends or fetches anything.
            base, sizes = b"", dict.fromkeys(sizes, 0)
        return RoundResult(
            number + 1,
            measured.tested.accuracy if measured is not None else None,
            measured.tested.loss if measured is not None else None,
            measured.own if measured is not None else (),
            measured.own_global if measured is not None else (),
            self._client_rounds(answers, sizes, result),
            sum(sizes.values()),
            len(chosen) * len(base),
            self._cohort.epsilon(),
            blob_name(blob).hex(),
            self._clock() - began,
        )

    def served(self, client: int) -> Served:
        """The model that this client uses itself now. Made here, whatever engine trains."""
        work, job = self._work(), job_of(self.terms, 0, 0, 0.0)
        return served_model(job, self.base, self._cohort.state_of(client), work.records_of(client), self._setup)

    def checkpoint(self) -> Checkpoint:
        """All that this federation is now; valid until it goes on."""
        previous = None if self.previous is None else pack(self.previous, self.terms.scale_bits)
        cohort = self._cohort
        return Checkpoint(
            self._asked(), self._data(), self.rounds_done, self.blob, previous, tuple(cohort.taken), cohort.states
        )

    def close(self) -> None:
        """End what the engine started, and forget what clients remember."""
        self._engine.close()
        self._cohort.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _go_on_from(self, checkpoint: Checkpoint) -> None:
        check_same(checkpoint.asked, self._asked())
        if checkpoint.data != self._data():
            raise CheckpointError("the checkpoint is of a federation with other records, or with other attackers")
        if len(checkpoint.taken) != len(self._cohort) or checkpoint.rounds_done > self.terms.rounds:
            raise CheckpointError(
                f"the checkpoint is of {len(checkpoint.taken)} clients after {checkpoint.rounds_done} rounds, "
                f"want {len(self._cohort)} and at most {self.terms.rounds}"
            )
        try:
            self.base = self._unpacked(checkpoint.base)
            self.previous = None if checkpoint.previous is None else self._unpacked(checkpoint.previous)
        except InvalidVector as error:
            raise CheckpointError(f"the checkpoint holds no model of these terms: {error}") from None
        self.rounds_done = checkpoint.rounds_done
        self._cohort.restore(checkpoint.taken)
        self._cohort.states.update(checkpoint.states)

    def _asked(self) -> str:
        """All that decides the course, but for the records."""
        clients = len(self._measures.class_counts)
        return asked(self.terms, self.seed, clients, self._attack, self.attackers, self._batch_seeds)

    def _data(self) -> str:
        if self._data_digest is None:
            measures = self._measures
            self._data_digest = records_digest([*self._cohort.tables, *measures.own_tests, measures.test])
        return self._data_digest

    def _work(self) -> Work:
        measures, device = self._measures, self._setup.device.type
        tables = self._cohort.tables
        return Work(
            self.terms, tables, measures.test, measures.own_tests, measures.class_counts, len(self.base), device
        )

    def _trained(self, base: bytes, chosen: Sequence[int], number: int, updates: BlobShelf) -> list[TrainAnswer]:
        """What those who take part answer, in their order; what their updates are goes on the shelf."""
        answers = {}
        for answer in self._engine.train(base, self._cohort.orders(chosen, number)):
            if answer.left_out is None:
                updates[answer.client] = answer.blob
            self._cohort.keep(answer)
            answers[answer.client] = answer.without_bytes()
        return [answers[client] for client in chosen]

    def _cheat(self, sent: Sequence[int], number: int, updates: BlobShelf) -> None:
        """Put what attackers send in place of what they trained; `sent`: by whom there are updates."""
        assert self._attack is not None, "there is an attack"
        attackers = tuple(client for client in sent if client in self.attackers)
        if not attackers:
            return
        rng = np.random.default_rng([self.seed, number, 1])
        bits = self.terms.scale_bits
        trained = {client: unpack_update(updates[client], self.base, bits, self._limit_q) for client in sent}
        seen = Seen(self.base, self.previous, trained, attackers, self._limit_q, rng)
        for client, instead in self._attack.uploads(seen).items():
            updates[client] = pack(instead, bits)

    def _aggregated(self, base: bytes, answers: Sequence[TrainAnswer], updates: BlobShelf) -> Aggregated:
        terms = self.terms
        if not answers:
            return Aggregated(b"", ())
        return aggregate_blobs(
            self._aggregation.rule,
            self._aggregation.settings,
            base,
            [(updates.view(each.client), each.weight) for each in answers],
            len(self.base),
            terms.scale_bits,
            self._limit_q,
            # Where nobody sends anything, nobody can be found to have sent what is no work.
            inspected=terms.inspected and self._setup.rule.uploads,
            previous=pack(self.previous, terms.scale_bits) if self.previous is not None else None,
        )

    def _client_rounds(
        self, answers: Sequence[TrainAnswer], sizes: Mapping[int, int], result: Aggregated
    ) -> tuple[ClientRound, ...]:
        """What each made of its part; `sizes`: bytes by client, of those in the aggregate, in its order."""
        places = list(sizes)
        reasons = {places[at]: reason for at, reason in result.rejected}
        qualities = dict(zip(sizes, result.qualities, strict=True))
        return tuple(
            ClientRound(
                each.client,
                each.records,
                each.weight,
                each.steps,
                each.loss,
                each.beta,
                each.beta_asked,
                each.drift,
                sizes.get(each.client, 0),
                qualities.get(each.client, 0),
                each.left_out or reasons.get(each.client),
                each.warnings,
                each.steps * self._cohort.pace_s(each.client),
            )
            for each in answers
        )

    def _measured(self, blob: bytes) -> Measured | None:
        """None in a round that is not tested."""
        if self.rounds_done % self.terms.evaluate_every and self.rounds_done < self.terms.rounds:
            return None
        return self._measures.of(self._engine, blob, self.model, self._cohort.state_of)

    def _unpacked(self, blob: Bytes) -> Ints:
        return unpack(blob, len(self.base), self.terms.scale_bits, self._limit_q)


def blob_name(blob: bytes) -> bytes:
    """Under which a league stores a blob: SHA-256 under the domain tag "blob"."""
    return hashlib.sha256(b"\x04blob" + blob).digest()


def _device(terms: Terms) -> torch.device:
    try:
        return device_of(terms.device)
    except DeviceError as error:
        raise SimulationError(str(error)) from None
