"""The settings that every source has: a stretch of its records, and one factory's part of them."""

from dataclasses import dataclass, fields
from typing import Annotated

import numpy as np

from fl.data.errors import DataError
from fl.data.tables import Split, Table
from fl.partition import divide, parse_partition
from fl.settings import Text, Whole

_ROWS_MAX = 2**40
# Members that a league can have, four times over.
PARTS_MAX = 1024


@dataclass(frozen=True, slots=True)
class SubsetSettings:
    """First a stretch is cut out, then the training records are divided; the test records stay common to all parts."""

    offset: Annotated[int, Whole(0, _ROWS_MAX, "training records to pass over")] = 0
    limit: Annotated[int, Whole(0, _ROWS_MAX, "training records to keep; 0 keeps all")] = 0
    test_offset: Annotated[int, Whole(0, _ROWS_MAX, "test records to pass over")] = 0
    test_limit: Annotated[int, Whole(0, _ROWS_MAX, "test records to keep; 0 keeps all")] = 0
    partition: Annotated[str, Text(40, "iid, dirichlet(0.5), class(2) or group; empty for no division")] = ""
    parts: Annotated[int, Whole(1, PARTS_MAX, "factories that share the training records")] = 1
    part: Annotated[int, Whole(0, PARTS_MAX - 1, "which of them this is")] = 0
    partition_seed: Annotated[int, Whole(0, 2**32 - 1, "the same for all factories, so that parts are disjoint")] = 0


SUBSET_NAMES = frozenset(field.name for field in fields(SubsetSettings))


def take_subset(split: Split, settings: SubsetSettings) -> Split:
    """The part that the settings name. Raises DataError when it would be empty or cannot be made."""
    train = _stretch(split.train, "training", settings.offset, settings.limit)
    test = _stretch(split.test, "test", settings.test_offset, settings.test_limit)
    if not settings.partition:
        if settings.parts > 1:
            raise DataError(
                f"parts is {settings.parts} and partition is empty, want iid, dirichlet(0.5), class(2) or group"
            )
        return Split(train, test)
    if settings.part >= settings.parts:
        raise DataError(f"part is {settings.part}, want 0..{settings.parts - 1}")
    rng = np.random.default_rng(settings.partition_seed)
    rows = divide(parse_partition(settings.partition), train.labels, train.groups, settings.parts, rng)
    return Split(train.take(rows[settings.part]), test)


def _stretch(table: Table, what: str, offset: int, limit: int) -> Table:
    if not offset and not limit:
        return table
    if offset >= len(table):
        raise DataError(f"the {what} records are {len(table)}, want more than the {offset} to pass over")
    # By position, not by slice: the rest of a large data set shall not stay in memory behind a view.
    return table.take(np.arange(offset, min(offset + limit, len(table)) if limit else len(table)))
