"""The vectors at the two ends of a round: the global one that comes, and the update as everybody else will see it."""

import numpy as np

from fl.delta_blob import Block, apply_delta
from fl.fixed_point import Floats, Ints, decode, encode, limit_in_steps
from fl.round_job import RoundJob
from fl.round_setup import Setup
from fl.strategies.base import Strategy, View
from fl.vectors import VectorMismatch


def global_vector_of(job: RoundJob, setup: Setup, base_q: Ints) -> Floats:
    """The global vector, float32 [vectors * n], that `base_q` holds. Raises VectorMismatch."""
    rule = setup.rule
    count = rule.vectors * setup.layout.count
    if base_q.shape != (count,) or base_q.dtype != np.int32:
        whom = job.model if rule.vectors == 1 else f"{job.model}, {rule.vectors} vectors of strategy {rule.name}"
        raise VectorMismatch(
            f"global model is {base_q.dtype} of shape {base_q.shape}, want int32 of shape [{count}] for {whom}"
        )
    most = limit_in_steps(job.limit, job.scale_bits)
    low, high = int(base_q.min()), int(base_q.max())
    if low < -most or high > most:
        raise VectorMismatch(f"global model has coordinates from {low} to {high}, want -{most} to {most}")
    return decode(base_q, job.scale_bits)


def as_it_travels(
    job: RoundJob, rule: Strategy, view: View, base_q: Ints, uploaded: Floats
) -> tuple[Ints, tuple[Block, ...] | None]:
    """What leaves of what the strategy uploads: the update, int32 [vectors * n], and the changes that lead to it from
    `base_q`, where the strategy lets it travel so. Raises VectorMismatch and NotEncodable."""
    update_q = encode(_whole(rule, view, uploaded), job.scale_bits, job.limit)
    if not rule.sends_changes:
        return update_q, None
    limit_q = limit_in_steps(job.limit, job.scale_bits)
    changes = rule.changes(view, base_q, update_q, job.scale_bits, limit_q)
    return (update_q if changes is None else apply_delta(base_q, changes, limit_q)), changes


def _whole(rule: Strategy, view: View, uploaded: Floats) -> Floats:
    """What a strategy uploads, checked: other members take no other shape."""
    if uploaded.shape != view.global_vector.shape or uploaded.dtype != np.float32:
        raise VectorMismatch(
            f"strategy {rule.name} uploads {uploaded.dtype} of shape {uploaded.shape}, "
            f"want float32 of shape [{len(view.global_vector)}]"
        )
    return uploaded
