"""The only protocol a stranger may speak (DESIGN D1), and the outsider's side of it.

A newcomer hands in a signed registration and may ask how an organisation stands. Whoever holds the identity of a member
may hand in what its identity signs, for the key of its node may be lost or in other hands. Everything else waits until
its node is a member's.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from ledger.chain import Chain
from ledger.codec import Range, Size, decode, encode
from ledger.entries import LEAGUE, Candidate, League, candidate_key
from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.statements import LeaveLeague, RegisterMember, RotateKey
from ledger.transactions import Transaction, parse_transaction
from ledger.types import AMOUNT_MAX, TRANSACTION_BYTES_MAX, Hash32, NodeKey, OrgId
from node.network.transport import InvalidAddress, RequestRefused, Transport, TransportError

log = logging.getLogger(__name__)

REGISTER = "league.register"
STANDING = "league.standing"
# Dialling, a handshake and an answer, across the world and with a busy peer.
ASK_S = 15.0

Count = Annotated[int, Range(0, AMOUNT_MAX)]


class NotAdmitted(Exception):
    """No bootstrap peer took the registration. The text names each and what it said."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an organisation stands with the league, as one member sees it. `key`: of its node, empty for no member."""

    chain_id: Annotated[bytes, Size(32, 32)]
    height: Count
    member: bool
    candidate: bool
    approvals: Count
    members: Count
    nonce: Count
    key: Annotated[bytes, Size(0, 32)]


def serve_admission(transport: Transport, chain: Chain, submit: Callable[[Transaction], None]) -> None:
    """Answer strangers. `submit` raises InvalidTransaction."""

    async def register(key: NodeKey, body: bytes) -> bytes:
        try:
            transaction = parse_transaction(body)
            _check_outsiders_word(chain, key, transaction)
            submit(transaction)
        except (InvalidTransaction, InvalidBytes) as error:
            raise RequestRefused(getattr(error, "code", "bytes"), str(error)) from None
        return transaction.id

    async def standing(key: NodeKey, org: bytes) -> bytes:
        if len(org) not in (0, 32):
            raise RequestRefused("bytes", f"an organisation of {len(org)} bytes, want 32, or none: the caller's key")
        return encode(standing_of(chain, org or key))

    transport.serve(REGISTER, register, body_bytes_max=TRANSACTION_BYTES_MAX, concurrent_per_peer=1, strangers=True)
    transport.serve(STANDING, standing, body_bytes_max=32, concurrent_per_peer=1, strangers=True)


def _check_outsiders_word(chain: Chain, key: NodeKey, transaction: Transaction) -> None:
    """A node registers the organisation it is to sign for; what an identity may say, anybody may carry."""
    body, sender = transaction.body, transaction.sender
    if isinstance(body, RegisterMember):
        if (body.key or sender) != key:
            raise InvalidTransaction("member", "a stranger may only register the organisation that its own key is of")
    elif not isinstance(body, RotateKey | LeaveLeague) or chain.org_of(sender) != sender:
        raise InvalidTransaction("member", "a stranger may only register, or bring what the identity of a member says")


def standing_of(chain: Chain, org: bytes) -> Standing:
    candidate = chain.read(Candidate, candidate_key(org))
    league = chain.read(League, LEAGUE)
    assert league is not None, "every state has a league"
    key = chain.key_of(org)
    return Standing(
        chain_id=chain.chain_id,
        height=chain.height,
        member=key is not None,
        candidate=candidate is not None,
        approvals=len(candidate.approvals) if candidate else 0,
        members=league.members,
        nonce=chain.next_nonce(org),
        key=key or b"",
    )


async def ask_standing(transport: Transport, doors: Sequence[str], chain_id: Hash32, org: OrgId) -> Standing:
    """How the first of these members that answers sees an organisation. Raises NotAdmitted when none does.

    `doors`: addresses that end in /p2p/<peer id>. Members of another league are left out.
    """
    problems = []
    for address in doors:
        try:
            standing = decode(Standing, await transport.request_at(address, STANDING, org, ASK_S))
        except (TransportError, InvalidAddress, InvalidBytes) as error:
            problems.append(f"{address}: {error}")
            continue
        if standing.chain_id == chain_id:
            return standing
        problems.append(
            f"{address}: is in league {standing.chain_id.hex()[:16]}, our genesis is of {chain_id.hex()[:16]}"
        )
    raise NotAdmitted("; ".join(problems) or "no bootstrap peer is configured")


async def hand_in(transport: Transport, doors: Sequence[str], transaction: Transaction) -> None:
    """Hand a transaction to the first member that takes it. Raises NotAdmitted, InvalidTransaction."""
    problems = []
    for address in doors:
        try:
            await transport.request_at(address, REGISTER, transaction.encoded, ASK_S)
        except RequestRefused as refusal:
            raise InvalidTransaction(refusal.code, refusal.text) from None
        except (TransportError, InvalidAddress) as error:
            problems.append(f"{address}: {error}")
        else:
            return
    raise NotAdmitted("; ".join(problems) or "no bootstrap peer is configured")
