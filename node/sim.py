"""Whole replicas on virtual time: the consensus, chain, pool and catch-up of the daemon, under one seed.

The network loses, delays, reorders and partitions; replicas crash, also between a journal's sync and what it covers,
and come back from what was on their disks. Training is a small exact stand-in, for here only agreement is at stake.
What must hold is checked after every block; a failure names its seed and `run(seed=...)` replays it.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from consensus.effects import (
    CancelTimer,
    Committed,
    Compute,
    Disagreement,
    Dropped,
    Effect,
    Halt,
    Persist,
    Refused,
    SetTimer,
    Transmit,
)
from consensus.events import Timing
from consensus.journal import JournalRecord
from consensus.messages import Message
from consensus.replica import Replica, ReplicaSettings
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.chain import Chain
from ledger.codec import digest
from ledger.genesis import Genesis, GenesisMember
from ledger.keys import KeyPair
from ledger.parameters import LeagueParameters
from ledger.types import NodeKey
from node.sim_referee import Referee
from node.sim_wishes import Faults, SimNode, Wishes

START_MS = 1_700_000_000_000
# A run that is not over by then never will be: an hour of virtual time after the last fault.
SETTLE_MS_MAX = 3_600_000


@dataclass(slots=True)
class Report:
    """What a run saw."""

    seed: int
    heights: int
    transactions_final: int
    messages: int
    crashes: int
    rounds_finished: int
    virtual_ms: int


class Simulation:
    """`members` replicas under one seed. `requests`: whether a data request runs beside the transfers."""

    def __init__(self, seed: int, members: int = 4, faults: Faults | None = None, requests: bool = True) -> None:
        self.seed = seed
        self.faults = faults or Faults()
        self.random = random.Random(seed)
        self.now = 0
        self._sequence = 0
        self._agenda: list[tuple[int, int, Callable[[], None]]] = []
        keys = [KeyPair.from_seed(digest("sim", bytes([member]))) for member in range(members)]
        keys.sort(key=lambda key: key.public)
        founders = tuple(GenesisMember(key.org, f"factory {at}", (), 1_000_000) for at, key in enumerate(keys))
        self.genesis = Genesis("simulated", START_MS, founders, LeagueParameters())
        self.nodes = {key.public: SimNode(key) for key in keys}
        self._groups: dict[NodeKey, int] = {}
        self.referee, self.wishes = Referee(seed, members), Wishes(self)
        self._requests = requests
        self.messages = self.crashes = 0
        for org in self.nodes:
            self._boot(org)

    # --- running

    def run(self, transfers: int = 30) -> Report:
        """Faults first, then healing, until everything submitted is final everywhere. Raises SimulationFailed."""
        self._plan(transfers)
        while self._agenda and not self._is_over():
            self._step()
        if not self._is_over():
            self.referee.fail("the agenda ran empty before everything was final")
        return self._report()

    def _plan(self, transfers: int) -> None:
        faults = self.faults
        for _ in range(transfers):
            self.at(self.random.randrange(max(1, faults.until_ms)), self.wishes.transfer)
        if self._requests:
            self.at(100, self.wishes.begin_request)
        for every, what in ((faults.partition_every_ms, self._partition), (faults.crash_every_ms, self._crash_someone)):
            for time in range(every, faults.until_ms, every) if every else ():
                self.at(time, what)
        self.at(faults.until_ms, self._heal)

    def _step(self) -> None:
        time, _, action = heapq.heappop(self._agenda)
        self.now = self.referee.now_ms = max(self.now, time)
        if self.now > self.faults.until_ms + SETTLE_MS_MAX:
            self.referee.fail("no progress within an hour after healing")
        action()

    def _is_over(self) -> bool:
        if self.now <= self.faults.until_ms:
            return False
        replicas = [node.replica for node in self.nodes.values()]
        heights = {replica.chain.height if replica else -1 for replica in replicas}
        if None in replicas or len(heights) != 1 or set(self.wishes.submitted) - self.referee.final.keys():
            return False
        roots = {replica.chain.state_root for replica in replicas if replica}
        if len(roots) != 1:
            self.referee.fail(f"{len(roots)} state roots at height {heights}")
        return not self._requests or self.wishes.request_is_over()

    def _report(self) -> Report:
        chain = self._any_chain()
        request = self.wishes.request()
        return Report(
            self.seed,
            chain.height,
            len(self.referee.final),
            self.messages,
            self.crashes,
            request[1].model_round if request else 0,
            self.now,
        )

    # --- replicas

    def _boot(self, org: NodeKey) -> None:
        node = self.nodes[org]
        node.life += 1
        node.timers.clear()

        def make_chain(signatures: Any) -> Chain:
            return Chain(node.store, self.genesis, signatures.check)

        head = Chain(node.store, self.genesis).height
        records = self._journal(node, head + 1)
        settings = ReplicaSettings(Timing(base_ms=2_000, step_ms=500, resend_ms=700, grace_ms=0))
        node.replica = Replica(make_chain, self.genesis.chain_id, node.key, settings, self.clock(), records)
        self.carry_out(org, node.replica.start(self.clock()))
        self.after(500, org, lambda: self.wishes.do_duties(org))
        for other in self.nodes:
            if other != org and self._linked(org, other):
                self._meet(org, other)

    def _journal(self, node: SimNode, height: int) -> list[JournalRecord]:
        """What a restarted member finds of the height in work."""
        return [record for written, record in node.journal if written == height]

    def _meet(self, one: NodeKey, other: NodeKey) -> None:
        for here, there in ((one, other), (other, one)):
            replica = self.nodes[here].replica
            if replica is not None:
                self.carry_out(here, replica.connected(there, self.clock()))

    def carry_out(self, org: NodeKey, effects: list[Effect]) -> None:
        node = self.nodes[org]
        life = node.life
        for effect in effects:
            if node.life != life or node.replica is None:
                return  # crashed on the way: what was not sent is gone, what was synced is not
            match effect:
                case Persist(height, records):
                    node.journal.extend((height, record) for record in records)
                    if self.now < self.faults.until_ms and self.random.random() < self.faults.crash_after_sync:
                        self._crash(org)
                case Transmit(to, message):
                    self.referee.check_said(org, message)
                    for receiver in [to] if to is not None else [each for each in self.nodes if each != org]:
                        self._transmit(org, receiver, message)
                case SetTimer(name, delay_ms, jitter):
                    self._set_timer(org, name, delay_ms, jitter)
                case CancelTimer(name):
                    node.timers.pop(name, None)
                case Compute(task):
                    self.after(self.random.randrange(1, 50), org, self._computed(org, task))
                case Committed(final, outcome):
                    node.journal = [(height, record) for height, record in node.journal if height > final.block.height]
                    self.referee.check_final(node.replica.chain, final, outcome)
                    self.after(self.random.randrange(1, 200), org, lambda: self.wishes.do_duties(org))
                case Dropped(transaction, error):
                    if transaction.id in self.wishes.submitted:
                        self.referee.fail(f"a submitted transaction was dropped: {error.code}: {error}")
                case Refused(sender, reason):
                    self.referee.fail(f"a correct replica was refused: {sender.hex()[:8]}: {reason}")
                case Disagreement(task):
                    self.referee.fail(f"replicas disagree on the aggregate of round {task.round}")
                case Halt(reason):
                    self.referee.fail(f"halted: {reason}")

    def _computed(self, org: NodeKey, task: AggregationTask) -> Callable[[], None]:
        def deliver() -> None:
            replica = self.nodes[org].replica
            if replica is not None:
                inputs = b"".join(each.blob + each.weight.to_bytes(8, "big") for each in task.contributions)
                scores = tuple((each.org, each.blob[0] * 1_000) for each in task.contributions)
                result = AggregationResult(digest("sim/model", task.base_model + inputs), 24, scores)
                self.carry_out(org, replica.aggregate_computed(task, result, self.clock()))

        return deliver

    def _set_timer(self, org: NodeKey, name: str, delay_ms: int, jitter: bool) -> None:
        node = self.nodes[org]
        delay = int(delay_ms * self.random.uniform(0.75, 1.25)) if jitter else delay_ms
        due = self.now + max(1, delay)
        node.timers[name] = due

        def fire() -> None:
            if node.timers.get(name) == due and node.replica is not None:
                del node.timers[name]
                self.carry_out(org, node.replica.timer(name, self.clock()))

        self.after(due - self.now, org, fire)

    # --- the network and its faults

    def _transmit(self, sender: NodeKey, receiver: NodeKey, message: Message) -> None:
        self.messages += 1
        faulty = self.now < self.faults.until_ms
        if not self._linked(sender, receiver) or (faulty and self.random.random() < self.faults.loss):
            return

        def deliver() -> None:
            replica = self.nodes[receiver].replica
            if replica is not None and self._linked(sender, receiver):
                self.carry_out(receiver, replica.receive(sender, message, self.clock()))

        self.at(self.now + self.random.randint(*self.faults.delay_ms), deliver)

    def _linked(self, one: NodeKey, other: NodeKey) -> bool:
        return self._groups.get(one, 0) == self._groups.get(other, 0)

    def _partition(self) -> None:
        parts = self.random.choice((1, 2, 2, 3))
        self._groups = {org: self.random.randrange(parts) for org in self.nodes}

    def _crash_someone(self) -> None:
        self._crash(self.random.choice(list(self.nodes)))

    def _crash(self, org: NodeKey) -> None:
        node = self.nodes[org]
        if node.replica is None:
            return
        self.crashes += 1
        node.replica = None
        node.life += 1
        self.at(self.now + self.random.randint(*self.faults.down_ms), lambda: self._boot(org))

    def _heal(self) -> None:
        self._groups = {}
        orgs = list(self.nodes)
        for at, one in enumerate(orgs):
            for other in orgs[at + 1 :]:
                self._meet(one, other)

    # --- time

    def clock(self) -> int:
        return START_MS + 1_000 + self.now

    def at(self, time: int, action: Callable[[], None]) -> None:
        self._sequence += 1
        heapq.heappush(self._agenda, (time, self._sequence, action))

    def after(self, delay: int, org: NodeKey, action: Callable[[], None]) -> None:
        """Unless the replica crashes before."""
        life = self.nodes[org].life

        def alive() -> None:
            if self.nodes[org].life == life:
                action()

        self.at(self.now + delay, alive)

    def _any_chain(self) -> Chain:
        return next(node.replica.chain for node in self.nodes.values() if node.replica)


def run(
    seed: int, members: int = 4, faults: Faults | None = None, transfers: int = 30, requests: bool = True
) -> Report:
    """One simulated league. Raises SimulationFailed, naming the seed."""
    return Simulation(seed, members, faults, requests).run(transfers)
