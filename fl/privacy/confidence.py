"""What counted guesses prove: exact confidence bounds on rates, and the least epsilon that a distinguisher's show.

Standard library only. Nothing here trains, draws or decides what is guessed: that is `fl.privacy.audit` and
`fl.privacy.membership`. Bounds are those of Clopper and Pearson 1934: exact at any size, never merely "about" 95 %.
"""

import math
from dataclasses import dataclass

# A bound is wrong in one audit of twenty at most, all bounds that it uses taken together.
CONFIDENCE = 0.95
# Halvings of [0, 1]: past 2^-50 a rate's last digits are the sum's rounding.
HALVINGS = 50


def rate_at_least(hits: int, trials: int, fault: float) -> float:
    """The rate below which `hits` of `trials` or more happen with probability `fault` at most; 0 without a hit."""
    _check(hits, trials, fault)
    if not hits:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _at_least(hits, trials, middle) <= fault else (low, middle)
    return low


def rate_at_most(hits: int, trials: int, fault: float) -> float:
    """The rate above which `hits` of `trials` or fewer happen with probability `fault` at most; 1 when all hit."""
    return 1.0 - rate_at_least(trials - hits, trials, fault)


def _check(hits: int, trials: int, fault: float) -> None:
    if not (0 <= hits <= trials and trials >= 1 and 0.0 < fault < 1.0):
        raise ValueError(f"{hits} of {trials} at fault {fault}, want 0 <= hits <= trials, trials >= 1, 0 < fault < 1")


def _at_least(hits: int, trials: int, rate: float) -> float:
    """P[Binomial(trials, rate) >= hits]."""
    if rate <= 0.0:
        return 1.0 if not hits else 0.0
    if rate >= 1.0:
        return 1.0
    # The shorter tail, in logarithms: no binomial coefficient overflows, and no small tail is lost in 1 - large.
    below = hits <= trials * rate
    wanted = range(hits) if below else range(hits, trials + 1)
    share = math.fsum(math.exp(_log_choose(trials, k) + _log_power(k, trials, rate)) for k in wanted)
    return 1.0 - share if below else share


def _log_choose(trials: int, hits: int) -> float:
    return math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)


def _log_power(hits: int, trials: int, rate: float) -> float:
    return hits * math.log(rate) + (trials - hits) * math.log1p(-rate)


@dataclass(frozen=True, slots=True)
class Guesses:
    """A distinguisher's record: "in" was said `caught` times of `present` where it was true, and `alarms` times of
    `absent` where it was not."""

    caught: int
    present: int
    alarms: int
    absent: int

    @property
    def advantage(self) -> float:
        """True positive rate less false positive rate, as counted."""
        return self.caught / self.present - self.alarms / self.absent


def epsilon_at_least(guesses: Guesses, delta: float, confidence: float = CONFIDENCE) -> float:
    """The epsilon that a mechanism must at least have, at `delta`, for anybody to guess so well; 0 when none is shown.

    From TPR <= e^eps FPR + delta and 1 - FPR <= e^eps (1 - TPR) + delta (Kairouz, Oh and Viswanath 2015, theorem 2.1),
    with exact bounds on both rates. Thresholds must have been chosen elsewhere.
    """
    # Both inequalities rest on the same two bounds, so each of the bounds may be wrong half as often as the whole.
    fault = (1.0 - confidence) / 2
    caught = rate_at_least(guesses.caught, guesses.present, fault)
    alarms = rate_at_most(guesses.alarms, guesses.absent, fault)
    return max(0.0, _log_ratio(caught - delta, alarms), _log_ratio(1.0 - alarms - delta, 1.0 - caught))


def _log_ratio(above: float, below: float) -> float:
    return math.log(above / below) if above > 0.0 else 0.0


def epsilon_measurable(trials: int, delta: float, confidence: float = CONFIDENCE) -> float:
    """The largest epsilon that `trials` guesses a side can show, every one of them being right."""
    return epsilon_at_least(Guesses(trials, trials, 0, trials), delta, confidence)


def trials_for(epsilon: float, delta: float, confidence: float = CONFIDENCE) -> int:
    """The fewest guesses a side that could show more than `epsilon`. Raises ValueError where delta forbids it."""
    if not 0.0 <= epsilon < 30.0 or not 0.0 <= delta < 1.0:
        raise ValueError(f"epsilon {epsilon}, delta {delta}, want 0 to 30 and 0 to 1")
    low, high = 0, 1
    while epsilon_measurable(high, delta, confidence) <= epsilon:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if epsilon_measurable(middle, delta, confidence) > epsilon else (middle, high)
    return high


def advantage_between(guesses: Guesses, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Least and largest advantage that the guesses leave possible."""
    fault = (1.0 - confidence) / 4
    caught = (
        rate_at_least(guesses.caught, guesses.present, fault),
        rate_at_most(guesses.caught, guesses.present, fault),
    )
    alarms = rate_at_least(guesses.alarms, guesses.absent, fault), rate_at_most(guesses.alarms, guesses.absent, fault)
    return caught[0] - alarms[1], caught[1] - alarms[0]


def advantage_allowed(epsilon: float, delta: float) -> float:
    """The largest advantage that anybody can have against (epsilon, delta): (e^eps - 1 + 2 delta) / (e^eps + 1).

    Kairouz, Oh and Viswanath 2015 (arXiv 1311.0776), theorem 3.3: the region of what can be told apart.
    """
    if epsilon < 0.0 or not 0.0 <= delta <= 1.0:
        raise ValueError(f"epsilon {epsilon}, delta {delta}, want epsilon of at least 0 and delta in 0 to 1")
    # Written with tanh, which overflows nowhere: (e^eps - 1) / (e^eps + 1) = tanh(eps / 2).
    return min(1.0, math.tanh(epsilon / 2) + 2.0 * delta / (1.0 + math.exp(min(epsilon, 700.0))))


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """About two standard errors either side of a rate (Wilson 1927): for choosing a threshold, never for a claim."""
    z2 = 4.0
    middle = (hits + z2 / 2) / (trials + z2)
    reach = math.sqrt(hits * (trials - hits) / trials + z2 / 4) * math.sqrt(z2) / (trials + z2)
    return middle - reach, middle + reach
