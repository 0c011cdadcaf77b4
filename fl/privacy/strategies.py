"""Which strategies a mode of privacy can be asked for with. No torch.

A guarantee covers what noised steps release and what is computed of that alone. A strategy keeps within it as long as
where a round starts, what corrects its gradients and how many steps it takes come from released values; what of it
never leaves the factory (`Personal`) may see the records as they are. Which strategy is which: docs/strategies.md.
"""

from fl.privacy.modes import Mode
from fl.privacy.terms import PAPER_EPOCHS_LEAST, PrivacyRefused
from fl.strategies.base import Strategy
from fl.strategies.fedobd import FedObd


def check_strategy_privacy(rule: Strategy, mode: Mode, epochs: int) -> None:
    """Whether rounds of so many epochs can be trained by this strategy in this mode.

    Raises PrivacyRefused for a strategy whose updates say more of the records than the mode's noise covers, or that
    ends training by time or by epochs where the mode needs all of them.
    """
    if rule.by_time and mode.name != "none":
        raise PrivacyRefused(
            f"privacy mode {mode.name} with strategy {rule.name}, which ends training by time, want mode none"
        )
    if mode.accounted and rule.chooses_by_records:
        raise PrivacyRefused(
            f"privacy mode {mode.name} with strategy {rule.name}: what it uploads depends on the records in ways that "
            "noise does not cover, want mode none or paper"
        )
    if mode.name == "paper":
        _check_paper(rule, epochs)


def _check_paper(rule: Strategy, epochs: int) -> None:
    if epochs < PAPER_EPOCHS_LEAST:
        raise PrivacyRefused(f"privacy mode paper with {epochs} epochs, want at least {PAPER_EPOCHS_LEAST}")
    if isinstance(rule, FedObd) and rule.obd.second_stage:
        raise PrivacyRefused(
            f"privacy mode paper with strategy {rule.name} and second_stage {rule.obd.second_stage}: from there on a "
            f"round is one epoch, and the mode takes {PAPER_EPOCHS_LEAST} at least; want second_stage 0, or mode none "
            "or sound"
        )
