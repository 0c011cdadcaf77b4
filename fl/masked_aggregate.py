"""The new global model from masked updates: the rules that need no more than their sum, in exact integers (DESIGN D4).

`aggregate_masked` is what the leader computes and every committee member recomputes, as `fl.aggregate` has it for
updates that may be seen. A rule is a row in `SUM_RULES`. How a sum is unmasked is in `fl.masking`.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np

from fl.aggregate import CHUNK, INT64_MAX, MICRO, RULES, VECTORS_MAX, Aggregated, AggregateError, total_weight_max
from fl.fixed_point import Bytes, Ints, pack, unpack
from fl.mask_keys import MaskContext
from fl.masking import Longs, MaskMember, unmask
from fl.server_steps import ADAM_VECTORS, AdamSettings, adam_model, adam_of_mean
from fl.settings import Whole, parse_settings

# A record's clipped gradient has length 1 = 2^24 steps: a float32 gradient has no finer digits, and the sum over 2^38
# records fits an int64.
GRADIENT_BITS = 24
# Far beyond all noise (its sum lies under some thousand lengths of a gradient) and far below what garbage sums to.
NOISE_UNITS_MAX = 1 << 20
STEP_WEIGHT_MAX = (1 << 38) - NOISE_UNITS_MAX

_DECIMAL = re.compile(r"([0-9]{1,4})(?:\.([0-9]{1,9}))?")
RATE_MOST = 1000


@dataclass(frozen=True, slots=True)
class Sums:
    """`sums`: int64 [n] over those who delivered; `weight`: of them all; `limit_q`, `scale_bits`: the model's form."""

    sums: Longs
    weight: int
    limit_q: int
    scale_bits: int


SumRule: TypeAlias = Callable[[Mapping[str, str], Ints, Sums], Ints]
"""(settings, base, sums) -> the new vector, every |coordinate| at most limit_q."""


def summed_mean(sums: Longs, weight: int, limit_q: int) -> Ints:
    """floor((2 * sum + W) / (2 W)) for every coordinate: bit for bit `fl.aggregate.weighted_mean` of what was summed.

    Raises AggregateError when no updates within `limit_q` could sum to this.
    """
    if not 1 <= weight <= total_weight_max(limit_q):
        raise AggregateError(f"weights sum to {weight}, want 1 to {total_weight_max(limit_q)}")
    _check_bound(sums, weight * limit_q)
    mean = np.empty(len(sums), np.int32)
    for start in range(0, len(sums), CHUNK):
        chunk = sums[start : start + CHUNK] * 2
        chunk += weight
        chunk //= 2 * weight
        mean[start : start + CHUNK] = chunk
    return mean


def noisy_step(base: Ints, sums: Longs, weight: int, rate: tuple[int, int], limit_q: int, scale_bits: int) -> Ints:
    """base - round(rate * sum / W): one step against the mean of the records' clipped gradients and of the noise on it.

    `sums`: in steps of 2^-GRADIENT_BITS; `rate`: the step's length as (numerator, denominator); halves round up. A
    coordinate that would leave +-limit_q stays at its edge. Raises AggregateError when no gradients could sum to this.
    """
    if not 1 <= weight <= STEP_WEIGHT_MAX:
        raise AggregateError(f"weights sum to {weight}, want 1 to {STEP_WEIGHT_MAX}")
    _check_bound(sums, (weight + NOISE_UNITS_MAX) << GRADIENT_BITS)
    above, below = rate[0] << scale_bits, rate[1] * weight << GRADIENT_BITS
    common = math.gcd(above, below)
    above, below = above // common, below // common
    stepped = np.empty(len(base), np.int32)
    for start in range(0, len(base), CHUNK):
        steps = base[start : start + CHUNK] + _rounded(sums[start : start + CHUNK], -above, below)
        # By now everybody knows the sum. Were there no model, nobody would be paid for it: a requester could ask for
        # steps that must leave the range, or begin at its edge, and have the gradients of many attempts for nothing.
        stepped[start : start + CHUNK] = np.clip(steps, -limit_q, limit_q)
    return stepped


def _rounded(sums: Longs, above: int, below: int) -> Longs:
    """floor((2 * sum * above + below) / (2 * below)), exact whatever the sizes."""
    largest = max(-int(sums.min()), int(sums.max()))
    if 2 * largest * abs(above) + below <= INT64_MAX and 2 * below <= INT64_MAX:
        whole: Longs = (sums * (2 * above) + below) // (2 * below)
        return whole
    # Python's integers: slow, and needed only for step lengths of many digits.
    exact = [(2 * each * above + below) // (2 * below) for each in sums.tolist()]
    # Whatever lies beyond is brought to the edge by the caller; held here so that it fits the array.
    return np.array([max(min(each, INT64_MAX >> 1), -INT64_MAX >> 1) for each in exact], np.int64)


def _check_bound(sums: Longs, most: int) -> None:
    low, high = int(sums.min()), int(sums.max())
    if low < -most or high > most:
        raise AggregateError(
            f"the updates sum to coordinates from {low} to {high}, want -{most} to {most}: "
            "somebody masked something else than an update"
        )


def step_rate(settings: Mapping[str, str]) -> tuple[int, int]:
    """The step length `lr` of rule noisy-step, an exact decimal, as (numerator, denominator). Raises AggregateError."""
    unknown = sorted(settings.keys() - {"lr"})
    if unknown:
        raise AggregateError(f"rule noisy-step has no setting {', '.join(unknown)}; it has lr")
    found = _DECIMAL.fullmatch(settings.get("lr", ""))
    if found is not None:
        fraction = found[2] or ""
        above, below = int(found[1] + fraction), 10 ** len(fraction)
        if 0 < above <= RATE_MOST * below:
            return above, below
    raise AggregateError(
        f"rule noisy-step: lr is {settings.get('lr', 'missing')[:40]!r}, want a decimal such as 0.25 above 0, at most "
        f"{RATE_MOST}, with at most nine digits behind the point"
    )


@dataclass(frozen=True, slots=True)
class MaskedMeanSettings:
    """Of vectors behind the model nothing needs to be known here: they are averaged like it."""

    vectors: Annotated[int, Whole(1, VECTORS_MAX, "how many an update holds")] = 1


def _mean_settings(settings: Mapping[str, str]) -> MaskedMeanSettings:
    return parse_settings(MaskedMeanSettings, "rule mean", settings, AggregateError)


def _adam_settings(settings: Mapping[str, str]) -> AdamSettings:
    return parse_settings(AdamSettings, "rule adam", settings, AggregateError)


def _mean(settings: Mapping[str, str], base: Ints, given: Sums) -> Ints:
    _mean_settings(settings)
    return summed_mean(given.sums, given.weight, given.limit_q)


def _adam(settings: Mapping[str, str], base: Ints, given: Sums) -> Ints:
    mean = summed_mean(given.sums[: adam_model(base)], given.weight, given.limit_q)
    return adam_of_mean(_adam_settings(settings), base, mean, given.scale_bits, given.limit_q)


def _noisy_step(settings: Mapping[str, str], base: Ints, given: Sums) -> Ints:
    return noisy_step(base, given.sums, given.weight, step_rate(settings), given.limit_q, given.scale_bits)


SUM_RULES: dict[str, SumRule] = {"mean": _mean, "adam": _adam, "noisy-step": _noisy_step}
# What takes the sum of the updates each counted once, for they hold sums over records already.
COUNTED_ONCE = {"noisy-step"}


def check_masked_rule(rule: str, settings: Mapping[str, str]) -> None:
    """Raises AggregateError, with the reason, for a rule or setting that masked updates cannot be aggregated by."""
    if rule == "noisy-step":
        step_rate(settings)
    elif rule == "mean":
        _mean_settings(settings)
    elif rule == "adam":
        _adam_settings(settings)
    elif rule == "momentum":
        raise AggregateError(
            "rule momentum needs the global model before the last, which masked rounds do not name: want updates that "
            "are not masked"
        )
    elif rule in RULES:
        raise AggregateError(
            f"rule {rule} compares the updates with one another, and of masked updates only the sum is ever seen: "
            f"want {' or '.join(SUM_RULES)}, or updates that are not masked"
        )
    else:
        raise AggregateError(f"unknown rule {rule[:40]!r}, want one of {', '.join(SUM_RULES)} for masked updates")


def masked_vectors_seen(rule: str, settings: Mapping[str, str]) -> int:
    """How many vectors of one length the rule takes the sum for. Raises AggregateError, as `check_masked_rule` does."""
    check_masked_rule(rule, settings)
    if rule == "mean":
        return _mean_settings(settings).vectors
    return ADAM_VECTORS if rule == "adam" else 1


def check_open_rule(rule: str) -> None:
    """Raises AggregateError, with the reason, for a rule that only masked updates can be aggregated by."""
    if rule in SUM_RULES and rule not in RULES:
        raise AggregateError(f"rule {rule} steps by the sum of masked gradients: want masked updates with it")


def factor(rule: str, weight: int) -> int:
    """What a provider multiplies its values by before it masks them."""
    return 1 if rule in COUNTED_ONCE else weight


def aggregate_masked(
    rule: str,
    settings: Mapping[str, str],
    base: Bytes,
    context: MaskContext,
    members: Sequence[MaskMember],
    weights: Mapping[bytes, int],
    scale_bits: int,
    limit_q: int,
) -> Aggregated:
    """The new global model from the blob of the old one and what those whose masks count delivered.

    `weights`: of everybody who delivered, and of nobody else. Nothing can be said of a single update, so the qualities,
    one for each delivered one in the order of `members`, are all MICRO.

    Raises WrongShares, naming the dealer, for shares that combine to something else than was announced; InvalidVector
    for a blob of another form; AggregateError for a rule that needs more than a sum, for weights other than those that
    were masked, and for a sum that no honest updates have.
    """
    check_masked_rule(rule, settings)
    here = {member.org for member in members if member.blob is not None}
    if here != set(weights):
        raise AggregateError(f"{len(here)} updates delivered with weights of {len(weights)}, want the same providers")
    origin = unpack(base, context.count, scale_bits, limit_q)
    found = unmask(context, members)
    if found.weight != sum(weights.values()):
        raise AggregateError(f"the masked weights sum to {found.weight}, want {sum(weights.values())} as announced")
    whole = SUM_RULES[rule](settings, origin, Sums(found.sums, found.weight, limit_q, scale_bits))
    return Aggregated(pack(whole, scale_bits), (MICRO,) * len(here))
