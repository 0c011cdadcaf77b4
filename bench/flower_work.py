"""The work that both simulators are given, in files that either reads: records, first weights, orders of mini-batches.

work.json        layers, rounds, epochs, batch, lr, momentum, clients, own_tests
initial.npy      the first weights, float32 [n], in the order of torch's parameters()
orders.npy       int64 [rounds, clients]: seeds of torch.randperm
client-N.npz     features, labels, and where own_tests is true test_features, test_labels
test.npz         features, labels: the common test
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from bench.leagues import BATCH, CLASSES, EPOCHS, LEARNING_RATE, MOMENTUM, PROVIDERS, RECORDS, factory_table
from fl.data import registry
from fl.data.tables import Split, Table, join
from fl.fixed_point import SCALE_BITS, decode
from fl.partition import divide, parse_partition
from fl.round import batch_seed, initial_model

SEED = 1


@dataclass(frozen=True, slots=True)
class Work:
    """What is trained how. own_tests: every client tests the global model on records of its own, each round."""

    name: str
    layers: tuple[int, ...]
    rounds: int
    epochs: int
    batch: int
    lr: float
    momentum: float
    clients: int
    own_tests: bool


REFERENCE = Work(
    "reference work: 5 clients, 1,000 rows each, MLP 8-150-150-4, 40 epochs a round",
    *((8, 150, 150, CLASSES), 10, EPOCHS, BATCH, LEARNING_RATE, MOMENTUM, PROVIDERS, True),
)
MNIST = Work(
    "MNIST: 100 clients of two digits, 200 images of 14x14 each, MLP 196-64-10, 5 epochs a round",
    *((196, 64, 10), 10, 5, 32, 0.05, 0.8, 100, False),
)
MNIST_IMAGES = {"downscale": "2", "limit": "20000", "test_limit": "2000"}


def reference_clients() -> tuple[list[Split], Table]:
    names = tuple(str(each) for each in range(CLASSES))
    clients = []
    for factory in range(PROVIDERS):
        features, labels = factory_table(factory)
        scaled = features / np.float32(4)
        halves = [Table(scaled[part], labels[part], names) for part in (slice(RECORDS), slice(RECORDS, None))]
        clients.append(Split(*halves))
    return clients, join([client.test for client in clients])


def mnist_clients(path: Path) -> tuple[list[Split], Table]:
    """`path`: the folder of the four IDX files. Raises DataError."""
    whole = registry.load("mnist", MNIST_IMAGES, path)
    rng = np.random.default_rng(SEED)
    parts = divide(parse_partition("class(2)"), whole.train.labels, None, MNIST.clients, rng)
    return [Split(_plain(whole.train.take(rows)), _plain(whole.test)) for rows in parts], _plain(whole.test)


def _plain(table: Table) -> Table:
    """What the model is fed, so that nobody has to turn pixels into numbers."""
    return Table(table.inputs(), table.labels, table.classes)


def write_work(folder: Path, work: Work, clients: Sequence[Split], test: Table) -> None:
    arguments = {"layers": ",".join(map(str, work.layers))}
    np.save(folder / "initial.npy", decode(initial_model("mlp", arguments, SEED), SCALE_BITS))
    orders = [[batch_seed(SEED + client, number) for client in range(work.clients)] for number in range(work.rounds)]
    np.save(folder / "orders.npy", np.array(orders, np.int64))
    for at, client in enumerate(clients):
        tables = {"features": client.train.features, "labels": client.train.labels}
        if work.own_tests:
            tables |= {"test_features": client.test.features, "test_labels": client.test.labels}
        np.savez(folder / f"client-{at}.npz", **tables)
    np.savez(folder / "test.npz", features=test.features, labels=test.labels)
    (folder / "work.json").write_text(json.dumps(asdict(work)))
