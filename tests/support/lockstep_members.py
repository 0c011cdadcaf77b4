"""The members of a lockstep run, driven by hand: events in, effects carried out, journals written, crashes survived.

When what happens is `lockstep.py`'s business, what must hold `lockstep_watch.py`'s.
"""

from dataclasses import replace

from consensus.events import (
    BlockBuilt,
    BlockChecked,
    BlockReady,
    BodyReceived,
    Broadcast,
    BuildBlock,
    CertificateReceived,
    CheckBlock,
    Decide,
    Effect,
    Event,
    FetchBody,
    Halt,
    Persist,
    ProposalReceived,
    Refused,
    Report,
    ResendDue,
    Send,
    SetTimer,
    Started,
    TimerExpired,
    VoteReceived,
    WorkArrived,
)
from consensus.journal import JournalRecord, Kept, first_height_to_vote
from consensus.machine import HeightMachine
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Certificate
from ledger.types import Hash32, NodeKey
from tests.support import abstract_votes as abstract
from tests.support.lockstep_adversary import Adversary
from tests.support.lockstep_node import Disk, Letter, Node
from tests.support.lockstep_plan import Plan
from tests.support.lockstep_said import Said
from tests.support.lockstep_trace import Trace
from tests.support.lockstep_watch import AT_THE_MERCY_OF_QUORUMS, Broken, Watch

WATCHER = NodeKey(b"\xfe" * 32)


class Members:
    """Everybody in one run, as its plan and seed have it. `trace`: record what happens, which takes as long again."""

    def __init__(self, plan: Plan, trace: bool = False) -> None:
        self.plan, self.trace = plan, Trace() if trace else None
        self.rng = plan.rng()
        self.members, self.style, self.overrun = plan.drawn(self.rng)
        rng = self.rng
        self.committee = plan.committee(tuple(abstract.member(number) for number in range(self.members)))
        self.timing = replace(abstract.TIMING, grace_ms=rng.choice([0, 300]))
        keys = [NodeKey(key) for key in self.committee.members]
        faults = self.committee.faults
        forgets = faults > 0 and rng.random() < self.style.forgets
        many = min(self.committee.quorum - 1, faults + 1 + rng.randrange(2))
        liars = rng.sample(keys, many if self.overrun else faults)
        if self.style.scripted and faults and keys[2] not in liars:
            liars[0] = keys[2]
        # Who lost its journal is one of the faulty: it cannot help.
        forgetful = liars.pop() if forgets and not self.overrun else None
        twins = liars[:1] if rng.random() < self.style.twins else []
        self.correct = [self._node(f"n{number}", key) for number, key in enumerate(keys) if key not in liars]
        for node in self.correct:
            node.forgets = node.key == forgetful
            node.misjudges = self.overrun and rng.random() < 0.1
        if rng.random() < (0.5 if self.overrun else self.style.watches):
            self.correct.append(self._node("watcher", WATCHER, seat=False))
        self.nodes = list(self.correct)
        for key in twins:
            self.nodes += [self._node(f"t{key[0] - 1}{letter}", key, correct=False) for letter in "ab"]
        for node in self.nodes:
            node.half = rng.randrange(2)
        self.said = Said(self.committee, liars)
        self.blocks: dict[Hash32, tuple[Block, bool]] = {}
        setup = abstract.setup_of(self.committee, keys[0])
        without = AT_THE_MERCY_OF_QUORUMS if self.overrun else plan.without
        self.watch = Watch(setup, liars, self.said, self.blocks, without)
        self.adversary = Adversary(rng, self.committee, liars, self.nodes, self.said, self.blocks, self.style)
        self.healed = False
        self.highest = 0  # V: the highest view of a correct member at healing
        self.salt = 0
        self.crashed_at: int | None = None  # records in the write at which the plan's crash came

    def _node(self, name: str, key: NodeKey, correct: bool = True, seat: bool = True) -> Node:
        return Node(name, key, self._machine(key, ()), Disk(self.plan.keeps), correct=correct, seat=seat)

    def _machine(self, key: NodeKey, records: tuple[JournalRecord, ...], may_vote: bool = True) -> HeightMachine:
        return abstract.machine_of(
            self.committee, key, records, timing=self.timing, may_vote=may_vote, kind=self.plan.machine
        )

    def deliver(self, node: Node, letter: Letter) -> None:
        match letter.message:
            case Proposal() as proposal:
                self.tell(node, ProposalReceived(letter.by, proposal))
            case VoteMessage(vote):
                self.tell(node, VoteReceived(letter.by, vote))
            case CertificateMessage(certificate):
                self.tell(node, CertificateReceived(letter.by, certificate))
            case Decided(final):
                self.tell(node, CertificateReceived(letter.by, final.certificate))
                self.tell(node, BodyReceived(final.block))
            case other:
                raise TypeError(f"{other} is not of one height")

    def work(self, node: Node) -> None:
        while node.todo and not node.down:
            self.tell(node, node.todo.pop(0))

    def tell(self, node: Node, event: Event) -> None:
        if node.down:
            return
        if self.trace is not None:
            self.trace.event(node.name, node.machine.view, event)
        if isinstance(event, BlockChecked) and event.valid:
            node.told.add(("valid", event.block_id))
        elif isinstance(event, BlockReady):
            node.told.add(("ready", event.block_id))
        convicting = self.watch.before(node, event) if node.correct else None
        for effect in node.machine.handle(event):
            if self.trace is not None:
                self.trace.effect(effect)
            self.carry_out(node, effect)
            if not node.runs():
                self._note(f"{node.name} crashed")
                return
        if node.correct:
            self.watch.after(node, convicting)

    def carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case Persist(records):
                self.persist(node, records)
            case Broadcast(message):
                self.send(node, [each for each in self.nodes if each is not node], message)
            case Send(to, message):
                self.send(node, [each for each in self.nodes if each.key == to], message)
            case BuildBlock(view, nullified):
                self.build(node, view, nullified)
            case CheckBlock(block):
                made, valid = self.blocks.get(block.id, (block, False))
                node.todo.append(BlockChecked(block.id, valid and made == block and not node.misjudges))
                # Before healing a member may not be ready in time: its clock, or a blob that is still on its way.
                if self.healed or self.rng.random() < self.style.ready:
                    node.todo.append(BlockReady(block.id))
                else:
                    node.unready.append(block.id)
            case FetchBody(block_id, holders):
                self.fetch(node, block_id, holders)
            case SetTimer():
                node.timer = effect
            case Decide(block, certificate):
                self.decide(node, FinalBlock(block, certificate))
            case Report(evidence) if node.correct:
                self.watch.reported(node, evidence)
            case Refused(sender, reason) if node.correct:
                self.watch.refused(node, sender, reason)
            case Halt(reason):
                self.halt(node, reason)

    def build(self, node: Node, view: int, nullified: tuple[Certificate, ...]) -> None:
        node.declined = not self.healed and self.rng.random() < self.style.declines
        if node.declined:
            node.todo.append(BlockBuilt(view, None))
            return
        self.salt += 1
        built = abstract.block(self.committee, view, nullified, node.key, self.salt)
        self.blocks[built.id] = (built, True)
        node.todo.append(BlockBuilt(view, built))

    def decide(self, node: Node, final: FinalBlock) -> None:
        """Block, certificate and state are one batch: a crash leaves all of it or nothing."""
        if not self.healed and self.rng.random() < self.style.crash_at_write:
            self.crash(node)
            return
        node.final, node.timer = final, None
        if node.correct:
            self.watch.decided(node)

    def halt(self, node: Node, reason: str) -> None:
        if node.correct:
            self.watch.broken("S1", f"{node.name} halts: {reason}")
        node.halted = True
        if node.machine.handle(ResendDue()):
            raise Broken(f"S1: {node.name} has halted and goes on")
        self.crash(node)
        node.todo.clear()

    def persist(self, node: Node, records: tuple[JournalRecord, ...]) -> None:
        """A crash while it writes leaves any number of whole records; a torn one is cut off when it starts again."""
        kept, write = len(records), node.writes
        node.writes += 1
        crash = self.plan.crash
        if crash is not None:
            dies = (node.name, write) == (f"n{crash.member}", crash.write)
            kept = min(crash.kept, kept) if dies else kept
            self.crashed_at = len(records) if dies else self.crashed_at
        else:
            dies = not self.healed and self.rng.random() < self.style.crash_at_write
            kept = self.rng.randint(0, kept) if dies else kept
        node.disk.write(records[:kept])
        if dies:
            self.crash(node)

    def send(self, node: Node, targets: list[Node], message: Message) -> None:
        if not self.healed and self.rng.random() < self.style.crash_amid_sends:
            targets = targets[: self.rng.randint(0, len(targets))]
            self.crash(node)
        if node.correct and node.seat:
            self.watch.said(node, message)
        for target in targets:
            if node.correct or self.rng.random() < 0.7:  # twins do not reach everybody
                target.inbox.append(Letter(node.key, message, node))

    def fetch(self, node: Node, block_id: Hash32, holders: tuple[NodeKey, ...]) -> None:
        for holder in self.nodes:
            if holder.key in holders and holder.correct and not holder.down:
                body = holder.machine.body(block_id)
                if body is not None and (self.healed or self.rng.random() < 0.5):
                    node.todo.append(BodyReceived(body))

    def expire(self, node: Node, last_view: int | None = None) -> None:
        timer, node.timer = node.timer, None
        if timer is None:
            return
        # A finalization may bear a later view than the one in which the height was decided, if its notarization was
        # proposed again meanwhile. So L2 is that no timer runs out in view V + f + 1.
        if last_view is not None and node.correct and timer.view > last_view:
            self.watch.broken("L2", f"undecided in view {timer.view}, healed in view {self.highest}")
        self.tell(node, TimerExpired(timer.view))

    def crash(self, node: Node) -> None:
        node.down, node.timer = True, None
        node.inbox.clear()
        node.todo = [event for event in node.todo if isinstance(event, WorkArrived)]

    def restart(self, node: Node) -> None:
        if node.halted:
            return
        node.down = False
        if node.final is not None:  # it goes on from there
            return
        node.unready.clear()
        for memory in (node.heard, node.reported):
            memory.clear()
        first = self.lose_journal(node) if node.forgets else first_height_to_vote(Kept.ALL, abstract.HEIGHT - 1)
        may_vote = first is not None and first <= abstract.HEIGHT
        if may_vote is node.forgot:
            self.watch.broken("S14", f"{node.name} may vote from height {first} on, having lost its journal or not")
        aware = bool(node.machine.active)
        node.machine = self._machine(node.key, tuple(node.disk.records), may_vote=may_vote)
        if node.correct:
            self.watch.restarted(node)
            # S13: the same records make the same machine, to the byte of what it says first.
            starts = [self._machine(node.key, tuple(node.disk.records), may_vote).handle(Started()) for _ in "ab"]
            if starts[0] != starts[1]:
                self.watch.broken("S13", f"{node.name} starts differently from the same journal")
        self.tell(node, Started())
        if aware:
            node.todo.append(WorkArrived())

    def lose_journal(self, node: Node) -> int | None:
        """Its chain is there or not; either way this height is one that it may not sign in (S14)."""
        node.disk.wipe()
        node.forgot = True
        head, others = abstract.HEIGHT - 1, [abstract.HEIGHT - 1] * self.rng.choice([0, self.members - 1])
        return first_height_to_vote(self.rng.choice([Kept.CHAIN, Kept.NOTHING]), head, others, self.committee.quorum)

    def _note(self, text: str) -> None:
        if self.trace is not None:
            self.trace.note(text)
