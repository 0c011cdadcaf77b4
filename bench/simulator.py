"""What simulating 100 clients costs beside bare torch, and in memory: `python -m bench.simulator [--rounds 2]`.

The work: MNIST-like pictures in 100 clients of two classes each, all of them in every round, one thread. Bare torch is
what anybody would write first: one model, one client after the other, the same passes over the same records with
`torch.optim.SGD`, a mean in floats, the test of the global model. The simulator does the same and besides encodes,
checks and aggregates as a league does, remembers what each client has to, and tells every client's figures. Both test
the global model after every round. They are measured turn by turn in one process; printed are the medians of their
ratios in CPU and wall time (wanted: at most 1.15), and the ratio where the simulator makes and tests the 100 models
that the clients would serve themselves as well, which bare torch has not got.

Memory (Linux): processes of their own with 10, 100 and 1,000 clients of 60 records each, of whom ten take part,
then all. What is told is memory that no file backs, at its peak, beyond that of the process before; what clients
remember and send lies in files beyond a bound, in pages that the system may take back.
"""

import argparse
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fl.data.tables import Split, Table
from fl.models.registry import build
from fl.simulate.blob_shelf import MEMORY_BYTES_MAX
from fl.simulate.federation import Federation, Terms

CLIENTS, EPOCHS, BATCH, LR, MOMENTUM, REPEATS = 100, 5, 32, 0.05, 0.8, 3
WORKS = {
    "perceptron 196-64-10, 600 records a client": ("mlp", {"layers": "196,64,10"}, (196,), 600),
    "perceptron 196-64-10, 60 records a client": ("mlp", {"layers": "196,64,10"}, (196,), 60),
    "convolutional network, 60 records a client": ("cnn", {}, (1, 28, 28), 60),
}
ONE_MODEL = {"serve": "global", "unseen": "0"}
MEMORY_CLIENTS = (10, 100, 1_000)


def pictures(count: int, seed: int, shape: tuple[int, ...]) -> Table:
    """Ten noisy patterns of bytes."""
    patterns = np.random.default_rng(0).integers(0, 255, (10, *shape))
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 10, count)
    noisy = patterns[labels] + rng.normal(0, 60, (count, *shape))
    return Table(np.clip(noisy, 0, 255).astype(np.uint8), labels, tuple("0123456789"))


def clients_of(count: int, records: int, shape: tuple[int, ...]) -> tuple[list[Split], Table]:
    """Each with two of the classes."""
    whole, test = pictures(count * records, 1, shape), pictures(2000, 2, shape)
    halves = np.array_split(np.argsort(whole.labels, kind="stable"), 2 * count)
    order = np.random.default_rng(3).permutation(2 * count).reshape(count, 2)
    return [Split(whole.take(np.concatenate([halves[a], halves[b]])), test) for a, b in order.tolist()], test


def bare_torch(terms: Terms, clients: list[Split], test: Table) -> float:
    """The same work without a simulator; the accuracy after it."""
    model = build(terms.model, terms.arguments, 1)
    tables = [(torch.from_numpy(each.train.features), torch.from_numpy(each.train.labels)) for each in clients]
    test_inputs, test_labels = torch.from_numpy(test.features).float().div_(255.0), torch.from_numpy(test.labels)
    accuracy = 0.0
    for _ in range(terms.rounds):
        first = [each.detach().clone() for each in model.parameters()]
        sums = [torch.zeros_like(each) for each in first]
        for features, labels in tables:
            with torch.no_grad():
                for parameter, value in zip(model.parameters(), first, strict=True):
                    parameter.copy_(value)
            _train(model, features, labels)
            with torch.no_grad():
                for total, parameter in zip(sums, model.parameters(), strict=True):
                    total.add_(parameter, alpha=len(labels))
        with torch.no_grad():
            for parameter, total in zip(model.parameters(), sums, strict=True):
                parameter.copy_(total / sum(len(labels) for _, labels in tables))
            accuracy = float((model(test_inputs).argmax(1) == test_labels).float().mean())
    return accuracy


def _train(model: nn.Module, features: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        order = torch.randperm(len(labels))
        for at in range(0, len(labels), BATCH):
            rows = order[at : at + BATCH]
            optimiser.zero_grad()
            loss = cross_entropy(model(features[rows].float().div_(255.0)), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def simulated(terms: Terms, clients: list[Split], test: Table) -> float:
    with Federation(terms, clients, test, 1) as federation:
        return federation.run().mean_accuracy(last=1)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(title: str, terms: Terms, clients: list[Split], test: Table) -> None:
    # The same work: everybody serves the global model, which is tested alone, as in bare torch.
    each_tested, terms = terms, replace(terms, strategy_settings=ONE_MODEL)
    simulated(replace(terms, rounds=1), clients[:5], test)
    bare_torch(replace(terms, rounds=1), clients[:5], test)
    rows = []
    for _ in range(REPEATS):
        bare = timed(lambda: bare_torch(terms, clients, test))
        ours = timed(lambda: simulated(terms, clients, test))
        tested = timed(lambda: simulated(each_tested, clients, test))
        rows.append((bare[0], ours[0], ours[0] / bare[0], ours[1] / bare[1], tested[0] / bare[0]))
    bare_s, ours_s, cpu, wall, every = (statistics.median(column) for column in zip(*rows, strict=True))
    print(
        f"{title}, {terms.rounds} rounds: bare torch {bare_s:.2f} CPU s, simulator {ours_s:.2f} CPU s; "
        f"ratio {cpu:.2f} CPU, {wall:.2f} wall; {every:.2f} CPU with all 100 served models tested in every round"
    )


def memory(clients: int, per_round: int) -> None:
    """Print what a process needs at most beside its records, in MB."""
    model, arguments, shape, _ = WORKS["convolutional network, 60 records a client"]
    splits, test = clients_of(clients, 60, shape)
    records = sum(each.train.features.nbytes + each.train.labels.nbytes for each in splits)
    terms = Terms(model, 2, 1, BATCH, LR, MOMENTUM, arguments, strategy="dlmu", per_round=per_round, device="cpu")
    simulated(replace(terms, rounds=1, per_round=1), splits[:2], test)
    before, seen, over = memory_mb(), [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.01):
            seen.append(memory_mb())

    watcher = threading.Thread(target=watch)
    watcher.start()
    simulated(terms, splits, test)
    over.set()
    watcher.join()
    print(f"{max(seen) - before:.0f} {records / 1e6:.0f}")


def memory_mb() -> float:
    """Of this process, backed by no file."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.simulator")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--memory", type=int, nargs=2, metavar=("CLIENTS", "PER_ROUND"), help="of one process")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.memory:
        memory(*options.memory)
        return
    for title, (model, arguments, shape, records) in WORKS.items():
        clients, test = clients_of(CLIENTS, records, shape)
        terms = Terms(model, options.rounds, EPOCHS, BATCH, LR, MOMENTUM, arguments, device="cpu")
        compare(title, terms, clients, test)
    print(f"memory, of which at most {2 * MEMORY_BYTES_MAX // 2**20} MB for what clients remember and send:")
    for clients_count in MEMORY_CLIENTS:
        for per_round in (10, 0):
            command = [sys.executable, "-m", "bench.simulator", "--memory", str(clients_count), str(per_round)]
            said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            who = "ten a round" if per_round else "all in every round"
            print(f"  {clients_count} clients with {said[1]} MB of records, {who}: {said[0]} MB")


if __name__ == "__main__":
    main()
