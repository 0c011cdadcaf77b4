"""What DLMU's figures say, in words that are computed: gains by reading, the published ones beside them.

A sentence is chosen by the figures, so a run that came out otherwise would be told otherwise.
"""

import math
from itertools import pairwise

from node.reproduce import published
from node.reproduce.federations import GLOBAL, LOCKED, OWN_GLOBAL, OWN_SERVED, SERVED_ON_ALL
from node.reproduce.results import Keys, Results, Spread, spread

# The three readings of "test accuracy", by the figure that holds each.
READINGS = {
    GLOBAL: "global model, common test",
    OWN_GLOBAL: "global model, own classes",
    OWN_SERVED: "served model, own classes",
    SERVED_ON_ALL: "served models, common test",
}
# Two means closer than this are not told apart: a seed moves a figure by about as much.
ALIKE_POINTS = 1.0
# A level is said to be the published one when it lies within so many points of it.
NEAR_POINTS = 5.0


def gains(results: Results, split: str) -> dict[str, Spread]:
    """DLMU against FedAvg in points, by reading. In (c) FedAvg's clients use the global model, DLMU's their mix."""
    fedavg, dlmu = {"split": split, "method": "fedavg"}, {"split": split, "method": "dlmu"}
    return {
        "a": results.difference(GLOBAL, dlmu, fedavg),
        "b": _across(results, SERVED_ON_ALL, dlmu, GLOBAL, fedavg),
        "c": _across(results, OWN_SERVED, dlmu, OWN_GLOBAL, fedavg),
    }


def _across(results: Results, figure: str, ours: Keys, other: str, theirs: Keys) -> Spread:
    """One figure of `ours` minus another of `theirs`, paired by seed."""
    right = {each.seed: each.measured.figures[other] for each in results.where(**theirs).all}
    return spread([each.measured.figures[figure] - right[each.seed] for each in results.where(**ours).all])


def curves_apart(results: Results, curve: str, split: str) -> Spread:
    """Mean over rounds of |DLMU - FedAvg|, in points, over seeds: Table 1's "average absolute error"."""
    curves = [
        {each.seed: each.measured.curves.get(curve, ()) for each in results.where(split=split, method=method).all}
        for method in ("fedavg", "dlmu")
    ]
    apart = []
    for seed in curves[0]:
        pairs = list(zip(curves[0][seed], curves[1][seed], strict=False))
        apart.append(math.fsum(abs(a - b) for a, b in pairs) / len(pairs) if pairs else math.nan)
    return spread(apart)


def cifar_verdict(results: Results) -> str:
    """The paragraph of dlmu-cifar."""
    splits = tuple(split for split in results.named("split") if not results.where(split=split).diverged(GLOBAL))
    lost = [split for split in results.named("split") if split not in splits]
    if not splits:
        return "Training diverged in every run of a method on every split: nothing can be said."
    by_split = {split: gains(results, split) for split in splits}
    skewed = [split for split in splits if split != "iid"]
    sentences = [_global_sentence({split: by_split[split]["a"].mean for split in splits}, skewed)]
    if set(published.DLMU_CIFAR) <= set(splits):
        sentences.append(_pattern_sentence(by_split))
        sentences.append(_level_sentence(results, by_split["class(2)"]))
    sentences.append(_served_sentence(results, skewed))
    locked = {split: results.mean(LOCKED, split=split, method="dlmu") for split in splits}
    stuck = [f"{split} {share:.0f} %" for split, share in locked.items() if share > 0]
    if stuck:
        sentences.append(
            f"Clients whose beta had come to 1, so that they started from their own model alone: {', '.join(stuck)}."
        )
    sentences.append(guards_sentence(results, skewed))
    if lost:
        sentences.append(f"Nothing is said of {', '.join(lost)}: there every run of a method diverged.")
    return " ".join(sentence for sentence in sentences if sentence)


def _global_sentence(by_split: dict[str, float], skewed: list[str]) -> str:
    told = ", ".join(
        f"{split} {gain:+.1f}" + (f" (printed {_printed_gain(split):+.1f})" if split in published.DLMU_CIFAR else "")
        for split, gain in by_split.items()
    )
    harmed = [split for split in skewed if by_split[split] < -ALIKE_POINTS]
    helped = [split for split in skewed if by_split[split] > ALIKE_POINTS]
    if harmed and not helped:
        said = "the published gains of the global model do not reproduce: the rule as printed makes it worse"
        said += " on every split that is not IID" if len(harmed) == len(skewed) else f" on {', '.join(harmed)}"
    elif helped and not harmed:
        said = f"the rule as printed makes the global model better on {', '.join(helped)}"
    elif helped:
        said = f"the rule as printed helps the global model on {', '.join(helped)} and harms it on {', '.join(harmed)}"
    else:
        said = f"the rule as printed changes the global model by less than {ALIKE_POINTS:g} point on every skewed split"
    return f"On the common test, DLMU minus FedAvg in points: {told}; so {said}."


def _pattern_sentence(by_split: dict[str, dict[str, Spread]]) -> str:
    order = ("iid", "dirichlet(0.5)", "class(3)", "class(2)")
    values = {reading: [by_split[split][reading].mean for split in order] for reading in ("a", "b", "c")}
    own = values["c"]
    told = ", ".join(f"{split} {gain:+.1f}" for split, gain in zip(order, own, strict=True))
    start = (
        "Read as the model that a client mixes for itself, tested on its own classes, against FedAvg's global model "
        f"there, the gains are {told}"
    )
    if _as_printed(own):
        others = any(map(_as_printed, (values["a"], values["b"])))
        alone = "this reading" if others else "this reading, and it alone of the three,"
        return f"{start}: {alone} has the printed order, larger the more the clients differ."
    if all(value > ALIKE_POINTS for value in own[1:]):
        return f"{start}: gains on every skewed split, as printed, though not in the printed order."
    return f"{start}: not even this reading has the printed pattern."


def _as_printed(values: list[float]) -> bool:
    """Gains where clients differ, and larger the more they do."""
    return values[1] > ALIKE_POINTS and all(left < right for left, right in pairwise(values))


def _level_sentence(results: Results, class_2: dict[str, Spread]) -> str:
    before, after = published.DLMU_CIFAR["class(2)"]
    levels = {
        "a": (GLOBAL, GLOBAL),
        "b": (GLOBAL, SERVED_ON_ALL),
        "c": (OWN_GLOBAL, OWN_SERVED),
    }
    fitting = []
    told = []
    for reading, (of_fedavg, of_dlmu) in levels.items():
        first = results.mean(of_fedavg, split="class(2)", method="fedavg")
        second = results.mean(of_dlmu, split="class(2)", method="dlmu")
        told.append(f"{first:.1f} to {second:.1f}")
        if abs(second - after) <= NEAR_POINTS and abs(class_2[reading].mean - (after - before)) <= NEAR_POINTS:
            fitting.append({"a": "the global model", "b": "served models on all classes", "c": "own classes"}[reading])
    seen = f"(global {told[0]}, served models on all classes {told[1]}, own classes {told[2]})"
    if fitting:
        return f"The printed {before:.0f} to {after:.0f} % on class(2) is met when read as {', '.join(fitting)} {seen}."
    return f"The printed {before:.0f} to {after:.0f} % on class(2) is met under none of the readings {seen}."


def _served_sentence(results: Results, skewed: list[str]) -> str:
    """Whether plain FedAvg with the same mix, applied only to what is served, does as well."""
    short: list[str] = []
    as_good: list[str] = []
    for split in skewed:
        own = results.difference(
            OWN_SERVED, {"split": split, "method": "fedavg"}, {"split": split, "method": "dlmu"}
        ).mean
        (as_good if own > -ALIKE_POINTS else short).append(f"{split} {own:+.1f}")
    if not short:
        return (
            "FedAvg whose clients only serve the same mix and never train from it reaches DLMU's accuracy on own "
            f"classes ({', '.join(as_good)} points) with FedAvg's global model."
        )
    if not as_good:
        return (
            f"FedAvg whose clients only serve the same mix stays below DLMU on own classes ({', '.join(short)} points)."
        )
    return (
        f"On own classes FedAvg with a served mix is as good as DLMU on {', '.join(as_good)} and below it on "
        f"{', '.join(short)} points."
    )


def guards_sentence(results: Results, splits: list[str]) -> str:
    """What the guards change in the global model."""
    if "dlmu-guarded" not in results.named("method"):
        return ""
    told = ", ".join(
        f"{split} {_guarded(results, split, 'dlmu'):+.1f} and {_guarded(results, split, 'fedavg'):+.1f}"
        for split in splits
    )
    return f"With the guards on, the global model differs from literal DLMU's and from FedAvg's by (points): {told}."


def _guarded(results: Results, split: str, other: str) -> float:
    return results.difference(
        GLOBAL, {"split": split, "method": "dlmu-guarded"}, {"split": split, "method": other}
    ).mean


def _printed_gain(split: str) -> float:
    before, after = published.DLMU_CIFAR[split]
    return after - before


def text_verdict(results: Results) -> str:
    """The paragraph of dlmu-text."""
    fedavg, dlmu = {"method": "fedavg"}, {"method": "dlmu"}
    if results.diverged(GLOBAL):
        return "Training diverged in every run of a method: nothing can be said."
    common = results.difference(GLOBAL, dlmu, fedavg)
    own = _across(results, OWN_SERVED, dlmu, OWN_GLOBAL, fedavg)
    served = results.difference(OWN_SERVED, fedavg, dlmu).mean
    printed = published.DLMU_TEXT_GAIN
    missing = f"The printed gain of {printed:+.2f} points does not reproduce for the global model: DLMU as printed"
    if common.mean > ALIKE_POINTS:
        near = "near" if abs(common.mean - printed) <= ALIKE_POINTS else "though not by the printed"
        first = f"The global model is {common.mean:.1f} points better with DLMU, {near} {printed:+.2f}."
    elif common.mean < -ALIKE_POINTS:
        first = f"{missing} makes it worse, by {-common.mean:.1f} points."
    else:
        first = f"{missing} changes it by {common.mean:+.1f} points, less than {ALIKE_POINTS:g}."
    second = (
        "What a speaker mixes for itself differs from FedAvg's global model on the speaker's own lines by "
        f"{own.mean:+.1f} points: under this reading there is {'a' if own.mean > ALIKE_POINTS else 'no'} gain."
    )
    if served > ALIKE_POINTS:
        third = f"FedAvg with the same mix, only served and never trained from, is {served:.1f} points better there."
    elif served < -ALIKE_POINTS:
        third = f"FedAvg with the same mix, only served and never trained from, is {-served:.1f} points worse there."
    else:
        third = "FedAvg with the same mix, only served and never trained from, does as well there."
    return f"{first} {second} {third}"
