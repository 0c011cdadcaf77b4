"""A block's effect on the state: failed views, deadlines, every transaction in order, then the election. Pure.

The order is part of the protocol: every member gets the same state root from the same block.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.anchors import anchor_records
from ledger.certificates import Certificate, check_equivocation
from ledger.election import charge_failed_views, close_height, redeem
from ledger.entries import ELECTION, Account, Candidate, Election, Standing, account_key, candidate_key, standing_key
from ledger.errors import InvalidCertificate, InvalidTransaction
from ledger.genesis import LeagueParameters
from ledger.membership import approve, forget_expired, is_member, register
from ledger.reputation import JAIL_EPOCHS
from ledger.requests import (
    aggregate,
    announce,
    attest,
    cancel,
    decline,
    join,
    pass_deadlines,
    publish,
    report_accuracy,
)
from ledger.rewards import deposit, withdraw
from ledger.state import BlockContext, State
from ledger.transactions import (
    AggregateRound,
    AnchorRecords,
    AnnounceUpdate,
    ApproveMember,
    AttestBlobs,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    PublishRequest,
    RegisterMember,
    ReportAccuracy,
    ReportEquivocation,
    ReportForDuty,
    SkipNonce,
    Transaction,
    Transfer,
)
from ledger.types import TRANSACTION_BYTES_MAX, OrgId


@dataclass(frozen=True, slots=True)
class Rules:
    """What the rules need to know beside the state and the block."""

    parameters: LeagueParameters


def begin_block(state: State, context: BlockContext, nullified: Sequence[Certificate]) -> None:
    """What happens before the first transaction: failed views are charged, what fell due happens."""
    charge_failed_views(state, nullified)
    forget_expired(state, context.height)
    pass_deadlines(state, context)


def end_block(state: State, context: BlockContext) -> None:
    close_height(state, context)


def apply_transaction(state: State, context: BlockContext, rules: Rules, transaction: Transaction) -> None:
    """All of the transaction or nothing. Raises InvalidTransaction; the signature is the caller's to check."""
    if len(transaction.encoded) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction(
            "size", f"{len(transaction.encoded)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed"
        )
    trial = state.fork()
    sender = OrgId(transaction.sender)
    _check_standing(trial, transaction)
    if isinstance(transaction.body, AggregateRound):
        if transaction.nonce != context.height:
            raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want the height {context.height}")
        aggregate(trial, context, sender, transaction.body)
        state.absorb(trial)
        return
    expected = next_nonce(trial, sender)
    if transaction.nonce != expected:
        raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want {expected}")
    _apply_body(trial, context, rules, transaction)
    account = trial.need(Account, account_key(sender))
    trial.put(account_key(sender), replace(account, nonce=expected + 1))
    redeem(trial, sender)
    state.absorb(trial)


def next_nonce(state: State, org: OrgId | bytes) -> int:
    account = state.get(Account, account_key(org))
    return account.nonce if account else 0


def _check_standing(state: State, transaction: Transaction) -> None:
    if is_member(state, transaction.sender):
        return
    if not isinstance(transaction.body, RegisterMember):
        waits = state.get(Candidate, candidate_key(transaction.sender)) is not None
        who = "a candidate that waits for approval" if waits else "no member"
        raise InvalidTransaction("member", f"the sender {transaction.sender.hex()[:16]} is {who}")


def _apply_body(state: State, context: BlockContext, rules: Rules, transaction: Transaction) -> None:
    sender = OrgId(transaction.sender)
    match transaction.body:
        case Transfer() as body:
            _transfer(state, sender, body)
        case AnchorRecords() as body:
            anchor_records(state, context, sender, body)
        case AnnounceUpdate() as body:
            announce(state, context, sender, body)
        case AttestBlobs() as body:
            attest(state, context, sender, body)
        case DeclineRound() as body:
            decline(state, context, sender, body)
        case ReportAccuracy() as body:
            report_accuracy(state, sender, body)
        case JoinRequest() as body:
            join(state, context, sender, body)
        case PublishRequest() as body:
            publish(state, context, sender, transaction.id, body)
        case CancelRequest() as body:
            cancel(state, context, sender, body)
        case RegisterMember() as body:
            register(state, context, sender, body, rules.parameters.registration_expiry_heights)
        case ApproveMember() as body:
            approve(state, context, sender, body)
        case ReportEquivocation() as body:
            _punish(state, context, body)
        case ReportForDuty() as body:
            if sender not in state.need(Election, ELECTION).skipped:
                raise InvalidTransaction("skipped", "the sender is not skipped")
        case SkipNonce():
            pass
        case AggregateRound():
            raise AssertionError("aggregates are applied by themselves")


def _transfer(state: State, sender: OrgId, body: Transfer) -> None:
    if not is_member(state, body.to):
        raise InvalidTransaction("recipient", f"{body.to.hex()[:16]} is no member")
    withdraw(state, sender, body.amount)
    deposit(state, body.to, body.amount)


def _punish(state: State, context: BlockContext, body: ReportEquivocation) -> None:
    """Reputation to zero and no seat for JAIL_EPOCHS. One punishment covers all that was done before it."""
    try:
        guilty = check_equivocation(context.chain_id, body.evidence)
    except InvalidCertificate as error:
        raise InvalidTransaction("evidence", str(error)) from None
    standing = state.get(Standing, standing_key(guilty))
    if standing is None:
        raise InvalidTransaction("evidence", f"{guilty.hex()[:16]} is no member")
    height = body.evidence.first.subject.height
    if not standing.punished_height < height <= context.height:
        wanted = f"above {standing.punished_height} and at most {context.height}"
        raise InvalidTransaction("evidence", f"evidence of height {height}, want one {wanted}")
    jailed = state.need(Election, ELECTION).epoch + 1 + JAIL_EPOCHS
    punished = replace(standing, reputation=0, jailed_until_epoch=jailed, punished_height=context.height)
    state.put(standing_key(guilty), punished)
