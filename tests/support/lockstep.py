"""One height under attack, in steps: bad and asynchronous first, then healed, with Byzantine members throughout.

While it is bad the adversary decides at every step who hears what, members crash at any point of their journals, and
liars act in between. After healing nothing old arrives, only what members re-send of their own state, so that
re-sending is really tested; a view's messages are all exchanged before its timers run out. What must hold is in
`lockstep_watch.py`; what the liars do, in `lockstep_adversary.py`; what a seed draws, in `lockstep_plan.py`.
"""

from collections.abc import Iterable

from consensus.events import (
    BlockReady,
    ResendDue,
    Started,
    WorkArrived,
)
from consensus.messages import Decided
from tests.support.lockstep_hearing import Hears, draw
from tests.support.lockstep_members import Members
from tests.support.lockstep_node import Letter
from tests.support.lockstep_plan import Plan
from tests.support.lockstep_script import two_notarized
from tests.support.lockstep_watch import Broken

# Messages until no answer needs an answer; sound runs of ten members take some thousands.
LETTERS_MAX = 30_000


class Lockstep(Members):
    """One run: `run()` returns normally or raises Broken."""

    def run(self) -> None:
        self._note(f"seed {self.plan.seed}: {self.members} members, {self.style.name}")
        for node in self.nodes:
            self.tell(node, Started())
        # Mempools differ: more than f correct members know of work, no more is promised (rule 5).
        seats = [node for node in self.correct if node.seat and not node.forgets]
        least = min(self.committee.faults + 1, len(seats))
        aware = len(seats) if self.rng.random() < self.style.aware_all else self.rng.randint(least, len(seats))
        for node in self.rng.sample(seats, aware):
            node.todo.append(WorkArrived())
        if self.style.scripted and self.committee.faults:
            two_notarized(self)
        for _ in range(self.rng.randint(*self.style.steps)):
            self.bad_step(draw(self.style.hearing, self.rng, self.nodes))
        self.heal()
        self.run_healed()

    def bad_step(self, hears: Hears) -> None:
        """Some messages arrive, some are lost; some timers run out, some members crash; liars act in between."""
        rng, style = self.rng, self.style
        loss, arrival = rng.random() * style.loss, rng.random()
        for node in rng.sample(self.nodes, len(self.nodes)):
            if node.down:
                if rng.random() < style.restart:
                    self.restart(node)
                continue
            self.adversary.act(self._views())
            waiting, node.inbox = node.inbox, []
            rng.shuffle(waiting)
            for letter in waiting:
                if letter.sender is not None and not hears(letter.sender, node, letter.message):
                    if rng.random() < 0.5:
                        node.inbox.append(letter)
                elif rng.random() >= arrival:
                    node.inbox.append(letter)
                elif rng.random() >= loss:
                    self.deliver(node, letter)
            self.work(node)
            if rng.random() < style.timer and node.timer is not None:
                self.expire(node)
            if rng.random() < style.resend:
                self.tell(node, ResendDue())
            if rng.random() < style.crash:
                self.crash(node)

    def calm_step(self, hears: Hears) -> None:
        """As `hears` has it and otherwise without mishap; no timer runs out."""
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            waiting, node.inbox = node.inbox, []
            for letter in waiting:
                if letter.sender is None or hears(letter.sender, node, letter.message):
                    self.deliver(node, letter)
            self.work(node)

    def heal(self) -> None:
        """From here on everything arrives, in any order, and nobody correct crashes."""
        self._note("healed")
        self.healed = True
        for node in self.nodes:
            node.inbox.clear()
            if node.halted:
                continue
            if node.forgets and not node.forgot:
                self.crash(node)
            if node.down:
                self.restart(node)
            node.todo += [BlockReady(block_id) for block_id in node.unready]
            node.unready.clear()
            if node.declined:
                node.todo.append(WorkArrived())
        self.highest = max(node.machine.view for node in self.correct if node.seat)

    def run_healed(self) -> None:
        # A body is asked of two more members at every re-send, and the first of them may all be liars.
        idle, idle_max = 0, self.members
        views_max = self.highest + 4 * self.members + 12
        while any(node.undecided for node in self.correct):
            before = self._progress()
            for node in self.nodes:
                if node.down and not node.halted:
                    self.restart(node)
                    self.highest = max(node.machine.view for node in self.correct if node.seat)
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                self.tell(node, ResendDue())
            self.adversary.act(self._views())
            self.exchange()
            if self._progress() != before or self.wake_sleepers():
                continue
            running = [node for node in self.nodes if node.timer is not None and node.undecided]
            if not running and idle < idle_max:
                idle += 1
                continue
            if not running or max(self._views()) > views_max:
                if self.overrun:
                    return
                views = [(node.name, node.machine.view, node.final is not None) for node in self.correct]
                raise Broken(f"L1: stuck; view and decided of the correct: {views}")
            self.agree_on_the_view()
            grace = [node for node in running if node.timer and node.timer.delay_ms == self.timing.grace_ms]
            for node in grace or running:
                self.expire(node, last_view=self.highest + self.committee.faults + (1 if grace else 0))

    def agree_on_the_view(self) -> None:
        """L5: when nothing more arrives, certificates have brought everybody to the same view.

        But for who watches: it may have been shown a certificate that nobody else has, and it says nothing.
        """
        views = {node.machine.view for node in self.correct if node.seat and node.undecided}
        if len(views) > 1:
            self.watch.broken("L5", f"with nothing on its way, the correct are in views {sorted(views)}")

    def wake_sleepers(self) -> bool:
        """A member that has nothing to re-send is not answered: others' `Status` tells it to ask for the block."""
        final = next((node.final for node in self.correct if node.final is not None), None)
        if final is None:
            return False
        sleeping = [n for n in self.correct if n.undecided and not (n.machine.active and n.seat and not n.forgot)]
        for node in sleeping:
            node.inbox.append(Letter(node.key, Decided(final), None))
        return bool(sleeping)

    def exchange(self) -> None:
        """Deliver until nothing is on its way."""
        letters = 0
        while any(node.inbox or node.todo for node in self.nodes):
            for node in self.rng.sample(self.nodes, len(self.nodes)):
                self.work(node)
                waiting, node.inbox = node.inbox, []
                letters += 1 + len(waiting)
                if letters > LETTERS_MAX:
                    raise Broken("L1: members answer each other without end")
                self.rng.shuffle(waiting)
                for letter in waiting:
                    self.deliver(node, letter)
            if self.rng.random() < 0.1:
                self.adversary.act(self._views())

    def _views(self) -> list[int]:
        return [node.machine.view for node in self.correct]

    def _progress(self) -> tuple[int, ...]:
        said = sum(len(votes) for votes in self.said.votes.values())
        return (*self._views(), said, sum(node.undecided for node in self.correct))


def attempt(plan: Plan) -> str | None:
    """What broke in one run, a member that stumbled included; None when all held."""
    try:
        Lockstep(plan).run()
    except Exception as error:
        return str(error) if isinstance(error, Broken) else f"{type(error).__name__}: {error}"
    return None


def failures(plans: Iterable[Plan]) -> dict[int, str]:
    """Seed -> what broke."""
    return {plan.seed: broken for plan in plans if (broken := attempt(plan)) is not None}
