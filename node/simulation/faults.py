"""What goes wrong in a run, and how much of it a seed draws."""

from dataclasses import dataclass
from enum import Enum
from random import Random


class Lie(Enum):
    """What a faulty member does beside following the protocol."""

    GARBAGE = "sends bytes of its own, changed messages among them"
    STALE = "says again what was said long ago"
    TWINS = "runs twice with one key, and each half hears one of them"
    MUTE = "says something to some and nothing to others"
    WITHHOLD = "announces updates and serves none"
    WRONG_BYTES = "serves bytes that have another digest"
    MALFORMED = "announces vectors that are none"
    FALSE_AGGREGATE = "proposes a model that is not the mean"
    FORGED_BLOCKS = "serves blocks under certificates of its own making"


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """All until `until_ms` of virtual time; then everything heals. A chance is for one message, call or crash, an
    `..._every_ms` of 0 means never."""

    until_ms: int = 20_000
    loss: float = 0.0
    duplicates: float = 0.0
    delay_ms: tuple[int, int] = (1, 20)
    slow_members: int = 0
    slow_ms: int = 1_500
    partition_every_ms: int = 0
    one_way: float = 0.0
    crash_every_ms: int = 0
    down_ms: tuple[int, int] = (200, 8_000)
    power: float = 0.5
    cut_short: float = 0.0
    failing_call: float = 0.0
    full_every_ms: int = 0
    full_ms: int = 4_000
    journal_lost: float = 0.0
    wiped: float = 0.0
    rot: float = 0.0
    skew_ms: int = 0
    lies: tuple[Lie, ...] = ()
    dead_at_end: bool = False


def draw_faults(seed: int, members: int) -> Faults:
    """The weather of one seed: each fault is there in half of all seeds, from rare to hard."""
    rng = Random(f"faults/{seed}")

    def chance(highest: float) -> float:
        return rng.random() * highest if rng.random() < 0.5 else 0.0

    def every(least: int, most: int) -> int:
        return rng.randint(least, most) if rng.random() < 0.5 else 0

    faulty = (members - 1) // 3
    lies = tuple(rng.choice(list(Lie)) for _ in range(rng.randint(0, faulty)))
    return Faults(
        until_ms=rng.randint(10_000, 25_000),
        loss=chance(0.25),
        duplicates=chance(0.2),
        delay_ms=(1, rng.choice((10, 100, 400))),
        slow_members=rng.randint(0, 1) if members > 2 else 0,
        slow_ms=rng.randint(100, 4_000),
        partition_every_ms=every(2_000, 8_000),
        one_way=chance(0.5),
        crash_every_ms=every(1_500, 6_000),
        power=rng.random(),
        cut_short=chance(0.01),
        failing_call=chance(0.005),
        full_every_ms=every(4_000, 10_000),
        journal_lost=chance(0.3),
        wiped=chance(0.3),
        rot=chance(0.3),
        skew_ms=rng.choice((0, 0, 500, 5_000)),
        lies=lies,
        dead_at_end=rng.random() < 0.2,
    )
