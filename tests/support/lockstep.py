"""One height under attack, in steps: lossy and asynchronous first, then healed, with Byzantine members throughout.

    python -m tests.support.lockstep --seeds 3000 --members 4

After healing nothing old arrives, only what members re-send of their own state, so that re-sending is really tested.
A view's messages are all exchanged before its timers run out. The checks, each named in the failure it raises:
I1 one decision; I2 nobody correct contradicts itself, or is accused; LEMMA nothing that could still be certified
contradicts what could still be final; VALID the decision was proposed as valid; L1 all decide; L2 by view V + f + 1.
"""

import argparse
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

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
    Report,
    ResendDue,
    Send,
    SetTimer,
    Started,
    TimerExpired,
    VoteReceived,
    WorkArrived,
)
from consensus.journal import JournalRecord
from consensus.machine import HeightMachine
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.blocks import FinalBlock
from ledger.certificates import Committee, Vote, VoteKind, contradicts
from ledger.types import Hash32, OrgId
from tests.support import abstract_votes as abstract
from tests.support.lockstep_adversary import Adversary


class Broken(AssertionError):
    """A property does not hold; the text begins with its name."""


@dataclass(frozen=True)
class Plan:
    """What a run is like. `machine` and `committee` are replaced by mutants, `keeps` filters what the journal keeps."""

    members: int
    seed: int
    machine: Callable[..., HeightMachine] = HeightMachine
    committee: Callable[[tuple[bytes, ...]], Committee] = Committee
    keeps: Callable[[JournalRecord], bool] = lambda record: True


@dataclass
class Node:
    """A member that follows the protocol, with its disk. Twins are two nodes of one Byzantine member."""

    org: OrgId
    machine: HeightMachine
    correct: bool = True
    disk: list[JournalRecord] = field(default_factory=list)
    final: FinalBlock | None = None
    timer: SetTimer | None = None
    down: bool = False
    inbox: list[tuple[OrgId, Message]] = field(default_factory=list)
    todo: list[Event] = field(default_factory=list)
    unready: list[Hash32] = field(default_factory=list)


class Lockstep:
    """One run: `run()` returns normally or raises Broken."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.rng = random.Random(f"{plan.members}/{plan.seed}")
        self.committee = plan.committee(tuple(abstract.member(number) for number in range(plan.members)))
        self.timing = replace(abstract.TIMING, grace_ms=self.rng.choice([0, 300]))
        orgs = [OrgId(org) for org in self.committee.members]
        liars = self.rng.sample(orgs, self.committee.faults)
        twins = liars[:1] if self.rng.random() < 0.15 else []
        self.nodes = [Node(org, self._machine(org)) for org in orgs if org not in liars]
        self.correct = list(self.nodes)
        for org in twins:
            self.nodes += [Node(org, self._machine(org), correct=False) for _ in range(2)]
        self.adversary = Adversary(self.rng, self.committee, liars, self.show)
        self.said: dict[tuple[OrgId, Vote], None] = {}  # in the order first said
        self.healed = False
        self.highest = 0  # V: the highest view of a correct member at healing
        self.salt = 0

    def _machine(self, org: OrgId, records: tuple[JournalRecord, ...] = ()) -> HeightMachine:
        return abstract.machine_of(self.committee, org, records, timing=self.timing, kind=self.plan.machine)

    # --- the run

    def run(self) -> None:
        for node in self.nodes:
            self.tell(node, Started())
        # Mempools differ: more than f correct members know of work, no more is promised (rule 5).
        aware = self.rng.randint(self.committee.faults + 1, len(self.correct))
        for node in self.rng.sample(self.correct, aware):
            node.todo.append(WorkArrived())
        for _ in range(self.rng.randint(5, 10)):
            self.lossy_step()
        self.heal()
        self.check_safety()

    def lossy_step(self) -> None:
        """Some messages arrive, some are lost; some timers run out, some members crash; liars act in between."""
        loss, arrival = self.rng.random() * 0.6, self.rng.random()
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            if node.down:
                if self.rng.random() < 0.5:
                    self.restart(node)
                continue
            self.adversary.act(self.rng.randint(0, 2), self._views())
            waiting, node.inbox = node.inbox, []
            self.rng.shuffle(waiting)
            for sender, message in waiting:
                if self.rng.random() < arrival:
                    if self.rng.random() >= loss:
                        self.deliver(node, sender, message)
                else:
                    node.inbox.append((sender, message))
            self.work(node)
            if self.rng.random() < 0.3 and node.timer is not None:
                self.expire(node)
            if self.rng.random() < 0.3:
                self.tell(node, ResendDue())
            if self.rng.random() < 0.05:
                self.crash(node)

    def heal(self) -> None:
        """From here on everything arrives, in any order, and nobody correct crashes."""
        self.healed = True
        for node in self.nodes:
            node.inbox.clear()
            if node.down:
                self.restart(node)
            node.todo += [BlockReady(block_id) for block_id in node.unready]
            node.unready.clear()
        self.highest = max(node.machine.view for node in self.correct)
        views_max = self.highest + 4 * self.plan.members + 12
        while any(node.final is None for node in self.correct):
            before = self._progress()
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                self.tell(node, ResendDue())
            self.adversary.act(self.rng.randint(0, 3), self._views())
            self.exchange()
            if self._progress() != before:
                continue
            if self.wake_sleepers():
                continue
            running = [node for node in self.nodes if node.timer is not None and node.final is None]
            if not running or max(self._views()) > views_max:
                views = [(node.machine.view, node.final is not None) for node in self.correct]
                raise Broken(f"L1: stuck; view and decided of the correct: {views}")
            grace = [node for node in running if node.timer and node.timer.delay_ms == self.timing.grace_ms]
            for node in grace or running:
                self.expire(node, last_view=self.highest + self.committee.faults + (1 if grace else 0))

    def wake_sleepers(self) -> bool:
        """A member that heard nothing of the height has nothing to re-send: others' `Status` brings it the block."""
        final = next((node.final for node in self.correct if node.final is not None), None)
        sleeping = [node for node in self.correct if node.final is None and not node.machine.active]
        if final is None:
            return False
        for node in sleeping:
            node.inbox.append((node.org, Decided(final)))
        return bool(sleeping)

    def exchange(self) -> None:
        """Deliver until nothing is on its way."""
        while any(node.inbox or node.todo for node in self.nodes):
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                self.work(node)
                waiting, node.inbox = node.inbox, []
                self.rng.shuffle(waiting)
                for sender, message in waiting:
                    self.deliver(node, sender, message)
            if self.rng.random() < 0.1:
                self.adversary.act(1, self._views())

    def _views(self) -> list[int]:
        return [node.machine.view for node in self.correct]

    def _progress(self) -> tuple[int, ...]:
        return (*self._views(), len(self.said), sum(node.final is not None for node in self.correct))

    # --- one member

    def deliver(self, node: Node, sender: OrgId, message: Message) -> None:
        match message:
            case Proposal():
                self.tell(node, ProposalReceived(sender, message))
            case VoteMessage(vote):
                self.tell(node, VoteReceived(sender, vote))
            case CertificateMessage(certificate):
                self.tell(node, CertificateReceived(sender, certificate))
            case Decided(final):
                self.tell(node, CertificateReceived(sender, final.certificate))
                self.tell(node, BodyReceived(final.block))
            case _:
                raise TypeError(f"{message} is not of one height")

    def work(self, node: Node) -> None:
        while node.todo and not node.down:
            self.tell(node, node.todo.pop(0))

    def tell(self, node: Node, event: Event) -> None:
        if node.down:
            return
        for effect in node.machine.handle(event):
            self.carry_out(node, effect)
            if node.down:
                return

    def carry_out(self, node: Node, effect: Effect) -> None:
        match effect:
            case Persist(records):
                self.persist(node, records)
            case Broadcast(message):
                self.send(node, [each for each in self.nodes if each is not node], message)
            case Send(to, message):
                self.send(node, [each for each in self.nodes if each.org == to], message)
            case BuildBlock(view, nullified):
                self.salt += 1
                built = abstract.block(self.committee, view, nullified, node.org, self.salt)
                self.adversary.learn_block(built, valid=True)
                node.todo.append(BlockBuilt(view, built))
            case CheckBlock(block):
                node.todo.append(BlockChecked(block.id, block.id in self.adversary.valid))
                # Before healing a member may not be ready in time: its clock, or a blob that is still on its way.
                if self.healed or self.rng.random() < 0.8:
                    node.todo.append(BlockReady(block.id))
                else:
                    node.unready.append(block.id)
            case FetchBody(block_id, holders):
                self.fetch(node, block_id, holders)
            case SetTimer():
                node.timer = effect
            case Decide(block, certificate):
                node.final, node.timer = FinalBlock(block, certificate), None
                self.check_decision(node)
            case Report(evidence):
                if evidence.first.voter in {each.org for each in self.correct}:
                    raise Broken(f"I2: a correct member is accused of {evidence}")
            case Halt(reason):
                if node.correct:
                    raise Broken(f"I1: halted: {reason}")
                self.crash(node)

    def persist(self, node: Node, records: tuple[JournalRecord, ...]) -> None:
        moment = "" if self.healed else self.rng.choices(["", "before", "after"], [96, 1, 3])[0]
        if moment != "before":
            node.disk += [record for record in records if self.plan.keeps(record)]
        if moment:
            self.crash(node)

    def send(self, node: Node, targets: list[Node], message: Message) -> None:
        if node.correct:
            self.adversary.overhear(message)
            if isinstance(message, VoteMessage):
                self.said[node.org, message.vote] = None
            elif isinstance(message, Proposal):
                self.said[node.org, Vote(message.subject, node.org, message.signature)] = None
        for target in targets:
            if node.correct or self.rng.random() < 0.7:  # twins do not reach everybody
                target.inbox.append((node.org, message))

    def show(self, message: Message, by: OrgId, share: float) -> None:
        """A liar's message to some of the others."""
        for node in self.nodes:
            if self.rng.random() < share:
                node.inbox.append((by, message))

    def fetch(self, node: Node, block_id: Hash32, holders: tuple[OrgId, ...]) -> None:
        for holder in self.nodes:
            if holder.org in holders and holder.correct and not holder.down:
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
            raise Broken(f"L2: undecided in view {timer.view}, healed in view {self.highest}")
        self.tell(node, TimerExpired(timer.view))

    def crash(self, node: Node) -> None:
        node.down, node.timer = True, None
        node.inbox.clear()
        node.todo = [event for event in node.todo if isinstance(event, WorkArrived)]

    def restart(self, node: Node) -> None:
        node.down = False
        if node.final is not None:  # block, certificate and state were one batch: it goes on from there
            return
        node.unready.clear()
        aware = bool(node.machine.active)
        node.machine = self._machine(node.org, tuple(node.disk))
        self.tell(node, Started())
        if aware:
            node.todo.append(WorkArrived())

    # --- the checks

    def check_decision(self, node: Node) -> None:
        if not node.correct or node.final is None:
            return
        block = node.final.block
        if block.id not in self.adversary.valid:
            raise Broken(f"VALID: {block.header} was decided")
        others = {each.final.block.id for each in self.correct if each.final is not None}
        if len(others) > 1:
            raise Broken(f"I1: {len(others)} blocks were decided")

    def check_safety(self) -> None:
        seen: dict[tuple[OrgId, int], list[Vote]] = {}
        for org, vote in self.said:
            before = seen.setdefault((org, vote.subject.view), [])
            for other in before:
                if contradicts(other, vote):
                    raise Broken(f"I2: view {vote.subject.view}: {other.subject.kind.name}, {vote.subject.kind.name}")
            before.append(vote)
        self.check_lemma()

    def check_lemma(self) -> None:
        """Simplex section 4, on all that the liars could make of what was ever said."""
        possible = self.adversary.possible()
        for view, kind, block in possible:
            if kind is not VoteKind.FINALIZE:
                continue
            for other_view, other_kind, other in possible:
                if other_kind is VoteKind.NULLIFY and other_view == view:
                    raise Broken(f"LEMMA: view {view} could be final and nullified")
                if other_kind is VoteKind.NOTARIZE and other_view >= view and other != block:
                    raise Broken(f"LEMMA: final in view {view}, another notarized in view {other_view}")
                if other_kind is VoteKind.FINALIZE and other != block:
                    raise Broken(f"LEMMA: two blocks could be final, in views {view} and {other_view}")


def failures(plans: list[Plan]) -> dict[int, str]:
    """Seed -> what broke."""
    broken: dict[int, str] = {}
    for plan in plans:
        try:
            Lockstep(plan).run()
        except Broken as error:
            broken[plan.seed] = str(error)
    return broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--members", type=int, nargs="*", default=[4, 5, 7])
    options = parser.parse_args()
    status = 0
    for count in options.members:
        plans = [Plan(count, seed) for seed in range(options.first, options.first + options.seeds)]
        broken = failures(plans)
        print(f"{count} members: {len(plans)} runs, {len(broken)} broken")
        for seed, reason in broken.items():
            print(f"  --members {count} --first {seed} --seeds 1: {reason}")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
