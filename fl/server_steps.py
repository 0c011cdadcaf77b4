"""Rules that take the mean of the updates for a step and let an optimiser of the league's take it: exact integers.

FedAvgM keeps the last movement of the global model, which everybody knows from the model before. FedAdam keeps two
vectors of its own beside the model, in the same blob. Everything is decided in integers: a product of two int32 fits an
int64, what would leave the range stays at its edge. So every member computes the same bits.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from fl.exact_sums import CHUNK, AggregateError, Wide, rounded_share, weighted_mean
from fl.fixed_point import Ints
from fl.robust import Updates
from fl.settings import Number

# Settings count in millionths.
MICRO = 1_000_000
# FedAdam's two vectors have so many binary places more than the model: its steps are small, and a mean that forgets a
# hundredth of itself a round would stand still at less. In return they reach only `limit` / 2^8 (2 of a limit of 512).
FINER_BITS = 8
FINER = 1 << FINER_BITS
ADAM_VECTORS = 3


@dataclass(frozen=True, slots=True)
class MomentumSettings:
    lr: Annotated[float, Number(0.000001, 10.0, "share of the updates' mean step that is taken")] = 0.3
    momentum: Annotated[float, Number(0.0, 0.999999, "share of the last movement that is made again")] = 0.9


@dataclass(frozen=True, slots=True)
class AdamSettings:
    lr: Annotated[float, Number(0.000001, 10.0, "step length")] = 0.03
    beta1: Annotated[float, Number(0.0, 0.999999, "how much of the mean step is remembered")] = 0.9
    beta2: Annotated[float, Number(0.0, 0.999999, "how much of the mean squared step is remembered")] = 0.99
    tau: Annotated[
        float, Number(0.000001, 1.0, "added to the root of the mean square: how adaptive, small is more")
    ] = 0.001


def momentum(settings: MomentumSettings, updates: Updates) -> Ints:
    """w + lr * (mean - w) + momentum * (w - w_previous): FedAvgM [Hsu, Qi and Brown 2019, arXiv 1909.06335].

    Their v' = momentum * v + (w - mean), w' = w - lr * v', with v told by the last movement, w - w_previous = -lr * v.
    Without a previous model there was no movement. A coordinate that would leave the range stays at its edge.
    """
    base, before = updates.base, updates.previous
    mean = weighted_mean(updates.vectors, updates.weights, updates.limit_q)
    share, kept = _micro(settings.lr), _micro(settings.momentum)
    moved = np.empty(len(base), np.int32)
    for start in range(0, len(base), CHUNK):
        origin = base[start : start + CHUNK].astype(np.int64)
        # Both differences lie below 2^32, both factors below 2^24: no sum leaves an int64.
        step = (mean[start : start + CHUNK] - origin) * share
        if before is not None:
            step += (origin - before[start : start + CHUNK]) * kept
        moved[start : start + CHUNK] = np.clip(origin + rounded_share(step, MICRO), -updates.limit_q, updates.limit_q)
    return moved


def adam(settings: AdamSettings, updates: Updates) -> Ints:
    """[w | m | r] of one round later: FedAdam [Reddi et al. 2021, arXiv 2003.00295, Algorithm 2]; only w is averaged.

    d = mean - w, m' = beta1 m + (1 - beta1) d, r' = sqrt(beta2 r^2 + (1 - beta2) d^2), w' = w + lr m' / (r' + tau). r
    is the root of the paper's v, which would have twice the digits. What the updates say of m and r is not looked at.
    Raises AggregateError for a base that is no three vectors.
    """
    count = adam_model(updates.base)
    mean = weighted_mean([vector[:count] for vector in updates.vectors], updates.weights, updates.limit_q)
    return adam_of_mean(settings, updates.base, mean, updates.scale_bits, updates.limit_q)


def adam_model(base: Ints) -> int:
    """How many coordinates the model in [w | m | r] has. Raises AggregateError."""
    count, rest = divmod(len(base), ADAM_VECTORS)
    if rest:
        raise AggregateError(f"{len(base)} coordinates, want model, mean and root of one length")
    return count


def adam_of_mean(settings: AdamSettings, base: Ints, mean: Ints, scale_bits: int, limit: int) -> Ints:
    """`adam`, of the mean of the factories' models, int32 [n]: all that it needs of them."""
    count = len(mean)
    after = np.empty(len(base), np.int32)
    tau = max(1, _micro(settings.tau) * (FINER << scale_bits) // MICRO)
    kept_mean, kept_square = _micro(settings.beta1), _micro(settings.beta2)
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        model, first, second = (base[at * count + start : at * count + stop].astype(np.int64) for at in range(3))
        # The finer vectors end at the edge, so a step beyond it cannot be told from one at it.
        step = np.clip((mean[start:stop] - model) * FINER, -limit, limit)
        first = rounded_share(first * kept_mean + step * (MICRO - kept_mean), MICRO)
        second = _root_of_mean_square(second, step, kept_square)
        moved = _ratio(first * _micro(settings.lr), second + tau, scale_bits)
        for at, part in enumerate((model + moved, first, second)):
            after[at * count + start : at * count + stop] = np.clip(part, -limit, limit)
    return after


def _root_of_mean_square(root: Wide, step: Wide, kept: int) -> Wide:
    """floor(sqrt((kept * root^2 + (MICRO - kept) * step^2) / MICRO)), exact; both below 2^31.

    A float64 gives the root or one beside it, as its argument lies below 2^62; what it is, is decided in integers.
    """
    # Squares up to 2^62 have no room for a factor of 2^20: whole millions and what is left are multiplied apart.
    high, low = np.divmod(root * root, MICRO)
    new_high, new_low = np.divmod(step * step, MICRO)
    new = MICRO - kept
    squares = high * kept + new_high * new + (low * kept + new_low * new) // MICRO
    found: Wide = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    found -= found * found > squares
    found += (found + 1) * (found + 1) <= squares
    return found


def _ratio(above: Wide, below: Wide, scale_bits: int) -> Wide:
    """round(above / (below * MICRO)) in steps of 2^-scale_bits, halves up; `below` at least 1.

    `above`: a finer mean times millionths, below 2^31 * 2^24 = 2^55, so the shift is made by dividing twice.
    """
    whole, rest = np.divmod(above, below)
    # rest < below < 2^32: shifted by at most 30 bits it fits an int64, and so does the whole unless it is far beyond.
    edge = np.int64(1) << (61 - scale_bits)
    scaled = (np.clip(whole, -edge, edge) << scale_bits) + (rest << scale_bits) // below
    return rounded_share(scaled, MICRO)


def _micro(number: float) -> int:
    return round(number * MICRO)
