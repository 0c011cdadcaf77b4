"""What Hanse does when nobody names a strategy: what was measured to serve factories that differ best, and harm nobody
where they do not (docs/results.md; decision 39).

Gradient tracking came to better global models than federated averaging, or to as good ones but for chance, with noise
and without, whatever the rule, and lost no more to one liar among ten. It goes on from what a factory knows of its own
last training: where nothing is kept, or a rule moves the model by more than the updates, averaging is meant. With few
of many factories in a round, which only simulations have, that training is too long ago: the common control variate of
SCAFFOLD, which all of them make, then tells more.
"""

from dataclasses import dataclass

from fl.strategies.agreed_rule import MOVED_BY_UPDATES

AUTO = "auto"
RECOMMENDED, WITH_FEW, PLAIN = "gradient-tracking", "scaffold", "fedavg"
# Below this share of the factories in a round they are few: with seven of ten both were alike, with five SCAFFOLD was
# three to four points better.
FEW = 0.6


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What else a request says. `rule`: of aggregation, None where it is left to the strategy. `participation`: the
    share of all factories that takes part in a round."""

    privacy: str = "none"
    rule: str | None = None
    masked: bool = False
    participation: float = 1.0


def recommended(of: Circumstances) -> str:
    """The name of the strategy that is meant when none is named."""
    forgets = of.privacy == "distributed" or (of.masked and of.privacy == "sound")
    if forgets or of.rule not in (None, *MOVED_BY_UPDATES):
        return PLAIN
    few = of.participation < FEW and of.rule in (None, "mean") and not of.masked
    return WITH_FEW if few else RECOMMENDED


def named_or_recommended(name: str, of: Circumstances) -> str:
    """`name`, unless it leaves the choice to us."""
    return recommended(of) if name == AUTO else name
