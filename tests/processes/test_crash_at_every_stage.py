"""A node is killed at each of the nine stages of [DLMU] section 3, and the same request goes on to its end.

One league and one request: every test is a stage and leaves the league ready for the next, in this order. That a leader
can die with the state at AGGREGATING is in test_leader_dies.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ledger.entries import Stage
from node.devnet.league import DevLeague, DevNode
from node.rpc.errors import RpcError
from node.training_memory import TrainingMemory
from tests.support.identities import register
from tests.support.processes import (
    Watch,
    announced,
    answer_alone,
    contradictions,
    factory,
    freeze,
    has_anchored,
    leader,
    left_behind,
    nobody_was_convicted,
    publish,
    receipts_of,
    request_of,
    restart,
    running_league,
    shelved,
    supply_is_kept,
    thaw,
    votes_signed,
    wait,
    wait_agreed,
    wait_over,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

FOUNDERS = ("alice", "bob", "carol", "dave")
# Some stages last milliseconds; each round is another chance to strike in time.
ROUNDS = 14


@dataclass
class Story:
    """The league, its request once there is one, and what was noted on the way."""

    league: DevLeague
    directory: Path
    request: str = ""
    killed: list[str] = field(default_factory=list)
    # (round, org) → digest of the update that was on the disk when its author was killed.
    written_down: dict[tuple[int, str], str] = field(default_factory=dict)

    def node(self, name: str) -> DevNode:
        return next(node for node in self.league.nodes if node.name == name)

    def kill(self, node: DevNode) -> None:
        node.kill()
        self.killed.append(node.name)

    def round_now(self) -> int:
        return int(request_of(self.node("alice"), self.request)["round"])


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    directory = tmp_path_factory.mktemp("stages")
    plans = [factory(name, at, 5) for at, name in enumerate(FOUNDERS[:3])]
    # Dave offers his data by hand, so that a request stays open until he does.
    plans.append(factory("dave", 3, 5, training={"offer": "ask"}))
    with running_league(directory, plans) as league:
        yield Story(league, directory)


def test_stage_1_registration(story: Story) -> None:
    """Who asks to be let in dies as a candidate; a member dies with its yes just given."""
    league = story.league
    erin = league.add_outsider(factory("erin", 4, 5))
    erin.start()
    wait(league, erin.answers, "erin answers")
    ask_to_be_let_in(story, erin)
    alice, bob, carol = story.node("alice"), story.node("bob"), story.node("carol")
    wait(league, lambda: is_candidate(alice, erin), "the registration is on the ledger")
    story.kill(erin)
    body = {"kind": "approve_member", "candidate": erin.org.hex()}
    bob.call("send", body=body, mode="final")
    story.kill(bob)
    for member in (alice, carol):
        member.call("send", body=body, mode="final")
    assert alice.call("member", org=erin.org.hex())["status"] == "member"
    restart(league, bob)
    restart(league, erin)
    wait_agreed(league)
    wait(league, lambda: has_anchored(erin), "erin has anchored")


def ask_to_be_let_in(story: Story, newcomer: DevNode) -> None:
    def handed_in() -> bool:
        try:
            register(newcomer)
        except RpcError as error:
            # Its network is coming up, or no bootstrap peer has answered yet.
            if error.kind.word == "unavailable" or error.details.get("rule") == "unreachable":
                return False
            raise
        return True

    wait(story.league, handed_in, f"{newcomer.name} has asked to be let in")


def is_candidate(asked: DevNode, newcomer: DevNode) -> bool:
    return any(each["org"] == newcomer.org.hex() for each in asked.call("members")["candidates"])


def test_stage_2_the_request_is_published(story: Story) -> None:
    """The requester dies as soon as its request is final, the only one to hold the initial model."""
    alice = story.node("alice")
    story.request = publish(alice, rounds_max=ROUNDS, epochs=30, providers_min=2, providers_max=4)
    story.kill(alice)
    assert left_behind(story.league, alice, story.request).stage is Stage.OPEN
    restart(story.league, alice)


def test_stage_3_retrieval(story: Story) -> None:
    """A provider dies with its offer on the ledger, before it has fetched the task."""
    league, carol = story.league, story.node("carol")

    def offered() -> bool:
        request = request_of(carol, story.request)
        return {"bob", "carol", "erin"} <= {provider["name"] for provider in request["providers"]}

    wait(league, offered, "bob, carol and erin have offered their data")
    story.kill(carol)
    left = left_behind(league, carol, story.request)
    assert left.stage is Stage.OPEN, left
    assert not (carol.folder / "strategies" / f"{story.request}.training").exists()
    restart(league, carol)
    story.node("dave").call("request.join", request=story.request, mode="final")


def test_stage_4_local_training(story: Story) -> None:
    """A provider dies in the midst of its epochs: it trains anew."""
    bob = story.node("bob")
    watch = Watch(bob, "training")
    watch.until(lambda topic, data: data["event"] == "epoch" and data["round"] == 1, "bob trains")
    story.kill(bob)
    left = left_behind(story.league, bob, story.request)
    assert left.stage is Stage.TRAINING
    restart(story.league, bob)
    all_delivered(story, 1)


def test_stage_5_upload(story: Story) -> None:
    """A provider dies with its update on its disk and not on the ledger: it announces the same bytes."""
    league, dave = story.league, story.node("dave")
    watch = Watch(dave, "training")
    record = answer_alone(league, dave, watch, story.request, after_round=story.round_now() + 1)
    update = announced(record)
    story.kill(dave)
    thaw(league.nodes)
    story.written_down[record.round, dave.org.hex()] = update.blob.hex()
    restart(league, dave)
    all_delivered(story, record.round)


def strike(story: Story, stage: Stage, choose: Callable[[], DevNode]) -> tuple[DevNode, int]:
    """Kill the chosen node while its own ledger says `stage`; the node and the round."""
    league, alice = story.league, story.node("alice")
    others = [node for node in league.nodes if node is not alice]
    watch = Watch(alice, "request")
    number = story.round_now()
    while True:
        number = int(watch.stage(story.request, stage.name.lower(), number + 1)["round"])
        freeze(others)
        victim = choose()
        if victim is alice:
            thaw(others)
            continue
        story.kill(victim)
        thaw(others)
        left = left_behind(league, victim, story.request)
        if left.stage is stage and left.round is not None and left.round.number == number:
            return victim, number
        restart(league, victim)


def test_stage_6_the_committee_checks_and_attests(story: Story) -> None:
    """A member of the committee dies that does not lead."""
    alice = story.node("alice")

    def member() -> DevNode:
        committee = alice.call("committee")
        seated = {seat["org"] for seat in committee["committee"]} - {committee["leaders"][0], alice.org.hex()}
        return next(node for node in story.league.nodes if node.org.hex() in seated)

    victim, number = strike(story, Stage.ATTESTING, member)
    restart(story.league, victim)
    all_delivered(story, number)


def test_stage_7_aggregation(story: Story) -> None:
    """The leader dies whose block was to hold the aggregate."""
    victim, number = strike(story, Stage.ATTESTING, lambda: leader(story.league, story.node("alice")))
    restart(story.league, victim)
    all_delivered(story, number)


def test_stage_8_the_new_model_is_fetched(story: Story) -> None:
    """A provider dies when the new global model is out, before it has done anything with it."""
    bob = story.node("bob")
    while True:
        victim, number = strike(story, Stage.TRAINING, lambda: bob)
        record = TrainingMemory(bob.folder / "strategies").load(bytes.fromhex(story.request))
        restart(story.league, victim)
        if record is None or record.round < number:
            break
    all_delivered(story, number)


def test_stage_9_reply(story: Story) -> None:
    """The requester dies when the request is done, before the final model is in its folder."""
    league, alice, carol = story.league, story.node("alice"), story.node("carol")
    wait_over(league, carol, story.request)
    last = ""
    for _ in range(3):
        # The first request's end went by with all nodes up: a short one ends under our eyes.
        watch = Watch(alice, "request")
        last = publish(alice, rounds_max=1, providers_max=3)
        watch.stage(last, "done")
        story.kill(alice)
        caught = not shelved(alice, last)
        assert left_behind(league, alice, last).stage is Stage.DONE
        restart(league, alice)
        if caught:
            break
    else:
        pytest.fail("the requester was three times too fast to be caught")
    for request in (story.request, last):
        wait(league, lambda each=request: shelved(alice, each), "the final model is in the requester's folder")  # type: ignore[misc]
        final = request_of(alice, request)
        assert final["stage"] == "done", final
        assert (alice.folder / "models" / f"{request}.json").read_text().count(final["model"]) == 1


def test_at_the_end_nothing_is_missing(story: Story, tmp_path: Path) -> None:
    """Every round names every provider, what was written down is what was counted, and nobody contradicted itself."""
    league, alice = story.league, story.node("alice")
    wait_agreed(league)
    providers = {node.org.hex() for node in league.nodes[1:]}
    receipts = receipts_of(alice, story.request)
    assert [receipt["round"] for receipt in receipts] == list(range(1, ROUNDS + 1))
    for receipt in receipts:
        assert {line["org"] for line in receipt["lines"]} == providers
        assert all(line["fate"] == "delivered" and line["paid"] for line in receipt["lines"]), receipt
        for line in receipt["lines"]:
            assert line["periods"] == [1, 2], "the anchored periods that the update was trained on"
            noted = story.written_down.get((receipt["round"], line["org"]), line["blob"])
            assert line["blob"] == noted, "the bytes of before the crash"
    assert story.written_down
    assert set(story.killed) == {node.name for node in league.nodes}, "everybody died once"
    assert supply_is_kept(league, alice)
    assert nobody_was_convicted(alice)
    height = alice.call("status")["head"]["height"]
    for node in league.nodes:
        votes = votes_signed(node, height, tmp_path / node.name)
        assert votes or node.name not in FOUNDERS, "all founders have seats"
        assert contradictions(votes) == []


def all_delivered(story: Story, number: int) -> None:
    """The round is closed, and everybody who was invited delivered."""
    alice = story.node("alice")

    def closed() -> bool:
        return any(receipt["round"] == number for receipt in receipts_of(alice, story.request))

    wait(story.league, closed, f"round {number} is closed")
    (receipt,) = [each for each in receipts_of(alice, story.request) if each["round"] == number]
    assert [line["fate"] for line in receipt["lines"]] == ["delivered"] * 4, receipt
