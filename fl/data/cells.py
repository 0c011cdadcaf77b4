"""What a cell says: the number in a text, stricter than Python's float(), and the text of a value that is none.

float() takes "1_000" for a thousand, digits of any script for numbers, and "1e999" for infinity. In a file from a plant
the first is a slip or a name, the second comes from a text and not from a machine, and the third is no value.
"""

import unicodedata
from collections.abc import Sequence
from datetime import date, datetime
from datetime import time as time_of_day
from decimal import Decimal
from itertools import repeat
from operator import contains
from sys import float_info

import numpy as np
from numpy.typing import NDArray

A_NUMBER = "a number"
# A decimal number of more digits before its point is no number of a machine: it is not written out.
DIGITS_MAX = 400
MINUS_SIGN = "\N{MINUS SIGN}"
# What float() understands as no finite number, whatever the case and the sign: a gap, as an empty cell is one.
NOT_FINITE = frozenset({"nan", "inf", "infinity"})


class NotANumber(ValueError):
    """The cell at `row` says no number. `wanted`: what has to stand there instead."""

    def __init__(self, row: int, wanted: str) -> None:
        super().__init__(f"cell {row}: want {wanted}")
        self.row = row
        self.wanted = wanted


def numbers_in(cells: Sequence[str]) -> NDArray[np.float64]:
    """float64 [n], blanks round a number left out; what is in NOT_FINITE comes as NaN or infinity.

    Raises NotANumber for the first cell that says none, and for a number that float64 cannot hold.
    """
    plain = all(map(str.isascii, cells)) and not any(map(contains, cells, repeat("_")))
    try:
        if plain:
            numbers = np.asarray(cells, dtype=np.float64)
            if all(is_not_finite(cells[int(row)]) for row in np.flatnonzero(np.isinf(numbers))):
                return numbers
    except ValueError:
        pass
    row, wanted = next((row, wanted) for row, cell in enumerate(cells) if (wanted := _wanted(cell)))
    raise NotANumber(row, wanted)


def is_not_finite(cell: str) -> bool:
    """Whether the cell says NaN or infinity in words: no value stands there, as in an empty one."""
    return cell.strip().lstrip("+-").lower() in NOT_FINITE


def _wanted(cell: str) -> str | None:
    """What has to stand there instead; None for a number."""
    if _is_number(cell.replace(",", "")) and "," in cell:
        return f"{A_NUMBER} without a comma: 1234.5"
    if not _is_number(cell.replace(MINUS_SIGN, "-")):
        return A_NUMBER
    strange = next((character for character in cell if not character.isascii()), None)
    if strange is not None:
        return f"{A_NUMBER} in plain digits: this has {unicodedata.name(strange, repr(strange))}"
    if "_" in cell:
        return f"{A_NUMBER} without _"
    if np.isinf(float(cell)) and not is_not_finite(cell):
        return f"{A_NUMBER} of at most {float_info.max:.1e}"
    return None


def _is_number(cell: str) -> bool:
    """As numpy finds: float() would take the control characters 0x1c to 0x1f for blanks, which numpy does not."""
    try:
        np.asarray([cell], dtype=np.float64)
    except ValueError:
        return False
    return True


def text_of(value: object) -> str | None:
    """A value of Python's as CSV would have it; an absent one is an empty cell. None for what has no text of its own:
    bytes, lists, tables."""
    if value is None:
        return ""
    # As in any column of numbers: what is whole is written without a point, for labels are words.
    if isinstance(value, bool) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if isinstance(value, Decimal):
        return str(int(value)) if _is_whole(value) else str(value)
    if isinstance(value, datetime | date | time_of_day):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview | list | dict | tuple):
        return None
    return str(value)


def _is_whole(value: Decimal) -> bool:
    return value.is_finite() and value.adjusted() < DIGITS_MAX and value == value.to_integral_value()
