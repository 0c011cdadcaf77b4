"""A file in which somebody wrote down who has how many records of which class, for `hanse request advise --labels`.

    [[factory]]
    name = "north"
    records = 1200
    classes = { healthy = 900, inner = 300 }

`classes` are counts or shares; `records`, where it is left out, is their sum.
"""

from decimal import Decimal
from pathlib import Path

from fl.label_mix import FactoryMix
from node.toml_rules import read_toml

FACTORIES_MAX = 1024
CLASSES_MAX = 10_000


class LabelsFileError(Exception):
    """The text names the file, the place, what came and what was wanted."""


def read_labels(path: Path) -> list[FactoryMix]:
    """Raises LabelsFileError."""
    tables = read_toml(path, LabelsFileError)
    found = tables.get("factory")
    if set(tables) != {"factory"} or not isinstance(found, list) or not 1 <= len(found) <= FACTORIES_MAX:
        raise LabelsFileError(f"{path}: want 1 to {FACTORIES_MAX} tables [[factory]] and nothing else")
    mixes = [_factory(table, f"{path}: [[factory]] {at}") for at, table in enumerate(found, start=1)]
    names = [mix.name for mix in mixes]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise LabelsFileError(f"{path}: {', '.join(twice)} is there twice, want each factory once")
    return mixes


def _factory(table: object, where: str) -> FactoryMix:
    if not isinstance(table, dict) or not {"name", "classes"} <= table.keys() <= {"name", "records", "classes"}:
        raise LabelsFileError(f"{where}: want name, classes and perhaps records, and nothing else")
    name, classes = table["name"], table["classes"]
    if not isinstance(name, str) or not 1 <= len(name) <= 64:
        raise LabelsFileError(f"{where}: name is {str(name)[:80]!r}, want text of 1 to 64 characters")
    if not isinstance(classes, dict) or not 1 <= len(classes) <= CLASSES_MAX:
        raise LabelsFileError(f"{where}: classes, want a table such as {{ healthy = 900, inner = 300 }}")
    weights: dict[str, float] = {}
    for label, amount in classes.items():
        if isinstance(amount, bool) or not isinstance(amount, int | Decimal) or not 0 <= amount < 2**53:
            raise LabelsFileError(f"{where}: class {label[:40]} is {str(amount)[:40]!r}, want a count or a share")
        if amount:
            weights[label] = float(amount)
    records = table.get("records", round(sum(weights.values())))
    if isinstance(records, bool) or not isinstance(records, int) or not 1 <= records < 2**53 or not weights:
        raise LabelsFileError(
            f"{where}: {str(records)[:40]} records of {len(weights)} classes, want one of each at least"
        )
    return FactoryMix(name, records, weights)
