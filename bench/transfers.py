"""Signed transfers a second through four nodes: `python -m bench.transfers`.

Each node's own organisation is a sender; its transfers are signed beforehand and handed to its node in JSON-RPC
batches, all four at once. The clock runs from the first batch until all four nodes hold every transfer
in a final block.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from bench.leagues import cpu_seconds, node_pids, wait
from ledger.transactions import Transaction, Transfer, sign_transaction
from node.devnet.league import DevLeague, DevNode, NodePlan
from node.identity import load_key
from node.rpc.client import RpcClient

A_SECOND_WANTED = 500
NODES, BATCH, REPEATS = 4, 250, 3
WITHIN_S = 120.0


def sign(league: DevLeague, node: DevNode, first: int, count: int) -> list[Transaction]:
    key = load_key(node.folder / "key.pem")
    receiver = league.nodes[(league.nodes.index(node) + 1) % NODES].org
    return [
        sign_transaction(key, league.genesis.chain_id, nonce, Transfer(receiver, 1, ""))
        for nonce in range(first, first + count)
    ]


def hand_in(node: DevNode, transfers: Sequence[Transaction]) -> None:
    with RpcClient(node.folder) as client:
        for at in range(0, len(transfers), BATCH):
            batch = transfers[at : at + BATCH]
            answers = client.batch([("submit_tx", {"transaction": each.encoded.hex()}) for each in batch])
            for answer in answers:
                assert isinstance(answer, dict), f"refused: {answer}"


def run(league: DevLeague, first: int, count: int) -> tuple[float, float]:
    """Seconds until all are final everywhere, and CPU seconds of the four nodes."""
    signed = [sign(league, node, first, count) for node in league.nodes]
    lasts = [transfers[-1].id.hex() for transfers in signed]
    threads = [
        threading.Thread(target=hand_in, args=(node, transfers))
        for node, transfers in zip(league.nodes, signed, strict=True)
    ]
    before, began = sum(map(cpu_seconds, node_pids(league))), time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    def final(node: DevNode) -> bool:
        return all(node.call("tx", id=last)["status"] == "final" for last in lasts)

    wait(lambda: all(map(final, league.nodes)), WITHIN_S, every_s=0.02)
    return time.monotonic() - began, sum(map(cpu_seconds, node_pids(league))) - before


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.transfers")
    parser.add_argument("--transfers", type=int, default=1000, help="of each of the four senders, each time")
    count: int = parser.parse_args().transfers
    plans = [NodePlan(f"factory-{at}") for at in range(NODES)]
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, DevLeague(Path(folder), plans) as league:
        league.start()
        before = league.nodes[0].call("status")["head"]["height"]
        runs = [run(league, at * count, count) for at in range(REPEATS)]
        blocks = league.nodes[0].call("status")["head"]["height"] - before
    seconds = statistics.median(seconds for seconds, _ in runs)
    cpu = statistics.median(cpu for _, cpu in runs)
    print(
        f"transfers      {NODES * count / seconds:.0f} a second, {NODES * count} of them, median of {REPEATS}   "
        f"(wanted: at least {A_SECOND_WANTED})\n"
        f"CPU            {cpu / (NODES * count) * 1000:.2f} ms a transfer, all four nodes together   "
        f"{REPEATS * NODES * count / blocks:.0f} transfers a block"
    )


if __name__ == "__main__":
    main()
