"""What a request may say of each privacy mode: the settings, their bounds and defaults. Decides and trains nothing.

Pure Python: a node reads a request without torch. The modes themselves: modes.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fl.settings import Choice, Number, Text, parse_settings

UNIT_CHARS_MAX = 96
GROUP_PREFIX = "group:"
CLIP_RULES = ("fixed", "quantile", "published")
ACCURACIES = ("none", "noisy", "exact")
# Mode paper: two clean epochs for the two norms, and the noised one.
PAPER_EPOCHS_LEAST = 3


class PrivacyRefused(Exception):
    """These privacy terms are not carried out here: unknown, not available, or not allowed by this provider."""


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """[DLMU] 4.2, where the paper leaves a choice: C_r comes from the means of the records' gradient norms in the last
    two clean epochs (so 3 epochs at least), never falls below `clip_floor` (the published formula is zero or less when
    norms fall 2.618-fold), and `sigma` is a noise multiplier (the paper's sigma = 1e-5 can only be a delta)."""

    sigma: Annotated[float, Number(0.0, 1000.0, "noise multiplier of the last epoch")] = 1.0
    clip_floor: Annotated[float, Number(1e-12, 1e6, "least clipping threshold C_r")] = 1e-6
    clip: Annotated[
        float, Number(0.0, 1e6, "a fixed threshold C, the paper's baseline; 0: C_r from the two clean epochs")
    ] = 0.0


@dataclass(frozen=True, slots=True)
class SoundSettings:
    """Poisson batches, every step clipped and noised. `clip` hardly matters under the rule "fixed": what is added up is
    divided by it, so that the learning rate means the same at every C."""

    epsilon: Annotated[float, Number(0.01, 1000.0, "most a provider spends on all rounds of the request")] = 8.0
    delta: Annotated[float, Number(1e-12, 1e-3, "delta of that epsilon; a provider wants it below 1/(10 N) too")] = 1e-5
    sigma: Annotated[float, Number(0.0, 1000.0, "noise multiplier; 0: each provider's least that keeps epsilon")] = 0.0
    clip: Annotated[float, Number(1e-6, 1e6, "C: the longest gradient of one unit that counts whole")] = 1.0
    clip_rule: Annotated[
        str,
        Choice(
            CLIP_RULES,
            "C stays, or follows a noisy quantile of the norms step by step, or by equation 2 of [DLMU] epoch by epoch",
        ),
    ] = "fixed"
    clip_quantile: Annotated[float, Number(0.01, 0.5, "quantile: share of norms that C shall be above")] = 0.5
    clip_pace: Annotated[float, Number(0.001, 1.0, "quantile: how fast C follows, in the logarithm")] = 0.1
    clip_least: Annotated[float, Number(1e-6, 1e6, "quantile: C never below")] = 0.01
    clip_most: Annotated[float, Number(1e-6, 1e6, "quantile: C never above")] = 10.0
    clip_noise: Annotated[float, Number(1.0, 100.0, "quantile: noise of the count of short ones, over sigma")] = 3.5
    unit: Annotated[str, Text(UNIT_CHARS_MAX, "whose data one unit is: record, or group:COLUMN of the table")] = (
        "record"
    )
    accuracy: Annotated[str, Choice(ACCURACIES, "what is told of the provider's own test records")] = "none"
    accuracy_sigma: Annotated[float, Number(0.3, 1e6, "noisy: deviation of the noise on the count of correct ones")] = (
        20.0
    )

    def __post_init__(self) -> None:
        group_column(self.unit)
        _check_accuracy(self.accuracy, self.unit)
        if not self.clip_least <= self.clip <= self.clip_most and self.clip_rule != "fixed":
            raise PrivacyRefused(
                f"privacy mode sound: clip is {self.clip:g}, want {self.clip_least:g} (clip_least) to "
                f"{self.clip_most:g} (clip_most) under clip_rule {self.clip_rule}"
            )


@dataclass(frozen=True, slots=True)
class DistributedSettings:
    """One clipped step over all records a round, whose noise the providers add together. For masked requests only."""

    epsilon: Annotated[float, Number(0.01, 1000.0, "most a provider spends on all rounds of the request")] = 8.0
    delta: Annotated[float, Number(1e-12, 1e-3, "delta of that epsilon; a provider wants it below 1/(10 N) too")] = 1e-5
    sigma: Annotated[
        float, Number(0.0, 1000.0, "noise multiplier of the sum; 0: each provider's least that keeps epsilon")
    ] = 0.0
    clip: Annotated[float, Number(1e-6, 1e6, "C: the longest gradient of one unit that counts whole")] = 1.0
    unit: Annotated[str, Text(UNIT_CHARS_MAX, "whose data one unit is: record, or group:COLUMN of the table")] = (
        "record"
    )
    accuracy: Annotated[str, Choice(ACCURACIES, "what is told of the provider's own test records")] = "none"
    accuracy_sigma: Annotated[float, Number(0.3, 1e6, "noisy: deviation of the noise on the count of correct ones")] = (
        20.0
    )

    def __post_init__(self) -> None:
        group_column(self.unit)
        _check_accuracy(self.accuracy, self.unit)


def _check_accuracy(accuracy: str, unit: str) -> None:
    if accuracy == "noisy" and unit != "record":
        # What zeroing one group out changes is as much as the group is large, and nothing bounds that.
        raise PrivacyRefused(f"accuracy is noisy and unit is {unit}, want none or exact: the noise hides records only")


def group_column(unit: str) -> str | None:
    """The column whose values are the units of privacy; None when every record is one. Raises PrivacyRefused."""
    if unit == "record":
        return None
    if unit.startswith(GROUP_PREFIX) and len(unit) > len(GROUP_PREFIX):
        return unit[len(GROUP_PREFIX) :]
    raise PrivacyRefused(f"unit is {unit[:UNIT_CHARS_MAX]!r}, want record, or group: and the name of a column")


def paper_settings(settings: Mapping[str, str]) -> PaperSettings:
    """The settings of `paper`. Raises PrivacyRefused for one it does not have or allow."""
    return parse_settings(PaperSettings, "privacy mode paper", settings, PrivacyRefused)


def sound_settings(settings: Mapping[str, str]) -> SoundSettings:
    """The settings of `sound`. Raises PrivacyRefused for one it does not have or allow."""
    return parse_settings(SoundSettings, "privacy mode sound", settings, PrivacyRefused)


def distributed_settings(settings: Mapping[str, str]) -> DistributedSettings:
    """The settings of `distributed`. Raises PrivacyRefused for one it does not have or allow."""
    return parse_settings(DistributedSettings, "privacy mode distributed", settings, PrivacyRefused)
