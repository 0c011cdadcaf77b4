"""Scaling by declared public ranges, and by nothing else.

A range fitted on a factory's records would tell the others about them, and would differ from factory to factory, so
that one model could not serve all. Every source declares its ranges; one's own tables declare them in the schema.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError


@dataclass(frozen=True, slots=True)
class PublicRange:
    """A column's name and the range that everybody may know: low is sent to -1, high to +1.

    `log` scales by the logarithm, for what spans orders of magnitude (vibration does). Raises DataError for a range
    that is empty, not finite, or not positive where the logarithm is wanted.
    """

    name: str
    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        if not (np.isfinite(self.low) and np.isfinite(self.high) and self.low < self.high):
            raise DataError(f"range of {self.name!r} is {self.low}..{self.high}, want low < high, both finite")
        if self.log and self.low <= 0:
            raise DataError(f"range of {self.name!r} starts at {self.low}, want more than 0 for a logarithm")


def scale(values: NDArray[np.floating], ranges: Sequence[PublicRange], clip: bool = True) -> NDArray[np.float32]:
    """float [n, columns] -> float32 [n, columns]: low to -1, high to +1, in between by the line or the logarithm.

    With `clip` what lies outside goes to the edge; without, it goes on beyond it. Raises DataError when the number of
    columns differs, or for the logarithm of what is not positive where that is not clipped.
    """
    if values.ndim != 2 or values.shape[1] != len(ranges):
        raise DataError(f"came {list(values.shape)} values, want [n, {len(ranges)}]: one column a range")
    scaled = values.astype(np.float64)
    for i, column in enumerate(ranges):
        low, high = column.low, column.high
        if clip:
            scaled[:, i] = np.clip(scaled[:, i], low, high)
        if column.log:
            if len(scaled) and not scaled[:, i].min() > 0:
                raise DataError(f"column {column.name!r} holds {scaled[:, i].min()}, want more than 0 for a logarithm")
            scaled[:, i], low, high = np.log(scaled[:, i]), np.log(low), np.log(high)
        scaled[:, i] = (scaled[:, i] - low) * (2.0 / (high - low)) - 1.0
    return scaled.astype(np.float32)
