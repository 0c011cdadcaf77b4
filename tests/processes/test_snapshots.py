"""Real nodes that keep few blocks: whoever comes late joins by a snapshot, and proofs are had all the same."""

import json
import shutil
from collections.abc import Iterator

import pytest

from ledger.entries import account_key
from ledger.light import trust_genesis
from ledger.proof_check import check_proof
from ledger.proofs import proof_from_json
from node.data_folder import JOINED, JOINING, LEDGER
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.rpc.errors import RpcError
from tests.support.processes import FAST, wait, wait_agreed

pytestmark = [pytest.mark.processes, pytest.mark.timeout(180)]

EVERY, KEPT = 10, 20
SETTINGS = {
    **FAST,
    "sync": {"snapshot_gap": 50, "snapshot_every": EVERY, "snapshot_seconds": 0},
    "storage": {"keep_blocks": KEPT},
}
# Blocks are dropped by the 64; then some more.
BLOCKS = 140


@pytest.fixture(scope="module")
def league(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevLeague]:
    """Five nodes of which one slept while the others made blocks, and dropped the first of them."""
    plans = [NodePlan(name, settings=SETTINGS) for name in ("alice", "bob", "carol", "dave", "erin")]
    with DevLeague(tmp_path_factory.mktemp("league"), plans, "snapshots") as running:
        running.start()
        (*awake, erin) = running.nodes
        erin.stop()
        make_blocks(awake, BLOCKS)
        wait(running, lambda: all(first_block(node) > KEPT for node in awake), "old blocks are dropped")
        wait(running, lambda: all(node.call("sync")["snapshots"] for node in awake), "snapshots are offered")
        yield running


def make_blocks(nodes: list[DevNode], count: int) -> None:
    for at in range(count):
        body = {"kind": "transfer", "to": nodes[(at + 1) % len(nodes)].org.hex(), "amount": 1, "memo": ""}
        nodes[at % len(nodes)].call("send", body=body, mode="final")


def first_block(node: DevNode) -> int:
    return int(node.call("sync")["first_block"])


def height(node: DevNode) -> int:
    return int(node.call("status")["head"]["height"])


def balance_is_proven(node: DevNode, league: DevLeague) -> bool:
    """Whether the node proves its balance to somebody who has the genesis file only."""
    bundle = node.call("proof.state", key=account_key(node.org).hex())["bundle"]
    return check_proof(proof_from_json(json.dumps(bundle)), trust_genesis(league.genesis)).holds


def test_a_node_that_keeps_few_blocks_says_so_and_still_proves_headers(league: DevLeague) -> None:
    alice = league.nodes[0]
    first = first_block(alice)
    assert height(alice) - first <= KEPT + 2 * 64
    with pytest.raises(RpcError, match="not held here") as caught:
        alice.call("block", height=first - 1)
    assert caught.value.kind.word == "pruned"
    assert caught.value.details["first_block"] == first
    shown = alice.call("header", height=1, prove=True)
    assert shown["header"]["height"] == 1
    assert shown["proof"]["certificate"]
    assert alice.call("block", height=first)["block"]
    listed = alice.call("blocks", start=first + 1, limit=10)
    assert [each["height"] for each in listed["blocks"]] == [first + 1, first]
    assert listed["next"] is None
    assert balance_is_proven(alice, league)


def test_who_slept_too_long_joins_by_a_snapshot_and_votes_again(league: DevLeague) -> None:
    *awake, erin = league.nodes
    erin.start()
    wait(league, erin.answers, "erin answers")
    wait_agreed(league)
    held = erin.call("sync")
    assert held["first_header"] > KEPT
    assert held["first_header"] % EVERY == 0
    assert held["first_block"] == held["first_header"] + 1
    assert balance_is_proven(erin, league), "from the changes of the committee that came with the snapshot"
    # Without one of the others a quorum of four needs erin's votes.
    awake[0].stop()
    make_blocks(awake[1:], 3)
    awake[0].start()
    wait(league, awake[0].answers, "alice answers")
    wait_agreed(league)


def test_what_a_snapshot_led_to_is_the_ledger_after_a_restart(league: DevLeague) -> None:
    erin = league.nodes[-1]
    before = erin.call("sync")
    erin.kill()
    erin.start()
    wait(league, erin.answers, "erin answers")
    wait_agreed(league)
    after = erin.call("sync")
    assert (after["first_header"], after["first_block"]) == (before["first_header"], before["first_block"])
    assert [path.name for path in erin.folder.glob("ledger*")] == [LEDGER]


def test_who_lost_its_ledger_and_finds_no_old_blocks_joins_by_a_snapshot(league: DevLeague) -> None:
    dave = league.nodes[3]
    dave.stop()
    shutil.rmtree(dave.folder / LEDGER)
    # However far behind, it fetches no snapshot for that reason: but nobody has the first block any more.
    config = dave.folder / "config.toml"
    config.write_text(config.read_text().replace("snapshot_gap = 50", "snapshot_gap = 0"))
    dave.start()
    wait(league, dave.answers, "dave answers")
    wait_agreed(league)
    assert dave.call("sync")["first_header"] > KEPT
    make_blocks(league.nodes[:3], 2)
    wait_agreed(league)
    assert not (dave.folder / JOINING).exists()
    assert dave.stop() == 0
    assert [path.name for path in dave.folder.glob("ledger*")] == [LEDGER], f"{JOINED}* has its place"
