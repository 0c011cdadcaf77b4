"""What one run under attack is like: all of it follows from a seed, so that a seed is all that a failure needs to say.

A style is a bias, not a script: every style can do everything, but each does something often that the others seldom do.
"""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from consensus.journal import JournalRecord
from consensus.machine import HeightMachine
from ledger.certificates import Committee

# Four members are the smallest that tolerate a liar and the cheapest to run; 5 and 6 are where q is not 2f + 1.
MEMBERS_DRAWN = (4, 4, 4, 4, 4, 5, 5, 5, 6, 6, 7, 7, 10)


# How often more than f lie. Nothing is promised then but what no liar can take from a member.
OVERRUN = 0.02


@dataclass(frozen=True)
class CrashAt:
    """One crash, exactly: of member number `member`, at its `write`-th journal write (from 0), `kept` records written.

    When all are kept, it crashes before anything that follows the write leaves.
    """

    member: int
    write: int
    kept: int


@dataclass(frozen=True)
class Style:
    """Chances are of one event each. `acts`: the most that the liars do between two steps of others.

    `hearing`, `moves` and `tricks` (of a leader) are what is drawn from, see `lockstep_hearing` and
    `lockstep_adversary`; a name that stands twice is drawn twice as often.
    """

    name: str
    hearing: tuple[str, ...] = ("all", "all", "halves", "one hears", "one is deaf", "one is mute", "some proposals")
    moves: tuple[str, ...] = (
        "vote",
        "vote",
        "show",
        "show",
        "forge",
        "both",
        "split",
        "single",
        "nonsense",
        "contradict",
    )
    tricks: tuple[str, ...] = ("fresh", "halves", "again", "again", "gap", "other", "unproven", "invalid", "nonsense")
    steps: tuple[int, int] = (5, 10)
    acts: int = 2
    twins: float = 0.15
    forgets: float = 0.03
    watches: float = 0.05
    loss: float = 0.6
    timer: float = 0.3
    resend: float = 0.3
    crash: float = 0.04
    crash_at_write: float = 0.04
    crash_amid_sends: float = 0.005
    restart: float = 0.5
    ready: float = 0.8
    aware_all: float = 0.3  # else: the least number of correct members that is promised to know of work, or more
    declines: float = 0.03
    scripted: bool = False  # begins with `lockstep_script.two_notarized`


STYLES = (
    Style("anything"),
    Style(
        "halves",
        hearing=("halves",),
        moves=("split", "split", "both", "show", "vote", "flood", "contradict"),
        acts=3,
        twins=0.3,
        loss=0.2,
    ),
    Style(
        "crashes",
        forgets=0.15,
        crash_at_write=0.2,
        crash_amid_sends=0.03,
        loss=0.2,
        moves=("vote", "single", "show"),
        acts=1,
    ),
    Style(
        "withheld",
        hearing=("no certificates", "no finalize votes", "one hears", "one sees notarized", "some proposals"),
        moves=("single", "single", "both", "show", "vote", "unwanted", "contradict"),
        loss=0.2,
        twins=0.05,
    ),
    Style(
        "stale",
        hearing=("one sees notarized", "one hears", "one sees notarized", "halves"),
        moves=("show", "both", "single", "vote"),
        tricks=("gap", "other", "again", "over", "over", "again"),
        steps=(8, 14),
        acts=3,
        timer=0.5,
        loss=0.3,
        twins=0.0,
    ),
    Style(
        "two notarized",
        scripted=True,
        moves=("show", "single", "both", "vote"),
        tricks=("gap", "again", "over", "other", "unproven", "fresh"),
        steps=(1, 4),
        twins=0.0,
        forgets=0.0,
        crash_at_write=0.01,
        crash_amid_sends=0.0,
        ready=0.97,
        aware_all=1.0,
        declines=0.0,
    ),
    Style("noise", moves=("nonsense", "nonsense", "flood", "flood", "forge", "vote", "unwanted"), acts=3, loss=0.3),
    Style("silent", acts=0, twins=0.0, aware_all=0.0, declines=0.2, crash_at_write=0.08),
)


@dataclass(frozen=True)
class Plan:
    """A run. What is None is drawn by the seed. `machine`, `committee` and `keeps` are replaced by mutants.

    `without`: names of checks to be blind to. `overrun`: more than f lie. `crash`: the one crash that there is.
    """

    seed: int
    members: int | None = None
    style: str | None = None
    overrun: bool = False
    crash: CrashAt | None = None
    machine: Callable[..., HeightMachine] = field(default=HeightMachine, repr=False)
    committee: Callable[[tuple[bytes, ...]], Committee] = field(default=Committee, repr=False)
    keeps: Callable[[JournalRecord], bool] = field(default=lambda record: True, repr=False)
    without: Collection[str] = ()

    def rng(self) -> random.Random:
        """A string seeds the same generator in every process."""
        return random.Random(f"hanse/{self.seed}/{self.members}/{self.style}/{self.overrun}")

    def drawn(self, rng: random.Random) -> tuple[int, Style, bool]:
        """Number of members, style, and whether too many lie. The first things to be drawn."""
        members, style, overrun = rng.choice(MEMBERS_DRAWN), rng.choice(STYLES), rng.random() < OVERRUN
        if self.style is not None:
            style = next(each for each in STYLES if each.name == self.style)
        if self.crash is not None:
            # Only what the crash itself does is of interest then.
            style = replace(style, crash=0.0, crash_at_write=0.0, crash_amid_sends=0.0, forgets=0.0, watches=0.0)
        if self.members is not None:
            return self.members, style, self.overrun
        return members, style, self.overrun or overrun
