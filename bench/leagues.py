"""What the measurements of whole leagues share: the reference work on disk, its plans, and what processes cost.

Leagues are those of `node.devnet.league`: a process, a folder and a data directory for each organisation. What they
cost is read from the kernel: CPU seconds of all processes that have ended, proportional memory of those that run.
"""

import os
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from node.devnet.league import DevLeague, DevNode, NodePlan
from node.request_file import parse_request

# The work of [ANCHOR]: 5 factories, MLP 8-150-150-4, 1,000 + 1,000 records each, batch 32.
PROVIDERS, RECORDS, FEATURES, CLASSES = 5, 1000, 8, 4
EPOCHS, BATCH, LEARNING_RATE, MOMENTUM = 40, 32, 0.01, 0.8
OVER = ("done", "failed", "cancelled")

_SCHEMA = 'label = "label"\nclasses = ["0", "1", "2", "3"]\n' + "".join(
    f'\n[[features]]\ncolumn = "features:{at}"\nlow = -4\nhigh = 4\n' for at in range(FEATURES)
)

_REQUEST = f"""
title = "Reference work"
data_type = "table"
[model]
name = "mlp"
arguments = {{{{ layers = "8,150,150,4" }}}}
[strategy]
name = "fedavg"
[privacy]
mode = "none"

[training]
epochs = {EPOCHS}
batch = {BATCH}
learning_rate = {LEARNING_RATE}
momentum = {MOMENTUM}
[payment]
price = 1
budget = 1_000_000
[rounds]
rounds_max = {{rounds}}
providers_min = {{providers_min}}
providers_max = {PROVIDERS}
join_window_s = 60
round_deadline_s = {{round_deadline_s}}
attest_window_s = 10
"""


def factory_table(factory: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features in -4..4 and labels of 2 * RECORDS rows: three clusters a class, seen with the factory's own gain."""
    centres = np.random.default_rng(7).normal(scale=1.3, size=(CLASSES, 3, FEATURES))
    rng = np.random.default_rng([8, factory])
    labels = rng.choice(CLASSES, size=2 * RECORDS, p=rng.dirichlet(np.ones(CLASSES)))
    points = centres[labels, rng.integers(3, size=2 * RECORDS)] + rng.normal(size=(2 * RECORDS, FEATURES))
    gained = points * rng.uniform(0.8, 1.2, FEATURES) + rng.uniform(-0.3, 0.3, FEATURES)
    return gained.clip(-4, 4).astype(np.float32), labels.astype(np.int64)


def write_tables(folder: Path) -> list[Path]:
    """The factories' tables as files, the same for a league and for a bare process."""
    paths = []
    for factory in range(PROVIDERS):
        features, labels = factory_table(factory)
        paths.append(folder / f"factory-{factory}.npz")
        np.savez(paths[-1], features=features, label=labels)
        (folder / f"factory-{factory}.npz.schema.toml").write_text(_SCHEMA)
    return paths


def training_plans(tables: Sequence[Path]) -> list[NodePlan]:
    """A customer, who does not train for itself, and a factory for each table."""
    halves = {"test_percent": "50"}
    factories = [NodePlan(f"factory-{at}", "table", path, halves, period_records=250) for at, path in enumerate(tables)]
    return [NodePlan("customer"), *factories]


def reference_request(rounds: int, *, round_deadline_s: int = 60, providers_min: int = PROVIDERS) -> dict[str, Any]:
    """The reference work as `request.publish` takes it."""
    text = _REQUEST.format(rounds=rounds, round_deadline_s=round_deadline_s, providers_min=providers_min)
    return parse_request(text, "the reference work").as_json()


def anchored(node: DevNode) -> bool:
    """Whether the node's training records are under anchors on the ledger."""
    totals = node.call("anchor.list", org="me").get("totals")
    return totals is not None and int(totals["records"]) == RECORDS


def round_ends_ms(node: DevNode, request: str) -> list[int]:
    """Block times at which the request opened and its rounds closed, as the ledger has them."""
    receipts = node.call("receipts", request=request)["receipts"]
    published = node.call("tx", id=request)["height"]
    heights = [published, *(int(receipt["height"]) for receipt in receipts)]
    return [int(node.call("header", height=height)["header"]["time"]) for height in heights]


def bytes_sent(nodes: Sequence[DevNode]) -> int:
    """What all nodes together have sent to each other, as their links count it."""
    return sum(peer["bytes_out"] for node in nodes for peer in node.call("peers")["peers"])


@dataclass(slots=True)
class Cpu:
    """CPU seconds of the processes that ended within `ended_processes`, their own children's included."""

    seconds: float = 0.0


@contextmanager
def ended_processes() -> Iterator[Cpu]:
    cpu = Cpu()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    yield cpu
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu.seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a running process, its own threads only. proc(5): utime and stime are fields 14 and 15."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    """The process and all below it, as they are now."""
    found = [pid]
    for each in found:
        # A process may end while it is looked at.
        with suppress(OSError):
            for task in Path(f"/proc/{each}/task").glob("*/children"):
                with suppress(OSError):
                    found += [int(child) for child in task.read_text().split()]
    return found


def proportional_mb(pids: Sequence[int]) -> float:
    """Proportional set size of these processes in MB (10^6 bytes): shared pages are divided among their users."""
    kilobytes = 0
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return kilobytes * 1024 / 1e6


def resident_mb(pid: int) -> float:
    """Resident set size of a process in MB (10^6 bytes), pages that it shares with others included."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024 / 1e6


def node_pids(league: DevLeague) -> list[int]:
    return [node.process.pid for node in league.nodes if node.process is not None and node.process.poll() is None]


def wait(condition: Callable[[], bool], within_s: float, every_s: float = 0.01) -> float:
    """Wait for a condition; the seconds it took. Raises TimeoutError."""
    began = time.monotonic()
    while not condition():
        if time.monotonic() - began > within_s:
            raise TimeoutError(f"not so within {within_s:g} s")
        time.sleep(every_s)
    return time.monotonic() - began
