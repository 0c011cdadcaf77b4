"""Whose key is whose: an organisation's identity for life, the key its node signs with now, and those it gave up.

`member/<org>` names the current key, `key/<key>` the owner of every key that ever was one; an identity that is kept
apart has no such row. What a node signed once counts for ever, so a key that was given up is never anybody's again.
"""

from dataclasses import replace

from ledger.entries import (
    CANDIDATES,
    ELECTION,
    LEAGUE,
    Candidate,
    Election,
    League,
    Member,
    candidate_key,
    member_key,
)
from ledger.errors import InvalidTransaction
from ledger.league_entries import Cause, Former, KeyOwner, former_key, key_owner_key
from ledger.parameters import DAY_MS
from ledger.state import BlockContext, State
from ledger.statements import LeaveLeague, RegisterMember, RotateKey, key_is_proven
from ledger.types import NodeKey, OrgId

# A rotation leaves a row for ever and changes the committee, which every light client has to follow: four at once for
# who has had bad luck, then one a week.
ROTATIONS_AT_ONCE_MAX = 4
ROTATION_EVERY_MS = 7 * DAY_MS


def org_of(state: State, key: bytes) -> OrgId | None:
    """Whose key this is or was: a node's key, or the identity of a member or of who was one. None for a stranger's."""
    owner = state.get(KeyOwner, key_owner_key(key))
    if owner is not None:
        return OrgId(owner.org)
    known = state.get(Member, member_key(key)) or state.get(Former, former_key(key))
    return OrgId(key) if known else None


def key_of(state: State, org: bytes) -> NodeKey | None:
    """What a member's node signs with now; None for who is no member."""
    member = state.get(Member, member_key(org))
    return None if member is None else NodeKey(member.key)


def speaks(state: State, key: bytes) -> bool:
    """Whether a member signs with this key now: its node's, or its identity."""
    org = org_of(state, key)
    return org is not None and key in (org, key_of(state, org)) and key_of(state, org) is not None


def account_of(state: State, key: bytes) -> OrgId:
    """Whose nonce counts what is signed with this key: the organisation's, a stranger's own."""
    return org_of(state, key) or OrgId(key)


def sender_of(state: State, key: bytes, body: object) -> OrgId:
    """The organisation that says `body` by signing with `key`. Raises InvalidTransaction ("key", "member")."""
    if isinstance(body, RegisterMember):
        _check_identity(state, key)
        return OrgId(key)
    org = org_of(state, key)
    if org is None:
        waits = state.get(Candidate, candidate_key(key)) is not None
        who = "a candidate that waits for approval" if waits else "no member"
        raise InvalidTransaction("member", f"the sender {key.hex()[:16]} is {who}")
    current = key_of(state, org)
    if current == key:
        return org
    owner = state.get(KeyOwner, key_owner_key(key))
    if current is None:
        former = state.need(Former, former_key(org))
        gone = "left the league" if former.cause is Cause.LEFT else "was expelled"
        raise InvalidTransaction("member", f"{former.name!r} {gone} at height {former.left_height}")
    if key == org:
        if isinstance(body, RotateKey | LeaveLeague):
            return org
        raise InvalidTransaction(
            "key", f"an identity signs RotateKey and LeaveLeague, its node signs the rest with {current.hex()[:16]}"
        )
    assert owner is not None
    raise InvalidTransaction("key", f"the key {key.hex()[:16]} was rotated away at height {owner.until_height}")


def _check_identity(state: State, identity: bytes) -> None:
    """A node's key cannot be somebody's identity as well."""
    owner = state.get(KeyOwner, key_owner_key(identity))
    league = state.need(League, LEAGUE)
    waiting = state.scan(Candidate, CANDIDATES) if league.candidates else []
    if owner is not None and owner.org != identity:
        raise InvalidTransaction("key", f"{identity.hex()[:16]} is or was the node key of {owner.org.hex()[:16]}")
    if any(candidate.key == identity and org != identity for org, candidate in waiting):
        raise InvalidTransaction("key", f"{identity.hex()[:16]} is the node key of a candidate")


def check_new_key(state: State, context: BlockContext, org: bytes, key: bytes, proof: bytes) -> None:
    """Raises InvalidTransaction ("key", "proof") unless `key` is free and its holder wants to sign for `org`."""
    owner = state.get(KeyOwner, key_owner_key(key))
    former = state.get(Former, former_key(org))
    # Who comes back may bring the key it left with: its node never stopped knowing what it had signed.
    if owner is not None and not (owner.org == org and former is not None and former.key == key):
        what = "the key of" if owner.until_height == 0 else "a key that was given up by"
        raise InvalidTransaction("key", f"{key.hex()[:16]} is {what} {owner.org.hex()[:16]}")
    if key != org:
        if state.get(Member, member_key(key)) or state.get(Former, former_key(key)):
            raise InvalidTransaction("key", f"{key.hex()[:16]} is the identity of another organisation")
        waiting = state.scan(Candidate, CANDIDATES) if state.need(League, LEAGUE).candidates else []
        if any(each != org and key in (each, candidate.key) for each, candidate in waiting):
            raise InvalidTransaction("key", f"{key.hex()[:16]} is a candidate's")
    if not key_is_proven(context.chain_id, org, key, proof):
        raise InvalidTransaction("proof", f"{key.hex()[:16]} did not sign that it belongs to {org.hex()[:16]}")


def take_key(state: State, org: bytes, key: bytes, since_height: int) -> None:
    state.put(key_owner_key(key), KeyOwner(org, since_height, 0))


def give_up_key(state: State, key: bytes, last_height: int) -> None:
    owner = state.need(KeyOwner, key_owner_key(key))
    state.put(key_owner_key(key), replace(owner, until_height=last_height))


def rotate(state: State, context: BlockContext, sender: OrgId, signed_with: bytes, body: RotateKey) -> None:
    """The next height's committee, and every transaction after this one, knows the new key only."""
    if signed_with != sender:
        # Else whoever steals a node's key could lock its owner out.
        raise InvalidTransaction("key", "a key is rotated by the identity, not by the key of the node")
    member = state.need(Member, member_key(sender))
    used_until = max(member.rotated_until, context.time)
    if used_until - context.time > (ROTATIONS_AT_ONCE_MAX - 1) * ROTATION_EVERY_MS:
        raise InvalidTransaction("rotation", f"{ROTATIONS_AT_ONCE_MAX} rotations at once, then one a week")
    check_new_key(state, context, sender, body.new_key, body.proof)
    give_up_key(state, member.key, context.height)
    take_key(state, sender, body.new_key, context.height + 1)
    rotated = replace(member, key=body.new_key, rotated_until=used_until + ROTATION_EVERY_MS)
    state.put(member_key(sender), rotated)
    election = state.need(Election, ELECTION)
    seats = tuple(replace(seat, key=body.new_key) if seat.org == sender else seat for seat in election.seats)
    state.put(ELECTION, replace(election, seats=seats))
