"""A block's effect on the state: failed views, deadlines, every transaction in order, then the election. Pure.

The order is part of the protocol: every member gets the same state root from the same block.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.anchors import anchor_records
from ledger.ballots import decide_carried, forget_expired_ballots, open_ballot, support
from ledger.certificates import Certificate
from ledger.closing import aggregate, aggregate_protected
from ledger.deadlines import pass_deadlines
from ledger.departures import leave
from ledger.election import charge_failed_views, close_height, committee_of, redeem, seated_org
from ledger.entries import ELECTION, LEAGUE, Account, Election, League, Member, account_key, member_key
from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.governance import enter_height
from ledger.keyring import account_of, rotate, sender_of
from ledger.masked_words import accept_shares, offer_keys, open_shares, reveal_shares, share_secrets
from ledger.membership import admit_wanted, approve, forget_expired, is_member, register
from ledger.protection import AcceptShares, OfferMaskKeys, OpenShares, RevealShares, ShareMaskSecrets
from ledger.protocols import rules_of
from ledger.punishment import punish
from ledger.quota import charge
from ledger.requests import (
    announce,
    attest,
    cancel,
    decline,
    join,
    publish,
    report_accuracy,
)
from ledger.rewards import deposit, withdraw
from ledger.roles import Role, role_names
from ledger.state import BlockContext, State
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember, RotateKey, Support
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnchorRecords,
    AnnounceProtected,
    AnnounceUpdate,
    AttestBlobs,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    PublishProtected,
    PublishRequest,
    ReportAccuracy,
    ReportEquivocation,
    ReportForDuty,
    SkipNonce,
    Transaction,
    Transfer,
)
from ledger.types import TRANSACTION_BYTES_MAX, Hash32, NodeKey, OrgId

# Which role a member needs to say it; what is not here any member says. Who vote are those with a role at all.
ROLES_ALLOWED: dict[type, Role] = {
    PublishRequest: Role.REQUESTER,
    PublishProtected: Role.REQUESTER,
    JoinRequest: Role.PROVIDER,
    AnchorRecords: Role.PROVIDER,
    ApproveMember: Role.REQUESTER | Role.PROVIDER,
    OpenBallot: Role.REQUESTER | Role.PROVIDER,
    Support: Role.REQUESTER | Role.PROVIDER,
}
# What there is from protocol 3 on.
PROTECTION_KINDS = (
    PublishProtected,
    AnnounceProtected,
    OfferMaskKeys,
    ShareMaskSecrets,
    AcceptShares,
    OpenShares,
    RevealShares,
    AggregateProtected,
)


def open_block(
    state: State, chain_id: Hash32, height: int, time: int, author: NodeKey, nullified: Sequence[Certificate]
) -> BlockContext:
    """What happens before the first transaction: what waited for this height or time does, failed views are charged.

    Raises UnknownProtocol when the height runs by rules that this program does not have.
    """
    parameters, protocol = enter_height(state, height)
    rules = rules_of(protocol.version, protocol.since_height)
    election = state.need(Election, ELECTION)
    context = BlockContext(
        chain_id=chain_id,
        height=height,
        time=time,
        author=author,
        author_org=seated_org(election, author),
        committee=committee_of(election),
        seated=tuple(OrgId(seat.org) for seat in election.seats),
        parameters=parameters,
        rules=rules,
    )
    charge_failed_views(state, nullified)
    forget_expired(state, height)
    forget_expired_ballots(state, height)
    pass_deadlines(state, context)
    return context


def end_block(state: State, context: BlockContext) -> None:
    """Who voted when it began need not vote now: what the others carry is decided, then the election."""
    if state.need(League, LEAGUE).electorate_height == context.height:
        while decide_carried(state, context) or admit_wanted(state, context):
            pass
    close_height(state, context)


def apply_transaction(state: State, context: BlockContext, transaction: Transaction) -> None:
    """All of the transaction or nothing. Raises InvalidTransaction; the signature is the caller's to check."""
    if len(transaction.encoded) > TRANSACTION_BYTES_MAX:
        raise InvalidTransaction(
            "size", f"{len(transaction.encoded)} bytes, at most {TRANSACTION_BYTES_MAX} are allowed"
        )
    _check_protocol(context, transaction.body)
    trial = state.fork()
    if isinstance(transaction.body, AggregateRound | AggregateProtected):
        _aggregate(trial, context, transaction, transaction.body)
        _absorb(state, trial)
        return
    sender = sender_of(trial, transaction.sender, transaction.body)
    _check_role(trial, sender, transaction.body)
    expected = next_nonce(trial, sender)
    if transaction.nonce != expected:
        raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want {expected}")
    charge(trial, context, sender, transaction)
    _apply_body(trial, context, sender, transaction)
    account = trial.need(Account, account_key(sender))
    trial.put(account_key(sender), replace(account, nonce=expected + 1))
    redeem(trial, sender)
    _absorb(state, trial)


def _check_protocol(context: BlockContext, body: object) -> None:
    if isinstance(body, PROTECTION_KINDS) and not context.rules.protection:
        raise InvalidTransaction(
            "protocol", f"{type(body).__name__} wants protocol 3, the league runs {context.rules.version}"
        )


def _absorb(state: State, trial: State) -> None:
    """Take over what a transaction did. An entry that outgrew its bounds costs the transaction, not the whole block."""
    try:
        trial.seal()
    except InvalidBytes as error:
        raise InvalidTransaction("state", f"it leaves an entry that cannot be written: {error}") from None
    state.absorb(trial)


def next_nonce(state: State, key: bytes) -> int:
    """The nonce of whoever signs with this key; an organisation's keys share theirs."""
    account = state.get(Account, account_key(account_of(state, key)))
    return account.nonce if account else 0


def _aggregate(
    state: State, context: BlockContext, transaction: Transaction, body: AggregateRound | AggregateProtected
) -> None:
    if transaction.sender != context.author:
        raise InvalidTransaction("author", "only the author of a block aggregates in it")
    if transaction.nonce != context.height:
        raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want the height {context.height}")
    if isinstance(body, AggregateProtected):
        aggregate_protected(state, context, body)
    else:
        aggregate(state, context, body)


def _check_role(state: State, sender: OrgId, body: object) -> None:
    wanted = ROLES_ALLOWED.get(type(body))
    if wanted is None:
        return
    roles = state.need(Member, member_key(sender)).roles
    if not roles & wanted:
        allowed, has = " or a ".join(role_names(wanted)), " and ".join(role_names(roles))
        raise InvalidTransaction("role", f"{type(body).__name__} takes a {allowed}, the sender is {has}")


def _apply_body(state: State, context: BlockContext, sender: OrgId, transaction: Transaction) -> None:
    match transaction.body:
        case Transfer() as body:
            _transfer(state, sender, body)
        case AnchorRecords() as body:
            anchor_records(state, context, sender, body)
        case AnnounceUpdate() | AnnounceProtected() as body:
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
            publish(state, context, sender, transaction.id, body.terms)
        case PublishProtected() as body:
            publish(state, context, sender, transaction.id, body.terms, body.protection)
        case CancelRequest() as body:
            cancel(state, context, sender, body)
        case RegisterMember() as body:
            register(state, context, sender, body)
        case ApproveMember() as body:
            approve(state, context, sender, body)
        case RotateKey() as body:
            rotate(state, context, sender, transaction.sender, body)
        case LeaveLeague() as body:
            leave(state, context, sender, body)
        case OpenBallot() as body:
            open_ballot(state, context, sender, transaction.id, body)
        case Support() as body:
            support(state, context, sender, body)
        case ReportEquivocation() as body:
            punish(state, context, body)
        case ReportForDuty():
            if sender not in state.need(Election, ELECTION).skipped:
                raise InvalidTransaction("skipped", "the sender is not skipped")
        case SkipNonce():
            pass
        case OfferMaskKeys() as body:
            offer_keys(state, context, sender, body)
        case ShareMaskSecrets() as body:
            share_secrets(state, context, sender, body)
        case AcceptShares() as body:
            accept_shares(state, context, sender, body)
        case OpenShares() as body:
            open_shares(state, context, sender, body)
        case RevealShares() as body:
            reveal_shares(state, context, sender, body)
        case AggregateRound() | AggregateProtected():
            raise AssertionError("aggregates are applied by themselves")


def _transfer(state: State, sender: OrgId, body: Transfer) -> None:
    if not is_member(state, body.to):
        raise InvalidTransaction("recipient", f"{body.to.hex()[:16]} is no member")
    withdraw(state, sender, body.amount)
    deposit(state, body.to, body.amount)
