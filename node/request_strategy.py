"""What a request and its strategy say together: the strategy where none is named, and how updates are aggregated."""

from dataclasses import dataclass

Settings = tuple[tuple[str, str], ...]

# What a request file calls the rule of aggregation that the strategy names for itself.
AUTO = "auto"


class Contradiction(ValueError):
    """A strategy and a rule that cannot be meant together. The text says what the strategy wants."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """All of it decided: what goes on the ledger."""

    strategy: str
    strategy_settings: Settings
    rule: str
    rule_settings: Settings


def agree(
    strategy: str,
    strategy_settings: Settings,
    rule: str,
    rule_settings: Settings,
    *,
    privacy: str,
    masked: bool,
) -> Agreed:
    """What is meant by names that may be "auto". Raises Contradiction."""
    from fl.strategies.agreed_rule import agreed_rule
    from fl.strategies.base import StrategyError
    from fl.strategies.recommended import Circumstances, named_or_recommended
    from fl.strategies.registry import strategy as known

    asked = None if rule == AUTO else rule
    name = named_or_recommended(strategy, Circumstances(privacy, asked, masked))
    try:
        rules = known(name, dict(strategy_settings))
    except StrategyError:
        # Told by `check_known` too.
        return Agreed(name, strategy_settings, asked or "mean", rule_settings)
    try:
        agreed = agreed_rule(rules, asked, dict(rule_settings), masked)
    except StrategyError as error:
        raise Contradiction(str(error)) from None
    return Agreed(name, strategy_settings, agreed.rule, tuple(sorted(agreed.settings.items())))


def own_rule(strategy: str, settings: Settings) -> tuple[str, Settings]:
    """The rule that a strategy names for itself, and its settings. Raises Contradiction for an unknown one."""
    agreed = agree(strategy, settings, AUTO, (), privacy="none", masked=False)
    return agreed.rule, agreed.rule_settings
