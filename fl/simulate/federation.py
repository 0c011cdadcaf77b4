"""A federation from its first model to its last, in one process: clients train, some may cheat, a rule makes a model.

Clients run `fl.round.run_round` and the committee's part is `fl.aggregate.aggregate_blobs`, as in a league; there is no
ledger, so nobody is paid. One seed gives one course of events on one machine. What is trained on what is in
`scenarios.py`, what attackers do in `attacks.py`.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np

from fl.aggregate import aggregate_blobs
from fl.batches import as_records
from fl.data.tables import Split, Table
from fl.evaluate import evaluate
from fl.fixed_point import LIMIT, SCALE_BITS, Ints, decode, limit_in_steps, pack, unpack
from fl.models.registry import build
from fl.privacy.plan import round_cost
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, RoundOutcome, initial_model, run_round
from fl.simulate.attacks import Attack, AttackError, Seen
from fl.threads import one_thread

MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request would say. `inspected`: updates that are no work are rejected, as in protected requests."""

    model: str
    rounds: int
    epochs: int
    batch: int
    lr: float
    momentum: float
    arguments: Mapping[str, str] = field(default_factory=dict)
    strategy: str = "fedavg"
    strategy_settings: Mapping[str, str] = field(default_factory=dict)
    privacy: str = "none"
    privacy_settings: Mapping[str, str] = field(default_factory=dict)
    rule: str = "mean"
    rule_settings: Mapping[str, str] = field(default_factory=dict)
    inspected: bool = False
    scale_bits: int = SCALE_BITS
    limit: float = LIMIT


@dataclass(frozen=True, slots=True)
class RoundResult:
    """After round `number`, counted from 1: the new global model on the common test. `rejected`: by client, why."""

    number: int
    accuracy: float
    loss: float
    rejected: Mapping[int, str]
    qualities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Course:
    """All rounds, and the last global model, int32 [n]."""

    rounds: tuple[RoundResult, ...]
    model: Ints

    @property
    def accuracy(self) -> float:
        """On the common test, mean of the last three rounds: one round of a federation is a noisy figure."""
        last = [each.accuracy for each in self.rounds[-3:]]
        return sum(last) / len(last)


RoundDone: TypeAlias = Callable[[RoundResult], None]


class Federation:
    """Clients with their records, and what they remember between rounds. `attackers`: places of those that cheat."""

    def __init__(
        self,
        terms: Terms,
        clients: Sequence[Split],
        test: Table,
        seed: int,
        attack: Attack | None = None,
        attackers: Sequence[int] = (),
    ) -> None:
        """Raises AttackError for attackers that are no clients, PrivacyRefused for noise that keeps no promise."""
        if (attack is None and attackers) or not set(attackers) <= set(range(len(clients))):
            raise AttackError(f"attackers {list(attackers)} of {len(clients)} clients, want an attack and some of them")
        self.terms = terms
        self.attackers = tuple(sorted(attackers))
        self._attack = attack
        self._seed = seed
        tables = [split.train for split in clients]
        if attack is not None:
            tables = [attack.poison(table) if at in self.attackers else table for at, table in enumerate(tables)]
        self._tables = [(table.features, table.labels) for table in tables]
        self._noise = [self._sigma(len(table)) for table in tables]
        self._states: list[bytes | None] = [None] * len(clients)
        self._test = as_records(test.features, test.labels)
        self._model = build(terms.model, terms.arguments, seed=0)
        self._limit_q = limit_in_steps(terms.limit, terms.scale_bits)
        self.base = initial_model(terms.model, terms.arguments, seed, terms.scale_bits, terms.limit)
        self.previous: Ints | None = None

    def run(self, done: RoundDone | None = None) -> Course:
        """All rounds. Raises what `run_round` does."""
        results = []
        with one_thread():
            for number in range(self.terms.rounds):
                results.append(self.round(number))
                if done is not None:
                    done(results[-1])
        return Course(tuple(results), self.base)

    def round(self, number: int) -> RoundResult:
        """One round, counted from 0."""
        terms = self.terms
        outcomes = [self._train(client, number) for client in range(len(self._tables))]
        sent = {client: outcome.update_q for client, outcome in enumerate(outcomes)}
        if self._attack is not None and self.attackers:
            rng = np.random.default_rng([self._seed, number, 1])
            seen = Seen(self.base, self.previous, dict(sent), self.attackers, self._limit_q, rng)
            sent.update(self._attack.uploads(seen))
        result = aggregate_blobs(
            terms.rule,
            terms.rule_settings,
            pack(self.base, terms.scale_bits),
            [(pack(sent[client], terms.scale_bits), outcome.weight) for client, outcome in enumerate(outcomes)],
            len(self.base),
            terms.scale_bits,
            self._limit_q,
            inspected=terms.inspected,
            previous=pack(self.previous, terms.scale_bits) if self.previous is not None else None,
        )
        if result.blob:
            # Else all were rejected: the round is void, and the next begins where this one did.
            model = unpack(result.blob, len(self.base), terms.scale_bits, self._limit_q)
            self.previous, self.base = self.base, model
        found = evaluate(self._model, self._test, decode(self.base, terms.scale_bits))
        return RoundResult(number + 1, found.accuracy, found.loss, dict(result.rejected), result.qualities)

    def _train(self, client: int, number: int) -> RoundOutcome:
        terms = self.terms
        job = RoundJob(
            model=terms.model,
            epochs=terms.epochs,
            batch=terms.batch,
            lr=terms.lr,
            momentum=terms.momentum,
            round_number=number,
            seed=self._drawn("batches", client),
            strategy=terms.strategy,
            privacy=terms.privacy,
            arguments=terms.arguments,
            strategy_settings=terms.strategy_settings,
            privacy_settings=terms.privacy_settings,
            allow_no_guarantee=True,
            noise=self._noise[client],
            scale_bits=terms.scale_bits,
            limit=terms.limit,
        )
        random = SecureRandom(self._drawn("noise", client, number))
        outcome = run_round(job, self._tables[client], None, self.base, self._states[client], random=random)
        self._states[client] = outcome.state
        return outcome

    def _sigma(self, records: int) -> float:
        """The noise that a provider of so many records would be charged for; 0 where nothing is charged."""
        terms = self.terms
        if terms.privacy != "sound":
            return 0.0
        cost = round_cost(terms.privacy, terms.privacy_settings, records, terms.batch, terms.epochs, terms.rounds)
        return cost.noise.sigma_micro / MICRO

    def _drawn(self, what: str, *places: int) -> int:
        """53 bits that depend on the seed, on what they are for and on whom."""
        text = f"{what} {self._seed} {places}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11
