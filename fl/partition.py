"""Who holds which records, when one data set stands for many factories: IID, Dirichlet, class(k), by site.

Every function gives positions, one ascending intp array a client, disjoint. Randomness comes in as an argument;
numpy only.
"""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError

Parts = list[NDArray[np.intp]]

# A Dirichlet draw that leaves a client without records is drawn again, this often at most.
DIRICHLET_DRAWS_MAX = 100
_WRITTEN = re.compile(r"(iid|group)|(dirichlet|class)\(([0-9.]{1,12})\)")


@dataclass(frozen=True, slots=True)
class Partition:
    """A way to divide: `kind` is iid, dirichlet, class or group; `amount` is alpha or the classes a client holds."""

    kind: str
    amount: float = 0.0


def parse_partition(text: str) -> Partition:
    """ "iid", "dirichlet(0.5)", "class(2)" or "group". Raises DataError for anything else."""
    found = _WRITTEN.fullmatch(text.replace(" ", ""))
    if found is None:
        raise DataError(f"partition is {text[:40]!r}, want iid, dirichlet(0.5), class(2) or group")
    if found[1]:
        return Partition(found[1])
    try:
        amount = float(found[3])
    except ValueError:
        raise DataError(f"partition is {text[:40]!r}: {found[3]} is no number") from None
    if found[2] == "class" and (amount < 1 or amount != int(amount)):
        raise DataError(f"partition is {text[:40]!r}, want a whole number of classes, at least 1")
    if amount <= 0:
        raise DataError(f"partition is {text[:40]!r}, want alpha above 0")
    return Partition(found[2], amount)


def divide(
    partition: Partition,
    labels: NDArray[np.int64],
    groups: NDArray[np.int64] | None,
    clients: int,
    rng: np.random.Generator,
) -> Parts:
    """The positions of each client's records. Raises DataError when the records cannot be divided that way."""
    if partition.kind == "iid":
        return split_iid(len(labels), clients, rng)
    if partition.kind == "dirichlet":
        return split_dirichlet(labels, clients, partition.amount, rng)
    if partition.kind == "class":
        return split_by_class(labels, clients, int(partition.amount), rng)
    if groups is None:
        raise DataError("this source does not say which site a record is from, want another partition than group")
    return split_by_group(groups, clients)


def split_iid(records: int, clients: int, rng: np.random.Generator) -> Parts:
    """Every record to one client, at random, sizes differing by at most one."""
    _check_clients(records, clients)
    return [np.sort(part) for part in np.array_split(rng.permutation(records), clients)]


def split_dirichlet(labels: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator) -> Parts:
    """Every class divided by proportions drawn from Dir(alpha); small alpha, few classes a client. Covers all records.

    A client that already holds its even share of all records gets nothing of the classes that follow, so that sizes
    stay comparable and the skew is in the classes; every client gets at least one record.
    """
    _check_clients(len(labels), clients)
    if not 0 < alpha < np.inf:
        raise DataError(f"alpha is {alpha}, want a number above 0")
    for _ in range(DIRICHLET_DRAWS_MAX):
        parts = _draw_dirichlet(labels, clients, alpha, rng)
        if all(len(part) for part in parts):
            return parts
    raise DataError(
        f"{len(labels)} records, {clients} clients, alpha {alpha}: a client without records in each of "
        f"{DIRICHLET_DRAWS_MAX} draws; want more records, fewer clients or a larger alpha"
    )


def _draw_dirichlet(labels: NDArray[np.int64], clients: int, alpha: float, rng: np.random.Generator) -> Parts:
    held: list[list[NDArray[np.intp]]] = [[] for _ in range(clients)]
    sizes = np.zeros(clients)
    for label in rng.permutation(np.unique(labels)):
        rows = rng.permutation(np.flatnonzero(labels == label))
        shares = rng.dirichlet(np.full(clients, alpha)) * (sizes < len(labels) / clients)
        # With a tiny alpha all of the draw can fall to clients that are full: then the others share evenly.
        if shares.sum() <= 0:
            shares = (sizes < len(labels) / clients).astype(np.float64)
        cuts = np.rint(np.cumsum(shares)[:-1] / shares.sum() * len(rows)).astype(np.int64)
        for client, part in enumerate(np.split(rows, cuts)):
            held[client].append(part)
            sizes[client] += len(part)
    return [np.sort(np.concatenate(parts)) for parts in held]


def split_by_class(labels: NDArray[np.int64], clients: int, held: int, rng: np.random.Generator) -> Parts:
    """class(k) of [DLMU] section 5: each client holds `held` classes, a shard of each; the shards of a class are equal.

    Each class is cut into ceil(clients * held / classes) shards; a client takes the classes with the most shards left,
    ties by draw. Where clients * held / classes is not whole, shards are left over, and dropped.
    """
    present = np.unique(labels)
    _check_clients(len(labels), clients)
    if not 1 <= held <= len(present):
        raise DataError(f"class({held}): {len(present)} classes have records, want 1..{len(present)} a client")
    per_class = -(-clients * held // len(present))
    shards: list[list[NDArray[np.intp]]] = []
    for label in present:
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) < per_class:
            raise DataError(f"class({held}): class {label} has {len(rows)} records, want {per_class} for its shards")
        shards.append(np.array_split(rows, per_class))
    left = np.full(len(present), per_class)
    parts = []
    for _ in range(clients):
        most_first = np.lexsort((rng.random(len(present)), -left))[:held]
        left[most_first] -= 1
        parts.append(np.sort(np.concatenate([shards[i][left[i]] for i in most_first])))
    return parts


def split_by_group(groups: NDArray[np.int64], clients: int) -> Parts:
    """Whole groups (sites, speakers) to clients: the largest group first, each to the client with the fewest records.

    With as many clients as groups, client i has the i-th largest group. No randomness. Raises DataError when there
    are fewer groups than clients.
    """
    names, counts = np.unique(groups, return_counts=True)
    if clients < 1 or len(names) < clients:
        raise DataError(f"{len(names)} groups for {clients} clients, want at least one each")
    sizes = np.zeros(clients, dtype=np.int64)
    owner = np.empty(len(names), dtype=np.int64)
    for i in np.argsort(-counts, kind="stable"):
        owner[i] = int(sizes.argmin())
        sizes[owner[i]] += counts[i]
    of_record = owner[np.searchsorted(names, groups)]
    return [np.flatnonzero(of_record == client) for client in range(clients)]


def _check_clients(records: int, clients: int) -> None:
    if clients < 1 or records < clients:
        raise DataError(f"{records} records for {clients} clients, want at least one each")
