"""What a factory tells of the classes of its records, in few words, and how far factories differ by that. No torch.

Told is the share of every class in whole steps of some percent: text such as "0:50 1:50", which fits into an offer on
the ledger. Rounding hides rare classes and exact counts; it is no noise, and proves nothing about a single record.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

TEXT_CHARS_MAX = 256
PERCENT = 100
# Rounded shares of many small classes no longer add up to anything: then the step says nothing that is true.
SUM_LEAST, SUM_MOST = 70, 130
_TOLD = re.compile(r"[0-9]{1,9}:[0-9]{1,3}( [0-9]{1,9}:[0-9]{1,3})*")


class LabelMixError(ValueError):
    """Shares that nobody could have told, or that cannot be told so. The text says what came and what was wanted."""


def told_shares(counts: Mapping[int, int], step: int) -> str:
    """The shares of classes, by class ascending, rounded to `step` percent, those that round to nothing left out.

    Raises LabelMixError for no records, or where so rough a text would not hold the mix.
    """
    total = sum(counts.values())
    if total <= 0:
        raise LabelMixError("no labelled records, so there are no shares to tell")
    shares = {}
    for label, count in sorted(counts.items()):
        # Half a step and more goes up.
        rounded = (2 * PERCENT * count + step * total) // (2 * step * total) * step
        if rounded:
            shares[label] = rounded
    text = " ".join(f"{label}:{share}" for label, share in shares.items())
    if not SUM_LEAST <= sum(shares.values()) <= SUM_MOST or len(text) > TEXT_CHARS_MAX:
        raise LabelMixError(f"{len(counts)} classes do not show in shares of {step} % and {TEXT_CHARS_MAX} characters")
    return text


def parsed_shares(text: str) -> dict[int, int]:
    """What `told_shares` wrote, from somebody else. Raises LabelMixError."""
    if len(text) > TEXT_CHARS_MAX or not _TOLD.fullmatch(text):
        raise LabelMixError(f"{text[:40]!r} tells no shares, want CLASS:PERCENT, parted by blanks")
    pairs = [tuple(map(int, each.split(":"))) for each in text.split(" ")]
    labels, shares = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if labels != sorted(set(labels)) or not all(1 <= share <= PERCENT for share in shares):
        raise LabelMixError(f"{text[:40]!r}: want classes ascending, each once, with 1 to {PERCENT} percent")
    if not SUM_LEAST <= sum(shares) <= SUM_MOST:
        raise LabelMixError(f"{text[:40]!r} adds up to {sum(shares)} percent, want about {PERCENT}")
    return dict(zip(labels, shares, strict=True))


@dataclass(frozen=True, slots=True)
class FactoryMix:
    """One factory: how many records it offers, and by class its share or count, in any one unit, above 0."""

    name: str
    records: int
    weights: Mapping[str, float]

    def share(self, label: str) -> float:
        return self.weights.get(label, 0.0) / sum(self.weights.values())


@dataclass(frozen=True, slots=True)
class Differences:
    """How far factories differ. distance: mean total variation between a factory's mix and that of all, 0 (alike) to 1;
    farthest: the greatest, and whose; classes: in all; held: classes a factory has, in the mean; alone: by class, the
    only factory that has it; largest_share: of all records, at one factory.
    """

    factories: int
    records: int
    distance: float
    farthest: tuple[str, float]
    classes: int
    held: float
    alone: Mapping[str, str]
    largest_share: float


def differences(mixes: Sequence[FactoryMix]) -> Differences:
    """Raises LabelMixError for fewer than two factories, or one without records or classes."""
    if len(mixes) < 2:
        raise LabelMixError(f"{len(mixes)} factories say which classes they have, want two at least")
    for mix in mixes:
        if mix.records < 1 or not mix.weights or min(mix.weights.values()) <= 0:
            raise LabelMixError(f"{mix.name} has {mix.records} records of {len(mix.weights)} classes, want both")
    total = sum(mix.records for mix in mixes)
    labels = sorted({label for mix in mixes for label in mix.weights})
    pooled = {label: sum(mix.records * mix.share(label) for mix in mixes) / total for label in labels}
    apart = {mix.name: sum(abs(mix.share(label) - pooled[label]) for label in labels) / 2 for mix in mixes}
    owners = {label: [mix.name for mix in mixes if label in mix.weights] for label in labels}
    return Differences(
        factories=len(mixes),
        records=total,
        distance=sum(apart[mix.name] for mix in mixes) / len(mixes),
        farthest=max(apart.items(), key=lambda each: each[1]),
        classes=len(labels),
        held=sum(len(mix.weights) for mix in mixes) / len(mixes),
        alone={label: names[0] for label, names in owners.items() if len(names) == 1},
        largest_share=max(mix.records for mix in mixes) / total,
    )
