"""What a closed round leaves: payment, the accuracy that was measured, reputations, the receipt. Integers only."""

from collections.abc import Sequence
from dataclasses import replace

from ledger.entries import (
    ELECTION,
    Election,
    Fate,
    Participant,
    Receipt,
    ReceiptLine,
    Request,
    Round,
    Seat,
    Standing,
    receipt_key,
    standing_key,
)
from ledger.membership import is_member
from ledger.reputation import after_absence, after_delivery, data_credit, score
from ledger.rewards import deposit, reward
from ledger.state import BlockContext, State
from ledger.types import AMOUNT_MAX, MICRO


def pay(state: State, request: Request, delivered: Sequence[Participant]) -> dict[bytes, int]:
    """Pay those who delivered out of the escrow; what each got."""
    paid = {}
    for part in delivered:
        paid[part.org] = reward(part.weight, request.terms.price)
        deposit(state, part.org, paid[part.org])
    assert sum(paid.values()) <= request.escrow, "invitations promised more than the escrow"
    return paid


def judge(current: Round) -> int:
    """Accuracy of the model the round began with, in millionths, weighted by test records; 0 when nobody tested."""
    measured = [(part.accuracy, part.tested_records) for part in current.participants if part.fate is Fate.DELIVERED]
    measured.append((current.requester_accuracy, current.requester_tested))
    tested = sum(records for _, records in measured)
    return sum(accuracy * records for accuracy, records in measured) // tested if tested else 0


def move_reputations(
    state: State, context: BlockContext, current: Round, qualities: dict[bytes, int], paid: dict[bytes, int]
) -> None:
    """Who was paid earns by quality, data size and duty; who was waited for in vain loses a little."""
    sizes = [part.weight for part in current.participants if part.fate is Fate.DELIVERED]
    seated = {seat.org for seat in _seats(state)}
    for part in current.participants:
        standing = state.need(Standing, standing_key(part.org))
        if part.org in paid:
            duty = MICRO // 2 if part.org not in seated else MICRO * (part.org in current.attested_by)
            earned = score(qualities[part.org], data_credit(part.weight, sizes), duty)
            standing = with_earnings(standing, paid[part.org])
            # Who has gone meanwhile is paid, and comes back with the reputation it left with.
            if is_member(state, part.org):
                standing = replace(standing, reputation=after_delivery(standing.reputation, earned))
        elif part.fate not in (Fate.DECLINED, Fate.DELIVERED, Fate.UNUSED):
            missed = standing.rounds_missed + 1
            standing = replace(standing, reputation=after_absence(standing.reputation), rounds_missed=missed)
        state.put(standing_key(part.org), standing)


def with_earnings(standing: Standing, amount: int) -> Standing:
    """One more delivered round and what it paid."""
    # Tokens go round, so what one member ever earned may pass all that there are.
    earned = min(standing.tokens_earned + amount, AMOUNT_MAX)
    return replace(standing, rounds_delivered=standing.rounds_delivered + 1, tokens_earned=earned)


def _seats(state: State) -> tuple[Seat, ...]:
    return state.need(Election, ELECTION).seats


def put_receipt(
    state: State,
    context: BlockContext,
    request_id: bytes,
    current: Round,
    accuracy: int,
    model: bytes,
    qualities: dict[bytes, int],
    paid: dict[bytes, int],
) -> None:
    """Write down what became of everybody who was invited; `model` is empty for a void round."""
    lines = tuple(
        ReceiptLine(
            part.org,
            part.fate,
            part.reason,
            part.blob,
            part.periods,
            part.weight,
            qualities.get(part.org, 0),
            paid.get(part.org, 0),
        )
        for part in current.participants
    )
    number, attempt = current.number, current.attempt
    receipt = Receipt(
        request_id, number, attempt, context.height, current.base_model, accuracy, model, context.author_org, lines
    )
    state.put(receipt_key(request_id, number, attempt), receipt)
