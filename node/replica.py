"""Drives the pure replica: feeds it messages, timers and clients' words, and carries out its effects. Decides nothing.

Everything here runs in one trio thread and does not await between an event and its effects, so effects keep their
order: what follows a Persist is posted only after the journal is synced.
"""

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import trio

from consensus.effects import (
    CancelTimer,
    Committed,
    Compute,
    Disagreement,
    Dropped,
    Effect,
    Halt,
    Persist,
    Rebased,
    Refused,
    SetTimer,
    Transmit,
    VoteFrom,
)
from consensus.messages import Transactions, encode_message, fit_transactions, is_gossip, parse_message
from consensus.replica import Replica
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.blocks import FinalBlock
from ledger.chain import Outcome
from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.transactions import Body, Transaction
from ledger.types import Hash32, NodeKey
from node.files import Files, OsFiles
from node.journal_file import JournalFile
from node.metrics import Metrics
from node.network.transport import Fault, Transport
from node.timers import Timers
from node.vote_memory import remember_vote_from

log = logging.getLogger(__name__)

# Whoever waits for a transaction; one entry a waiting call.
WAITERS_MAX = 65_536
# A quorum's agreement on a block takes far less: what is off by more is a clock. Half the usual tolerance.
CLOCK_WARNING_MS = 7_500
CLOCK_WARNING_EVERY_S = 600.0
# What carrying a byte up to here cost us: some 50 MB a second through Noise, Yamux and the link.
DROPPED_BYTE_S = 2e-8
# Provably wrong messages of one peer that are logged; the rest are only counted.
COMPLAINTS_LOGGED_MAX = 8


class Halted(Exception):
    """The replica cannot go on: members disagree on what is valid. The dump says on what."""


class ReplicaDriver:
    """`compute` gives an aggregate, None when the round is over first; `committed` hears of every final block that is
    on disk, `heard` of every message with transactions. `clock`: milliseconds since 1970, this machine's by default."""

    def __init__(
        self,
        replica: Replica,
        journal: JournalFile,
        transport: Transport,
        metrics: Metrics,
        data_dir: Path,
        compute: Callable[[AggregationTask], Awaitable[AggregationResult | None]],
        committed: Callable[[FinalBlock, Outcome], None],
        heard: Callable[[], None],
        rebased: Callable[[], None] = lambda: None,
        clock: Callable[[], int] | None = None,
        files: Files | None = None,
    ) -> None:
        self.replica = replica
        self._journal = journal
        self._transport = transport
        self._metrics = metrics
        self._data_dir = data_dir
        self._compute = compute
        self._committed = committed
        self._heard = heard
        self._rebased = rebased
        self._clock = clock or now_ms
        self._files = files or OsFiles()
        self._timers = Timers()
        self._waiting: dict[Hash32, list[trio.Event]] = {}
        self._outcomes: OrderedDict[Hash32, InvalidTransaction] = OrderedDict()
        self._entered: OrderedDict[Hash32, float] = OrderedDict()
        self._gossip: list[Transaction] = []
        self._gossip_bell = trio.Event()
        self._computing: set[AggregationTask] = set()
        self._complaints: dict[NodeKey, int] = {}
        self._hearing: NodeKey | None = None
        self._nursery: trio.Nursery | None = None
        self._broken: BaseException | None = None
        self._broke = trio.Event()
        self._closed = False
        self.height_began = trio.current_time()
        self._clock_quiet_until = 0.0

    # The old stubs of trio that libp2p brings along do not know TaskStatus.
    async def run(
        self,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,  # type: ignore[name-defined]
    ) -> None:
        """Until cancelled. Raises Halted; StoreFull, CorruptStore and OSError of our own disk."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._end_when_broken)
            self._transport.watch_peers(self._peer_changed)
            self._do(lambda: self.replica.start(self._clock()))
            nursery.start_soon(self._receive)
            nursery.start_soon(self._run_timers)
            nursery.start_soon(self._send_gossip)
            nursery.start_soon(self._measure_lag)
            for peer in self._transport.peers():
                if peer.connected:
                    self._peer_changed(peer.org, True)
            task_status.started()

    # --- clients

    def submit(self, transaction: Transaction) -> None:
        """Raises InvalidTransaction, and then nothing has happened."""

        def step() -> list[Effect]:
            effects = self.replica.submit(transaction, self._clock())
            self._note_entered(transaction)
            return effects

        self._do(step)

    def submit_own(self, body: Body) -> Transaction:
        own: list[Transaction] = []

        def step() -> list[Effect]:
            effects, transaction = self.replica.submit_own(body, self._clock())
            self._note_entered(transaction)
            own.append(transaction)
            return effects

        self._do(step)
        return own[0]

    def needs_snapshot(self, gap: int) -> bool:
        """See `Replica.needs_snapshot`."""
        return self.replica.needs_snapshot(gap, self._clock())

    def pause_catch_up(self, paused: bool) -> None:
        """While a snapshot is fetched no blocks are asked for."""
        self._do(lambda: self.replica.pause_catch_up(paused, self._clock()))

    def rebase(self) -> None:
        """Go on from the head that the chain's store has now."""
        self._do(lambda: self.replica.rebase(self._clock()))

    async def wait_final(self, transaction_id: Hash32) -> tuple[int, int]:
        """Height and index once final. Raises InvalidTransaction when it was dropped. The caller sets its own limit."""
        while True:
            found = self.replica.chain.find_transaction(transaction_id)
            if found is not None:
                return found
            refused = self._outcomes.get(transaction_id)
            if refused is not None:
                raise refused
            if len(self._waiting) >= WAITERS_MAX:
                raise InvalidTransaction("full", f"{WAITERS_MAX} calls wait for transactions already")
            if self._closed:
                raise InvalidTransaction("starting", "the node begins anew with another key; ask again in a moment")
            event = trio.Event()
            self._waiting.setdefault(transaction_id, []).append(event)
            try:
                await event.wait()
            finally:
                waiting = self._waiting.get(transaction_id, [])
                if event in waiting:
                    waiting.remove(event)
                if not waiting:
                    self._waiting.pop(transaction_id, None)

    def close(self) -> None:
        """Nothing runs any more: whoever waits is told so."""
        self._closed = True
        for events in self._waiting.values():
            for event in events:
                event.set()

    # --- tasks

    async def _receive(self) -> None:
        async for sender, data in self._transport.incoming:
            gossip = is_gossip(data)
            if gossip and not self._transport.takes_gossip(sender):
                # More than its share of our time checks: these are said again, and no vote waits for them.
                self._transport.charge(sender, len(data) * DROPPED_BYTE_S)
                continue
            began = time.thread_time()
            self._hearing = sender
            moved = self._take_in(sender, data)
            self._hearing = None
            if not moved:
                self._transport.charge(sender, time.thread_time() - began, gossip=gossip)

    def _take_in(self, sender: NodeKey, data: bytes) -> bool:
        """One message of a peer; whether it moved us: a vote of ours or a block came of it."""
        try:
            message = parse_message(data)
        except InvalidBytes as error:
            self._complain(sender, Fault.GARBAGE, str(error))
            return False
        effects = self._do(partial(self.replica.receive, sender, message, self._clock()))
        if isinstance(message, Transactions):
            self._heard()
        return any(isinstance(each, Persist | Committed) for each in effects)

    async def _run_timers(self) -> None:
        while True:
            name = await self._timers.next()
            self._do(partial(self.replica.timer, name, self._clock()))

    async def _send_gossip(self) -> None:
        """Transactions that clients hand in within one turn of the loop travel in one frame."""
        while True:
            await self._gossip_bell.wait()
            await trio.lowlevel.checkpoint()
            self._gossip_bell = trio.Event()
            gossip, self._gossip = self._gossip, []
            for message in fit_transactions(gossip):
                self._transport.broadcast(encode_message(message))

    async def _measure_lag(self) -> None:
        """How late this loop is woken: the one number that shows that something holds it up."""
        while True:
            due = trio.current_time() + 1.0
            await trio.sleep_until(due)
            self._metrics.loop_lag.observe(trio.current_time() - due)

    async def _compute_aggregate(self, task: AggregationTask) -> None:
        try:
            result = await self._compute(task)
        finally:
            self._computing.discard(task)
        if result is None:
            self.replica.aggregate_failed(task)
        else:
            self._do(partial(self.replica.aggregate_computed, task, result, self._clock()))

    def _peer_changed(self, org: NodeKey, connected: bool) -> None:
        step = self.replica.connected if connected else self.replica.disconnected
        self._do(partial(step, org, self._clock()))

    # --- effects

    def _do(self, step: Callable[[], Sequence[Effect]]) -> Sequence[Effect]:
        """One event and what follows from it, carried out.

        Raises InvalidTransaction of a submission, and then nothing has happened.

        Any other fault leaves the replica ahead of the disk: it may remember a vote that was never synced, and would
        send it again. So nothing is done after one, whoever's call it was that met it, and `run` ends with it.
        """
        if self._broken is not None:
            raise self._broken
        try:
            effects = step()
            self._carry_out(effects)
        except InvalidTransaction:
            raise
        except BaseException as error:
            self._broken = error
            self._broke.set()
            raise
        return effects

    async def _end_when_broken(self) -> None:
        await self._broke.wait()
        assert self._broken is not None
        raise self._broken

    def _carry_out(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(height, records):
                    with self._metrics.timed(self._metrics.fsync):
                        self._journal.append(height, records)
                case Transmit(to, Transactions(transactions)) if to is None:
                    self._gossip.extend(transactions)
                    self._gossip_bell.set()
                case Transmit(to, message):
                    data = encode_message(message)
                    if to is None:
                        self._transport.broadcast(data)
                    else:
                        self._transport.post(to, data)
                case SetTimer(name, delay_ms, jitter):
                    self._timers.set(name, delay_ms / 1000, jitter=jitter)
                case CancelTimer(name):
                    self._timers.cancel(name)
                case Compute(task):
                    self._start_computing(task)
                case Committed(final, outcome):
                    self._on_committed(final, outcome)
                case Rebased(height):
                    self._journal.start_height(height + 1)
                    self.height_began = trio.current_time()
                    self._rebased()
                case Dropped(transaction, error):
                    self._forget(transaction.id, error)
                case Refused(sender, reason):
                    self._complain(sender, Fault.FORGED, reason)
                case Disagreement(task, author):
                    log.error(
                        "the aggregate that %s proposes for request %s round %d is not what we computed: no vote",
                        author.hex()[:16],
                        task.request.hex()[:16],
                        task.round,
                    )
                case VoteFrom(height):
                    remember_vote_from(self._data_dir, height, self._files)
                case Halt(reason):
                    self._halt(reason)

    def _start_computing(self, task: AggregationTask) -> None:
        if self._nursery is not None and task not in self._computing:
            self._computing.add(task)
            self._nursery.start_soon(self._compute_aggregate, task)

    def _on_committed(self, final: FinalBlock, outcome: Outcome) -> None:
        block = final.block
        self._journal.start_height(block.height + 1)
        self.height_began = trio.current_time()
        for transaction in block.transactions:
            entered = self._entered.pop(transaction.id, None)
            if entered is not None:
                self._metrics.submit_to_final.observe(trio.current_time() - entered)
            for event in self._waiting.pop(transaction.id, ()):
                event.set()
        self._mind_the_clock(final)
        self._committed(final, outcome)

    def _mind_the_clock(self, final: FinalBlock) -> None:
        """A member whose clock is off does not vote and does not know why: tell its operator, now and then."""
        ahead_ms = final.block.header.time - self._clock()
        if abs(ahead_ms) < CLOCK_WARNING_MS or self.replica.behind > 1 or trio.current_time() < self._clock_quiet_until:
            return
        self._clock_quiet_until = trio.current_time() + CLOCK_WARNING_EVERY_S
        side = "behind" if ahead_ms > 0 else "ahead of"
        log.warning("this machine's clock is %.1f s %s the league's blocks: set it", abs(ahead_ms) / 1000, side)

    def _note_entered(self, transaction: Transaction) -> None:
        self._entered[transaction.id] = trio.current_time()
        if len(self._entered) > WAITERS_MAX:
            self._entered.popitem(last=False)

    def _forget(self, transaction_id: Hash32, error: InvalidTransaction) -> None:
        self._outcomes[transaction_id] = error
        if len(self._outcomes) > WAITERS_MAX:
            self._outcomes.popitem(last=False)
        for event in self._waiting.pop(transaction_id, ()):
            event.set()

    def _complain(self, sender: NodeKey, fault: Fault, reason: str) -> None:
        # Only of who just spoke: a block may name another as its author, and be handed on by who could not know.
        if sender == self._hearing:
            self._transport.blame(sender, fault, reason)
        count = self._complaints[sender] = self._complaints.get(sender, 0) + 1
        if count <= COMPLAINTS_LOGGED_MAX:
            log.warning("refused from %s: %s", sender.hex()[:16], reason)

    def _halt(self, reason: str) -> None:
        chain = self.replica.chain
        dump = {
            "reason": reason,
            "height": chain.height,
            "head": chain.head_id.hex(),
            "state_root": chain.state_root.hex(),
            "committee": [org.hex() for org in chain.committee().members],
            "view": self.replica.machine.view,
        }
        path = self._data_dir / f"halt-{chain.height + 1}.json"
        self._files.publish(path, (json.dumps(dump, indent=2) + "\n").encode(), mode=0o600)
        raise Halted(f"{reason}; see {path}")


def now_ms() -> int:
    """Milliseconds since 1970 by this machine's clock."""
    return time.time_ns() // 1_000_000
