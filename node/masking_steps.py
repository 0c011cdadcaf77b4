"""What a provider says next in a masked round: from what the ledger shows and what it keeps to its next word. Pure.

Randomness comes as an argument. `next_step` says what to keep and what to say, in this order: first the disk, then the
league. The same ledger and the same secrets give the same word, so a node that died goes on where it was. The stages
are the ledger's (`ledger/masked_rounds.py`), the arithmetic `fl`'s; who drives this is `masked_rounds.py`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from fl.fixed_point import Ints
from fl.mask_keys import DealtShare, MaskContext, open_share, public_key, seal_share, seed_commitment
from fl.masked_aggregate import factor
from fl.masking import Longs, MaskSecrets, mask_update
from fl.shamir import SECRET_BYTES, WrongShare, split
from ledger.entries import Stage
from ledger.protection import (
    SALT_BYTES,
    AcceptShares,
    OfferMaskKeys,
    OpenedShare,
    OpenShares,
    RevealedShare,
    RevealShares,
    SealedShare,
    SecretKind,
    ShareMaskSecrets,
    share_commitment,
)
from ledger.protection_entries import Dealing, MaskMember, MaskRound
from ledger.transactions import Body
from node.masking_memory import Dealt, Held, RoundSecrets
from node.rounds import RoundId

Random = Callable[[int], bytes]
"""So many bytes that nobody can guess."""


class SecretsLost(Exception):
    """The ledger shows a word of ours that rests on secrets which are not here any more."""


@dataclass(frozen=True, slots=True)
class MaskView:
    """All that the ledger says of a masked round in work, as `me` sees it. `masks` is None before anybody has offered.

    `dealings`: what each dealer dealt. `delivered`: whose updates are in the sum, once the round is UNMASKING.
    """

    id: RoundId
    context: MaskContext
    stage: Stage
    me: bytes
    masks: MaskRound | None
    dealings: Mapping[bytes, Dealing]
    delivered: frozenset[bytes]

    @property
    def members(self) -> tuple[MaskMember, ...]:
        return self.masks.members if self.masks is not None else ()

    @property
    def myself(self) -> MaskMember | None:
        return next((member for member in self.members if member.org == self.me), None)


@dataclass(frozen=True, slots=True)
class Step:
    """`keep`: on the disk before `say` is said; None where what is kept stands already."""

    keep: RoundSecrets | None
    say: Body


def fresh_secrets(round_id: RoundId, random: Random) -> RoundSecrets:
    return RoundSecrets(*round_id, random(SECRET_BYTES), random(SECRET_BYTES), random(SECRET_BYTES))


def next_step(view: MaskView, secrets: RoundSecrets | None, random: Random) -> Step | None:
    """None when it is for others to speak. Raises SecretsLost, BothSecrets."""
    mine = view.myself
    if mine is None:
        return _offer(view, secrets, random) if view.stage is Stage.KEYS else None
    if secrets is None or not (secrets.is_spent or public_key(secrets.mask_key) == mine.mask_key):
        raise SecretsLost("the secrets of this round are not here any more")
    match view.stage:
        case Stage.SHARES if not mine.seed_commitment:
            return _deal(view, secrets, random)
        case Stage.CONTEST if mine.seed_commitment and not mine.accepted:
            return _accept(view, secrets)
        case Stage.ANSWERING if mine.complaints and not mine.answered:
            return _open(view, secrets, mine)
        case Stage.UNMASKING if mine.counted and not mine.revealed:
            return _reveal(view, secrets)
    return None


def _offer(view: MaskView, secrets: RoundSecrets | None, random: Random) -> Step:
    # Once offered they are never drawn anew, also when somebody read our offer on its way and made it first: the ledger
    # takes ours all the same, and may take it after others were drawn, which would be the wrong ones then.
    kept = secrets or fresh_secrets(view.id, random)
    _need_own(kept)
    say = OfferMaskKeys(*view.id, public_key(kept.mask_key), public_key(kept.exchange_key))
    return Step(kept if secrets is None else None, say)


def _deal(view: MaskView, secrets: RoundSecrets, random: Random) -> Step:
    _need_own(secrets)
    assert view.masks is not None
    keep = None
    if not secrets.dealt:
        # Dealt once and for all: another dealing under the same keys would be under the same key streams, and answers
        # to complaints about the first would not fit it.
        keep = secrets = replace(secrets, dealt=tuple(_dealt(view, view.masks, secrets, random)))
    return Step(keep, _dealing_words(view, secrets))


def _dealt(view: MaskView, masks: MaskRound, secrets: RoundSecrets, random: Random) -> Iterator[Dealt]:
    places = range(1, len(masks.members) + 1)
    seeds = split(secrets.seed, masks.threshold, places, random)
    keys = split(secrets.mask_key, masks.threshold, places, random)
    for place, member in zip(places, masks.members, strict=True):
        dealt = DealtShare(seeds[place], random(SALT_BYTES), keys[place], random(SALT_BYTES))
        sealed = seal_share(dealt, secrets.exchange_key, member.exchange_key, view.context, view.me, member.org)
        yield Dealt(member.org, dealt.seed_share, dealt.seed_salt, dealt.key_share, dealt.key_salt, sealed)


def _dealing_words(view: MaskView, secrets: RoundSecrets) -> ShareMaskSecrets:
    shares = tuple(
        SealedShare(
            each.holder,
            each.sealed,
            share_commitment(*view.id, view.me, each.holder, SecretKind.SEED, each.seed_share, each.seed_salt),
            share_commitment(*view.id, view.me, each.holder, SecretKind.MASK_KEY, each.key_share, each.key_salt),
        )
        for each in secrets.dealt
    )
    return ShareMaskSecrets(*view.id, seed_commitment(secrets.seed, view.context, view.me), shares)


def _accept(view: MaskView, secrets: RoundSecrets) -> Step:
    _need_own(secrets)
    keep = None
    if not secrets.checked:
        keep = secrets = replace(secrets, checked=True, held=tuple(_opened(view, secrets)))
    held = {each.dealer for each in secrets.held}
    refused = tuple(sorted(member.org for member in view.members if member.seed_commitment and member.org not in held))
    return Step(keep, AcceptShares(*view.id, refused))


def _opened(view: MaskView, secrets: RoundSecrets) -> Iterator[Held]:
    """What of all that was dealt to us opens and is what its dealer committed to."""
    for dealer in view.members:
        dealing = view.dealings.get(dealer.org)
        given = next((each for each in dealing.shares if each.holder == view.me), None) if dealing else None
        if given is None:
            continue
        try:
            dealt = open_share(
                given.sealed, secrets.exchange_key, dealer.exchange_key, view.context, dealer.org, view.me
            )
        except WrongShare:
            continue
        held = Held(dealer.org, dealt.seed_share, dealt.seed_salt, dealt.key_share, dealt.key_salt)
        if _commitments(view, held) == (given.seed_share_commitment, given.key_share_commitment):
            yield held


def _commitments(view: MaskView, held: Held) -> tuple[bytes, bytes]:
    return (
        share_commitment(*view.id, held.dealer, view.me, SecretKind.SEED, held.seed_share, held.seed_salt),
        share_commitment(*view.id, held.dealer, view.me, SecretKind.MASK_KEY, held.key_share, held.key_salt),
    )


def _open(view: MaskView, secrets: RoundSecrets, mine: MaskMember) -> Step:
    _need_own(secrets)
    dealt = {each.holder: each for each in secrets.dealt}
    if not set(mine.complaints) <= dealt.keys():
        raise SecretsLost("what was dealt in this round is not here any more")
    asked = (dealt[holder] for holder in mine.complaints)
    opened = tuple(
        OpenedShare(each.holder, each.seed_share, each.seed_salt, each.key_share, each.key_salt) for each in asked
    )
    return Step(None, OpenShares(*view.id, opened))


def _reveal(view: MaskView, secrets: RoundSecrets) -> Step:
    """Of every dealer whose masks count the share of one secret: the ledger's final word says of which."""
    held = {each.dealer: each for each in secrets.held}
    # What a complaint of ours brought to light serves as well as what we were dealt.
    for dealer, dealing in view.dealings.items():
        for each in dealing.opened:
            if each.holder == view.me and dealer not in held:
                held[dealer] = Held(dealer, each.seed_share, each.seed_salt, each.key_share, each.key_salt)
    due = {
        member.org: SecretKind.SEED if member.org in view.delivered else SecretKind.MASK_KEY
        for member in view.members
        if member.counted and member.org in held
    }
    if not due:
        raise SecretsLost("the shares of this round are not here any more")
    shares = tuple(
        RevealedShare(dealer, held[dealer].seed_share, held[dealer].seed_salt)
        if due[dealer] is SecretKind.SEED
        else RevealedShare(dealer, held[dealer].key_share, held[dealer].key_salt)
        for dealer in sorted(due)
    )
    told = secrets.with_told(due)
    return Step(told if told != secrets else None, RevealShares(*view.id, shares))


def masked(view: MaskView, secrets: RoundSecrets | None, rule: str, values: Ints | Longs, weight: int) -> bytes:
    """The blob of our update under the masks of everybody who counts. Raises SecretsLost.

    `rule`: of aggregation, which says how often a value is in the sum; `weight`: records that the ledger counts.
    """
    keys = {member.org: member.mask_key for member in view.members if member.counted}
    if secrets is None or secrets.is_spent or keys.get(view.me) != public_key(secrets.mask_key):
        raise SecretsLost("the secrets that mask this update are not here any more")
    own = MaskSecrets(view.me, secrets.mask_key, secrets.seed)
    return mask_update(view.context, own, keys, values, weight, factor(rule, weight))


def _need_own(secrets: RoundSecrets) -> None:
    if secrets.is_spent:
        raise SecretsLost("the secrets of this round are used up")
