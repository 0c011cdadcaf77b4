"""Draws a manifest from a seed, after the generator of CometBFT's end-to-end tests: the same seed gives the same text.

What is drawn keeps the promise that is checked: never more than f nodes lie, are down, apart or late at a time, except
where a step says that the league must stand still meanwhile.
"""

import random

from tests.e2e.manifest import BYZANTINE, NAMES

STEPS_LEAST, STEPS_MOST = 3, 7
# A node that is frozen, slow or apart for longer than the daemon's own patience with a silent member (8 s).
LONG_S, SHORT_S = "12 s", "5 s"
# Those that need training are in manifests of their own, for what they cost.
_LIES = [kind for kind in BYZANTINE if kind not in ("withhold-blobs", "false-aggregate")]


def manifest_text(seed: int) -> str:
    """TOML of a manifest that `manifest.parse_manifest` takes."""
    rng = random.Random(seed)
    # Beside one that lies there is room for another fault in a league of seven only.
    lied = rng.random() < 0.3
    nodes = 7 if lied else rng.choice((4, 4, 5, 7))
    faults = (nodes - 1) // 3
    liar = rng.choice(NAMES[1:nodes]) if lied else ""
    lines = [f'title = "Drawn from seed {seed}"', f"seed = {seed}", 'network = "proxies"', "within_s = 600", ""]
    lines += ["[league]", f"nodes = {nodes}", "", "[load]", f"transfers_per_second = {rng.choice((2, 8, 20))}", ""]
    if liar:
        kind = rng.choice(_LIES)
        lines += ["[[node]]", f'name = "{liar}"', f'byzantine = "{kind}"', ""]
        if kind.startswith("equivocate"):
            lines += ["[checks]", f'may_be_convicted = ["{liar}"]', ""]
    for _ in range(rng.randint(STEPS_LEAST, STEPS_MOST)):
        lines += ["[[step]]", *_step(rng, faults - lied, lied), ""]
    return "\n".join(lines)


def _step(rng: random.Random, room: int, lied: bool) -> list[str]:
    """One step's lines. `room`: how many correct nodes may fail beside the liar."""
    whom = rng.choice(("leader", "next-leader", "follower", "random"))
    targets = f'target = ["{whom}"]'
    if room > 1 and not lied and rng.random() < 0.4:
        targets = 'target = ["f"]'
    until = f'until = "{rng.choice(("height +3", "height +10", LONG_S))}"'
    drawn: list[list[str]] = [
        ['do = "kill"', targets, until],
        ['do = "stop"', targets, until],
        ['do = "pause"', targets, f'until = "{LONG_S}"'],
        ['do = "power-cut"'],
        ['do = "wait"', 'until = "height +10"'],
        ['do = "wipe"', targets],
        ['do = "journal"', targets, f'damage = "{rng.choice(("truncate", "delete", "flip"))}"'],
        ['do = "skew"', targets, f"seconds = {rng.choice((-600, -120, 120, 600))}", until],
        ['do = "slow"', targets, f"percent = {rng.choice((30, 60, 90))}", until],
        _partition(rng, whom, alone=True),
        _partition(rng, whom, alone=False),
    ]
    return rng.choice(drawn)


def _partition(rng: random.Random, whom: str, *, alone: bool) -> list[str]:
    how = f'how = "{rng.choice(("silent", "reset"))}"'
    if alone:
        return ['do = "partition"', f'groups = [["{whom}"], ["others"]]', how, f'until = "{LONG_S}"']
    # No side of two halves is a quorum, of whatever number of nodes.
    half = rng.choice(('["leader", "follower"]', '["random", "leader"]'))
    return ['do = "partition"', f'groups = [{half}, ["others"]]', how, f'until = "{SHORT_S}"']
