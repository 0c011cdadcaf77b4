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


def left_to_strategy(strategy: str, settings: Settings, rule: str, rule_settings: Settings) -> tuple[str, Settings]:
    """What a request that came to this rule and these settings has to say of them so that another strategy may bring
    its own: "auto", and only what says nothing of the rule, where this strategy by itself would come to the same.

    Otherwise all of it, for somebody named it. Raises Contradiction.
    """
    from fl.strategies.agreed_rule import ALWAYS_FREE

    free = tuple((name, value) for name, value in rule_settings if name in ALWAYS_FREE)
    own = agree(strategy, settings, AUTO, free, privacy="none", masked=False)
    same = (rule, tuple(sorted(rule_settings))) == (own.rule, own.rule_settings)
    return (AUTO, free) if same else (rule, rule_settings)
