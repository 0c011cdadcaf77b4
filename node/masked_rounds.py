"""A provider's part in the exchange of a masked round: keys, shares, complaints before training, reveals after it.

What is said when is decided in `masking_steps.py`; here the ledger is read, the disk written first and the word said
until the ledger shows it. The update itself is masked here too, in the node: the training process, which runs the code
of models, never sees a key, and what it trained is on no disk and leaves this process masked or not at all.
"""

import os
from collections.abc import Mapping, Sequence

import structlog
import trio

from fl.fixed_point import Ints, limit_in_steps, unpack
from fl.gradient_blob import unpack_gradient
from fl.mask_keys import MaskContext
from fl.masking import Longs
from ledger.entries import FINAL_STAGES, Anchor, Fate, Request, Round, Stage, anchor_key, request_key, round_key
from ledger.errors import CorruptStore
from ledger.protection_entries import Dealing, MaskRound, dealing_key, masking_key
from ledger.requests import weight_counted
from ledger.transactions import Body, DeclineRound, Protection, RequestTerms
from ledger.types import OrgId
from node.disk_patience import kept
from node.masking_memory import BothSecrets, MaskingMemory
from node.masking_steps import MaskView, SecretsLost, Step, masked, next_step
from node.ports import ChainView
from node.privacy_rounds import round_refusal
from node.record_errors import RecordStoreError
from node.rounds import RoundId, RoundInWork, participant, protection_of
from node.training_terms import TermsRefused, round_name, short_reason
from node.workshop import RESEND_S, RoundTask, Workshop

log = structlog.get_logger(__name__)

BEFORE_TRAINING = frozenset({Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.ANSWERING})
EXCHANGING = BEFORE_TRAINING | {Stage.UNMASKING}
# In every other stage the ledger knows all that there was to tell.
SECRETS_NEEDED = EXCHANGING | {Stage.TRAINING, Stage.ATTESTING}

# Whose updates say little of any one record: nothing else that was trained here may find its way out beside them.
PRIVATE_MODES = frozenset({"sound", "distributed"})


def mask_context(chain_id: bytes, round_id: RoundId, terms: RequestTerms) -> MaskContext:
    return MaskContext(chain_id, *round_id, terms.parameters)


def should_exchange(shop: Workshop, work: RoundInWork) -> bool:
    """Whether the round is at a step of its exchange in which this node may have something to say."""
    if work.request.stage in BEFORE_TRAINING:
        part = participant(work.round, shop.me)
        return part is not None and part.fate is Fate.MISSING
    return work.request.stage is Stage.UNMASKING and masks_count(shop, work)


def masks_count(shop: Workshop, work: RoundInWork) -> bool:
    """Whether an update of ours is waited for: in a masked round only theirs are whose masks count."""
    masks = shop.ledger.chain.read(MaskRound, masking_key(work.id.request))
    return masks is None or any(each.org == shop.me and each.counted for each in masks.members)


def rounds_unmasked(chain: ChainView, memory: MaskingMemory) -> list[RoundId]:
    """Rounds whose secrets are kept and are of no use to anybody any more: the ledger is past them."""
    over = []
    for kept_id in memory.rounds():
        request = chain.read(Request, request_key(kept_id.request))
        # A ledger that was put back may know less than what is kept here: then it is not over.
        if request is None:
            continue
        place = (request.round, request.attempt)
        done = place == (kept_id.number, kept_id.attempt) and request.stage not in SECRETS_NEEDED
        if done or place > (kept_id.number, kept_id.attempt) or request.stage in FINAL_STAGES:
            over.append(kept_id)
    return over


async def exchange(shop: Workshop, task: RoundTask, current: RoundInWork) -> None:
    """Say what is ours to say, until the exchange is over; the round's next stage cancels this."""
    said: Body | None = None
    said_at = 0.0
    with task.scope:
        while (view := mask_view(shop.ledger.chain, task.id, shop.me)) is not None:
            word = await _next_word(shop, current, view)
            now = trio.current_time()
            if word is not None and (word != said or now - said_at >= RESEND_S):
                if word != said:
                    shop.tell(task.id, "masking", step=type(word).__name__)
                await shop.say(word)
                said, said_at = word, now
            await task.bell.wait(RESEND_S)


def mask_view(chain: ChainView, round_id: RoundId, me: OrgId) -> MaskView | None:
    """What the ledger says now; None when another round is in work, or none."""
    request = chain.read(Request, request_key(round_id.request))
    current = chain.read(Round, round_key(round_id.request))
    if request is None or current is None or (current.number, current.attempt) != (round_id.number, round_id.attempt):
        return None
    masks = chain.read(MaskRound, masking_key(round_id.request))
    return MaskView(
        round_id,
        mask_context(chain.chain_id, round_id, request.terms),
        request.stage,
        me,
        masks,
        _dealings(chain, round_id, request.stage, masks, me),
        frozenset(part.org for part in current.participants if part.fate is Fate.DELIVERED),
    )


def _dealings(
    chain: ChainView, round_id: RoundId, stage: Stage, masks: MaskRound | None, me: OrgId
) -> Mapping[bytes, Dealing]:
    """What everybody dealt: kilobytes each, so read only where a word of ours rests on them."""
    mine = next((each for each in masks.members if each.org == me), None) if masks is not None else None
    if masks is None or mine is None:
        return {}
    if not ((stage is Stage.CONTEST and not mine.accepted) or (stage is Stage.UNMASKING and not mine.revealed)):
        return {}
    found = ((each.org, chain.read(Dealing, dealing_key(round_id.request, each.org))) for each in masks.members)
    return {org: dealing for org, dealing in found if dealing is not None}


async def _next_word(shop: Workshop, current: RoundInWork, view: MaskView) -> Body | None:
    """What to say now, with all that it rests on written down."""
    if view.stage is Stage.KEYS and view.myself is None:
        refusal = await _refusal(shop, current)
        if refusal is not None:
            return _declined(shop, view, refusal)
    try:
        step = await kept(shop, view.id, lambda: trio.to_thread.run_sync(_step, shop.masking, view))
    except (SecretsLost, BothSecrets) as error:
        # The others have what it takes to do without us; nothing that is said now could help them.
        if view.stage in BEFORE_TRAINING:
            return _declined(shop, view, str(error))
        log.error("nothing_to_reveal", round=round_name(view.id), reason=str(error))
        await trio.sleep_forever()
        raise AssertionError("nobody wakes it") from None
    return step.say if step is not None else None


def _step(memory: MaskingMemory, view: MaskView) -> Step | None:
    """Blocks on the disk: what is to be said may be said when this returns."""
    step = next_step(view, memory.load(view.id), os.urandom)
    if step is not None and step.keep is not None:
        memory.save(step.keep)
    return step


def _declined(shop: Workshop, view: MaskView, reason: str) -> DeclineRound:
    log.warning("round_declined", round=round_name(view.id), reason=reason)
    return DeclineRound(*view.id, short_reason(reason))


async def _refusal(shop: Workshop, current: RoundInWork) -> str | None:
    """Why this node will not train the round, as far as that is known before: better said before others count on it."""
    terms = current.request.terms
    try:
        shop.check_terms(terms, protection_of(shop.ledger.chain, current.id.request))
        return await kept(shop, current.id, lambda: round_refusal(shop, current.id, terms, masked=True))
    except (TermsRefused, RecordStoreError, CorruptStore) as error:
        return str(error)


# --- the update


def starts_from_released(terms: RequestTerms, protection: Protection | None) -> bool:
    """Whether a round here may start from nothing but the global model, whatever the strategy would remember.

    A masked update is never released, only its sum is: in a private mode what this factory trained must not come back
    in its next update by another way than through that sum (DESIGN D11).
    """
    return protection is not None and protection.masked and terms.privacy in PRIVATE_MODES


def counted_weight(shop: Workshop, round_id: RoundId, record_count: int, periods: Sequence[int]) -> int:
    """How many records the ledger will count the update for: under a mask its weight is to be the same.

    Raises TermsRefused when the round is over, or nothing of it would count.
    """
    chain = shop.ledger.chain
    current = chain.read(Round, round_key(round_id.request))
    part = participant(current, shop.me) if current is not None else None
    if part is None:
        raise TermsRefused("the round is over")
    anchors = (chain.read(Anchor, anchor_key(shop.me, period)) for period in periods)
    weight = weight_counted(record_count, sum(each.record_count for each in anchors if each is not None), part.payable)
    if weight < 1:
        raise TermsRefused("none of the records would count")
    return weight


async def check_masks(shop: Workshop, round_id: RoundId) -> None:
    """Before anything is trained or charged for: whether there is anything to mask the update with.

    Raises TermsRefused.
    """
    secrets = await trio.to_thread.run_sync(shop.masking.load, round_id)
    if secrets is None or secrets.is_spent:
        raise TermsRefused("the secrets that mask this update are not here any more")


async def masked_update(shop: Workshop, round_id: RoundId, update: bytes, weight: int) -> bytes:
    """The masked blob of what was trained. `update`: as the training process gave it, `weight`: records it counts for.

    Once only: our own keys and seed are gone from the disk when this returns, so the same masks never hide a second
    update, whose difference from the first they would show. A crash before the blob is kept costs us the round.
    Raises TermsRefused when the secrets are not here, OSError while the disk does not let go of them.
    """
    chain = shop.ledger.chain
    request = chain.read(Request, request_key(round_id.request))
    view = mask_view(chain, round_id, shop.me)
    if request is None or view is None:
        raise TermsRefused("the round is over")
    terms = request.terms

    def work() -> bytes:
        secrets = shop.masking.load(round_id)
        blob = masked(view, secrets, terms.aggregation, _values(terms, update), weight)
        assert secrets is not None, "nothing was masked without"
        shop.masking.save(secrets.spent())
        return blob

    try:
        return await trio.to_thread.run_sync(work)
    except SecretsLost as error:
        raise TermsRefused(str(error)) from None


def _values(terms: RequestTerms, update: bytes) -> Ints | Longs:
    """What the training process made: a model, or in mode distributed a sum of gradients."""
    if terms.privacy == "distributed":
        return unpack_gradient(update, terms.parameters)
    return unpack(update, terms.parameters, terms.scale_bits, limit_in_steps(terms.limit, terms.scale_bits))


async def spend_secrets(shop: Workshop, round_id: RoundId) -> None:
    """When we have answered a round, with an update or without: our own keys and seed are of no more use to us."""

    def work() -> None:
        secrets = shop.masking.load(round_id)
        if secrets is not None and not secrets.is_spent:
            shop.masking.save(secrets.spent())

    await trio.to_thread.run_sync(work)
