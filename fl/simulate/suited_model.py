"""A model for records when nobody names one: what was tried on such data if it fits, else a small network that does."""

from collections.abc import Mapping
from math import prod

import numpy as np

from fl.data.tables import Table
from fl.models.shapes import Signature, signature

HIDDEN = 64
"""Units of the one hidden layer: enough for a first look at any table, quick on one core."""


def suited_model(
    table: Table, tried: str = "", arguments: Mapping[str, str] | None = None
) -> tuple[str, dict[str, str]]:
    """(name, arguments): `tried` with its arguments where it takes these records, else an MLP, or for codes an LSTM.

    Raises ModelError when `tried` is no model.
    """
    given = dict(arguments or {})
    if tried and _takes(signature(tried, given), table):
        return tried, given
    classes = len(table.classes)
    if table.features.dtype == np.int64:
        return "char-lstm", {"vocabulary": str(classes)}
    return "mlp", {"layers": f"{prod(table.record_shape)},{HIDDEN},{classes}"}


def _takes(told: Signature | None, table: Table) -> bool:
    """Whether a model that says this of itself takes the records; one that says nothing does not count."""
    if told is None or told.classes < len(table.classes) or told.codes != (table.features.dtype == np.int64):
        return False
    shape, wanted = table.record_shape, told.input_shape
    if len(wanted) == 1 and wanted[0] is not None:
        # Fully connected networks flatten whatever they are given.
        return prod(shape) == wanted[0]
    return len(shape) == len(wanted) and all(want in (None, have) for want, have in zip(wanted, shape, strict=True))
