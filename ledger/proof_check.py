"""Checking a proof against what its reader trusts, step by step, each step in words. Pure; torch and numpy stay out.

The arithmetic of an aggregate is `fl`'s, which nothing here may import: whoever checks one hands it in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ledger import merkle
from ledger.aggregate_check import Recompute, check_computed, delivered_lines, read_receipt, task_shown
from ledger.blocks import Header
from ledger.bundles import DisputeBundle, check_dispute
from ledger.codec import decode, encode
from ledger.entries import Anchor, Fate, ReceiptLine, Request, anchor_key, request_key
from ledger.errors import InvalidBytes, InvalidProof, InvalidTransaction
from ledger.light import SKIP_HEIGHTS_MAX, Trusted, Way, advance, link_back
from ledger.proof_parts import ProvenEntry, check_entry, read_entry
from ledger.proofs import (
    AggregateProof,
    EntryProof,
    HeadersProof,
    Proof,
    ProtectedAggregateProof,
    RecordProof,
    RewardProof,
    TransactionProof,
)
from ledger.records import parse_record
from ledger.rewards import reward
from ledger.state_keys import key_name, read_key
from ledger.transactions import parse_transaction
from ledger.types import Hash32


@dataclass(slots=True)
class ProofCheck:
    """`steps`: each that held, in words. `refusal`: the first that did not, empty when the proof holds.

    `header`: under which the statement lies. `facts`: what was shown, by name, as codec values; complete only when the
    proof holds.
    """

    steps: list[str] = field(default_factory=list)
    refusal: str = ""
    header: Header | None = None
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return not self.refusal


def check_proof(
    proof: Proof, trusted: Trusted, recompute: Recompute | None = None, skip_heights_max: int = SKIP_HEIGHTS_MAX
) -> ProofCheck:
    """Whether `proof` shows what it says to somebody who trusts `trusted`. Never raises.

    `recompute`: needed for the proof of an aggregate, which is refused without.
    """
    check = ProofCheck()
    try:
        encode(proof)
        header = check.header = _header(proof, trusted, skip_heights_max, check.steps)
        match proof:
            case HeadersProof():
                check.facts["header"] = header
            case EntryProof():
                _check_entry_proof(proof, header, check)
            case RecordProof():
                _check_record(proof, header, check)
            case TransactionProof():
                _check_transaction(proof, header, check)
            case RewardProof():
                _check_reward(proof, header, check)
            case AggregateProof() | ProtectedAggregateProof():
                shown = task_shown(proof, header)
                check.steps += shown.steps
                check.facts |= {"receipt": shown.receipt, "blobs": shown.blobs}
                check.steps.append(check_computed(shown, recompute))
            case DisputeBundle():
                check_dispute(proof, header, check.steps)
                check.facts["statement"] = proof.statement
    except (InvalidProof, InvalidBytes) as error:
        check.refusal = str(error)
    return check


def _header(proof: Proof, trusted: Trusted, skip_heights_max: int, steps: list[str]) -> Header:
    """The header that the statement lies under, believed from `trusted` on."""
    start, skipped = trusted.height, 0
    for final in proof.path:
        trusted = advance(trusted, final, skip_heights_max)
        skipped += trusted.way is Way.SKIPPED
    header = trusted.header
    assert header is not None, "a path has a header at least"
    came = "from the genesis" if start == 0 else f"from the trusted height {start}"
    steps.append(f"height {header.height} is final: {len(proof.path)} headers {came}, {skipped} of them skipped to")
    if isinstance(proof, HeadersProof | TransactionProof) and proof.ancestors:
        earlier = link_back(trusted, proof.ancestors)
        steps.append(
            f"height {earlier.height} comes before it: {len(proof.ancestors)} headers, each the next one's parent"
        )
        return earlier
    return header


def _check_entry_proof(proof: EntryProof, header: Header, check: ProofCheck) -> None:
    entry = proof.entry
    check_entry(header, entry)
    named = key_name(entry.key)
    check.facts |= {"key": entry.key, "present": entry.value is not None}
    if entry.value is None:
        check.steps.append(f"there is no {named} at height {header.height}")
        return
    kind = read_key(entry.key).kind
    check.facts |= {"value": entry.value, "entry": None if kind is None else _decoded(kind, entry)}
    check.steps.append(f"{named} is in the state of height {header.height}")


def _check_record(proof: RecordProof, header: Header, check: ProofCheck) -> None:
    read = read_key(proof.anchor.key)
    if read.kind is not Anchor:
        raise InvalidProof(f"an entry of {key_name(proof.anchor.key)}, want that of an anchor")
    org, period = read.parts
    assert isinstance(org, bytes)
    assert isinstance(period, int)
    anchor = read_entry(header, proof.anchor, Anchor, anchor_key(org, period))
    check.steps.append(
        f"{org.hex()[:16]} anchored period {period} at height {anchor.height}: {anchor.record_count} records"
    )
    record = parse_record(proof.record)
    if (record.period, record.index) != (period, proof.index):
        raise InvalidProof(
            f"the record says it is number {record.index} of period {record.period}, want {proof.index} of {period}"
        )
    leaf = merkle.leaf_hash(proof.record)
    if not merkle.verify_inclusion(anchor.root, leaf, proof.index, anchor.record_count, proof.inclusion):
        raise InvalidProof(f"record {proof.index} is not under the root of period {period}")
    check.steps.append(f"record {proof.index} is under its root, leaf {leaf.hex()[:16]}")
    check.facts |= {"org": org, "period": period, "index": proof.index, "anchor": anchor, "record": record}


def _check_transaction(proof: TransactionProof, header: Header, check: ProofCheck) -> None:
    try:
        transaction = parse_transaction(proof.transaction)
        transaction.check_signature(Hash32(header.chain_id))
    except InvalidTransaction as error:
        raise InvalidProof(str(error)) from None
    reached: bytes = merkle.leaf_hash(proof.transaction)
    for step in proof.branch:
        pair = (step.sibling, reached) if step.left else (reached, step.sibling)
        reached = merkle.inner_hash(*pair)
    if reached != header.transactions_root:
        raise InvalidProof(f"the transaction is not under the root of those of height {header.height}")
    named = f"{type(transaction.body).__name__} {transaction.id.hex()[:16]}"
    check.steps.append(f"{named} is in the block of height {header.height}")
    check.facts |= {"id": transaction.id, "height": header.height, "transaction": transaction}


def _check_reward(proof: RewardProof, header: Header, check: ProofCheck) -> None:
    """That every line was paid records times price [ANCHOR, Algorithm 3], and for anchored records only."""
    receipt = read_receipt(header, proof.receipt)
    request = read_entry(header, proof.request, Request, request_key(receipt.request))
    check.steps.append(
        f"round {receipt.round} of request {receipt.request.hex()[:16]} closed at height {receipt.height}"
    )
    price, delivered = request.terms.price, delivered_lines(receipt)
    # Too few deliveries make a round void: it is tried again and pays nobody.
    void = len(delivered) < request.terms.providers_min
    if void and receipt.model:
        raise InvalidProof(f"a model of {len(delivered)} deliveries, {request.terms.providers_min} were wanted")
    for line in receipt.lines:
        want = reward(line.weight, price) if line.fate is Fate.DELIVERED and not void else 0
        if line.paid != want:
            raise InvalidProof(f"{line.org.hex()[:16]} was paid {line.paid}, {line.weight} records are worth {want}")
    paid = sum(line.paid for line in receipt.lines)
    if not paid <= request.paid <= request.terms.budget:
        raise InvalidProof(f"{paid} paid in this round, {request.paid} in all, of a budget of {request.terms.budget}")
    check.steps.append(
        f"{paid} tokens were paid, {price} for each record that counted, of a budget of {request.terms.budget}"
    )
    _check_anchored(proof, header, request, receipt.height, _proven_lines(proof, delivered), check.steps)
    check.facts |= {"receipt": receipt, "price": price, "paid": paid}


def _proven_lines(proof: RewardProof, delivered: Sequence[ReceiptLine]) -> list[ReceiptLine]:
    if not proof.provider:
        return list(delivered)
    chosen = [line for line in delivered if line.org == proof.provider]
    if not chosen:
        raise InvalidProof(f"{proof.provider.hex()[:16]} has delivered nothing in this round")
    return chosen


def _check_anchored(
    proof: RewardProof,
    header: Header,
    request: Request,
    closed: int,
    lines: Sequence[ReceiptLine],
    steps: list[str],
) -> None:
    """That nobody's records counted for more than were anchored under the periods it named, and than it offered."""
    anchors = iter(proof.anchors)
    offered = {provider.org: provider.record_count for provider in request.providers}
    for line in lines:
        if list(line.periods) != sorted(set(line.periods)):
            raise InvalidProof(f"the periods of {line.org.hex()[:16]} are not ascending and distinct")
        records = 0
        for period in line.periods:
            entry = next(anchors, None)
            if entry is None:
                raise InvalidProof(f"the anchor of period {period} of {line.org.hex()[:16]} is not shown")
            anchor = read_entry(header, entry, Anchor, anchor_key(line.org, period))
            if anchor.height > closed:
                raise InvalidProof(f"period {period} was anchored at height {anchor.height}, after the round")
            records += anchor.record_count
        # Who has left the league since is no longer among the providers; the anchors stay.
        limit = min(records, offered.get(line.org, records))
        if line.weight > limit:
            raise InvalidProof(f"{line.weight} records counted for {line.org.hex()[:16]}, at most {limit} could")
        steps.append(f"{line.org.hex()[:16]}: {line.weight} of {records} anchored records counted, {line.paid} tokens")
    if next(anchors, None) is not None:
        raise InvalidProof(f"{len(proof.anchors)} anchors, more than the lines name")


def _decoded(kind: type[Any], entry: ProvenEntry) -> Any:
    assert entry.value is not None
    try:
        return decode(kind, entry.value)
    except InvalidBytes as error:
        raise InvalidProof(f"{key_name(entry.key)}: {error}") from None
