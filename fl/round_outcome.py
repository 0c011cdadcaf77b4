"""What a round at one factory comes to: what leaves, what is kept, and what its owner is told. Trains nothing."""

from dataclasses import dataclass
from typing import NamedTuple

from fl.delta_blob import Block, delta_bytes, pack_delta
from fl.evaluate import Evaluation
from fl.fixed_point import HEAD, Floats, Ints, pack
from fl.masking import Longs
from fl.privacy.modes import PrivacyReport


@dataclass(frozen=True, slots=True)
class Metrics:
    """How training went, and how good three models are on the factory's test table (None without one).

    start: the global model the round was given; served: what the factory would use before the round; update: what
    it uploads. Losses and norms per epoch are raw statistics of the records: they stay in the factory.
    """

    steps: int
    losses: tuple[float, ...]
    gradient_norms: tuple[float, ...]
    start: Evaluation | None
    served: Evaluation | None
    update: Evaluation | None


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """beta: share of the own last model in the start; beta_asked: before the guards; alpha: the scaler after the
    round's start; drift: ||update - start|| (L2); warnings: sentences for the factory's owner."""

    beta: float
    beta_asked: float
    alpha: float | None
    drift: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RoundOutcome:
    """update_q: int32 [vectors * n], to be packed and uploaded. state: to be kept for the request's next round.

    weight: how much the strategy lets the update count.
    gradient_q: int64 [n], in mode distributed: what is masked in place of an update, and leaves in no other way. The
    update_q beside it is the global model that everybody has.
    changes: what leads from the global vector to update_q, where the strategy lets it travel so.
    """

    update_q: Ints
    weight: int
    state: bytes
    metrics: Metrics
    diagnostics: Diagnostics
    privacy: PrivacyReport
    gradient_q: Longs | None = None
    changes: tuple[Block, ...] | None = None

    def blob(self, scale_bits: int) -> bytes:
        """The update as it leaves the factory unmasked: as changes, where they are shorter than the whole."""
        whole = HEAD.size + 4 * len(self.update_q)
        if self.changes is None or delta_bytes(self.changes) >= whole:
            return pack(self.update_q, scale_bits)
        return pack_delta(self.changes, len(self.update_q), scale_bits)


class Served(NamedTuple):
    """vector: float32 [n]. share: of the factory's own model in it. fitted: to the classes of its own records.

    It saw the records without noise where it is fitted: it is for the factory alone.
    """

    vector: Floats
    share: float
    fitted: bool

    @property
    def is_global(self) -> bool:
        """Whether it is the global model, and nothing of the factory's own."""
        return not self.share and not self.fitted
