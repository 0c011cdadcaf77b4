"""One whole replica: height after height, the pool, catch-up. Feed it events, carry out the effects it returns.

Nothing here sends, sleeps, reads a clock or draws random numbers; the chain's store is the one thing it writes itself,
one synced batch a height. Time comes in as milliseconds since 1970 with every event.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from consensus import events as machine_events
from consensus.duties import Duties
from consensus.early import EarlyMessages
from consensus.effects import (
    APPEND_TIMER,
    CATCHUP_TIMER,
    CLOCK_TIMER,
    DEADLINE_TIMER,
    RESEND_TIMER,
    REST_TIMER,
    STATUS_TIMER,
    VIEW_TIMER,
    CancelTimer,
    Committed,
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
from consensus.events import (
    BlockBuilt,
    BlockChecked,
    BlockReady,
    BodyReceived,
    BuildBlock,
    CertificateReceived,
    CheckBlock,
    Decide,
    FetchBody,
    HeightSetup,
    ProposalReceived,
    Report,
    ResendDue,
    SetResend,
    Started,
    TimerExpired,
    Timing,
    VoteReceived,
    WorkArrived,
)
from consensus.following import CertifiedAndInvalid, Following
from consensus.intake import Intake, SignatureMemory
from consensus.journal import JournalRecord, Kept, first_height_to_vote
from consensus.machine import HeightMachine
from consensus.messages import (
    Blocks,
    BlocksRequest,
    Body,
    BodyRequest,
    CertificateMessage,
    Decided,
    Message,
    Proposal,
    Status,
    Transactions,
    VoteMessage,
    fit_transactions,
)
from consensus.readiness import Readiness
from ledger.aggregation import (
    AggregationResult,
    AggregationTask,
    aggregate_transaction_body,
    aggregates_due,
    aggregates_foreseen,
)
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Certificate
from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import InvalidBlock, InvalidTransaction
from ledger.keys import KeyPair
from ledger.transactions import Body as TransactionBody
from ledger.transactions import ReportEquivocation, Transaction, sign_transaction
from ledger.types import Hash32, NodeKey

# An aggregate in a block: 256 rejections of 101 bytes (a score has 40), and what is around them.
AGGREGATE_BYTES_MAX = 28 * 1024
# How often a replica says where it is, and sends again what waits too long.
STATUS_MS = 2_000
STRAGGLER_MS = 2_000
STRAGGLERS_PER_STATUS_MAX = 256


@dataclass(frozen=True, slots=True)
class ReplicaSettings:
    """`clock_tolerance_ms`: how far a fresh block's time may be from the own clock to get this member's vote."""

    timing: Timing
    clock_tolerance_ms: int = 15_000


class Replica:
    """`key`: None for an observer. `records`: of the journal, for the height after the head. `first_vote`: the first
    height this replica may sign in; None when its disk was lost and others must be asked, see `journal`. `later`: of
    the journal, for heights after that: the ledger is an older one than the votes."""

    def __init__(
        self,
        make_chain: Callable[[SignatureMemory], Chain],
        chain_id: Hash32,
        key: KeyPair | None,
        settings: ReplicaSettings,
        now_ms: int,
        records: Sequence[JournalRecord] = (),
        first_vote: int | None = 0,
        later: Mapping[int, Sequence[JournalRecord]] | None = None,
    ) -> None:
        self._signatures = SignatureMemory(chain_id)
        self.chain = make_chain(self._signatures)
        self.intake = Intake(self.chain, self._signatures, now_ms)
        self._key = key
        self._settings = settings
        self._now = now_ms
        self._first_vote = first_vote
        self._later = dict(later or {})
        self._effects: list[Effect] = []
        self._readiness = Readiness(self.chain, self.me, settings.clock_tolerance_ms)
        self._early = EarlyMessages()
        self._arrived: dict[Hash32, int] = {}
        self._following = Following(self.chain)
        self._duties = Duties(self.chain, self.intake, key)
        self._heads: dict[NodeKey, int] = {}
        self._told: deque[tuple[HeightMachine, machine_events.Event]] = deque()
        self._telling = False
        self._previous: HeightMachine | None = None
        self._machine = self._make_machine(records)
        self.halted: str | None = None

    # --- looking in

    @property
    def me(self) -> NodeKey | None:
        return self._key.public if self._key else None

    @property
    def machine(self) -> HeightMachine:
        """The height in work."""
        return self._machine

    @property
    def behind(self) -> int:
        """How many heights we are behind the others, whatever f of them claim."""
        return self._following.behind

    # --- events

    def start(self, now_ms: int) -> list[Effect]:
        """The first event."""
        self._begin(now_ms)
        self._tell(Started())
        self._look_at_state()
        self._status(None)
        self._effects.append(SetTimer(STATUS_TIMER, STATUS_MS, jitter=True))
        return self._end()

    def receive(self, sender: NodeKey, message: Message, now_ms: int) -> list[Effect]:
        """A member's message."""
        self._begin(now_ms)
        match message:
            case Proposal() | VoteMessage() | CertificateMessage():
                self._consensus_message(sender, message)
            case Decided(final):
                self._decided_elsewhere(sender, final)
            case BodyRequest(height, block_id):
                self._serve_body(sender, height, Hash32(block_id))
            case Body(block):
                if block.height == self._machine.setup.height:
                    self._tell(BodyReceived(block))
            case Status(height, _, _, first):
                self._following.peer_at(sender, height, first)
                self._ask_blocks()
                self._hear_head(sender, height)
            case BlocksRequest(first, count):
                answer = self._following.server.range(sender, first, count, now_ms)
                if answer is not None:
                    self._send(sender, answer)
            case Blocks(blocks):
                self._following.received(sender, blocks, now_ms)
                self._ask_blocks()
                self._append_caught_up()
            case Transactions(transactions):
                self._receive_transactions(sender, transactions)
        return self._end()

    def submit(self, transaction: Transaction, now_ms: int) -> list[Effect]:
        """A client's transaction. Raises InvalidTransaction, and then nothing has happened."""
        self._begin(now_ms)
        if self.intake.submit(transaction):
            self._arrived[transaction.id] = now_ms
            self._send(None, Transactions((transaction,)))
            self._wake()
        return self._end()

    def submit_own(self, body: TransactionBody, now_ms: int) -> tuple[list[Effect], Transaction]:
        """Sign with the own key and the next nonce, and submit. Raises InvalidTransaction."""
        assert self._key is not None, "an observer has nothing to sign with"
        nonce = self.intake.next_nonce(self._key.public, body)
        transaction = sign_transaction(self._key, self.chain.chain_id, nonce, body)
        return self.submit(transaction, now_ms), transaction

    def connected(self, peer: NodeKey, now_ms: int) -> list[Effect]:
        """A member is there: it is told where we are, and what waits."""
        self._begin(now_ms)
        self._status(peer)
        for message in fit_transactions(self.intake.choose()[:STRAGGLERS_PER_STATUS_MAX]):
            self._send(peer, message)
        return self._end()

    def disconnected(self, peer: NodeKey, now_ms: int) -> list[Effect]:
        self._begin(now_ms)
        self._following.peer_gone(peer)
        self._ask_blocks()
        return self._end()

    def timer(self, name: str, now_ms: int) -> list[Effect]:
        """A timer that was set has run out."""
        self._begin(now_ms)
        if name == VIEW_TIMER:
            self._tell(TimerExpired(self._timer_view))
        elif name == RESEND_TIMER:
            self._tell(ResendDue())
        elif name == DEADLINE_TIMER:
            self._look_at_deadlines()
        elif name == CLOCK_TIMER:
            self._try_ready()
        elif name == REST_TIMER:
            self.intake.rested(now_ms)
            self._time_rests()
            self._wake()
        elif name in (CATCHUP_TIMER, APPEND_TIMER):
            self._append_caught_up()
        elif name == STATUS_TIMER:
            self._status(None)
            self._send_stragglers()
            if not self.behind:
                self._say(self._duties.report_for_duty())
            self._say(self._duties.fill_gap())
            self._effects.append(SetTimer(STATUS_TIMER, STATUS_MS, jitter=True))
        return self._end()

    def aggregate_computed(self, task: AggregationTask, result: AggregationResult, now_ms: int) -> list[Effect]:
        """The answer to `Compute`."""
        self._begin(now_ms)
        self._readiness.computed(task, result)
        self._try_ready()
        self._wake()
        return self._end()

    def aggregate_failed(self, task: AggregationTask) -> None:
        """`Compute` came to nothing; it is asked for again when it is needed again."""
        self._readiness.failed(task)

    # --- one height

    def _make_machine(self, records: Sequence[JournalRecord] = ()) -> HeightMachine:
        height = self.chain.height + 1
        self._timer_view = 0
        setup = HeightSetup(
            chain_id=self.chain.chain_id,
            height=height,
            committee=self.chain.committee(),
            leaders=self.chain.leaders(),
            parent=self.chain.head_id,
            key=self._key,
            timing=self._settings.timing,
            may_vote=self._first_vote is not None
            and height >= self._first_vote
            and not self._following.is_over(height),
        )
        return HeightMachine(setup, records)

    def _tell(self, event: machine_events.Event) -> None:
        """Feed the height's machine. What its effects lead to at once is fed to it after them, never in between."""
        if self.halted is not None:
            return
        self._told.append((self._machine, event))
        if self._telling:
            return
        self._telling = True
        try:
            while self._told:
                machine, following = self._told.popleft()
                if machine is self._machine and self.halted is None:
                    self._carry_out(machine.handle(following))
        finally:
            self._telling = False

    def _carry_out(self, effects: Sequence[machine_events.Effect]) -> None:
        for effect in effects:
            match effect:
                case machine_events.Persist(records):
                    self._effects.append(Persist(self._machine.setup.height, records))
                case machine_events.Broadcast(message):
                    self._send(None, message)
                case machine_events.Send(to, message):
                    self._send(to, message)
                case FetchBody(block_id, holders):
                    for holder in holders:
                        self._send(holder, BodyRequest(self._machine.setup.height, block_id))
                case machine_events.SetTimer(view, delay_ms):
                    self._timer_view = view
                    self._effects.append(SetTimer(VIEW_TIMER, delay_ms))
                case SetResend(delay_ms):
                    self._effects.append(SetTimer(RESEND_TIMER, delay_ms, jitter=True))
                case BuildBlock(view, nullified):
                    self._tell(BlockBuilt(view, self._build(view, nullified)))
                case CheckBlock(block):
                    self._check(block)
                case Report(evidence):
                    self._say(self._duties.say(ReportEquivocation(evidence)))
                case machine_events.Refused(sender, reason):
                    self._effects.append(Refused(sender, reason))
                case Decide(block, certificate):
                    self._commit(FinalBlock(block, certificate))
                case machine_events.Halt(reason):
                    self._halt(reason)

    def _build(self, view: int, nullified: tuple[Certificate, ...]) -> Block | None:
        """A block of all that can run and all aggregates that are due; None when there is nothing to say in view 0."""
        assert self._key is not None
        trial = self.chain.trial(self._key.public, max(self.chain.head_time + 1, self._now), nullified)
        worth_making = view > 0 or self._deadline_is_due()
        shown_bytes = sum(len(encode(certificate)) for certificate in nullified)
        chosen = self.intake.choose(shown_bytes + AGGREGATE_BYTES_MAX * len(aggregates_due(trial.state)))
        refused = trial.apply_all(chosen)
        self.intake.refused(refused)
        worth_making = worth_making or len(chosen) > len(refused)
        for task in aggregates_due(trial.state):
            result = self._readiness.aggregate(task, self._effects)
            if result is not None:
                body = aggregate_transaction_body(task, result)
                trial.apply(sign_transaction(self._key, self.chain.chain_id, self.chain.height + 1, body))
                worth_making = True
        return trial.block(view) if worth_making else None

    def _check(self, block: Block) -> None:
        try:
            self.chain.check(block)
        except InvalidBlock as error:
            self._effects.append(Refused(NodeKey(block.header.author), f"block {block.height}: {error}"))
            self._tell(BlockChecked(block.id, valid=False))
            return
        self._tell(BlockChecked(block.id, valid=True))
        self._readiness.wait(block)
        self._try_ready()

    def _try_ready(self) -> None:
        for block_id in self._readiness.ready(self._now, self._effects):
            self._tell(BlockReady(block_id))

    def _commit(self, final: FinalBlock, *, from_catchup: bool = False) -> None:
        """Append and go on with the next height. Raises InvalidBlock, InvalidCertificate for a block from elsewhere."""
        try:
            outcome = self.chain.append(final, checked_certificate=not from_catchup, sync=not from_catchup)
        except InvalidBlock as error:
            if from_catchup:
                raise
            self._halt(f"height {final.block.height} is certified and invalid here: {error}")
            return
        self._effects.append(Committed(final, outcome))
        self._effects.append(CancelTimer(VIEW_TIMER))
        for transaction in final.block.transactions:
            self._arrived.pop(transaction.id, None)
        # By catch-up the machine did not see the end itself; it is the one that tells those who are still there.
        self._machine.decided = final
        self._previous = self._machine
        self._begin_height(final.block.transactions)
        for sender, message in self._early.take():
            self._consensus_message(sender, message)

    def _begin_height(self, just_final: Sequence[Transaction]) -> None:
        """The head is a new one."""
        self._following.advanced()
        self._machine = self._make_machine(self._later.pop(self.chain.height + 1, ()))
        self._readiness.forget_blocks()
        for transaction, reason in self.intake.new_head(just_final, self._now):
            self._arrived.pop(transaction.id, None)
            self._effects.append(Dropped(transaction, reason))
        self._time_rests()
        self._say(self._duties.skip_refused())
        self._tell(Started())
        self._look_at_state()

    # --- a snapshot

    def needs_snapshot(self, gap: int, now_ms: int) -> bool:
        """See `Following.needs_snapshot`."""
        return self.halted is None and self._following.needs_snapshot(gap, now_ms)

    def pause_catch_up(self, paused: bool, now_ms: int) -> list[Effect]:
        """While a snapshot is fetched no blocks are asked for."""
        self._begin(now_ms)
        self._following.pause(paused)
        self._append_caught_up()
        return self._end()

    def rebase(self, now_ms: int) -> list[Effect]:
        """The chain's store holds another, later head now, which a snapshot led to: go on from there."""
        self._begin(now_ms)
        self.chain.reopen()
        self._effects.append(Rebased(self.chain.height))
        self._effects.append(CancelTimer(VIEW_TIMER))
        self._previous = None
        self._begin_height(())
        self._status(None)
        # What was fetched above that head before may be the next block already.
        self._append_caught_up()
        return self._end()

    def _time_rests(self) -> None:
        rest_ms = self.intake.rest_ms(self._now)
        if rest_ms is not None:
            self._effects.append(SetTimer(REST_TIMER, rest_ms))

    def _halt(self, reason: str) -> None:
        self.halted = reason
        self._effects.append(Halt(reason))

    # --- messages

    def _consensus_message(self, sender: NodeKey, message: Proposal | VoteMessage | CertificateMessage) -> None:
        match message:
            case Proposal(subject=subject):
                event: machine_events.Event = ProposalReceived(sender, message)
            case VoteMessage(vote):
                subject, event = vote.subject, VoteReceived(sender, vote)
            case CertificateMessage(certificate):
                subject, event = certificate.subject, CertificateReceived(sender, certificate)
        height = self._machine.setup.height
        if subject.height == height:
            self._tell(event)
        elif subject.height == height - 1 and self._previous is not None:
            if self._following.server.allows(sender, self._now):
                for effect in self._previous.handle(event):
                    if isinstance(effect, machine_events.Send) and isinstance(effect.message, Decided):
                        self._following.server.charge(sender, effect.message.final.block, self._now)
                        self._send(sender, effect.message)
        elif subject.height < height:
            self._status(sender)
        else:
            self._from_the_future(sender, subject.height, message)

    def _from_the_future(
        self, sender: NodeKey, height: int, message: Proposal | VoteMessage | CertificateMessage
    ) -> None:
        """Keep what the next height will need; further ahead only says that we are behind."""
        if height == self._machine.setup.height + 1:
            self._early.add(sender, message)
        self._following.peer_at(sender, height - 1)
        # The block may be on its way as votes: it is asked for only when it has not come a moment later.
        self._effects.append(SetTimer(CATCHUP_TIMER, self._settings.timing.resend_ms))

    def _decided_elsewhere(self, sender: NodeKey, final: FinalBlock) -> None:
        height = self._machine.setup.height
        if final.block.height == height:
            self._tell(CertificateReceived(sender, final.certificate))
            if self._machine.setup.height == height:
                self._tell(BodyReceived(final.block))
        elif final.block.height > height:
            self._following.peer_at(sender, final.block.height)
            self._ask_blocks()

    def _serve_body(self, sender: NodeKey, height: int, block_id: Hash32) -> None:
        if height != self._machine.setup.height:
            decided = self._following.server.decided(sender, height, self._now)
            if decided is not None:
                self._send(sender, decided)
            return
        block = self._machine.body(block_id)
        if block is not None and self._following.server.allows(sender, self._now):
            self._following.server.charge(sender, block, self._now)
            self._send(sender, Body(block))

    def _receive_transactions(self, sender: NodeKey, transactions: Sequence[Transaction]) -> None:
        added = False
        for transaction in transactions:
            try:
                if self.intake.receive(transaction):
                    self._arrived[transaction.id] = self._now
                    added = True
            except InvalidTransaction as error:
                self._effects.append(Refused(sender, f"transaction: {error.code}: {error}"))
                break
        if added:
            self._wake()

    # --- catch-up

    def _ask_blocks(self) -> None:
        self._do(self._following.asks(self._now))

    def _append_caught_up(self) -> None:
        try:
            self._do(self._following.append_fetched(self._append_fetched, self._now))
        except CertifiedAndInvalid as error:
            self._halt(str(error))

    def _append_fetched(self, final: FinalBlock) -> None:
        self._commit(final, from_catchup=True)

    def _hear_head(self, sender: NodeKey, height: int) -> None:
        """With the disk lost: from a quorum's heads follows the first height that we cannot have voted in."""
        committee = self.chain.committee()
        if self._first_vote is not None or sender not in committee.members or height > self.chain.height:
            return  # a head counts once we have caught up to it: a bare claim could silence us for ever
        self._heads[sender] = height
        # Of who sits now: a member that has rotated its key, or gone, since it spoke is not another answer.
        heads = [said for member, said in self._heads.items() if member in committee.members]
        self._first_vote = first_height_to_vote(Kept.NOTHING, self.chain.height, heads, committee.quorum)
        if self._first_vote is not None:
            self._effects.append(VoteFrom(self._first_vote))

    def _status(self, to: NodeKey | None) -> None:
        self._do([self._following.status(to, self._machine.view)])

    # --- work

    def _look_at_state(self) -> None:
        """After a new head: what is due, what can be computed ahead, whether there is anything to decide."""
        state = self.chain.state()
        for task in aggregates_due(state):
            self._readiness.aggregate(task, self._effects)
        # While the committee still attests: mostly all that is announced will count.
        for task in aggregates_foreseen(state):
            if task.contributions:
                self._readiness.aggregate(task, self._effects)
        self._look_at_deadlines()
        self._wake()

    def _deadline_is_due(self) -> bool:
        due = self.chain.next_deadline()
        return due is not None and due <= self._now

    def _look_at_deadlines(self) -> None:
        due = self.chain.next_deadline()
        if due is None:
            return
        if due <= self._now:
            self._wake()
        else:
            self._effects.append(SetTimer(DEADLINE_TIMER, due - self._now))

    def _wake(self) -> None:
        """Rule 5: tell the machine when there is something to decide."""
        if self.halted is not None:
            return
        computed = map(self._readiness.is_computed, aggregates_due(self.chain.state()))
        if self.intake.has_runnable or self._deadline_is_due() or any(computed):
            self._tell(WorkArrived())

    def _send_stragglers(self) -> None:
        """What has waited too long is sent again, by everybody who has it: its sender may be gone.

        Of what can run, by turns of the senders: one that leaves gaps in its nonces would else be all that is sent.
        """
        self._arrived = {name: since for name, since in self._arrived.items() if self.intake.pool.get(name) is not None}
        late = [
            transaction
            for transaction in self.intake.choose()
            if self._now - self._arrived.setdefault(transaction.id, self._now) >= STRAGGLER_MS
        ]
        for message in fit_transactions(late[:STRAGGLERS_PER_STATUS_MAX]):
            self._send(None, message)

    def _say(self, duties: Iterable[Transaction]) -> None:
        """Send what we owe, one after the other: each is in the pool."""
        for transaction in duties:
            self._send(None, Transactions((transaction,)))
            self._wake()

    # --- effects

    def _begin(self, now_ms: int) -> None:
        self._now = now_ms

    def _send(self, to: NodeKey | None, message: Message) -> None:
        if self.halted is None:
            self._effects.append(Transmit(to, message))

    def _do(self, effects: Sequence[Effect]) -> None:
        """What is asked for elsewhere; nothing leaves a halted replica."""
        self._effects += [each for each in effects if self.halted is None or not isinstance(each, Transmit)]

    def _end(self) -> list[Effect]:
        effects, self._effects = self._effects, []
        return effects
