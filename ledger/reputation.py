"""Reputation: an integer moving average of what a member did for the league (DESIGN D7). All values in millionths.

Per closed round an invited member scores S = fin * (4 quality + 3 data + 3 duty) / 10 and R moves an eighth of the way
to S: half of it is forgotten after some five rounds, so hoarding does not pay. Equivocation zeroes it.
"""

from collections.abc import Sequence

from ledger.types import MICRO


def score(quality: int, data: int, duty: int) -> int:
    """One delivered round's score from quality of the update, data size and committee duty, each 0 .. MICRO."""
    return (4 * quality + 3 * data + 3 * duty) // 10


def data_credit(records: int, all_records: Sequence[int]) -> int:
    """Size against twice the lower median of the round: being far bigger than the others earns nothing more."""
    ordered = sorted(all_records)
    cap = 2 * max(1, ordered[(len(ordered) - 1) // 2])
    return MICRO * min(records, cap) // cap


def after_delivery(reputation: int, earned: int) -> int:
    return reputation - reputation // 8 + earned // 8


def after_absence(reputation: int) -> int:
    """Invited and did not deliver."""
    return reputation - reputation // 32


def after_missed_view(reputation: int) -> int:
    """Led a view that is shown to have failed. Mild: the network may have been at fault."""
    return reputation - reputation // 32
