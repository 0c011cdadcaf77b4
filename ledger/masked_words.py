"""What providers of a masked round say to each other on the ledger, and what of it is refused.

When each of it is due is `masked_rounds.py`'s business. Shares are checked against their commitments, by SHA-256 only.
"""

from dataclasses import replace

from ledger.entries import Fate, Participant
from ledger.errors import InvalidTransaction
from ledger.masked_rounds import MaskedWork, masked_work, settle_masked
from ledger.protection import (
    AcceptShares,
    OfferMaskKeys,
    OpenShares,
    RevealShares,
    SealedShare,
    SecretKind,
    ShareMaskSecrets,
    is_usable_key,
)
from ledger.protection_entries import Dealing, MaskMember, Revealed, dealing_key, masking_key, revealed_key
from ledger.request_lookup import participant_of, request_in_stage, round_in_work
from ledger.state import BlockContext, State
from ledger.types import OrgId

Spoken = OfferMaskKeys | ShareMaskSecrets | AcceptShares | OpenShares | RevealShares


def offer_keys(state: State, context: BlockContext, sender: OrgId, body: OfferMaskKeys) -> None:
    """A provider is in U0. Keys that share no secret are refused.

    Keys that somebody else has offered are not: who read them on their way to a block could say them first and so keep
    their owner out. They are of no use to a copier, for everything made with them names the organisation it is for.
    """
    work, part = _said_by(state, sender, body)
    if any(member.org == sender for member in work.masking.members):
        raise InvalidTransaction("said", "the sender has offered keys for this attempt already")
    _check_awaited(part)
    keys = (body.mask_key, body.exchange_key)
    if len({*keys}) < len(keys) or not all(map(is_usable_key, keys)):
        raise InvalidTransaction("key", "one key for both uses, or one that shares no secret with any other")
    member = MaskMember(sender, *keys, b"", False, (), False, False, False, 0)
    members = tuple(sorted((*work.masking.members, member), key=lambda each: each.org))
    state.put(masking_key(body.request), replace(work.masking, members=members))
    settle_masked(state, context, body.request)


def share_secrets(state: State, context: BlockContext, sender: OrgId, body: ShareMaskSecrets) -> None:
    """A dealer is in U1: it has dealt to every member of U0, and is bound to its seed and to each share."""
    work, part = _said_by(state, sender, body)
    member = work.member(sender)
    if member.seed_commitment:
        raise InvalidTransaction("said", "the sender has dealt its shares already")
    _check_awaited(part)
    if [share.holder for share in body.shares] != [each.org for each in work.masking.members]:
        raise InvalidTransaction("holders", f"{len(body.shares)} shares that do not name each member of U0 in order")
    state.put(dealing_key(body.request, sender), Dealing(body.shares, ()))
    work.put(state, replace(member, seed_commitment=body.seed_commitment))
    settle_masked(state, context, body.request)


def accept_shares(state: State, context: BlockContext, sender: OrgId, body: AcceptShares) -> None:
    """A holder has looked at what it was dealt; who it refuses is to open that share."""
    work, part = _said_by(state, sender, body)
    member = work.member(sender)
    if member.accepted:
        raise InvalidTransaction("said", "the sender has said which shares it accepts")
    _check_awaited(part)
    dealers = {each.org for each in work.masking.members if each.seed_commitment}
    if sender not in dealers:
        raise InvalidTransaction("dealt", "the sender has dealt no shares: its masks do not count")
    if list(body.refused) != sorted({*body.refused}) or not {*body.refused} <= dealers - {sender}:
        raise InvalidTransaction("dealers", "what is refused does not name others that dealt, ascending")
    for each in work.masking.members:
        if each.org in body.refused:
            work.put(state, replace(each, complaints=tuple(sorted((*each.complaints, sender)))))
    work.put(state, replace(member, accepted=True))
    settle_masked(state, context, body.request)


def open_shares(state: State, context: BlockContext, sender: OrgId, body: OpenShares) -> None:
    """A dealer's right answer to every complaint: the shares it had committed to, and no others."""
    work, part = _said_by(state, sender, body)
    member = work.member(sender)
    if member.answered or not member.complaints:
        raise InvalidTransaction("said", "nobody waits for shares of the sender to be opened")
    _check_awaited(part)
    if tuple(each.holder for each in body.opened) != member.complaints:
        raise InvalidTransaction("holders", f"{len(body.opened)} opened, {len(member.complaints)} holders complained")
    dealing = state.need(Dealing, dealing_key(body.request, sender))
    for each in body.opened:
        committed = _dealt_to(dealing, each.holder)
        for kind, share, salt, commitment in (
            (SecretKind.SEED, each.seed_share, each.seed_salt, committed.seed_share_commitment),
            (SecretKind.MASK_KEY, each.key_share, each.key_salt, committed.key_share_commitment),
        ):
            work.check_share(sender, each.holder, kind, share, salt, commitment)
    state.put(dealing_key(body.request, sender), replace(dealing, opened=body.opened))
    work.put(state, replace(member, answered=True))
    settle_masked(state, context, body.request)


def reveal_shares(state: State, context: BlockContext, sender: OrgId, body: RevealShares) -> None:
    """A holder's part in unmasking. Of each dealer the share of one secret only: the other kind is refused."""
    work, _ = _said_by(state, sender, body)
    member = work.member(sender)
    if member.revealed or not member.counted:
        raise InvalidTransaction("said", "nobody waits for shares that the sender holds")
    dealers = [share.dealer for share in body.shares]
    counted = {each.org: each for each in work.masking.members if each.counted}
    if dealers != sorted({*dealers}) or not {*dealers} <= counted.keys():
        raise InvalidTransaction("dealers", "what is revealed does not name members of U2, ascending")
    for each in body.shares:
        committed = _dealt_to(state.need(Dealing, dealing_key(body.request, each.dealer)), sender)
        kind, commitment = SecretKind.SEED, committed.seed_share_commitment
        if participant_of(work.current, each.dealer).fate is not Fate.DELIVERED:
            kind, commitment = SecretKind.MASK_KEY, committed.key_share_commitment
        work.check_share(each.dealer, sender, kind, each.share, each.salt, commitment)
    for org in dealers:
        work.put(state, replace(counted[org], known_shares=counted[org].known_shares + 1))
    work.put(state, replace(work.member(sender), revealed=True))
    state.put(revealed_key(body.request, sender), Revealed(body.shares))
    settle_masked(state, context, body.request)


def _said_by(state: State, sender: OrgId, body: Spoken) -> tuple[MaskedWork, Participant]:
    """The round that a statement is about and its sender's part of it. Raises InvalidTransaction."""
    request_in_stage(state, body.request, type(body))
    round_in_work(state, body.request, body.round, body.attempt)
    work = masked_work(state, body.request)
    assert work is not None, "only a masked round is in such a stage"
    return work, participant_of(work.current, sender)


def _check_awaited(part: Participant) -> None:
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")


def _dealt_to(dealing: Dealing, holder: bytes) -> SealedShare:
    return next(each for each in dealing.shares if each.holder == holder)
