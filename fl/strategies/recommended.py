"""What Hanse does when nobody names a strategy: what was measured to serve factories that differ best, and harm nobody
where they do not (docs/results.md; decision 39).

SCAFFOLD was the best global model in every setting that was tried, or as good as the best, with noise and without; and
every factory serves it mixed with its own last model and fitted to its own classes. It sends two vectors where
federated averaging sends one, so what looks at single updates, or adds up masked ones, keeps to the latter.
"""

from dataclasses import dataclass

from fl.models.shapes import PARAMETERS_MAX

AUTO = "auto"
RECOMMENDED, PLAIN = "scaffold", "fedavg"
# Of the models' parameters; the strategy sends twice as many.
RECOMMENDED_PARAMETERS_MAX = PARAMETERS_MAX // 2


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else a request says. `rule`: of aggregation, None where it is left to the strategy. `parameters`: of the
    model, 0 where they are not known."""

    privacy: str = "none"
    rule: str | None = None
    masked: bool = False
    parameters: int = 0


def recommended(of: Circumstances) -> str:
    """The name of the strategy that is meant when none is named."""
    plain = of.rule not in (None, "mean") or of.masked or of.privacy == "distributed"
    return PLAIN if plain or of.parameters > RECOMMENDED_PARAMETERS_MAX else RECOMMENDED


def named_or_recommended(name: str, of: Circumstances) -> str:
    """`name`, unless it leaves the choice to us."""
    return recommended(of) if name == AUTO else name
