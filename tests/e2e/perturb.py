"""Faults, one function a kind: done to real processes, undone again, and timed.

A step is over when what it did is undone (unless it lasts to the end), every node that should run is ready, and a
transfer that was signed after the fault is final.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from node.cli.exit_codes import Exit
from node.cli.main import run
from node.rpc.errors import RpcError
from tests.e2e import membership
from tests.e2e.asking import Silence
from tests.e2e.bookkeeping import Books
from tests.e2e.league import LOOK_EVERY_S, RunLeague
from tests.e2e.manifest import NO_UNTIL, Step
from tests.e2e.run_node import RunFailed, RunNode
from tests.e2e.targets import chosen, sides

# A node on a busy machine is up, connected and caught up within a few seconds; so long it may take.
READY_S = 90.0
HEIGHTS_S = 240.0
# What was on its way when a quorum was lost may still become final.
STALLED_BLOCKS_MAX = 1
# The daemon's word for: the disk failed, nothing that was promised is lost (docs/running.md).
EXIT_BROKEN, EXIT_DISK_FULL = 70, 11

Undo = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a step. Seconds; None where it was not measured (no load, or nothing became final meanwhile).

    `outage_s`: from the fault until a transfer signed after it was seen final. `back_s`: from the moment when the fault
    was undone until every node was ready at a head that the league had reached by then.
    """

    what: str
    outage_s: float | None = None
    back_s: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Perturber:
    """Carries out the steps of a manifest on a running league."""

    league: RunLeague
    books: Books
    loaded: bool
    recovery_s_max: float
    # What lasts to the end, by node; "" for the network.
    lasting: dict[str, Undo] = field(default_factory=dict)

    def step(self, step: Step) -> Seen:
        """Raises RunFailed."""
        if step.do == "mend":
            return self._mend(step)
        if step.do == "wait":
            self._last(step)
            return Seen(f"wait {step.until}")
        targets = chosen(self.league, step.target)
        names = ", ".join(node.name for node in targets)
        moment = time.monotonic()
        notes: list[str] = []
        undo = self._begin(step, targets, notes)
        what = self._describe(step, names)
        if step.stalls:
            self._stall(step)
        else:
            self._last(step)
        if step.until.at_the_end and step.do not in NO_UNTIL:
            for node in targets:
                self.lasting[node.name] = undo
            if step.do == "partition":
                self.lasting[""] = undo
            return Seen(what, self._outage(moment), None, tuple(notes))
        undone = time.monotonic()
        undo()
        back = self._back(undone)
        return Seen(what, self._outage(undone if step.stalls else moment), back, tuple(notes))

    def mend_all(self) -> Seen | None:
        """Undo what lasts to the end, and wait until all is well."""
        if not self.lasting:
            return None
        names = ", ".join(name or "the network" for name in self.lasting)
        moment = time.monotonic()
        self._undo(list(self.lasting))
        return Seen(f"mend {names}", None, self._back(moment))

    # --- what

    def _begin(self, step: Step, targets: list[RunNode], notes: list[str]) -> Undo:
        match step.do:
            case "kill":
                return self._kill(targets)
            case "stop":
                return self._stop(targets)
            case "pause":
                return self._pause(targets)
            case "power-cut":
                return self._power_cut()
            case "wipe":
                return self._wipe(step, targets)
            case "journal":
                return self._damage_journal(step, targets, notes)
            case "fill-disk":
                return self._fill_disk(targets, notes)
            case "skew":
                return self._skew(step, targets)
            case "slow":
                return self._slow(step, targets)
            case "partition":
                return self._partition(step, notes)
            case "join":
                membership.join(self.league, step.newcomer)
                return _nothing
            case "expel":
                for node in targets:
                    membership.expel(self.league, node)
                return _nothing
            case "rotate":
                for node in targets:
                    membership.rotate(self.league, node, notes)
                return _nothing
            case "upgrade":
                membership.upgrade(self.league, notes)
                return _nothing
        raise AssertionError(step.do)

    def _kill(self, targets: list[RunNode]) -> Undo:
        for node in targets:
            node.kill()
        return lambda: _start(targets)

    def _stop(self, targets: list[RunNode]) -> Undo:
        for node in targets:
            code = node.stop()
            if code:
                raise RunFailed(f"{node.name} ended with code {code} after SIGTERM, want 0{node.inner.log_tail()}")
        return lambda: _start(targets)

    def _pause(self, targets: list[RunNode]) -> Undo:
        for node in targets:
            node.freeze()

        def undo() -> None:
            for node in targets:
                node.thaw()

        return undo

    def _power_cut(self) -> Undo:
        # All stop at one moment, as they would with the power, and only then are taken down one after the other.
        nodes = self.league.nodes
        for node in nodes:
            node.freeze()
        for node in nodes:
            node.kill()
            node.standing.frozen = False
        return lambda: _start(nodes)

    def _wipe(self, step: Step, targets: list[RunNode]) -> Undo:
        for node in targets:
            node.kill()
            node.lose(step.lose)
        return lambda: _start(targets)

    def _damage_journal(self, step: Step, targets: list[RunNode], notes: list[str]) -> Undo:
        for node in targets:
            node.kill()
            path = node.folder / "journal"
            data = path.read_bytes()
            if step.damage in ("delete", "absolve") or not data:
                path.unlink()
                notes.append(f"{node.name}: journal of {len(data)} bytes deleted")
                continue
            at = self.league.rng.randrange(len(data))
            if step.damage == "truncate":
                path.write_bytes(data[:at])
                notes.append(f"{node.name}: journal cut from {len(data)} to {at} bytes")
            else:
                path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
                notes.append(f"{node.name}: journal's byte {at} of {len(data)} flipped")
        if step.damage == "absolve":
            return lambda: self._absolve(targets)
        if step.damage == "flip":
            return lambda: self._start_or_restore(targets, notes)
        return lambda: _start(targets)

    def _start_or_restore(self, targets: list[RunNode], notes: list[str]) -> None:
        """A node that finds votes after the damage refuses to run; its operator takes the journal away, as it says."""
        for node in targets:
            node.start()
            self._wait_up_or_ended(node)
            code = node.ended()
            if code is None:
                notes.append(f"{node.name} took the damage for a torn end")
                continue
            if code != EXIT_BROKEN:
                raise RunFailed(f"{node.name} ended with code {code}, want {EXIT_BROKEN}{node.inner.log_tail()}")
            notes.append(f"{node.name} refused to run on it, with code {code}")
            node.standing.dead = True
            (node.folder / "journal").unlink()
            node.start()

    def _absolve(self, targets: list[RunNode]) -> None:
        """What operators of a league too small for it do by agreement: let a node vote that lost its journal."""
        for node in targets:
            node.start()
            self._wait_up_or_ended(node)
            if node.ask("status")["consensus"]["votes"]:
                raise RunFailed(f"{node.name} votes though its journal is lost")
            node.stop()
            code = run(["ledger", "vote-again", "--yes", "-c", str(node.folder)])
            if code != Exit.OK:
                raise RunFailed(f"{node.name}: `hanse ledger vote-again` ended with {code}")
            node.start()

    def _wait_up_or_ended(self, node: RunNode) -> None:
        ends = time.monotonic() + READY_S
        while node.ended() is None:
            with suppress(Silence, RpcError):
                node.ask("health")
                return
            if time.monotonic() > ends:
                raise RunFailed(f"{node.name} neither answers nor ends{node.inner.log_tail()}")
            time.sleep(LOOK_EVERY_S)

    def _fill_disk(self, targets: list[RunNode], notes: list[str]) -> Undo:
        for node in targets:
            node.fill_disk()
        for node in targets:
            # Something must be written before anybody can notice; the load sees to that.
            node.standing.dead = True
            ends = time.monotonic() + READY_S
            while (code := node.ended()) is None:
                if time.monotonic() > ends:
                    raise RunFailed(f"{node.name} runs on with a full disk{node.inner.log_tail()}")
                time.sleep(LOOK_EVERY_S)
            if code != EXIT_DISK_FULL:
                raise RunFailed(f"{node.name} ended with code {code}, want {EXIT_DISK_FULL}{node.inner.log_tail()}")
            notes.append(f"{node.name} stopped with code {code}: {node.last_line()}")

        def undo() -> None:
            for node in targets:
                node.make_room()
            _start(targets)

        return undo

    def _skew(self, step: Step, targets: list[RunNode]) -> Undo:
        for node in targets:
            self.league.set_clock(node, step.seconds)

        def undo() -> None:
            for node in targets:
                self.league.set_clock(node, 0)

        return undo

    def _slow(self, step: Step, targets: list[RunNode]) -> Undo:
        for node in targets:
            node.slow_down(step.percent)

        def undo() -> None:
            for node in targets:
                node.speed_up()

        return undo

    def _partition(self, step: Step, notes: list[str]) -> Undo:
        league = self.league
        groups = sides(league, step.groups)
        names = [[node.name for node in group] for group in groups]
        notes.append(" | ".join(", ".join(group) for group in names))
        league.split(names, step.how)
        # Clients stay on the largest side; the others are cut off with their organisations' clients.
        largest = max(groups, key=len)
        for node in league.nodes:
            node.standing.cut_off = node not in largest

        def undo() -> None:
            league.heal()
            for node in league.nodes:
                node.standing.cut_off = False

        return undo

    # --- until when

    def _last(self, step: Step) -> None:
        until = step.until
        if until.heights:
            goal = self.league.height() + until.heights
            self.league.wait(lambda: self.league.height() >= goal, f"height {goal} during {step.do}", HEIGHTS_S)
        elif until.seconds:
            ends = time.monotonic() + until.seconds
            self.league.wait(lambda: time.monotonic() >= ends, f"{until.seconds} s", until.seconds + 1)

    def _stall(self, step: Step) -> None:
        """Too few are left for a quorum: what was not final stays so, on every side."""
        before = max(self.league.heights().values(), default=0)
        self._last(step)
        after = max(self.league.heights().values(), default=0)
        if after > before + STALLED_BLOCKS_MAX:
            raise RunFailed(f"without a quorum the league went from height {before} to {after}")

    def _outage(self, moment: float) -> float | None:
        """Until a transfer that was signed after `moment` is final. Raises RunFailed when that takes too long."""
        if not self.loaded:
            return None
        found: list[float] = []

        def final() -> bool:
            first = self.books.first_final_since(moment)
            if first is not None:
                found.append(first)
            return bool(found)

        left = moment + self.recovery_s_max - time.monotonic()
        self.league.wait(final, "a transfer signed after the fault is final", max(left, LOOK_EVERY_S))
        took = found[0] - moment
        if took > self.recovery_s_max:
            raise RunFailed(f"the first transfer after the fault was final {took:.1f} s later{self.league.logs()}")
        return took

    def _back(self, moment: float) -> float:
        """Until every node that should run is ready, votes, and is at least where the league was at `moment`."""
        league, loaded = self.league, self.loaded
        goal = league.height()
        for node in league.honest:
            # One that is slow for good may take minutes to answer; it is asked when all is mended.
            if node.standing.dead or node.standing.frozen or node.standing.slow is not None:
                continue
            league.wait(lambda each=node: _is_back(each, goal, loaded), f"{node.name} is ready again", READY_S)  # type: ignore[misc]
        took = time.monotonic() - moment
        league.slow_again()
        return took

    def _mend(self, step: Step) -> Seen:
        targets = chosen(self.league, step.target)
        moment = time.monotonic()
        names = [node.name for node in targets if node.name in self.lasting]
        if "all" in step.target and "" in self.lasting:
            names.append("")
        self._undo(names)
        return Seen(f"mend {', '.join(name or 'the network' for name in names)}", None, self._back(moment))

    def _undo(self, names: Sequence[str]) -> None:
        done: list[Undo] = []
        for name in names:
            undo = self.lasting.pop(name)
            if undo not in done:
                undo()
                done.append(undo)
        # What was begun for several nodes is undone for all of them.
        for name in [name for name, undo in self.lasting.items() if undo in done]:
            del self.lasting[name]

    def _describe(self, step: Step, names: str) -> str:
        more = {
            "wipe": f" ({', '.join(step.lose)})",
            "journal": f" ({step.damage})",
            "skew": f" by {step.seconds:+} s",
            "slow": f" ({step.percent} % stopped)",
            "partition": f" ({step.how})",
            "join": f" {step.newcomer}",
        }.get(step.do, "")
        meant = [word for word in step.target if word in ("leader", "next-leader", "follower", "f")]
        role = f" ({', '.join(meant)})" if meant else ""
        until = "" if step.do in NO_UNTIL else f" until {step.until}"
        return " ".join(f"{step.do} {names}{role}{more}{until}".split())


def _nothing() -> None:
    """What members have decided is not undone."""


def _start(nodes: Sequence[RunNode]) -> None:
    for node in nodes:
        node.inner.process = None
        node.start()


def _is_back(node: RunNode, goal: int, loaded: bool) -> bool:
    try:
        status = node.ask("status")
    except (Silence, RpcError):
        return False
    # One that lost its journal is no help until it is sure that it contradicts nothing it may have said.
    votes = bool(status["consensus"]["votes"]) or not loaded
    return bool(status["ready"]) and votes and int(status["head"]["height"]) >= goal
