"""Joining from outside: the only protocol a stranger may speak (DESIGN D1), and the newcomer's side of it.

A newcomer hands in a signed registration and may ask how it stands. Everything else waits until it is a member.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from ledger.chain import Chain
from ledger.codec import Range, Size, decode, encode
from ledger.entries import LEAGUE, Candidate, League, candidate_key
from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.keys import KeyPair
from ledger.transactions import RegisterMember, Transaction, parse_transaction, sign_transaction
from ledger.types import AMOUNT_MAX, TRANSACTION_BYTES_MAX, NodeKey
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
    """How an organisation stands with the league, as one member sees it."""

    chain_id: Annotated[bytes, Size(32, 32)]
    height: Count
    member: bool
    candidate: bool
    approvals: Count
    members: Count
    nonce: Count


def serve_admission(transport: Transport, chain: Chain, submit: Callable[[Transaction], None]) -> None:
    """Answer strangers. `submit` raises InvalidTransaction."""

    async def register(key: NodeKey, body: bytes) -> bytes:
        try:
            transaction = parse_transaction(body)
            if transaction.sender != key or not isinstance(transaction.body, RegisterMember):
                raise InvalidTransaction("member", "a stranger may only register itself")
            submit(transaction)
        except (InvalidTransaction, InvalidBytes) as error:
            raise RequestRefused(getattr(error, "code", "bytes"), str(error)) from None
        return transaction.id

    async def standing(key: NodeKey, _: bytes) -> bytes:
        return encode(standing_of(chain, key))

    transport.serve(REGISTER, register, body_bytes_max=TRANSACTION_BYTES_MAX, concurrent_per_peer=1, strangers=True)
    transport.serve(STANDING, standing, body_bytes_max=1, concurrent_per_peer=1, strangers=True)


def standing_of(chain: Chain, key: NodeKey) -> Standing:
    candidate = chain.read(Candidate, candidate_key(key))
    league = chain.read(League, LEAGUE)
    assert league is not None, "every state has a league"
    return Standing(
        chain_id=chain.chain_id,
        height=chain.height,
        member=chain.org_of(key) is not None,
        candidate=candidate is not None,
        approvals=len(candidate.approvals) if candidate else 0,
        members=league.members,
        nonce=chain.next_nonce(key),
    )


async def ask_standing(transport: Transport, bootstrap: Sequence[str]) -> Standing:
    """How the first bootstrap peer that answers sees us. Raises NotAdmitted when none does."""
    problems = []
    for address in bootstrap:
        try:
            return decode(Standing, await transport.request_at(address, STANDING, b"", ASK_S))
        except (TransportError, InvalidAddress, InvalidBytes) as error:
            problems.append(f"{address}: {error}")
    raise NotAdmitted("; ".join(problems) or "no bootstrap peer is configured")


async def ask_to_register(
    transport: Transport,
    key: KeyPair,
    chain: Chain,
    bootstrap: Sequence[str],
    name: str,
    addresses: tuple[str, ...],
) -> Transaction:
    """Hand a registration to the first bootstrap peer that takes it. Raises NotAdmitted, InvalidTransaction."""
    standing = await ask_standing(transport, bootstrap)
    if standing.chain_id != chain.chain_id:
        theirs, ours = standing.chain_id.hex()[:16], chain.chain_id.hex()[:16]
        raise NotAdmitted(f"the bootstrap peers are in league {theirs}, our genesis is of {ours}")
    body = RegisterMember(name, addresses)
    transaction = sign_transaction(key, chain.chain_id, standing.nonce, body)
    problems = []
    for address in bootstrap:
        try:
            await transport.request_at(address, REGISTER, transaction.encoded, ASK_S)
        except RequestRefused as refusal:
            raise InvalidTransaction(refusal.code, refusal.text) from None
        except (TransportError, InvalidAddress) as error:
            problems.append(f"{address}: {error}")
        else:
            return transaction
    raise NotAdmitted("; ".join(problems))
