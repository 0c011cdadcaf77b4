"""Coming up, memory and idleness of nodes that do not train: `python -m bench.startup`.

A league of four is up; one of them is stopped and started again, several times: when its local interface answers, and
when it is connected to all others and at their height. Then all four are left alone.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from bench.leagues import cpu_seconds, node_pids, proportional_mb, resident_mb, wait
from node.devnet.league import DevLeague, DevNode, NodePlan

READY_S_WANTED, JOINED_S_WANTED, MEMORY_MB_WANTED = 1.0, 5.0, 150
NODES, RESTARTS, IDLE_S = 4, 5, 20.0


def come_up(league: DevLeague, node: DevNode) -> tuple[float, float, float]:
    """Seconds from the process's start until it answers, until it has joined, and its CPU seconds until it answers."""
    node.stop()
    node.start()
    began = time.monotonic()
    assert node.process is not None
    wait(node.answers, 30, every_s=0.005)
    ready, cpu = time.monotonic() - began, cpu_seconds(node.process.pid)

    def joined() -> bool:
        status = node.call("status")
        return bool(status["peers"]["connected"] == NODES - 1 and status["consensus"]["synced"])

    wait(joined, 30)
    return ready, time.monotonic() - began, cpu


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.startup")
    parser.add_argument("--restarts", type=int, default=RESTARTS)
    restarts: int = parser.parse_args().restarts
    plans = [NodePlan(f"factory-{at}") for at in range(NODES)]
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, DevLeague(Path(folder), plans) as league:
        league.start()
        ups = [come_up(league, league.nodes[1]) for _ in range(restarts)]
        pids = node_pids(league)
        before = sum(map(cpu_seconds, pids))
        time.sleep(IDLE_S)
        idle = (sum(map(cpu_seconds, pids)) - before) / IDLE_S / NODES
        proportional, resident = max(proportional_mb([pid]) for pid in pids), max(map(resident_mb, pids))
    ready, joined, cpu = (statistics.median(each) for each in zip(*ups, strict=True))
    print(
        f"RPC ready      {ready:.2f} s after its start, {cpu:.2f} CPU-s   (wanted: at most {READY_S_WANTED} s)\n"
        f"joined         {joined:.2f} s   (wanted: at most {JOINED_S_WANTED} s)\n"
        f"memory         {resident:.0f} MB resident, {proportional:.0f} MB proportional   "
        f"(wanted: at most {MEMORY_MB_WANTED})\n"
        f"idle           {idle:.2%} of a core a node"
    )


if __name__ == "__main__":
    main()
