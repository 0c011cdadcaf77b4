"""Settings for a request, from how far the factories that would take part differ, with the figures that speak for them.

The figures are those of `hanse reproduce recommend` and of docs/results.md, measured on small networks; what is advised
is where to begin. No torch, no ledger.
"""

from dataclasses import dataclass

from fl.label_mix import Differences
from fl.strategies.recommended import Circumstances, recommended

# Mean total variation between a factory's mix of classes and that of all. Draws of some hundred records from one mix
# come to less than the first; Dirichlet(0.5) comes to some 0.45, three of ten classes to 0.7, two to 0.8.
ALIKE, APART = 0.15, 0.6


@dataclass(frozen=True, slots=True)
class Setting:
    """One line of a request file and why."""

    section: str
    name: str
    value: str
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """`kind`: alike, mixed or apart. `warnings`: what no setting mends."""

    kind: str
    settings: tuple[Setting, ...]
    warnings: tuple[str, ...]


def kind_of(distance: float) -> str:
    if distance < ALIKE:
        return "alike"
    return "mixed" if distance < APART else "apart"


def advise(found: Differences, privacy: str, masked: bool = False) -> Advice:
    """`privacy`: the mode of the request; `masked`: whether nobody may see a single update."""
    kind = kind_of(found.distance)
    settings = [_strategy(kind, privacy, masked)]
    if privacy == "distributed":
        settings += _DISTRIBUTED
    else:
        settings += _served(kind)
        settings += _training(found, kind, privacy)
    settings += _privacy(privacy)
    return Advice(kind, tuple(settings), _warnings(found, kind))


_GAINS = {
    "alike": "where factories are alike it did no harm: within half a point of fedavg's, with noise and without",
    "mixed": "its global model was better than fedavg's, by 1 to 2 points with Dirichlet(0.5) splits",
    "apart": "with two of ten classes a factory its global model was 1 to 2 points better than fedavg's and 6 to 14 "
    "better than dlmu's; at epsilon 8, with five factories, 9 points better than fedavg's",
}


def _strategy(kind: str, privacy: str, masked: bool) -> Setting:
    name = recommended(Circumstances(privacy, masked=masked))
    if name == "fedavg":
        return Setting("strategy", "name", '"fedavg"', "here a factory keeps nothing that a round could go on from")
    return Setting("strategy", "name", f'"{name}"', _GAINS[kind])


# A round of this mode is one step of all together: nothing of what was measured with epochs holds for it. The values
# are those of configs/requests/bearing-masked.toml.
_DISTRIBUTED = [
    Setting("aggregation", "rule", '"noisy-step"', "all that this mode has: a round is one step along the noised sum"),
    Setting("aggregation", "settings", "{ lr = 0.5 }", "where to begin: what simulated bearings are trained with"),
    Setting("masking", "enabled", "true", "a provider's own part of the noise hides nothing, all parts together do"),
    Setting("training", "epochs", "1", "a round is one gradient of every record"),
    Setting("rounds", "rounds_max", "60", "rounds are single steps, so there are more; all of them share the epsilon"),
    Setting("rounds", "providers_min", "3", "a sum of fewer would say what each has added to it"),
]


def _served(kind: str) -> list[Setting]:
    if kind == "alike":
        why = (
            "factories have the same classes: there is nothing to fit to, and at simulated sites it cost half a point "
            "on the records of all"
        )
        return [Setting("strategy", "settings", "{ unseen = 0 }", why)]
    why = (
        "what a factory uses itself is fitted to its own classes: right in 97 to 98 % on them with two classes each, "
        "dlmu as published in 96 to 97; 0.01 leaves room for a class that it never had"
    )
    return [Setting("strategy", "settings", "{ unseen = 0.01 }", why)]


def _training(found: Differences, kind: str, privacy: str) -> list[Setting]:
    per_factory = found.records // found.factories
    if privacy == "sound":
        batch = 128 if per_factory >= 500 else max(16, per_factory // 4)
        return [
            Setting("training", "epochs", "2" if kind == "apart" else "5", "few large steps: each one costs privacy"),
            Setting("training", "batch", str(batch), "the larger the batch, the less noise is left in its mean"),
            Setting(
                "training",
                "learning_rate",
                "0.15",
                "some three times the usual one: a step is divided by the clipping norm",
            ),
            Setting("rounds", "rounds_max", "10", "more rounds share the same epsilon: noise grows with them"),
        ]
    rounds, why = {
        "alike": (15, "after 10 rounds the global model was 1 to 2 points below that of 30"),
        "mixed": (30, "after 10 rounds the global model was some 2 points below that of 30"),
        "apart": (30, "after 10 rounds the global model was 4 to 6 points below that of 30"),
    }[kind]
    rate = "0.05" if per_factory >= 100 else "0.02"
    return [
        Setting("training", "epochs", "5", "what all figures were measured with"),
        Setting("training", "batch", "32", "what all figures were measured with"),
        Setting("training", "learning_rate", rate, "for inputs of mean 0 and deviation 1; halve it when losses grow"),
        Setting("training", "momentum", "0.8", "what all figures were measured with"),
        Setting("rounds", "rounds_max", str(rounds), why),
    ]


def _privacy(privacy: str) -> list[Setting]:
    mode = Setting("privacy", "mode", f'"{privacy}"', "what was asked about")
    if privacy == "distributed":
        epsilon = "of every record, over all rounds together; delta = 1e-5 is the default"
        return [mode, Setting("privacy", "settings", '{ epsilon = 8, accuracy = "noisy" }', epsilon)]
    if privacy != "sound":
        return [mode]
    why = "clip = 1 is the default; a lower one bends what factories that differ send: `hanse dp plan --trial` shows it"
    return [mode, Setting("privacy", "settings", '{ epsilon = 8, delta = 1e-5, accuracy = "noisy" }', why)]


def _warnings(found: Differences, kind: str) -> tuple[str, ...]:
    told = []
    if found.alone:
        several = ", ".join(f"{label} ({name})" for label, name in sorted(found.alone.items())[:8])
        told.append(
            f"only one factory has class {several}: without it the model forgets the class, and rules that leave out "
            "what lies apart (multi-krum, median, trimmed-mean) leave it out"
        )
    if kind == "apart":
        told.append(
            "where factories differ so, bad updates hide among good ones: of the robust rules only norm-bound kept "
            "within 3 points of the mean"
        )
    if found.largest_share > 0.5:
        told.append(f"one factory has {100 * found.largest_share:.0f} % of all records: the model follows it")
    return tuple(told)
