"""How much an organisation may put on the ledger: so many bytes at once, and as many again in a day of block time.

Every block lies on every member's disk, so none may fill them. The rule of protocol 2; before it there was none.
"""

from ledger.errors import InvalidTransaction
from ledger.league_entries import Usage, usage_key
from ledger.parameters import DAY_MS
from ledger.protection import AcceptShares, OpenShares, RevealShares
from ledger.state import BlockContext, State
from ledger.statements import LeaveLeague, RegisterMember, RotateKey
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AttestBlobs,
    DeclineRound,
    ReportEquivocation,
    ReportForDuty,
    Transaction,
)
from ledger.types import OrgId

# What a transaction leaves beside its bytes: its place in the index, entries, nodes of the tree.
OVERHEAD_BYTES = 512
# What the league needs done, and what must be possible when a thief of the node's key has used up the rest, has a
# quarter of the quota to itself. None of it can be said at will: each is refused unless the state asks for it.
RESERVED_FOR = (
    AttestBlobs,
    DeclineRound,
    AcceptShares,
    OpenShares,
    RevealShares,
    ReportEquivocation,
    ReportForDuty,
    RotateKey,
    LeaveLeague,
)
# An aggregate is the leader's work for others.
NOT_CHARGED = (AggregateRound, AggregateProtected)
# A registration has no member behind it and leaves an account for ever: all of them together have one quota, and what a
# league is flooded with is pushed out the slower for it (`membership.py`).
STRANGERS = OrgId(bytes(32))


def charge(state: State, context: BlockContext, org: OrgId, transaction: Transaction) -> None:
    """Count a transaction against its organisation's quota. Raises InvalidTransaction ("quota")."""
    if not context.rules.storage_quota or isinstance(transaction.body, NOT_CHARGED):
        return
    payer, whose = (STRANGERS, "strangers") if isinstance(transaction.body, RegisterMember) else (org, "the sender")
    quota = context.parameters.storage_quota
    allowed = quota + quota // 4 if isinstance(transaction.body, RESERVED_FOR) else quota
    stored = stored_bytes(state, payer, context.time, quota) + len(transaction.encoded) + OVERHEAD_BYTES
    if stored > allowed:
        raise InvalidTransaction("quota", f"{stored} bytes of {whose} within a day, at most {allowed} are allowed")
    state.put(usage_key(payer), Usage(stored, context.time))


def stored_bytes(state: State, org: bytes, time: int, quota: int) -> int:
    """What of an organisation's bytes still counts at a block time: the quota drains in a day."""
    usage = state.get(Usage, usage_key(org))
    return 0 if usage is None else max(0, usage.stored - quota * (time - usage.at) // DAY_MS)
