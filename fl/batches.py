"""A training table as tensors, and its records in a seeded order, a block of mini-batches at a time."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Gathering a block costs one call instead of one a step; 16 MiB keeps the copy small beside the table.
BLOCK_BYTES_MAX = 16 * 1024 * 1024


class UnusableTable(ValueError):
    """Features and labels that no model here can be trained or tested on."""


@dataclass(frozen=True, slots=True)
class Records:
    """Features float32, uint8 or int64 of shape [n, ...] and labels int64 [n] (or [n, time]), both on one device."""

    features: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.features)

    def to(self, device: torch.device) -> "Records":
        """The records on that device; the same memory where they are there already."""
        return Records(self.features.to(device), self.labels.to(device))


def as_records(features: NDArray[Any], labels: NDArray[np.int64]) -> Records:
    """The same memory as tensors; nothing is copied. Raises UnusableTable."""
    if features.dtype not in (np.float32, np.uint8, np.int64):
        raise UnusableTable(f"features are {features.dtype}, want float32, uint8 or int64")
    if labels.dtype != np.int64:
        raise UnusableTable(f"labels are {labels.dtype}, want int64")
    if features.ndim < 1 or labels.ndim < 1 or len(features) != len(labels) or not len(features):
        raise UnusableTable(
            f"features of shape {features.shape} with labels of shape {labels.shape}, "
            f"want as many of one as of the other and at least one"
        )
    if int(labels.min()) < 0:
        raise UnusableTable(f"label {int(labels.min())}, want 0 or more")
    if features.flags.writeable and labels.flags.writeable:
        return Records(torch.from_numpy(features), torch.from_numpy(labels))
    with warnings.catch_warnings():
        # A memory-mapped table is read-only; torch warns about writing to it, which nothing here does.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return Records(torch.from_numpy(features), torch.from_numpy(labels))


def as_input(features: Tensor) -> Tensor:
    """What a model is fed: uint8 pixels become float32 in [0, 1], everything else stays as it is."""
    return features.float().div_(255.0) if features.dtype == torch.uint8 else features


def shuffled_blocks(records: Records, batch: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch: every record once, in the order of `torch.randperm(n, generator)`, as (inputs, labels) blocks.

    Every block but the last holds a whole number of mini-batches; the last mini-batch may be short and is kept.
    """
    # Drawn on the CPU wherever the records are: the same order on every machine.
    order = torch.randperm(len(records), generator=generator, device="cpu").to(records.features.device)
    # Pixels grow to four bytes when they become floats; codes are eight.
    row_bytes = max(4, records.features.element_size()) * max(1, records.features[0].numel())
    rows = batch * max(1, BLOCK_BYTES_MAX // (row_bytes * batch))
    for rows_of_block in torch.split(order, rows):
        inputs = as_input(records.features.index_select(0, rows_of_block))
        yield inputs, records.labels.index_select(0, rows_of_block)
