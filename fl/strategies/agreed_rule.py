"""How the updates of a strategy are aggregated when the request has a word in it too: one rule, or a plain refusal."""

from collections.abc import Mapping

from fl.strategies.base import Aggregation, Strategy, StrategyError

# A request that says no more of its rule than whether updates are inspected contradicts no strategy.
ALWAYS_FREE = frozenset({"inspect"})
# Rules that move the model by its updates alone: how it moved says what everybody's gradient was.
MOVED_BY_UPDATES = ("mean", "even-mean", "norm-bound", "trimmed-mean", "median", "multi-krum")


def agreed_rule(strategy: Strategy, rule: str | None, settings: Mapping[str, str], masked: bool = False) -> Aggregation:
    """The rule and settings of a request that names `rule` (None: it names none) and `settings`.

    A strategy without a rule of its own is averaged by whatever is asked for, and when nothing is by its usual rule,
    or by the mean where updates are masked. Raises StrategyError, saying what the strategy wants, for one that has a
    rule of its own and is asked for another, or that reads the model's movement and is asked for one that adds to it.
    """
    if strategy.reads_movement and rule is not None and rule not in MOVED_BY_UPDATES:
        raise StrategyError(
            f"strategy {strategy.name} tells everybody's gradient from how the model moved, but the request says rule "
            f"{rule[:80]}: want one that moves it by the updates alone, of {', '.join(MOVED_BY_UPDATES)}"
        )
    own = strategy.aggregation
    if own == Aggregation() and strategy.vectors > 1:
        # What lies behind the model is averaged like it, and no other rule would know what to make of it.
        own = Aggregation(own.rule, {"vectors": str(strategy.vectors)})
    if own == Aggregation():
        return Aggregation(rule or (own.rule if masked else strategy.usual_rule), settings)
    wanted = f"strategy {strategy.name} is aggregated by rule {own.rule}"
    if own.settings:
        wanted += f" with {', '.join(f'{name} {value}' for name, value in sorted(own.settings.items()))}"
    if rule not in (None, own.rule):
        raise StrategyError(f"{wanted}, but the request says rule {rule}: want that, or no word of it")
    for name, value in sorted(settings.items()):
        if name not in ALWAYS_FREE and own.settings.get(name) != value:
            raise StrategyError(f"{wanted}, but the request says {name} {value[:80]}: want that, or no word of it")
    return Aggregation(own.rule, {**own.settings, **settings})


def check_agreed(strategy: Strategy, rule: str, settings: Mapping[str, str]) -> None:
    """Raises StrategyError unless a request, all of whose words are on the ledger, says what the strategy wants."""
    agreed = agreed_rule(strategy, rule, settings)
    missing = sorted(agreed.settings.keys() - settings.keys())
    if missing:
        told = ", ".join(f"{name} {agreed.settings[name]}" for name in missing)
        raise StrategyError(f"strategy {strategy.name} wants rule {agreed.rule} with {told}, the request lacks it")
