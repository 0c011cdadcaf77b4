"""What a masked round does before its training, and after its updates are attested (Bonawitz et al. 2017).

KEYS: fresh public keys; who offers them is U0. SHARES: everybody in U0 deals shares of its two secrets to all of U0;
who did is U1. CONTEST: each of U1 says which of these it can use; ANSWERING: who is complained of opens those shares to
everybody. Who accepted, and of whom no complaint stands, is U2: masks count over U2 and over nobody else. Then TRAINING
and ATTESTING as ever, which fix S. UNMASKING: shares of the seeds of S and of the mask keys of U2 - S, until each can
be put together. The ledger is what everybody agrees on, so no consistency round is needed: a block fixes a set.

Every step moves on as soon as nobody is waited for, or at its deadline. Too few left anywhere: the round is void, and
nothing of it is unmasked. What providers say, and what of it is refused, is in `masked_words.py`; arithmetic is `fl`'s.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from ledger.entries import Fate, Participant, Request, Round, Stage, request_key, round_key
from ledger.errors import InvalidTransaction
from ledger.membership import is_member
from ledger.protection import (
    SecretKind,
    share_commitment,
    threshold,
    vanished_max,
)
from ledger.protection_entries import (
    Exclusion,
    MaskMember,
    MaskRound,
    exclusion_key,
    masking_key,
)
from ledger.request_lookup import (
    mask_round_of,
    participant_of,
    protection_of,
    with_participant,
)
from ledger.rounds import awaited_updates, least_counted, settle, void_round
from ledger.state import BlockContext, State


def settle_masked(state: State, context: BlockContext, request_id: bytes) -> None:
    """Move on as soon as nobody is waited for, in whatever stage a round is."""
    work = masked_work(state, request_id)
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
    work = masked_work(state, request_id)
    if work is None or request.stage not in _STEPS:
        return []
    awaits = _STEPS[request.stage].awaits
    return [part.org for part in current.participants if awaits(state, work, part)]


def close_step(state: State, context: BlockContext, request_id: bytes, request: Request) -> None:
    """A step of the exchange, or unmasking, is over: nobody is waited for any more, or its deadline has passed."""
    work = masked_work(state, request_id)
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


class MaskedWork:
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


def masked_work(state: State, request_id: bytes) -> MaskedWork | None:
    """The masked round of a request that is in work; None when there is none, or its updates are not masked."""
    masking = mask_round_of(state, request_id)
    if masking is None:
        return None
    request = state.need(Request, request_key(request_id))
    return MaskedWork(request_id, request, state.need(Round, round_key(request_id)), masking)


# --- the table of steps


def _awaits_keys(state: State, work: MaskedWork, part: Participant) -> bool:
    return part.fate is Fate.MISSING and all(member.org != part.org for member in work.masking.members)


def _fix_u0(state: State, context: BlockContext, work: MaskedWork) -> None:
    members = tuple(work.present())
    work.masking = replace(work.masking, members=members, threshold=threshold(len(members)))
    state.put(masking_key(work.request_id), work.masking)
    orgs = [each.org for each in members]
    work.drop_all_but(state, orgs, "offered no keys in time")
    # Fewer shares than f of the invited hold must tell nothing, however few of the others take part.
    told = work.masking.threshold <= vanished_max(len(work.current.participants))
    if told or len(orgs) < least_counted(work.request, work.current, work.masking):
        work.void(state, context, orgs)
    else:
        work.enter(state, context, Stage.SHARES)


def _awaits_shares(state: State, work: MaskedWork, part: Participant) -> bool:
    return any(each.org == part.org and not each.seed_commitment for each in work.present())


def _fix_u1(state: State, context: BlockContext, work: MaskedWork) -> None:
    dealers = [each.org for each in work.present() if each.seed_commitment]
    work.drop_all_but(state, dealers, "dealt no shares in time")
    if len(dealers) < least_counted(work.request, work.current, work.masking):
        work.void(state, context, dealers)
    else:
        work.enter(state, context, Stage.CONTEST)


def _awaits_word(state: State, work: MaskedWork, part: Participant) -> bool:
    return any(each.org == part.org and each.seed_commitment and not each.accepted for each in work.present())


def _weigh_complaints(state: State, context: BlockContext, work: MaskedWork) -> None:
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


def _accepted(work: MaskedWork) -> list[bytes]:
    return [each.org for each in work.present() if each.seed_commitment and each.accepted]


def _awaits_answer(state: State, work: MaskedWork, part: Participant) -> bool:
    return part.org in _accepted(work) and bool(work.member(part.org).complaints) and not work.member(part.org).answered


def _fix_u2(state: State, context: BlockContext, work: MaskedWork) -> None:
    """The masks that count are agreed; training begins."""
    for part in work.current.participants:
        if _awaits_answer(state, work, part):
            work.exclude(state, context, part.org, "did not open the shares that were complained of")
    counted = _accepted(work)
    if len(counted) < least_counted(work.request, work.current, work.masking):
        work.void(state, context, counted)
        return
    members = tuple(replace(each, counted=each.org in counted) for each in work.masking.members)
    state.put(masking_key(work.request_id), replace(work.masking, members=members))
    deadline = context.time + work.request.terms.round_deadline
    state.put(round_key(work.request_id), replace(work.current, deadline=deadline))
    state.put(request_key(work.request_id), replace(work.request, stage=Stage.TRAINING, deadline=deadline))


def _awaits_reveal(state: State, work: MaskedWork, part: Participant) -> bool:
    # Who has left the league cannot say anything any more.
    awaited = any(each.org == part.org and each.counted and not each.revealed for each in work.masking.members)
    return awaited and is_member(state, part.org)


def _not_unmasked(state: State, context: BlockContext, work: MaskedWork) -> None:
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

    awaits: Callable[[State, MaskedWork, Participant], bool]
    close: Callable[[State, BlockContext, MaskedWork], None]


_STEPS = {
    Stage.KEYS: _Step(_awaits_keys, _fix_u0),
    Stage.SHARES: _Step(_awaits_shares, _fix_u1),
    Stage.CONTEST: _Step(_awaits_word, _weigh_complaints),
    Stage.ANSWERING: _Step(_awaits_answer, _fix_u2),
    Stage.UNMASKING: _Step(_awaits_reveal, _not_unmasked),
}
