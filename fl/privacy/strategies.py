"""Which strategies a mode of privacy can be asked for with. No torch.

A guarantee covers what noised steps release and what is computed of that alone. A strategy keeps within it as long as
where a round starts, what corrects its gradients and how many steps it takes come from released values; what of it
never leaves the factory (`Personal`) may see the records as they are. Which strategy is which: docs/strategies.md.
"""

from fl.privacy.modes import Mode
from fl.privacy.terms import PrivacyRefused
from fl.strategies.base import Strategy


def check_strategy_privacy(rule: Strategy, mode: Mode) -> None:
    """Raises PrivacyRefused for a strategy whose updates say more of the records than the mode's noise covers, or that
    ends training by time where the mode's last epoch has to be a whole one."""
    if rule.by_time and mode.name != "none":
        raise PrivacyRefused(
            f"privacy mode {mode.name} with strategy {rule.name}, which ends training by time, want mode none"
        )
    if mode.accounted and rule.chooses_by_records:
        raise PrivacyRefused(
            f"privacy mode {mode.name} with strategy {rule.name}: what it uploads depends on the records in ways that "
            "noise does not cover, want mode none or paper"
        )
