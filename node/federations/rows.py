"""The rows of the result tables: their columns, with types, units and meanings, and how a round becomes them.

One row a round (`rounds`), one a client that took part in a round (`clients`), one a tested round with the accuracies
of all clients (`own`), one a client and class (`distribution`). Files are written in `result_files.py`.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from types import NoneType
from typing import Any, TypeAlias

from fl.data.tables import Table
from fl.simulate.results import RoundResult

Row: TypeAlias = dict[str, Any]
_TYPES = {"whole": (int,), "number": (int, float), "text": (str,), "flag": (bool,)}


@dataclass(frozen=True, slots=True)
class Column:
    """`kind`: whole, number, text, flag, or numbers (a list of them). A value may be missing where `optional`."""

    name: str
    kind: str
    meaning: str
    optional: bool = False

    def takes(self, value: object) -> bool:
        """Whether it may stand here."""
        if value is None:
            return self.optional
        if self.kind == "numbers":
            return isinstance(value, list) and all(type(each) in (int, float, NoneType) for each in value)
        return type(value) in _TYPES[self.kind]


# Shares are of one: 0.5 is half of the records.
ROUNDS = (
    Column("round", "whole", "counted from 1"),
    Column("accuracy_global", "number", "share of the common test records that the global model names rightly", True),
    Column(
        "accuracy_own", "number", "of the model each client serves, on its own mix of classes; mean of clients", True
    ),
    Column("accuracy_own_of_global", "number", "of the global model on the clients' own mixes; mean of clients", True),
    Column("loss_global_nats", "number", "cross-entropy of the global model on the common test, a record", True),
    Column("loss_training_nats", "number", "of the last local epoch, mean of clients by records", True),
    Column("clients", "whole", "that took part"),
    Column("rejected", "whole", "whose updates counted for nothing"),
    Column("steps", "whole", "of SGD, all clients together"),
    Column("beta_mean", "number", "share of the own last model in the start, mean of clients"),
    Column("beta_max", "number", "the largest"),
    Column("drift_l2_mean", "number", "length of update minus start, mean of clients"),
    Column("drift_l2_max", "number", "the largest"),
    Column("bytes_up", "whole", "updates sent, as a league stores them"),
    Column("bytes_down", "whole", "global models fetched"),
    Column(
        "train_virtual_s", "number", "until the slowest client had trained, by its pace; not a time of this machine"
    ),
    Column("epsilon", "number", "the most that any client has spent so far", True),
    Column("digest", "text", "name of the new global model's blob"),
)
CLIENTS = (
    Column("round", "whole", "counted from 1"),
    Column("client", "whole", "its place, from 0"),
    Column("attacker", "flag", "whether it cheats"),
    Column("records", "whole", "it trained on"),
    Column("weight", "whole", "of its update"),
    Column("steps", "whole", "of SGD"),
    Column("loss_nats", "number", "of its last local epoch", True),
    Column("beta", "number", "share of its own last model in its start"),
    Column("beta_asked", "number", "the same before any cap", True),
    Column("drift_l2", "number", "length of update minus start"),
    Column("bytes_up", "whole", "of its update"),
    Column("train_virtual_s", "number", "that its steps take by its own pace (`pace_s` and `pace_spread`)"),
    Column("quality_micro", "whole", "how far its step agrees with the round's, in millionths"),
    Column("accuracy_own", "number", "of the model it serves, on its own mix of classes", True),
    Column("accuracy_own_of_global", "number", "of the global model on its own mix", True),
    Column("rejected", "text", "why its update counted for nothing, or why it sent none", True),
)
OWN = (
    Column("round", "whole", "counted from 1"),
    Column("accuracy_own", "numbers", "by client: of the model it serves, on its own mix of classes"),
    Column("accuracy_own_of_global", "numbers", "by client: of the global model on its own mix"),
)
DISTRIBUTION = (
    Column("client", "whole", "its place, from 0"),
    Column("class", "text", "name"),
    Column("records", "whole", "training records of that class"),
)
TABLES: Mapping[str, tuple[Column, ...]] = {
    "rounds": ROUNDS,
    "clients": CLIENTS,
    "own": OWN,
    "distribution": DISTRIBUTION,
}


def round_row(result: RoundResult) -> Row:
    """The row of `rounds`."""
    clients = result.clients
    trained = [each for each in clients if each.loss is not None and each.records]
    records = sum(each.records for each in trained)
    loss = sum((each.loss or 0.0) * each.records for each in trained) / records if records else None
    return {
        "round": result.number,
        "accuracy_global": result.accuracy,
        "accuracy_own": result.own_accuracy,
        "accuracy_own_of_global": result.own_global_accuracy,
        "loss_global_nats": _finite(result.loss),
        "loss_training_nats": _finite(loss),
        "clients": len(clients),
        "rejected": len(result.rejected),
        "steps": sum(each.steps for each in clients),
        "beta_mean": fmean(each.beta for each in clients),
        "beta_max": max(each.beta for each in clients),
        "drift_l2_mean": fmean(each.drift for each in clients),
        "drift_l2_max": max(each.drift for each in clients),
        "bytes_up": result.bytes_up,
        "bytes_down": result.bytes_down,
        "train_virtual_s": result.train_s,
        "epsilon": _finite(result.epsilon),
        "digest": result.digest,
    }


def client_rows(result: RoundResult, attackers: Sequence[int]) -> Iterator[Row]:
    """The rows of `clients`, ascending by client."""
    for each in result.clients:
        yield {
            "round": result.number,
            "client": each.client,
            "attacker": each.client in attackers,
            "records": each.records,
            "weight": each.weight,
            "steps": each.steps,
            "loss_nats": _finite(each.loss),
            "beta": each.beta,
            "beta_asked": _finite(each.beta_asked),
            "drift_l2": each.drift,
            "bytes_up": each.bytes_up,
            "train_virtual_s": each.train_s,
            "quality_micro": each.quality,
            "accuracy_own": result.own[each.client] if result.own else None,
            "accuracy_own_of_global": result.own_global[each.client] if result.own_global else None,
            "rejected": each.rejected,
        }


def own_rows(result: RoundResult) -> Iterator[Row]:
    """The row of `own`; none for a round that was not tested."""
    if result.own:
        yield {
            "round": result.number,
            "accuracy_own": list(result.own),
            "accuracy_own_of_global": list(result.own_global),
        }


def distribution_rows(tables: Sequence[Table]) -> Iterator[Row]:
    """The rows of `distribution`: every class of every client, also those without records."""
    for client, table in enumerate(tables):
        for name, count in zip(table.classes, table.class_counts().tolist(), strict=True):
            yield {"client": client, "class": name, "records": count}


def _finite(value: float | None) -> float | None:
    """JSON has no NaN: what is no number is missing."""
    return value if value is not None and math.isfinite(value) else None
