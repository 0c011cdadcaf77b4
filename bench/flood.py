"""Finality among four members while a fifth floods them: `python -m bench.flood [--transfers N] [WAY ...]`.

Five real daemons; the fifth takes part as any other and floods when it is told to (`bench/flooder.py`). For each way to
flood: the median from handing in a transfer to its finality, one at a time, through the other four in turn, before the
flood and during it. What the five cost shares this machine's processors, so a machine of two shows it at its worst.
"""

import argparse
import random
import statistics
import tempfile
import time
from pathlib import Path

from bench.flooder import WAYS
from bench.leagues import cpu_seconds
from node.devnet.league import DevLeague, DevNode, NodePlan

RATIO_WANTED = 2.0
NODES, WARM_UP = 5, 8
# What the flood needs to be at its full rate, and its peers to have spent what they had saved up for it.
UNDER_WAY_S = 10.0
PAUSE_S = 0.5


def start(league: DevLeague) -> None:
    """As DevLeague.start, with the last one's program exchanged."""
    *honest, flooder = league.nodes
    for node in honest:
        node.start()
    flooder.start(("bench.flooder",))
    league.wait_until(lambda: all(node.answers() for node in league.nodes), "all nodes answer", 90.0)
    league.wait_until(league.is_connected, "all nodes are connected", 60.0)


def transfer_ms(honest: list[DevNode], count: int) -> list[float]:
    """Milliseconds to finality of `count` transfers, one at a time.

    Between two of them passes a random while: who hands in the next one the moment that a block is final is always too
    late for the block after it, if there is one.
    """
    taken, chance = [], random.Random(7)
    for at in range(count):
        time.sleep(chance.uniform(0.0, PAUSE_S))
        sender, receiver = honest[at % len(honest)], honest[(at + 1) % len(honest)]
        began = time.perf_counter()
        sender.call("send", body={"kind": "transfer", "to": receiver.org.hex(), "amount": 1}, mode="final")
        taken.append((time.perf_counter() - began) * 1000)
    return taken


def measure(league: DevLeague, way: str, transfers: int) -> float:
    """Print one line; the ratio."""
    *honest, flooder = league.nodes
    assert flooder.process is not None
    order = flooder.folder / "flood"
    transfer_ms(honest, WARM_UP)
    idle = statistics.median(transfer_ms(honest, transfers))
    before = cpu_seconds(flooder.process.pid)
    order.write_text(way)
    time.sleep(UNDER_WAY_S)
    began = time.perf_counter()
    taken = transfer_ms(honest, transfers)
    during = statistics.median(taken)
    spent = (cpu_seconds(flooder.process.pid) - before) / (time.perf_counter() - began + UNDER_WAY_S)
    shown = [peer for peer in honest[0].call("peers")["peers"] if peer["org"] == flooder.org.hex()]
    order.unlink()
    state = ", ".join(
        [f"{name} {shown[0][name]:g}" for name in ("score", "banned_s", "held_s") if shown[0].get(name)]
        + (["paused"] if shown[0].get("paused") else [])
    )
    print(
        f"{way:14} idle {idle:5.0f} ms   flooded {during:5.0f} ms (slowest {max(taken):5.0f})   "
        f"{during / idle:.2f} times   flooder {100 * spent:3.0f} % of a processor   {state}",
        flush=True,
    )
    return during / idle


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.flood")
    parser.add_argument("--transfers", type=int, default=60)
    parser.add_argument("ways", nargs="*", default=[*WAYS, "requests"])
    given = parser.parse_args()
    ratios = []
    for way in given.ways:
        # A league for each: one that banned the flooder before would make the next flood look mild.
        plans = [NodePlan(f"factory-{at}") for at in range(NODES)]
        with tempfile.TemporaryDirectory(prefix="hanse-bench-") as folder, DevLeague(Path(folder), plans) as league:
            start(league)
            ratios.append(measure(league, way, given.transfers))
    print(f"worst          {max(ratios):.2f} times the idle median   (wanted: below {RATIO_WANTED})")


if __name__ == "__main__":
    main()
