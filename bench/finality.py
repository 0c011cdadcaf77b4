"""From handing in a transaction to its finality on four idle nodes: `python -m bench.finality`.

Real processes, the local interface's Unix socket, one transfer at a time through each node in turn, the league idle
before each. The time is the caller's: HTTP, signing, gossip, a block of its own agreed on by all, and its synced write.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.leagues import cpu_seconds, node_pids
from node.devnet.league import DevLeague, NodePlan

MEDIAN_MS_WANTED = 150
NODES, WARM_UP = 4, 8


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.finality")
    parser.add_argument("--transfers", type=int, default=100)
    transfers: int = parser.parse_args().transfers
    plans = [NodePlan(f"factory-{at}") for at in range(NODES)]
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, DevLeague(Path(folder), plans) as league:
        league.start()
        milliseconds = []
        before = 0.0
        for at in range(WARM_UP + transfers):
            if at == WARM_UP:
                before = sum(map(cpu_seconds, node_pids(league)))
            league.wait_until(league.is_agreed, "all nodes are at one height")
            sender, receiver = league.nodes[at % NODES], league.nodes[(at + 1) % NODES]
            transfer = {"kind": "transfer", "to": receiver.org.hex(), "amount": 1}
            began = time.perf_counter()
            sender.call("send", body=transfer, mode="final")
            milliseconds.append((time.perf_counter() - began) * 1000)
        cpu = sum(map(cpu_seconds, node_pids(league))) - before
    milliseconds = sorted(milliseconds[WARM_UP:])
    last = milliseconds[min(len(milliseconds) - 1, round(0.99 * len(milliseconds)))]
    print(
        f"finality       median {statistics.median(milliseconds):.0f} ms   99 % {last:.0f} ms   "
        f"(wanted: a median of at most {MEDIAN_MS_WANTED} ms)\n"
        f"CPU            {cpu / transfers * 1000:.0f} ms a transaction and its block, all four nodes together"
    )


if __name__ == "__main__":
    main()
