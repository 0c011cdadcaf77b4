"""A federation from its first model to its last: clients train, some may cheat, a rule makes one model of it all.

Clients run `fl.round.run_round` and the committee's part is `fl.aggregate.aggregate_blobs`, as in a league; there is no
ledger, so nobody is paid. One seed gives one course of events, whatever engine carries it out. What is trained on what
is in `scenarios.py`, what attackers do in `attacks.py`, who trains where in `engines/`.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from time import perf_counter
from typing import Self, TypeAlias

import numpy as np

from fl.aggregate import Aggregated, aggregate_blobs, check_rule
from fl.batches import as_records
from fl.data.tables import Split, Table
from fl.delta_blob import unpack_update
from fl.draws import drawn, order_of
from fl.evaluate import Evaluation, evaluate
from fl.fixed_point import Bytes, Ints, InvalidVector, decode, limit_in_steps, pack, unpack
from fl.models.registry import build
from fl.privacy.plan import RoundCost, round_cost
from fl.round import Served, first_model, served_model
from fl.simulate.attacks import Attack, AttackError, Seen
from fl.simulate.blob_shelf import MEMORY_BYTES_MAX, BlobShelf
from fl.simulate.checkpoint import Checkpoint, CheckpointError, asked, check_same, records_digest
from fl.simulate.client_work import job_of
from fl.simulate.engines.base import Engine, ServeOrder, TrainAnswer, TrainOrder, Work
from fl.simulate.engines.inline import Inline
from fl.simulate.own_mix import own_share
from fl.simulate.participation import participants
from fl.simulate.results import ClientRound, Course, RoundResult
from fl.simulate.terms import SimulationError, Terms
from fl.strategies.base import Aggregation
from fl.strategies.registry import strategy
from fl.threads import one_thread

__all__ = ["Course", "Federation", "RoundDone", "RoundResult", "Terms"]

MICRO = 1_000_000

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
    ) -> None:
        """`engine`: who carries out the rounds, this process where it is None. `batch_seeds`: by client, what orders
        its mini-batches, as a league's providers do; drawn from `seed` where it is None. `memory_bytes_max`: of what
        clients remember, and again of a round's updates; what is beyond lies in files until the federation is closed.

        Raises AttackError for attackers that are no clients, PrivacyRefused for noise that keeps no promise,
        SimulationError for terms that do not fit the clients.
        """
        if (attack is None and attackers) or not set(attackers) <= set(range(len(clients))):
            raise AttackError(f"attackers {list(attackers)} of {len(clients)} clients, want an attack and some of them")
        if not clients or terms.per_round > len(clients):
            raise SimulationError(f"{terms.per_round} clients a round of {len(clients)}, want one client at least")
        if batch_seeds is not None and len(batch_seeds) != len(clients):
            raise SimulationError(f"{len(batch_seeds)} batch seeds for {len(clients)} clients, want one each")
        self.terms = terms
        self.seed = seed
        self.attackers = tuple(sorted(attackers))
        self.rounds_done = 0
        self._attack = attack
        self._clock = clock
        self._memory_bytes_max = memory_bytes_max
        tables = [split.train for split in clients]
        if attack is not None:
            tables = [attack.poison(table) if at in self.attackers else table for at, table in enumerate(tables)]
        self._tables = [(table.features, table.labels) for table in tables]
        self._data_digest: str | None = None
        self._costs = [self._cost(len(table)) for table in tables]
        self._taken = [0] * len(clients)
        self._states = BlobShelf(self._memory_bytes_max)
        self._class_counts = [split.train.class_counts() for split in clients]
        order = seed if terms.order_seed < 0 else terms.order_seed
        self._seeds_told = batch_seeds is not None
        self._batch_seeds = list(batch_seeds or (order_of(order, client) for client in range(len(clients))))
        common = all(_same(split.test, test) for split in clients)
        self._own_tests = [] if common else [(split.test.features, split.test.labels) for split in clients]
        self._test = (test.features, test.labels)
        self._test_records = as_records(test.features, test.labels)
        self._model = build(terms.model, terms.arguments, seed=0)
        self._count = sum(each.numel() for each in self._model.parameters())
        self._rule, self._rule_settings = aggregation_of(terms)
        self._limit_q = limit_in_steps(terms.limit, terms.scale_bits)
        self._fits = strategy(terms.strategy, terms.strategy_settings).unseen > 0
        self.base = first_model(job_of(terms, 0, 0, 0.0), seed)
        self.previous: Ints | None = None
        self._engine = engine or Inline()
        self._engine.open(
            Work(terms, self._tables, self._test, self._own_tests, self._class_counts, len(self.base), "cpu")
        )

    @property
    def blob(self) -> bytes:
        """The global model as it would lie in a league's store."""
        return pack(self.base, self.terms.scale_bits)

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
        terms = self.terms
        chosen = participants(self.seed, number, len(self._tables), terms.per_round)
        base = self.blob
        updates = BlobShelf(self._memory_bytes_max)
        try:
            answers = self._trained(base, chosen, number, updates)
            if self._attack is not None and self.attackers:
                self._cheat(chosen, number, updates)
            result = self._aggregated(base, [answers[client] for client in chosen], updates)
            sent = {client: len(updates.view(client)) for client in chosen}
        finally:
            updates.close()
        if result.blob:
            # Else all were rejected: the round is void, and the next begins where this one did.
            model = unpack(result.blob, len(self.base), terms.scale_bits, self._limit_q)
            self.previous, self.base = self.base, model
        self.rounds_done = number + 1
        clients = _client_rounds([answers[client] for client in chosen], sent, result)
        blob = result.blob or base
        tested, own, own_global = self._measured(blob)
        return RoundResult(
            number + 1,
            tested.accuracy if tested is not None else None,
            tested.loss if tested is not None else None,
            own,
            own_global,
            clients,
            sum(sent.values()),
            len(chosen) * len(base),
            self._epsilon(),
            blob_name(blob).hex(),
            self._clock() - began,
        )

    def served(self, client: int) -> Served:
        """The model that this client uses itself now. Made here, whatever engine trains."""
        job = job_of(self.terms, 0, 0, 0.0)
        return served_model(job, self.base, self._states.get(client), self._tables[client])

    def checkpoint(self) -> Checkpoint:
        """All that this federation is now; valid until it goes on."""
        bits = self.terms.scale_bits
        return Checkpoint(
            self._asked(),
            self._data(),
            self.rounds_done,
            pack(self.base, bits),
            None if self.previous is None else pack(self.previous, bits),
            tuple(self._taken),
            self._states,
        )

    @classmethod
    def restored(
        cls,
        checkpoint: Checkpoint,
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
    ) -> Self:
        """The federation as it was: it goes on to the bits that it would have come to without a break.

        Engine, device and how often the model is tested may be others; so may the number of rounds, where no noise was
        chosen by it. Raises CheckpointError for a checkpoint of other terms, seed, attack or records, and what
        `Federation` does.
        """
        federation = cls(terms, clients, test, seed, attack, attackers, engine, batch_seeds, clock, memory_bytes_max)
        try:
            federation._take(checkpoint)
        except BaseException:
            federation.close()
            raise
        return federation

    def _take(self, checkpoint: Checkpoint) -> None:
        check_same(checkpoint.asked, self._asked())
        if checkpoint.data != self._data():
            raise CheckpointError("the checkpoint is of a federation with other records, or with other attackers")
        if len(checkpoint.taken) != len(self._taken) or checkpoint.rounds_done > self.terms.rounds:
            raise CheckpointError(
                f"the checkpoint is of {len(checkpoint.taken)} clients after {checkpoint.rounds_done} rounds, "
                f"want {len(self._taken)} and at most {self.terms.rounds}"
            )
        try:
            self.base = self._unpacked(checkpoint.base)
            self.previous = None if checkpoint.previous is None else self._unpacked(checkpoint.previous)
        except InvalidVector as error:
            raise CheckpointError(f"the checkpoint holds no model of these terms: {error}") from None
        self.rounds_done = checkpoint.rounds_done
        self._taken = list(checkpoint.taken)
        for client, state in checkpoint.states.items():
            self._states[client] = state

    def _asked(self) -> str:
        """All that decides the course, but for the records."""
        told = self._batch_seeds if self._seeds_told else None
        return asked(self.terms, self.seed, len(self._tables), self._attack, self.attackers, told)

    def _data(self) -> str:
        if self._data_digest is None:
            own = [*self._tables, *self._own_tests, self._test]
            self._data_digest = records_digest(own)
        return self._data_digest

    def close(self) -> None:
        """End what the engine started, and forget what clients remember."""
        self._engine.close()
        self._states.close()

    def __enter__(self) -> "Federation":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _trained(self, base: bytes, chosen: Sequence[int], number: int, updates: BlobShelf) -> dict[int, TrainAnswer]:
        """By client, its answer; what its update is goes on the shelf."""
        answers = {}
        for answer in self._engine.train(base, self._orders(chosen, number)):
            updates[answer.client] = answer.blob
            self._states[answer.client] = answer.state
            self._taken[answer.client] += 1
            answers[answer.client] = answer.without_bytes()
        return answers

    def _orders(self, chosen: Sequence[int], number: int) -> Iterator[TrainOrder]:
        """The longest first, so that no worker is left alone with one at the end."""
        for client in sorted(chosen, key=lambda place: -len(self._tables[place][1])):
            yield TrainOrder(
                client,
                number,
                self._batch_seeds[client],
                self._drawn("noise", client, number),
                self._sigma(client),
                self._states.get(client),
            )

    def _cheat(self, chosen: Sequence[int], number: int, updates: BlobShelf) -> None:
        """Put what attackers send in place of what they trained."""
        assert self._attack is not None, "there is an attack"
        attackers = tuple(client for client in chosen if client in self.attackers)
        if not attackers:
            return
        rng = np.random.default_rng([self.seed, number, 1])
        bits = self.terms.scale_bits
        trained = {at: unpack_update(updates[at], self.base, bits, self._limit_q) for at in chosen}
        # What is attacked is the model; what a strategy carries behind it goes as an honest client would send it.
        models = {at: vector[: self._count] for at, vector in trained.items()}
        previous = None if self.previous is None else self.previous[: self._count]
        seen = Seen(self.base[: self._count], previous, models, attackers, self._limit_q, rng)
        for client, sent in self._attack.uploads(seen).items():
            updates[client] = pack(np.concatenate([sent, trained[client][self._count :]]), bits)

    def _aggregated(self, base: bytes, answers: Sequence[TrainAnswer], updates: BlobShelf) -> Aggregated:
        terms = self.terms
        return aggregate_blobs(
            self._rule,
            self._rule_settings,
            base,
            [(updates.view(each.client), each.weight) for each in answers],
            len(self.base),
            terms.scale_bits,
            self._limit_q,
            inspected=terms.inspected,
            previous=pack(self.previous, terms.scale_bits) if self.previous is not None else None,
        )

    def _measured(self, blob: bytes) -> tuple[Evaluation | None, tuple[float | None, ...], tuple[float | None, ...]]:
        """The global model on the common test; by client the served and the global model on its own mix."""
        last = self.rounds_done == self.terms.rounds
        if self.rounds_done % self.terms.evaluate_every and not last:
            return None, (), ()
        with one_thread():
            model = decode(self.base[: self._count], self.terms.scale_bits)
            tested = evaluate(self._model, self._test_records, model)
        places = range(len(self._tables))
        own_global = [own_share(tested, counts) for counts in self._class_counts]
        own = list(own_global)
        # Who remembers nothing and fits nothing serves the global model, which was tested already.
        everybody = bool(self._own_tests or self._fits)
        orders = (ServeOrder(at, self._states.get(at)) for at in places if everybody or at in self._states)
        for answer in self._engine.serve(blob, orders):
            if self._own_tests:
                own_global[answer.client] = answer.on_global
            own[answer.client] = own_global[answer.client] if answer.is_global else answer.served
        return tested, tuple(own), tuple(own_global)

    def _unpacked(self, blob: Bytes) -> Ints:
        return unpack(blob, len(self.base), self.terms.scale_bits, self._limit_q)

    def _cost(self, records: int) -> RoundCost | None:
        """What a round would cost a provider of so many records; None where nothing is charged."""
        terms = self.terms
        if terms.privacy != "sound":
            return None
        return round_cost(terms.privacy, terms.privacy_settings, records, terms.batch, terms.epochs, terms.rounds)

    def _sigma(self, client: int) -> float:
        cost = self._costs[client]
        return 0.0 if cost is None else cost.noise.sigma_micro / MICRO

    def _epsilon(self) -> float | None:
        """The most that any client has spent."""
        spent = {(cost, rounds) for cost, rounds in zip(self._costs, self._taken, strict=True) if cost is not None}
        return max((cost.epsilon(rounds) for cost, rounds in spent), default=None)

    def _drawn(self, what: str, *places: int) -> int:
        return drawn(self.seed, what, *places)


def aggregation_of(terms: Terms) -> tuple[str, Mapping[str, str]]:
    """The rule and its settings: those of the terms, or where they name none the strategy's own.

    Raises StrategyError, AggregateError for what does not exist, SimulationError where the two contradict one another.
    """
    wanted = strategy(terms.strategy, terms.strategy_settings).aggregation
    rule = terms.rule or wanted.rule
    settings = terms.rule_settings if terms.rule else {**wanted.settings, **terms.rule_settings}
    if wanted != Aggregation() and (rule, dict(settings)) != (wanted.rule, dict(wanted.settings)):
        raise SimulationError(
            f"strategy {terms.strategy} makes sense with rule {wanted.rule} {dict(wanted.settings)} only, "
            f"the terms say {rule} {dict(settings)}"
        )
    check_rule(rule, settings)
    return rule, settings


def blob_name(blob: bytes) -> bytes:
    """Under which a league stores a blob: SHA-256 under the domain tag "blob"."""
    return hashlib.sha256(b"\x04blob" + blob).digest()


def _same(one: Table, other: Table) -> bool:
    return one is other or (np.array_equal(one.labels, other.labels) and np.array_equal(one.features, other.features))


def _client_rounds(answers: Sequence[TrainAnswer], sent: dict[int, int], result: Aggregated) -> tuple[ClientRound, ...]:
    reasons = dict(result.rejected)
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
            sent[each.client],
            quality,
            reasons.get(at),
            each.warnings,
        )
        for at, (each, quality) in enumerate(zip(answers, result.qualities, strict=True))
    )
