"""The manifests of the end-to-end runs are read strictly, and what is drawn from a seed is one of them."""

from pathlib import Path

import pytest

from tests.e2e.generate import manifest_text
from tests.e2e.manifest import InvalidManifest, Until, parse_manifest, read_manifest

E2E = Path(__file__).parents[1] / "e2e"
OURS = sorted([*E2E.glob("manifests/*.toml"), *E2E.glob("short/*.toml")])


@pytest.mark.parametrize(
    "path", sorted([*E2E.glob("manifests/*.toml"), *E2E.glob("short/*.toml")]), ids=lambda path: path.stem
)
def test_every_manifest_of_ours_is_one(path: Path) -> None:
    manifest = read_manifest(path)
    assert manifest.name == path.stem
    assert manifest.steps, "a run without a fault shows nothing"


def test_a_manifest_says_a_league_its_load_and_faults_in_their_order() -> None:
    manifest = parse_manifest(
        "story",
        """
        title = "A story"
        network = "proxies"
        [league]
        nodes = 7
        [[node]]
        name = "bob"
        byzantine = "silent"
        [[step]]
        do = "kill"
        target = ["leader", "carol"]
        until = "height +5"
        [[step]]
        do = "partition"
        groups = [["alice"], ["others"]]
        until = "12 s"
        [[step]]
        do = "skew"
        target = ["dave"]
        seconds = -90
        """,
    )
    assert manifest.league.faults == 2
    assert manifest.liars == {"bob"}
    kill, partition, skew = manifest.steps
    assert (kill.do, kill.target, kill.until) == ("kill", ("leader", "carol"), Until(heights=5))
    assert (partition.groups, partition.until) == ((("alice",), ("others",)), Until(seconds=12))
    assert (skew.seconds, skew.until.at_the_end) == (-90, True)


STEP = 'title = "x"\n[[step]]\n'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "title is missing"),
        ('title = "x"\nnetwrk = "proxies"', "did you mean network"),
        ('title = "x"\n[league]\nnodes = 0', "nodes is 0"),
        ('title = "x"\n[[node]]\nname = "zoe"', "name is 'zoe'"),
        ('title = "x"\n[[node]]\nname = "erin"', "erin is none of the 4 nodes"),
        ('title = "x"\n[[node]]\nname = "bob"\n[[node]]\nname = "bob"', "described twice"),
        ('title = "x"\n[[node]]\nname = "bob"\nbyzantine = "rude"', "byzantine is 'rude'"),
        (STEP + 'do = "explode"', "do is 'explode'"),
        (STEP + 'do = "kill"', "target is missing"),
        (STEP + 'do = "kill"\ntarget = ["leadr"]', "'leadr' is no founder"),
        (STEP + 'do = "kill"\ntarget = ["leader"]\npercent = 5', "has no percent"),
        (STEP + 'do = "kill"\ntarget = ["leader"]\nuntil = "soon"', "until is 'soon'"),
        (STEP + 'do = "kill"\ntarget = ["leader"]\nuntil = "height +0"', "until is 'height +0'"),
        (STEP + 'do = "kill"\ntarget = ["f"]\nstalls = true\nuntil = "height +3"', "until in seconds"),
        (STEP + 'do = "power-cut"\nuntil = "5 s"', "has no until"),
        (STEP + 'do = "partition"\ngroups = [["alice"], ["others"]]', "wants network proxies or namespaces"),
        (STEP + 'do = "fill-disk"\ntarget = ["bob"]', "tmpfs_mib"),
        (STEP + 'do = "wipe"\ntarget = ["bob"]\nlose = ["key"]', "want some of ledger"),
        ('title = "x"\n[checks]\nrequest = "done"', "request = true"),
        ('title = "x"\nstep = 5', "want a list"),
    ],
)
def test_what_a_manifest_may_not_say_is_named(text: str, named: str) -> None:
    with pytest.raises(InvalidManifest, match=r".+") as caught:
        parse_manifest("draft", text)
    assert named in str(caught.value)


def test_a_seed_draws_one_manifest_and_every_seed_a_valid_one() -> None:
    drawn = {seed: manifest_text(seed) for seed in range(300)}
    assert len(set(drawn.values())) == len(drawn)
    assert manifest_text(7) == drawn[7]
    kinds = set()
    for seed, text in drawn.items():
        manifest = parse_manifest(f"random-{seed}", text)
        assert len(manifest.liars) <= manifest.league.faults
        kinds |= {step.do for step in manifest.steps}
    assert kinds == {"kill", "stop", "pause", "power-cut", "wipe", "journal", "skew", "slow", "partition", "wait"}
