"""A round as plain values, before anything is trained: what the request says, what the provider allows."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fl.fixed_point import LIMIT, SCALE_BITS

Table: TypeAlias = tuple[NDArray[Any], NDArray[np.int64]]
"""Features [n, ...] (float32, uint8 or int64) and labels int64 [n]."""


@dataclass(frozen=True, slots=True)
class RoundJob:
    """A round as plain values: what the request says, and what the provider allows.

    `round_number` counts from 0. `seed` is the factory's own and orders its mini-batches together with the round.
    `noise`: the noise multiplier that the factory was charged for, in the modes that are accounted; 0 leaves it to the
    request, when that names one; in mode distributed it is the factory's own part of the noise and must be given.
    `units`: how many units of privacy it was charged with, public even where some are not
    there any more; 0: as many as there are.
    `deadline_s`: how long the round takes updates, for strategies that go by time; 0 where nobody says. `pace_s`: in a
    simulation, how long the factory takes for a step; 0: time is what a clock says.
    """

    model: str
    epochs: int
    batch: int
    lr: float
    momentum: float
    round_number: int
    seed: int
    strategy: str = "fedavg"
    privacy: str = "none"
    arguments: Mapping[str, str] = field(default_factory=dict)
    strategy_settings: Mapping[str, str] = field(default_factory=dict)
    privacy_settings: Mapping[str, str] = field(default_factory=dict)
    allow_no_guarantee: bool = False
    noise: float = 0.0
    units: int = 0
    scale_bits: int = SCALE_BITS
    limit: float = LIMIT
    deadline_s: float = 0.0
    pace_s: float = 0.0


def batch_seed(seed: int, round_number: int) -> int:
    """The seed of a round's mini-batches, 63 bits: other batches in every round, the same ones in every replay."""
    digest = hashlib.sha256(f"batches {seed} {round_number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
