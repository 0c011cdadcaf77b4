"""The clipping norm C of sound training: fixed, or following a noisy quantile of the gradients' norms.

The quantile rule is Andrew, Thakkar, McMahan, Ramaswamy 2021 (arXiv 1905.03871): every step also counts, with noise,
how many gradients were short, and C moves against it. What is counted is centred (short +1/2, long -1/2), so that
zeroing one unit out changes the sum by 1/2, and it is divided by the *expected* batch. Both queries of a step together
cost just what the gradient alone would at the multiplier sigma, because its noise is a little larger for it. Nothing
here is a raw statistic: C may be kept for the next round, but nobody needs it, so it never leaves.
"""

import math
import struct
from typing import Protocol

from torch import Tensor

from fl.privacy.secure_random import SecureRandom
from fl.privacy.terms import PrivacyRefused, SoundSettings

# Equation 2 of [DLMU] looks back two epochs; nothing older is kept.
CLIPS_KEPT = 2
CLIPS_MAGIC = b"HQC1"


class Clipping(Protocol):
    """`threshold`: C of the next step. `sigma`: the multiplier of the gradient's own noise.

    `past`: C at the ends of the last epochs, the newest last, for the next round.
    """

    threshold: float
    sigma: float
    past: tuple[float, ...]

    def observe(self, norms: Tensor, random: SecureRandom) -> None: ...

    def epoch_ended(self) -> None: ...


class FixedClip:
    """C is what the request says."""

    def __init__(self, settings: SoundSettings, sigma: float) -> None:
        self.threshold = settings.clip
        self.sigma = sigma
        self.past: tuple[float, ...] = ()

    def observe(self, norms: Tensor, random: SecureRandom) -> None:
        pass

    def epoch_ended(self) -> None:
        pass


class QuantileClip:
    """C follows the quantile step by step, within `clip_least` and `clip_most`.

    Without the caps it can run away: the noise is proportional to C, noisier weights have longer gradients, and C grows
    after them. With `published` C is held for an epoch instead, at what equation 2 of [DLMU] makes of the estimates at
    the ends of the two epochs before: their idea on private numbers, which costs nothing more.
    """

    def __init__(self, settings: SoundSettings, sigma: float, batch: int, past: tuple[float, ...] = ()) -> None:
        self._settings = settings
        self._batch = batch
        self._count_sigma = settings.clip_noise * sigma
        self.sigma = gradient_sigma(sigma, self._count_sigma)
        self.past = tuple(self._capped(clip) for clip in past[-CLIPS_KEPT:])
        self._estimate = self.past[-1] if self.past else settings.clip
        self.threshold = self._held() if settings.clip_rule == "published" else self._estimate

    def observe(self, norms: Tensor, random: SecureRandom) -> None:
        """Move the estimate by what the norms of one batch, float [drawn], tell through the noise."""
        centred = float((norms <= self._estimate).sum()) - len(norms) / 2
        noisy = centred + self._count_sigma * float(random.normal(1)[0])
        share = noisy / self._batch + 0.5
        settings = self._settings
        self._estimate = self._capped(self._estimate * math.exp(-settings.clip_pace * (share - settings.clip_quantile)))
        if settings.clip_rule == "quantile":
            self.threshold = self._estimate

    def epoch_ended(self) -> None:
        self.past = (*self.past, self._estimate)[-CLIPS_KEPT:]
        if self._settings.clip_rule == "published":
            self.threshold = self._held()

    def _held(self) -> float:
        if len(self.past) < CLIPS_KEPT:
            return self._estimate
        return self._capped(clipping_threshold(self.past[1], self.past[0], self._settings.clip_least))

    def _capped(self, clip: float) -> float:
        return min(max(clip, self._settings.clip_least), self._settings.clip_most)


def pack_clips(past: tuple[float, ...], state: bytes) -> bytes:
    """A strategy's state with the C of past epochs before it: both are kept by the factory for its next round."""
    return CLIPS_MAGIC + bytes([len(past)]) + struct.pack(f"<{len(past)}d", *past) + state


def unpack_clips(data: bytes | None) -> tuple[tuple[float, ...], bytes | None]:
    """(C of past epochs, the strategy's state) as `pack_clips` made them; no C for a state that has none before it."""
    head = len(CLIPS_MAGIC) + 1
    if data is None or data[: head - 1] != CLIPS_MAGIC or len(data) < head or len(data) < head + 8 * data[head - 1]:
        return (), data
    count = data[head - 1]
    past = struct.unpack_from(f"<{count}d", data, head)
    # A number that is none starts the rule anew; nothing else depends on it.
    good = count <= CLIPS_KEPT and all(math.isfinite(clip) and clip > 0 for clip in past)
    return past if good else (), data[head + 8 * count :]


def clipping_of(settings: SoundSettings, sigma: float, batch: int, past: tuple[float, ...] = ()) -> Clipping:
    """The rule that the settings name, going on from `past`, the C of earlier rounds."""
    if settings.clip_rule == "fixed":
        return FixedClip(settings, sigma)
    return QuantileClip(settings, sigma, batch, past)


def gradient_sigma(sigma: float, count_sigma: float) -> float:
    """(sigma^-2 - (2 count_sigma)^-2)^(-1/2): the multiplier of the gradient's noise when a step also counts.

    The count has sensitivity 1/2, so its multiplier is 2 count_sigma; the two together cost what sigma alone does.
    Raises PrivacyRefused when the count alone would spend it all: count_sigma <= sigma / 2.
    """
    if not count_sigma > sigma / 2 > 0:
        raise PrivacyRefused(f"noise {count_sigma:g} on the count of short gradients, want more than {sigma / 2:g}")
    return float((sigma**-2 - (2 * count_sigma) ** -2) ** -0.5)


def clipping_threshold(last: float, before: float, floor: float) -> float:
    """C_r = gamma * last + (1 - gamma) * before with gamma = |last - before| / last ([DLMU] eq. 2), at least `floor`.

    `last` and `before` are C_{E-1} and C_{E-2}. With before >= 2.618 * last the formula is zero or negative, with
    last = 0 it has no value: both give the floor.
    """
    if not (math.isfinite(last) and math.isfinite(before)) or last <= 0.0:
        return floor
    gamma = abs(last - before) / last
    return max(gamma * last + (1.0 - gamma) * before, floor)
