"""What a closed round's aggregate was computed from, as a proof shows it, and whether it is what comes out again.

The arithmetic of an aggregate is `fl`'s, which nothing here may import: whoever checks one hands it in.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ledger.aggregation import AggregationResult, AggregationTask, Contribution, known_since
from ledger.blocks import Header
from ledger.entries import Fate, Receipt, ReceiptLine, Request, receipt_key, request_key
from ledger.errors import InvalidProof
from ledger.proof_parts import ProvenEntry, read_entry
from ledger.proofs import AggregateProof, ProtectedAggregateProof
from ledger.protection_entries import MaskedInputs, protection_key, unmasking_key
from ledger.state_keys import key_name, read_key
from ledger.transactions import Protection
from ledger.types import Hash32, OrgId

Recompute = Callable[[AggregationTask], AggregationResult]
"""The aggregate of a task from blobs that the reader has. Raises InvalidProof when it cannot be had from them."""


@dataclass(frozen=True, slots=True)
class ShownTask:
    """`blobs`: digests of all that computing the task again takes. `steps`: what was shown of it, in words."""

    receipt: Receipt
    task: AggregationTask
    blobs: tuple[bytes, ...]
    steps: tuple[str, ...]


def read_receipt(header: Header, entry: ProvenEntry) -> Receipt:
    """A receipt under the key that its own content says. Raises InvalidProof."""
    read = read_key(entry.key)
    if read.kind is not Receipt or entry.value is None:
        raise InvalidProof(f"an entry of {key_name(entry.key)}, want that of a receipt")
    receipt = read_entry(header, entry, Receipt, entry.key)
    if entry.key != receipt_key(receipt.request, receipt.round, receipt.attempt):
        raise InvalidProof(f"the receipt of another round lies under {key_name(entry.key)}")
    return receipt


def delivered_lines(receipt: Receipt) -> list[ReceiptLine]:
    return [line for line in receipt.lines if line.fate is Fate.DELIVERED]


def task_shown(proof: AggregateProof | ProtectedAggregateProof, header: Header) -> ShownTask:
    """What the aggregate of a closed round was computed from. Raises InvalidProof."""
    receipt = read_receipt(header, proof.receipt)
    request = read_entry(header, proof.request, Request, request_key(receipt.request))
    if not receipt.model:
        raise InvalidProof(f"round {receipt.round} has no aggregate: it was void, or nobody could make one")
    if receipt.round == 1 and receipt.base_model != request.terms.initial_model:
        raise InvalidProof("the first round did not begin with the initial model")
    task = task_of(receipt, request)
    if isinstance(proof, ProtectedAggregateProof):
        task = _protected_task(proof, header, receipt, request)
    named = f"round {receipt.round} of request {receipt.request.hex()[:16]}"
    how = " masked" if task.masking else " sealed" if task.sealed else ""
    before = () if task.previous_model is None else (bytes(task.previous_model),)
    blobs = (receipt.base_model, *before, *(each.blob for each in task.contributions))
    steps = [f"{named}: {len(task.contributions)}{how} updates"]
    if task.masking:
        steps.append(
            f"{len(task.masking.members)} providers shared their secrets, {task.masking.threshold} shares of one each "
            "were revealed"
        )
    return ShownTask(receipt, task, tuple(dict.fromkeys(blobs)), tuple(steps))


def check_computed(shown: ShownTask, recompute: Recompute | None) -> str:
    """That model, qualities and rejections are what anybody computes from the same blobs (DESIGN D4), in words.

    Raises InvalidProof.
    """
    if recompute is None:
        raise InvalidProof("the blobs of the round are needed to compute its aggregate again")
    receipt, result = shown.receipt, recompute(shown.task)
    if result.model != receipt.model:
        raise InvalidProof(
            f"the blobs give model {result.model.hex()[:16]}, the receipt says {receipt.model.hex()[:16]}"
        )
    qualities = tuple((OrgId(line.org), line.quality) for line in delivered_lines(receipt))
    if result.scores != qualities:
        raise InvalidProof("the blobs give other qualities than the receipt says")
    if shown.task.sealed:
        rejected = tuple((OrgId(line.org), line.reason) for line in receipt.lines if line.fate is Fate.REJECTED)
        if result.rejected != rejected:
            raise InvalidProof("by the request's rule others are rejected than the receipt says")
    what = "the sum, unmasked again," if shown.task.masking else "the aggregate, computed again,"
    if not shown.task.protected:
        what = "their mean, computed again,"
    return f"{what} is model {receipt.model.hex()[:16]}, and so are the qualities"


def task_of(receipt: Receipt, request: Request) -> AggregationTask:
    """What the aggregate of a plain request's round was computed from, as `aggregation.aggregation_task` had it."""
    terms = request.terms
    return AggregationTask(
        Hash32(receipt.request),
        receipt.round,
        receipt.attempt,
        Hash32(receipt.base_model),
        tuple(Contribution(OrgId(line.org), Hash32(line.blob), line.weight) for line in delivered_lines(receipt)),
        terms.aggregation,
        terms.parameters,
        terms.scale_bits,
        terms.limit,
    )


def _protected_task(
    proof: ProtectedAggregateProof, header: Header, receipt: Receipt, request: Request
) -> AggregationTask:
    protection = read_entry(header, proof.protection, Protection, protection_key(receipt.request))
    if protection.masked:
        counted, masking, previous = delivered_lines(receipt), _masking(proof, header, receipt), None
        known: dict[tuple[bytes, bytes], int] = {}
    else:
        # The rule saw them all, and said of some that they are worth nothing.
        counted = [line for line in receipt.lines if line.fate in (Fate.DELIVERED, Fate.REJECTED)]
        masking, previous = None, _previous_model(proof, header, receipt)
        known = _known_since(proof, header, receipt)
    terms = request.terms
    return AggregationTask(
        Hash32(receipt.request),
        receipt.round,
        receipt.attempt,
        Hash32(receipt.base_model),
        tuple(
            Contribution(OrgId(line.org), Hash32(line.blob), line.weight, known.get((line.org, line.blob), 0))
            for line in counted
        ),
        terms.aggregation,
        terms.parameters,
        terms.scale_bits,
        terms.limit,
        protected=True,
        aggregation_settings=protection.aggregation_settings,
        sealed=not protection.masked,
        masking=masking,
        previous_model=previous,
        updates_least=1 if protection.masked else terms.providers_min,
    )


def _masking(proof: ProtectedAggregateProof, header: Header, receipt: Receipt) -> MaskedInputs:
    if proof.previous or proof.attempts or not proof.unmasking:
        raise InvalidProof("a masked round is shown with what its sum was unmasked with, and no other receipts")
    key = unmasking_key(receipt.request, receipt.round, receipt.attempt)
    inputs = read_entry(header, proof.unmasking[0], MaskedInputs, key)
    delivered = [each.org for each in inputs.members if each.delivered]
    if delivered != [line.org for line in delivered_lines(receipt)]:
        raise InvalidProof("the sum was unmasked over others than the receipt says delivered")
    return inputs


def _previous_model(proof: ProtectedAggregateProof, header: Header, receipt: Receipt) -> Hash32 | None:
    if proof.unmasking or len(proof.previous) != (receipt.round > 1):
        raise InvalidProof("of a round that is not masked the receipt of the round before is wanted, if there is one")
    if receipt.round == 1:
        return None
    before = read_receipt(header, proof.previous[0])
    if (before.request, before.round, before.model) != (receipt.request, receipt.round - 1, receipt.base_model):
        raise InvalidProof(
            f"the receipt before is not that of round {receipt.round - 1}, with whose model this one began"
        )
    return Hash32(before.base_model)


def _known_since(proof: ProtectedAggregateProof, header: Header, receipt: Receipt) -> dict[tuple[bytes, bytes], int]:
    before = [read_receipt(header, entry) for entry in proof.attempts]
    wanted = [(receipt.request, receipt.round, attempt) for attempt in range(receipt.attempt)]
    if [(each.request, each.round, each.attempt) for each in before] != wanted:
        raise InvalidProof(f"receipts of {len(before)} earlier attempts, want those of all {receipt.attempt} in order")
    return known_since(before, receipt.attempt)
