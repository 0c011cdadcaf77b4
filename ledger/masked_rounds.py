"""What a masked round does before its training, and after its updates are attested (Bonawitz et al. 2017).

KEYS: fresh public keys; who offers them is U0. SHARES: everybody in U0 deals shares of its two secrets to all of U0;
who did is U1. CONTEST: each of U1 says which of these it can use; ANSWERING: who is complained of opens those shares to
everybody. Who accepted, and of whom no complaint stands, is U2: masks count over U2 and over nobody else. Then TRAINING
and ATTESTING as ever, which fix S. UNMASKING: shares of the seeds of S and of the mask keys of U2 - S, until each can
be put together. The ledger is what everybody agrees on, so no consistency round is needed: a block fixes a set.

Every step moves on as soon as nobody is waited for, or at its deadline. Too few left anywhere: the round is void, and
nothing of it is unmasked. Arithmetic is `fl`'s; shares are checked here against their commitments only.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ledger.entries import Fate, Participant, Request, Round, Stage, request_key, round_key
from ledger.errors import InvalidTransaction
from ledger.membership import is_member
from ledger.protection import (
    AcceptShares,
    OfferMaskKeys,
    OpenShares,
    RevealShares,
    SealedShare,
    SecretKind,
    ShareMaskSecrets,
    is_usable_key,
    share_commitment,
    threshold,
    vanished_max,
)
from ledger.protection_entries import (
    Dealing,
    Exclusion,
    MaskMember,
    MaskRound,
    Revealed,
    dealing_key,
    exclusion_key,
    masking_key,
    revealed_key,
)
from ledger.request_lookup import (
    mask_round_of,
    participant_of,
    protection_of,
    request_in_stage,
    round_in_work,
    with_participant,
)
from ledger.rounds import awaited_updates, least_counted, settle, void_round
from ledger.state import BlockContext, State
from ledger.types import OrgId

# --- what is said


def offer_keys(state: State, context: BlockContext, sender: OrgId, body: OfferMaskKeys) -> None:
    """A provider is in U0. Keys that share no secret, or are somebody else's, are refused."""
    work, part = _said_by(state, sender, body)
    if any(member.org == sender for member in work.masking.members):
        raise InvalidTransaction("said", "the sender has offered keys for this attempt already")
    _check_awaited(part)
    keys = (body.mask_key, body.exchange_key)
    used = {key for member in work.masking.members for key in (member.mask_key, member.exchange_key)}
    if len({*keys}) < len(keys) or used & {*keys} or not all(map(is_usable_key, keys)):
        raise InvalidTransaction("key", "a key is used already in this attempt, or shares no secret with any other")
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


# --- how a round goes on


def settle_masked(state: State, context: BlockContext, request_id: bytes) -> None:
    """Move on as soon as nobody is waited for, in whatever stage a round is."""
    work = _in_work(state, request_id)
    if work is None or work.request.stage not in _STEPS:
        settle(state, context, request_id)
    elif work.request.stage is Stage.UNMASKING and work.is_unmasked:
        waiting = replace(work.request, stage=Stage.AGGREGATING, deadline=context.time + work.request.aggregation_max)
        state.put(request_key(request_id), waiting)
    elif not any(_STEPS[work.request.stage].awaits(state, work, member) for member in work.current.participants):
        _STEPS[work.request.stage].close(state, context, work)


def waited_for(state: State, request_id: bytes) -> list[bytes]:
    """Of which providers the stage in work of a request, masked or not, waits for a word; ascending."""
    request = state.need(Request, request_key(request_id))
    current = state.get(Round, round_key(request_id))
    if current is None:
        return []
    if request.stage is Stage.TRAINING:
        return awaited_updates(state, request_id, current)
    work = _in_work(state, request_id)
    if work is None or request.stage not in _STEPS:
        return []
    awaits = _STEPS[request.stage].awaits
    return [part.org for part in current.participants if awaits(state, work, part)]


def close_step(state: State, context: BlockContext, request_id: bytes, request: Request) -> None:
    """A step of the exchange, or unmasking, is over: nobody is waited for any more, or its deadline has passed."""
    work = _in_work(state, request_id)
    assert work is not None, "only a masked round is in such a stage"
    _STEPS[request.stage].close(state, context, work)


def exclude(
    state: State, context: BlockContext, request_id: bytes, request: Request, current: Round, org: bytes, reason: str
) -> tuple[Request, Round]:
    """Who dealt wrong shares has no part in this round and in no later one of the request. Both, as they are then."""
    part = replace(participant_of(current, org), fate=Fate.REJECTED, reason=reason)
    current = with_participant(current, part)
    request = replace(request, providers=tuple(each for each in request.providers if each.org != org))
    state.put(round_key(request_id), current)
    state.put(request_key(request_id), request)
    exclusion = Exclusion(current.number, current.attempt, context.height, reason)
    state.put(exclusion_key(request_id, org), exclusion)
    return request, current


class _Work:
    """A masked round in work: its request, its round and its exchange, as the state has them."""

    def __init__(self, request_id: bytes, request: Request, current: Round, masking: MaskRound) -> None:
        self.request_id = request_id
        self.request = request
        self.current = current
        self.masking = masking

    @property
    def is_unmasked(self) -> bool:
        """Whether enough shares are known of every secret that unmasking takes."""
        return all(each.known_shares >= self.masking.threshold for each in self.masking.members if each.counted)

    def member(self, org: bytes) -> MaskMember:
        """Raises InvalidTransaction ("keys") for who has offered none."""
        for each in self.masking.members:
            if each.org == org:
                return each
        raise InvalidTransaction("keys", f"{org.hex()[:16]} has offered no keys for this attempt")

    def present(self) -> list[MaskMember]:
        """Members that have neither declined nor been put out, ascending."""
        here = {part.org for part in self.current.participants if part.fate is Fate.MISSING}
        return [each for each in self.masking.members if each.org in here]

    def put(self, state: State, member: MaskMember) -> None:
        members = tuple(member if each.org == member.org else each for each in self.masking.members)
        self.masking = replace(self.masking, members=members)
        state.put(masking_key(self.request_id), self.masking)

    def drop_all_but(self, state: State, kept: Collection[bytes], reason: str) -> None:
        """Note why nobody waits any more for the others."""
        parts = [
            replace(part, reason=reason)
            if part.fate is Fate.MISSING and not part.reason and part.org not in kept
            else part
            for part in self.current.participants
        ]
        self.current = replace(self.current, participants=tuple(parts))
        state.put(round_key(self.request_id), self.current)

    def exclude(self, state: State, context: BlockContext, org: bytes, reason: str) -> None:
        self.request, self.current = exclude(state, context, self.request_id, self.request, self.current, org, reason)

    def enter(self, state: State, context: BlockContext, stage: Stage) -> None:
        """The next stage of the exchange begins."""
        protection = protection_of(state, self.request_id)
        assert protection is not None, "a masked round has a protection"
        self.request = replace(self.request, stage=stage, deadline=context.time + protection.exchange_window)
        state.put(request_key(self.request_id), self.request)

    def void(self, state: State, context: BlockContext, blameless: Collection[bytes]) -> None:
        void_round(state, context, self.request_id, self.request, self.current, list(blameless))

    def check_share(
        self, dealer: bytes, holder: bytes, kind: SecretKind, share: bytes, salt: bytes, commitment: bytes
    ) -> None:
        """Raises InvalidTransaction ("share") when it is not the one that was committed to."""
        number, attempt = self.current.number, self.current.attempt
        made = share_commitment(self.request_id, number, attempt, dealer, holder, kind, share, salt)
        if made != commitment:
            secret = "seed" if kind is SecretKind.SEED else "mask key"
            raise InvalidTransaction(
                "share", f"that is not the share of its {secret} which {dealer.hex()[:16]} dealt to {holder.hex()[:16]}"
            )


def _in_work(state: State, request_id: bytes) -> _Work | None:
    masking = mask_round_of(state, request_id)
    if masking is None:
        return None
    request = state.need(Request, request_key(request_id))
    return _Work(request_id, request, state.need(Round, round_key(request_id)), masking)


Spoken = OfferMaskKeys | ShareMaskSecrets | AcceptShares | OpenShares | RevealShares


def _said_by(state: State, sender: OrgId, body: Spoken) -> tuple[_Work, Participant]:
    """The round that a statement is about and its sender's part of it. Raises InvalidTransaction."""
    request_in_stage(state, body.request, type(body))
    round_in_work(state, body.request, body.round, body.attempt)
    work = _in_work(state, body.request)
    assert work is not None, "only a masked round is in such a stage"
    return work, participant_of(work.current, sender)


def _check_awaited(part: Participant) -> None:
    if part.fate is not Fate.MISSING:
        raise InvalidTransaction("announced", f"the sender's part of this round is {part.fate.name}")


def _dealt_to(dealing: Dealing, holder: bytes) -> SealedShare:
    return next(each for each in dealing.shares if each.holder == holder)


# --- the table of steps


def _awaits_keys(state: State, work: _Work, part: Participant) -> bool:
    return part.fate is Fate.MISSING and all(member.org != part.org for member in work.masking.members)


def _fix_u0(state: State, context: BlockContext, work: _Work) -> None:
    members = tuple(work.present())
    work.masking = replace(work.masking, members=members, threshold=threshold(len(members)))
    state.put(masking_key(work.request_id), work.masking)
    orgs = [each.org for each in members]
    work.drop_all_but(state, orgs, "offered no keys in time")
    if len(orgs) < least_counted(work.request, work.masking):
        work.void(state, context, orgs)
    else:
        work.enter(state, context, Stage.SHARES)


def _awaits_shares(state: State, work: _Work, part: Participant) -> bool:
    return any(each.org == part.org and not each.seed_commitment for each in work.present())


def _fix_u1(state: State, context: BlockContext, work: _Work) -> None:
    dealers = [each.org for each in work.present() if each.seed_commitment]
    work.drop_all_but(state, dealers, "dealt no shares in time")
    if len(dealers) < least_counted(work.request, work.masking):
        work.void(state, context, dealers)
    else:
        work.enter(state, context, Stage.CONTEST)


def _awaits_word(state: State, work: _Work, part: Participant) -> bool:
    return any(each.org == part.org and each.seed_commitment and not each.accepted for each in work.present())


def _weigh_complaints(state: State, context: BlockContext, work: _Work) -> None:
    """Who is complained of may answer, unless so many complain that its answer would tell its secrets.

    Only liars complain of an honest dealer, and what is opened to f of them they know already: beside their shares,
    those opened stay below the threshold. Of who has more complaints it is itself the liar, or more than f are.
    """
    members = len(work.masking.members)
    opened_max = work.masking.threshold - 1 - vanished_max(members)
    work.drop_all_but(state, _accepted(work), "accepted no shares in time")
    for each in work.present():
        if len(each.complaints) > opened_max:
            work.exclude(state, context, each.org, f"{len(each.complaints)} holders could not use its shares")
    if any(_awaits_answer(state, work, part) for part in work.current.participants):
        work.enter(state, context, Stage.ANSWERING)
    else:
        _fix_u2(state, context, work)


def _accepted(work: _Work) -> list[bytes]:
    return [each.org for each in work.present() if each.seed_commitment and each.accepted]


def _awaits_answer(state: State, work: _Work, part: Participant) -> bool:
    return part.org in _accepted(work) and bool(work.member(part.org).complaints) and not work.member(part.org).answered


def _fix_u2(state: State, context: BlockContext, work: _Work) -> None:
    """The masks that count are agreed; training begins."""
    for part in work.current.participants:
        if _awaits_answer(state, work, part):
            work.exclude(state, context, part.org, "did not open the shares that were complained of")
    counted = _accepted(work)
    if len(counted) < least_counted(work.request, work.masking):
        work.void(state, context, counted)
        return
    members = tuple(replace(each, counted=each.org in counted) for each in work.masking.members)
    state.put(masking_key(work.request_id), replace(work.masking, members=members))
    deadline = context.time + work.request.terms.round_deadline
    state.put(round_key(work.request_id), replace(work.current, deadline=deadline))
    state.put(request_key(work.request_id), replace(work.request, stage=Stage.TRAINING, deadline=deadline))


def _awaits_reveal(state: State, work: _Work, part: Participant) -> bool:
    # Who has left the league cannot say anything any more.
    awaited = any(each.org == part.org and each.counted and not each.revealed for each in work.masking.members)
    return awaited and is_member(state, part.org)


def _not_unmasked(state: State, context: BlockContext, work: _Work) -> None:
    revealed = {each.org for each in work.masking.members if each.revealed}
    parts = [
        replace(part, fate=Fate.UNAVAILABLE, reason="revealed no shares in time")
        if part.fate is Fate.DELIVERED and part.org not in revealed
        else part
        for part in work.current.participants
    ]
    work.current = replace(work.current, participants=tuple(parts))
    work.void(state, context, [part.org for part in parts if part.fate is Fate.DELIVERED])


@dataclass(frozen=True, slots=True)
class _Step:
    """`awaits`: whether the stage waits for this participant's word; `close`: what comes when it does for nobody's."""

    awaits: Callable[[State, _Work, Participant], bool]
    close: Callable[[State, BlockContext, _Work], None]


_STEPS = {
    Stage.KEYS: _Step(_awaits_keys, _fix_u0),
    Stage.SHARES: _Step(_awaits_shares, _fix_u1),
    Stage.CONTEST: _Step(_awaits_word, _weigh_complaints),
    Stage.ANSWERING: _Step(_awaits_answer, _fix_u2),
    Stage.UNMASKING: _Step(_awaits_reveal, _not_unmasked),
}
