"""The dynamic local model update, exactly as published: [DLMU] 4.1, equation 1 and Algorithm 1. numpy only.

    beta  = min(alpha * ||W - w_prev||, 1)        w = (1 - beta) * W + beta * w_prev
    alpha = tau / ||w1 - W0||                     once, after the node's first local training

Norms are L2 over all parameters in float64. When a node mixes at all, and how much at most, is for
`fl.strategies`: the published rule alone can lock a node out of its federation for good.
"""

import math
from typing import NamedTuple

import numpy as np

from fl.fixed_point import Floats

# Norms are summed a chunk at a time: 1 MiB of float64 whatever the model's size.
CHUNK = 1 << 17


def distance(left: Floats, right: Floats) -> float:
    """||left - right|| in float64, for two vectors of one shape [n]; not finite when one of them is not."""
    if left.shape != right.shape:
        raise ValueError(f"vectors of shapes {left.shape} and {right.shape}, want one shape")
    squares = 0.0
    for start in range(0, len(left), CHUNK):
        step = left[start : start + CHUNK].astype(np.float64) - right[start : start + CHUNK]
        # No np.dot: its threads would spin beside the trainer's, and their number could change the last bits.
        squares += float(np.square(step, out=step).sum())
    return math.sqrt(squares) if math.isfinite(squares) else math.nan


def scaler(start: Floats, trained: Floats, tau: float) -> float | None:
    """alpha = tau / ||trained - start||; None when that training moved nothing or left the finite numbers.

    None means: keep starting from the global model and try again after the next training.
    """
    drift = distance(start, trained)
    if not math.isfinite(drift) or drift == 0.0:
        return None
    alpha = tau / drift
    return alpha if math.isfinite(alpha) else None


def mix_weight(separation: float, alpha: float) -> float:
    """beta: how much of its own last model a node keeps. NaN when an argument is not finite."""
    # Before the minimum: min(nan, 1) is nan but min(1, nan) is 1, poison or lock-in by the order of arguments.
    if not (math.isfinite(separation) and math.isfinite(alpha)):
        return math.nan
    # Capped at 1: a node far from the others keeps its own model, never overshoots it.
    return min(alpha * separation, 1.0)


def mix(global_vector: Floats, own: Floats, beta: float) -> Floats:
    """(1 - beta) * W + beta * w_prev, in float32."""
    if beta == 0.0:
        return global_vector.copy()
    mixed: Floats = np.float32(1.0 - beta) * global_vector
    mixed += np.float32(beta) * own
    return mixed


class StartPoint(NamedTuple):
    """Where a round starts. `asked`: beta before the cap; NaN when `own` or `alpha` was not finite."""

    vector: Floats
    beta: float
    asked: float


def start_point(global_vector: Floats, own: Floats | None, alpha: float | None, cap: float = 1.0) -> StartPoint:
    """The vector a round starts from and its beta; with the default `cap` the rule as published.

    The global model with beta 0 in a node's first participation, while alpha is unset, and when `own` or `alpha` is
    not finite.
    """
    if own is None or alpha is None:
        return StartPoint(global_vector.copy(), 0.0, 0.0)
    return mixed_start(global_vector, own, mix_weight(distance(global_vector, own), alpha), cap)


def mixed_start(global_vector: Floats, own: Floats, asked: float, cap: float) -> StartPoint:
    """The mix by `asked`, at most `cap`; the global model where `asked` is not finite or `own` is not."""
    if math.isnan(asked) or not bool(np.isfinite(own).all()):
        return StartPoint(global_vector.copy(), 0.0, math.nan)
    beta = min(asked, cap)
    return StartPoint(mix(global_vector, own, beta), beta, asked)
