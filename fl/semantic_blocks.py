"""A model in semantic blocks, and which of them changed most: what FedOBD decides by (Chen et al., IJCAI 2023, 3.1).

A block is a layer: the tensors of one module. A layer that would be a large part of the model is cut by its units, the
incoming weights of a group of units being a block, for else it would be sent always or never. numpy only.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod, sqrt

import numpy as np

from fl.fixed_point import Ints
from fl.models.shapes import Shapes

# torch names what belongs to the layers of one recurrent module so: weight_ih_l0, bias_hh_l1_reverse.
_RECURRENT = re.compile(r"_(l\d+(?:_reverse)?)$")


@dataclass(frozen=True, slots=True)
class SemanticBlock:
    """Runs of coordinates in the model's flat vector, [start, stop) each, ascending: one for every tensor in it."""

    name: str
    runs: tuple[tuple[int, int], ...]

    @property
    def count(self) -> int:
        return sum(stop - start for start, stop in self.runs)


def semantic_blocks(shapes: Shapes, largest: float) -> tuple[SemanticBlock, ...]:
    """The blocks of a model, in its order; together they are all of it, and none overlap.

    `largest`: the share of the model that one block may be, in (0, 1]; a layer beyond is cut into as many groups of its
    units as that takes, and at most into its units.
    """
    layers: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
    start = 0
    for name, shape in shapes:
        layers.setdefault(_layer(name), []).append((start, shape))
        start += prod(shape)
    blocks = []
    for name, tensors in layers.items():
        groups = ceil(sum(prod(shape) for _, shape in tensors) / (largest * start))
        blocks += _cut(name, tensors, groups) if groups > 1 else [_block(name, tensors)]
    return tuple(blocks)


def mean_block_difference(block: SemanticBlock, base: Ints, update: Ints) -> float:
    """MBD(b) = ||b_now - b_before||_2 / |b|, in steps of the vectors: how much a block has changed."""
    squares = 0.0
    for start, stop in block.runs:
        step = update[start:stop].astype(np.float64) - base[start:stop]
        squares += float(step @ step)
    return sqrt(squares) / block.count


def most_changed(blocks: Sequence[SemanticBlock], base: Ints, update: Ints, drop: float) -> tuple[SemanticBlock, ...]:
    """The blocks to send, in the model's order: the most changed ones that fit in 1 - drop of the coordinates.

    One that does not fit is passed over for less changed ones that do (Algorithm 2 there). The most changed block is
    always sent, however large: an update of nothing would help nobody.
    """
    budget = (1 - drop) * sum(block.count for block in blocks)
    changed = [mean_block_difference(block, base, update) for block in blocks]
    ranked = sorted(range(len(blocks)), key=lambda at: (-changed[at], at))
    chosen: list[int] = []
    used = 0
    for at in ranked:
        if not chosen or used + blocks[at].count <= budget:
            chosen.append(at)
            used += blocks[at].count
    return tuple(blocks[at] for at in sorted(chosen))


def _layer(name: str) -> str:
    module, _, tensor = name.rpartition(".")
    recurrent = _RECURRENT.search(tensor)
    return f"{module}.{recurrent[1]}" if recurrent else module or tensor


def _block(name: str, tensors: Sequence[tuple[int, tuple[int, ...]]]) -> SemanticBlock:
    return SemanticBlock(name, tuple((start, start + prod(shape)) for start, shape in tensors))


def _cut(name: str, tensors: Sequence[tuple[int, tuple[int, ...]]], groups: int) -> list[SemanticBlock]:
    """Groups of units: the rows of every tensor that belong to them, the first dimension being the units."""
    groups = min(groups, max(shape[0] if shape else 1 for _, shape in tensors))
    parts: list[list[tuple[int, int]]] = [[] for _ in range(groups)]
    for start, shape in tensors:
        units = shape[0] if shape else 1
        size = prod(shape) // units if units else 0
        for at, part in enumerate(parts):
            first, last = units * at // groups, units * (at + 1) // groups
            if first < last:
                part.append((start + first * size, start + last * size))
    return [SemanticBlock(f"{name}[{at}]", tuple(runs)) for at, runs in enumerate(parts) if runs]
