"""What the tables of clipping thresholds say, in words that are computed from the figures."""

from collections.abc import Sequence

from node.reproduce import published
from node.reproduce.federations import GLOBAL
from node.reproduce.results import Results, Spread

PLAIN, FIXED, DYNAMIC = "plain", "published-fixed", "published-dynamic"
VALID_FIXED, VALID_DYNAMIC = "valid-fixed", "valid-dynamic"
METHODS = {
    PLAIN: "without noise",
    FIXED: "as published, C = 1",
    DYNAMIC: "as published, dynamic",
    VALID_FIXED: "valid epsilon, C = 1",
    VALID_DYNAMIC: "valid epsilon, dynamic",
}
# Two means closer than this are not told apart.
ALIKE_POINTS = 1.0


def dpsgd_verdict(results: Results, epsilons: Sequence[int]) -> str:
    """The paragraph."""
    parts = [
        _one_set(results.where(data=name), name, [str(each) for each in epsilons]) for name in results.named("data")
    ]
    parts.append(
        "The rows as published carry no guarantee: their un-noised epochs leave with the update, so their epsilon is "
        "only what the noise of the last epoch would be worth. The valid rows hold, over all rounds."
    )
    return " ".join(parts)


def _one_set(results: Results, name: str, epsilons: list[str]) -> str:
    if results.diverged(GLOBAL):
        return f"{name}: nothing is said, for every run of a method diverged."
    as_published = {each: _gain(results, each, DYNAMIC, FIXED) for each in epsilons}
    valid = {each: _gain(results, each, VALID_DYNAMIC, VALID_FIXED) for each in epsilons}
    least = epsilons[0]
    printed = [
        published.DYNAMIC_CLIP[name][int(each)] - published.FIXED_CLIP[name][int(each)]
        for each in epsilons
        if name in published.FIXED_CLIP and int(each) in published.FIXED_CLIP[name]
    ]
    told = (
        f"{name}: as published, dynamic minus fixed C = 1 is {_listed(as_published)} points at epsilon "
        f"{', '.join(epsilons)}"
    )
    if printed:
        told += f" (printed {', '.join(f'{each:+.1f}' for each in printed)})"
    plain = results.mean(GLOBAL, method=PLAIN)
    cost = plain - results.mean(GLOBAL, method=DYNAMIC, epsilon=least)
    valid_cost = plain - max(
        results.mean(GLOBAL, method=VALID_FIXED, epsilon=least),
        results.mean(GLOBAL, method=VALID_DYNAMIC, epsilon=least),
    )
    return (
        f"{told}, {_judged(as_published)}. {_by_epsilon(results, name, epsilons)} At a valid epsilon it is "
        f"{_listed(valid)}, {_judged(valid)}. {_cost(least, cost, valid_cost)}"
    )


def _cost(epsilon: str, published_cost: float, valid_cost: float) -> str:
    """What noise costs beside training without any; a valid row may be better, its steps are others."""
    said = [
        f"{what} lies {abs(points):.1f} points {'below' if points >= 0 else 'above'}"
        for what, points in (("the dynamic row as published", published_cost), ("the better valid one", valid_cost))
    ]
    return f"At epsilon {epsilon} {' and '.join(said)} training without noise."


def _by_epsilon(results: Results, name: str, epsilons: list[str]) -> str:
    """How much of the accuracy hangs on epsilon."""
    least, most = epsilons[0], epsilons[-1]
    lost = _lost(results, least, most, FIXED, DYNAMIC)
    told = f"From epsilon {most} to {least} these rows lose {lost[0]:.1f} (fixed) and {lost[1]:.1f} points (dynamic)"
    if name not in published.FIXED_CLIP or not {int(least), int(most)} <= published.FIXED_CLIP[name].keys():
        return f"{told}."
    tables = (published.FIXED_CLIP[name], published.DYNAMIC_CLIP[name])
    printed = [table[int(most)] - table[int(least)] for table in tables]
    told += f", printed are {printed[0]:.1f} and {printed[1]:.1f}"
    if not all(ours < theirs - ALIKE_POINTS for ours, theirs in zip(lost, printed, strict=True)):
        return f"{told}."
    told += ": noise in the last epoch alone does not cost what the tables say."
    valid = _lost(results, least, most, VALID_FIXED, VALID_DYNAMIC)
    nearer = all(
        abs(every - theirs) < abs(last - theirs) for every, last, theirs in zip(valid, lost, printed, strict=True)
    )
    return (
        f"{told} With noise in every step (the valid rows) it is {valid[0]:.1f} and {valid[1]:.1f}, "
        f"{'nearer to' if nearer else 'not nearer to both of'} the printed."
    )


def _lost(results: Results, least: str, most: str, fixed: str, dynamic: str) -> list[float]:
    """Points that the fixed and the dynamic rows lose between the largest and the smallest epsilon."""
    lost = []
    for method, clip in ((fixed, {"clip": "1"}), (dynamic, {})):
        high, low = (results.mean(GLOBAL, method=method, epsilon=epsilon, **clip) for epsilon in (most, least))
        lost.append(high - low)
    return lost


def _gain(results: Results, epsilon: str, dynamic: str, fixed: str) -> Spread:
    return results.difference(
        GLOBAL, {"method": dynamic, "epsilon": epsilon}, {"method": fixed, "epsilon": epsilon, "clip": "1"}
    )


def _judged(gains: dict[str, Spread]) -> str:
    """Whether the dynamic threshold is the better one."""
    values = [each.mean for each in gains.values()]
    better, worse = sum(value > ALIKE_POINTS for value in values), sum(value < -ALIKE_POINTS for value in values)
    if better == len(values):
        return "so the dynamic threshold is better throughout"
    if worse == len(values):
        return "so the dynamic threshold is worse throughout"
    if not better and not worse:
        return f"so the two are alike within {ALIKE_POINTS:g} point throughout"
    said = [f"better at {better}"] * bool(better) + [f"worse at {worse}"] * bool(worse)
    return (
        f"so of {len(values)} epsilons the dynamic threshold is {' and '.join(said)}, and no more than alike elsewhere"
    )


def _listed(gains: dict[str, Spread]) -> str:
    return ", ".join(f"{each.mean:+.1f}" for each in gains.values())
