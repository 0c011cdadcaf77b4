"""How long a newcomer takes to the head of a long chain: `python -m bench.sync [--blocks N]`.

Builds a chain once, block by block with real signatures and certificates, gives it to four of five nodes, and starts
them. The fifth has an empty ledger: once it may fetch a snapshot, once it has to fetch every block (measured for some
seconds). All five are processes of their own on loopback.
"""

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from ledger.blocks import FinalBlock
from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.chain import Chain
from ledger.codec import digest
from ledger.keys import KeyPair
from ledger.transactions import AnchorRecords, sign_transaction
from ledger.types import NodeKey
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.identity import load_key
from node.leveldb import LevelDbStore
from node.snapshot_store import SnapshotStore

SECONDS_WANTED = 60.0
BLOCKS_FETCHED_S = 20.0
WITHIN_S = 600.0
# So that the last block is not of the future: one a millisecond from then on.
FOUNDED_BEFORE_MS = 86_400_000
NODES = 5


def build(league: DevLeague, ledger: Path, snapshots: Path, blocks: int) -> float:
    """The chain and a snapshot of it; seconds it took. Each block anchors a period of one member."""
    pairs = [load_key(node.folder / "key.pem") for node in league.nodes]
    keys: dict[NodeKey, KeyPair] = {pair.public: pair for pair in pairs}
    store = LevelDbStore(ledger)
    chain = Chain(store, league.genesis)
    nonces = dict.fromkeys(keys, 0)
    began = time.monotonic()
    for at in range(blocks):
        sender = pairs[at % NODES]
        period = at // NODES + 1
        body = AnchorRecords(period, 100, digest("bench", at.to_bytes(8, "big")), period * 10, period * 10 + 9)
        nonces[sender.public] += 1
        nonce = nonces[sender.public] - 1
        trial = chain.trial(chain.leaders()[0], chain.head_time + 1)
        trial.apply(sign_transaction(sender, chain.chain_id, nonce, body))
        block = trial.block(0)
        committee = chain.committee()
        subject = Subject(block.height, committee.hash, 0, VoteKind.FINALIZE, block.id)
        voters = [keys[NodeKey(member)] for member in committee.members[: committee.quorum]]
        votes = [cast(voter, chain.chain_id, subject) for voter in voters]
        chain.append(FinalBlock(block, certify(votes)), checked_certificate=True, sync=False)
    chain.sync()
    with store.snapshot() as rows:
        SnapshotStore(snapshots).write(rows)
    store.close()
    return time.monotonic() - began


def height(node: DevNode) -> int:
    return int(node.call("status")["head"]["height"])


def newcomer(league: DevLeague, gap: int) -> DevNode:
    """The fifth node with an empty ledger, begun."""
    node = league.nodes[-1]
    node.stop()
    shutil.rmtree(node.folder / "ledger", ignore_errors=True)
    config = node.folder / "config.toml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("snapshot_gap")]
    at = lines.index("[sync]") + 1
    config.write_text("\n".join([*lines[:at], f"snapshot_gap = {gap}", *lines[at:]]) + "\n")
    node.start()
    return node


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sync")
    parser.add_argument("--blocks", type=int, default=50_000)
    options = parser.parse_args()
    blocks: int = options.blocks
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as temporary:
        folder = Path(temporary)
        with DevLeague(folder / "league", [NodePlan(f"factory-{at}") for at in range(NODES)]) as league:
            league.genesis = replace(league.genesis, time=league.genesis.time - FOUNDED_BEFORE_MS)
            for node in league.nodes:
                league.settle(node)
            built_s = build(league, folder / "ledger", folder / "snapshots", blocks)
            ledger_mb = sum(path.stat().st_size for path in (folder / "ledger").iterdir()) / 1e6
            snapshot_mb = sum(path.stat().st_size for path in (folder / "snapshots").rglob("*")) / 1e6
            print(
                f"chain          {blocks} blocks in {built_s:.0f} s   {ledger_mb:.0f} MB, snapshot {snapshot_mb:.1f} MB"
            )
            for node in league.nodes[:-1]:
                shutil.copytree(folder / "ledger", node.folder / "ledger")
                shutil.copytree(folder / "snapshots", node.folder / "snapshots")
            league.start()
            measure(league, blocks)


def measure(league: DevLeague, blocks: int) -> None:
    joining = newcomer(league, gap=1_000)
    began = time.monotonic()
    league.wait_until(lambda: joining.answers() and height(joining) >= blocks, "it is at the head", WITHIN_S)
    joined_s = time.monotonic() - began
    print(
        f"by a snapshot  {joined_s:.1f} s from the process's start to the head   (wanted: under {SECONDS_WANTED:.0f})"
    )
    fetching = newcomer(league, gap=0)
    league.wait_until(lambda: fetching.answers() and height(fetching) > 0, "blocks arrive", WITHIN_S)
    first, began = height(fetching), time.monotonic()
    ends = began + BLOCKS_FETCHED_S
    league.wait_until(lambda: time.monotonic() > ends or height(fetching) >= blocks, "some seconds of blocks", WITHIN_S)
    fetched_s = time.monotonic() - began
    print(f"block by block {(height(fetching) - first) / fetched_s:.0f} blocks a second, over {fetched_s:.0f} s")


if __name__ == "__main__":
    main()
