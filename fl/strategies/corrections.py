"""What strategies that correct every gradient have in common: how long the way of local steps is, and a guard.

A correction that is too strong for the step length feeds itself: the factory moves further, and takes that for its
gradient. So it is multiplied by (first drift / last drift)^2 where a factory's last training led further than its first
one. A CNN at a high learning rate left the numbers in the ninth round without it, and learned with it.
"""

import math
import struct
from dataclasses import dataclass

TRUTHS = ("true", "false")
# Of the first drift. With 2 the same CNN ended 13 points lower, with perceptrons it made no difference.
FURTHER = 1.0
_DRIFTS = struct.Struct("<dd")


def gradients_in_step(steps: int, momentum: float) -> float:
    """S: the length of the way of `steps` equal gradients under heavy-ball momentum, in steps without momentum.

    The j-th of K gradients moves the model by (1 - m^(K-j+1)) / (1 - m) steps, and S is the sum of these: what a way of
    W - y makes of one gradient, (W - y) / (S lr), is their weighted mean, exact when they are all the same.
    """
    # Added up, for the closed form loses its digits where the momentum is near 1.
    velocity = way = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        way += velocity
    return way


@dataclass(frozen=True, slots=True)
class Drifts:
    """How far a factory's trainings led, L2, as uploaded: the first that led anywhere, and the last. 0: none yet."""

    first: float = 0.0
    last: float = 0.0

    def strength(self) -> float:
        """What the correction is multiplied by, at most 1."""
        most = FURTHER * self.first
        if not most or self.last <= most:
            return 1.0
        return (most / self.last) ** 2

    def after(self, drift: float) -> "Drifts":
        """With one training more; one that is not finite says nothing."""
        return Drifts(self.first or drift, drift) if math.isfinite(drift) else self

    def to_bytes(self) -> bytes:
        return _DRIFTS.pack(self.first, self.last)


def drifts_before(data: bytes) -> tuple[Drifts, bytes | None]:
    """What `to_bytes` made, and the bytes after it; no drifts where there is less, or something else."""
    if len(data) < _DRIFTS.size:
        return Drifts(), None
    first, last = _DRIFTS.unpack_from(data)
    sound = math.isfinite(first) and math.isfinite(last) and first >= 0 and last >= 0
    return Drifts(first, last) if sound else Drifts(), data[_DRIFTS.size :]
