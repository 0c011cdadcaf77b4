"""The current leader is killed while a round runs: the round completes without it, and it comes back without a lie.

At the end all of them are killed at once.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ledger.certificates import Vote
from ledger.entries import Stage
from ledger.types import Hash32
from node.devnet.league import DevLeague, DevNode
from node.network.blob_store import BlobStore
from tests.support.processes import (
    RECORDS,
    Watch,
    announced,
    answer_alone,
    contradictions,
    end,
    factory,
    freeze,
    leader,
    left_behind,
    nobody_was_convicted,
    publish,
    receipts_of,
    request_of,
    restart,
    running_league,
    supply_is_kept,
    thaw,
    votes_signed,
    wait,
    wait_agreed,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

NAMES = ("alice", "bob", "carol", "dave")
# A leader is caught at a stage that lasts milliseconds; each round is another chance.
ROUNDS = 12
# Training that is under way when the leader dies; and a model so large that its sum takes the league a moment.
WORK: dict[Stage, dict[str, Any]] = {
    Stage.TRAINING: {"epochs": 100},
    Stage.ATTESTING: {"epochs": 5},
    Stage.AGGREGATING: {"epochs": 3, "batch": RECORDS, "model_arguments": {"layers": "8,1000,1000,4"}},
}


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevLeague]:
    directory = tmp_path_factory.mktemp("leader")
    plans = [factory(name, at, len(NAMES)) for at, name in enumerate(NAMES)]
    with running_league(directory, plans) as running:
        yield running


def strike(league: DevLeague, watch: Watch, observer: DevNode, request: str, stage: Stage) -> tuple[DevNode, int]:
    """Kill whoever leads the next block while the request is at `stage`: the dead node and the round it died in.

    At the news of the stage all others are frozen, so that the league cannot go on while its leader is looked up;
    what the dead one's own ledger says is what counts.
    """
    others = [node for node in league.nodes if node is not observer]
    loser = others[0]
    training = Watch(loser, "training")
    number = 0
    while True:
        if stage is Stage.AGGREGATING:
            lose_an_update(league, loser, training, request, number + 1)
        number = int(watch.stage(request, stage.name.lower(), number + 1)["round"])
        freeze(others)
        victim = leader(league, observer)
        seen = request_of(observer, request)["stage"]
        if seen != stage.name.lower() or victim is observer:
            thaw(others)
            continue
        victim.kill()
        thaw(others)
        left = left_behind(league, victim, request)
        if left.stage is stage:
            return victim, number
        restart(league, victim)
        if victim is loser:
            training = Watch(loser, "training")


def lose_an_update(league: DevLeague, loser: DevNode, training: Watch, request: str, after_round: int) -> None:
    """An update is announced, and gone before anybody has it.

    What all have announced is summed while the committee still attests, and the result goes into the very block that
    ends the attesting. Only a set that nobody foresaw leaves the league a moment at AGGREGATING.
    """
    record = answer_alone(league, loser, training, request, after_round)
    BlobStore(loser.folder / "blobs").delete(Hash32(announced(record).blob))
    thaw(league.nodes)


def proven_sound(league: DevLeague, victim: DevNode, before: Sequence[Vote], directory: Path) -> None:
    """The dead node is back where the others are, has forgotten no vote and contradicted none."""
    wait_agreed(league)
    height = league.nodes[0].call("status")["head"]["height"]
    after = votes_signed(victim, height, directory / "journal-after")
    assert before, "a leader has voted before it died"
    assert set(before) <= set(after), "votes of before are still on disk"
    assert contradictions(after) == []
    assert nobody_was_convicted(league.nodes[0])
    assert supply_is_kept(league, league.nodes[0])


@pytest.mark.parametrize("stage", [Stage.TRAINING, Stage.ATTESTING, Stage.AGGREGATING], ids=lambda stage: stage.name)
def test_the_round_completes_under_the_next_leader(league: DevLeague, stage: Stage, tmp_path: Path) -> None:
    alice = league.nodes[0]
    watch = Watch(alice, "request", "round")
    request = publish(alice, rounds_max=ROUNDS, round_deadline=12_000, attest_window=2_000, **WORK[stage])
    victim, number = strike(league, watch, alice, request, stage)
    before = votes_signed(victim, left_behind(league, victim, request).height, tmp_path / "journal-before")

    closed = watch.until(
        lambda topic, data: topic == "round" and data["request"] == request and data["round"] == number,
        f"round {number} is closed without {victim.name}",
    )
    assert closed["model"], closed
    assert closed["author"] != victim.org.hex()
    fates = {line["org"]: line["fate"] for line in closed["lines"]}
    assert set(fates) == {node.org.hex() for node in league.nodes[1:]}, "the receipt names everybody, the dead one too"
    assert sum(fate == "delivered" for fate in fates.values()) >= 2
    assert all(line["paid"] == (line["weight"] if line["fate"] == "delivered" else 0) for line in closed["lines"])

    restart(league, victim)
    wait(
        league,
        lambda: delivered_after(alice, request, number, victim) or request_of(alice, request)["over"],
        f"{victim.name} delivers again",
    )
    assert delivered_after(alice, request, number, victim), receipts_of(alice, request)
    end(league, alice, request)
    proven_sound(league, victim, before, tmp_path)


def test_a_power_cut_of_all_four_costs_time_only(league: DevLeague, tmp_path: Path) -> None:
    alice = league.nodes[0]
    watch = Watch(alice, "request")
    request = publish(alice, rounds_max=4, epochs=50, round_deadline=30_000)
    watch.stage(request, "training", 2)
    # All stop at one moment, as they would with the power, and only then are taken down one after the other.
    freeze(league.nodes)
    for node in league.nodes:
        node.kill()
    height = max(left_behind(league, node, request).height for node in league.nodes)
    before = {node.name: votes_signed(node, height, tmp_path / f"{node.name}-before") for node in league.nodes}
    for node in league.nodes:
        node.start()
    wait(league, lambda: all(node.answers() for node in league.nodes), "all answer again")
    wait(league, lambda: bool(request_of(alice, request)["over"]), "the request goes on to its end")
    assert request_of(alice, request)["stage"] == "done"
    for receipt in receipts_of(alice, request):
        assert [line["fate"] for line in receipt["lines"]] == ["delivered"] * 3, receipt
    for node in league.nodes:
        (tmp_path / node.name).mkdir()
        proven_sound(league, node, before[node.name], tmp_path / node.name)


def delivered_after(asked: DevNode, request: str, number: int, node: DevNode) -> bool:
    return any(
        line["org"] == node.org.hex() and line["fate"] == "delivered"
        for receipt in receipts_of(asked, request)
        if receipt["round"] > number
        for line in receipt["lines"]
    )
