"""How often a unit of privacy is looked at: Poisson batches of a stated rate, so many steps. Exact, and no torch.

The node charges for what `sampling` says before a round, and the round then does just that.
"""

from dataclasses import dataclass
from fractions import Fraction

# The coins are 64-bit words: a rate is met to 2^-64, rounded down, so never above what was charged for.
WORD = 1 << 64


@dataclass(frozen=True, slots=True)
class Sampling:
    """`batch` of `units` on average a step, each unit on its own with the probability batch / units; so many steps."""

    batch: int
    units: int
    steps: int

    @property
    def rate(self) -> Fraction:
        return Fraction(self.batch, self.units)


def sampling(units: int, batch: int, epochs: int) -> Sampling:
    """What `epochs` passes in batches of `batch` mean for so many units (records, or groups of them).

    Fewer units than a batch are taken whole every step. A pass is ceil(units / batch) steps, for every number of
    units is public: nothing here depends on a record. Raises ValueError for less than one of anything.
    """
    if min(units, batch, epochs) < 1:
        raise ValueError(f"{units} units in batches of {batch} for {epochs} epochs, want at least 1 of each")
    batch = min(batch, units)
    return Sampling(batch, units, epochs * -(-units // batch))
