"""A provider's part of one round: train, write the answer down, announce it. One answer, the same after a crash.

What must outlive a crash is in `training_memory.py`; what the round costs the data's privacy is charged by
`privacy_rounds.py` before the gradient work, which happens in `training_process.py`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import structlog
import trio

from fl.aggregate import RULES
from fl.delta_blob import is_delta, read_delta
from fl.fixed_point import HEAD, Bytes
from fl.strategies.registry import strategy
from ledger.charges import CHARGED_MODES
from ledger.entries import Fate, Request, Round, Stage, request_key, round_key
from ledger.errors import CorruptStore
from ledger.protection import Charge
from ledger.protection_entries import protection_key
from ledger.transactions import AnnounceProtected, AnnounceUpdate, DeclineRound, Protection, RequestTerms
from ledger.types import MICRO
from node.decline_reasons import public_reason
from node.disk_patience import kept
from node.masked_rounds import check_masks, counted_weight, masked_update, spend_secrets, starts_from_released
from node.network.blob_store import blob_digest
from node.privacy_budget import BudgetSpent
from node.privacy_rounds import charge, charge_again, round_privacy
from node.record_errors import RecordStoreError
from node.round_states import state_to_begin_with
from node.rounds import RoundId, RoundInWork, participant, place_of, settings_dict
from node.sealed import seal
from node.training_memory import TrainingRecord
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import TermsRefused, round_name, training_terms
from node.worker_protocol import Progress, RoundTrained, TrainRound
from node.workshop import RESEND_S, RoundTask, Workshop

log = structlog.get_logger(__name__)

# A process killed by the machine (memory, an operator) may fare better next time; one that dies three times will not.
CRASHES_MAX = 3


class Trained(NamedTuple):
    """A round's training: on which periods, in how many seconds, and what it was charged (nothing, or one charge)."""

    result: RoundTrained
    periods: tuple[int, ...]
    seconds: float
    charge: tuple[Charge, ...]


async def take_part(shop: Workshop, task: RoundTask, current: RoundInWork) -> None:
    """Answer one round with an update, or with the reason why not. Returns when the ledger shows it or is past it."""
    with task.scope:
        record = await _settled_answer(shop, task, current)
        assert record.answer is not None
        await _announce(shop, task, record.answer)


async def _settled_answer(shop: Workshop, task: RoundTask, current: RoundInWork) -> TrainingRecord:
    """The answer as it lies on the disk, made now unless it was made before; what could take off its mask is gone."""
    record = await _written_answer(shop, task, current)
    await kept(shop, task.id, lambda: spend_secrets(shop, task.id))
    return record


async def _written_answer(shop: Workshop, task: RoundTask, current: RoundInWork) -> TrainingRecord:
    known = await kept(shop, task.id, lambda: trio.to_thread.run_sync(shop.memory.load, task.id.request))
    if known is not None and known.id == task.id and known.answer is not None:
        return await kept(shop, task.id, lambda: _still_held(shop, known))
    if current.request.stage is not Stage.TRAINING:
        # Too late to begin: what is not delivered by now is written down as missing.
        await trio.sleep_forever()
    released = await _released_before(shop, task.id, known)
    if released is not None:
        await kept(shop, task.id, lambda: trio.to_thread.run_sync(shop.memory.save, released))
        return released
    record, update = await _answer(shop, task, current, known)
    # First the bytes, then the word that they are there; only what is on the disk is announced.
    if update is not None:
        await kept(shop, task.id, lambda: shop.blobs.put(update))
    await kept(shop, task.id, lambda: trio.to_thread.run_sync(shop.memory.save, record))
    return record


async def _still_held(shop: Workshop, known: TrainingRecord) -> TrainingRecord:
    """An update whose bytes somebody deleted cannot be served: announcing it would only hold the round up."""
    update = known.answer.update if isinstance(known.answer, AnnounceProtected) else known.answer
    if not isinstance(update, AnnounceUpdate) or shop.blobs.has(update.blob):
        return known
    log.error("update_lost", round=round_name(known.id), blob=update.blob.hex()[:16])
    lost = replace(known, answer=DeclineRound(*known.id, "the update was lost before it was announced"))
    await trio.to_thread.run_sync(shop.memory.save, lost)
    return lost


async def _released_before(shop: Workshop, round_id: RoundId, known: TrainingRecord | None) -> TrainingRecord | None:
    """The update of an earlier attempt at this round, as the answer to this one: it begins with the same model, and
    training anew would cost privacy anew. What others have seen is known as ours only while we stay by it, too: another
    one like it might stand beside a copy as a copy itself. None where there is none, or it was masked."""
    if known is None or known.round != round_id.number or not isinstance(known.answer, AnnounceProtected):
        return None
    protection = shop.ledger.chain.read(Protection, protection_key(round_id.request))
    update, charges = known.answer.update, known.answer.charge
    if protection is None or protection.masked or not shop.blobs.has(update.blob):
        return None
    again = (await kept(shop, round_id, lambda: charge_again(shop, round_id, charges[0])),) if charges else ()
    answer = AnnounceProtected(replace(update, attempt=round_id.attempt), again)
    return replace(known, attempt=round_id.attempt, answer=answer)


async def _answer(
    shop: Workshop, task: RoundTask, current: RoundInWork, known: TrainingRecord | None
) -> tuple[TrainingRecord, bytes | None]:
    """Train, or find out why not. With an update come its bytes, not kept anywhere yet."""
    protection = shop.ledger.chain.read(Protection, protection_key(task.id.request))
    released_only = starts_from_released(current.request.terms, protection)
    terms, number = current.request.terms, task.id.number
    before = None if released_only else state_to_begin_with(shop.ledger.chain, shop.me, terms, number, known)
    try:
        shop.check_terms(current.request.terms, protection)
        if protection is not None and protection.masked:
            await check_masks(shop, task.id)
        trained = await _train(shop, task.id, current, before, protection)
        blob = await _as_it_leaves(shop, task.id, protection, trained.result, trained.periods)
    except (TermsRefused, BudgetSpent, JobRefused, WorkerCrashed, RecordStoreError, CorruptStore) as error:
        # Damaged records end this node's training, not its part in the league.
        log.warning("round_declined", round=round_name(task.id), reason=str(error))
        shop.tell(task.id, "declined", reason=str(error), code=_fault_of(error))
        decline = DeclineRound(*task.id, public_reason(error))
        return TrainingRecord(*task.id, before, before, decline, None), None
    update = AnnounceUpdate(
        *task.id,
        blob=blob_digest(blob),
        blob_bytes=len(blob),
        record_count=trained.result.weight,
        periods=trained.periods,
        accuracy=trained.result.told_accuracy,
        tested_records=trained.result.told_records,
    )
    _tell_trained(shop, task.id, trained)
    own = trained.result.trained.accuracy if trained.result.trained is not None else None
    answer = AnnounceProtected(update, trained.charge) if protection is not None else update
    return TrainingRecord(*task.id, before, None if released_only else trained.result.state, answer, own), blob


async def _as_it_leaves(
    shop: Workshop,
    round_id: RoundId,
    protection: Protection | None,
    trained: RoundTrained,
    periods: Sequence[int],
) -> bytes:
    """The blob of the update: as it was trained, with our name at its end, or masked. Raises TermsRefused."""
    if protection is None:
        return trained.update
    if not protection.masked:
        _check_step(shop, round_id, protection, trained.update)
        return seal(trained.update, shop.me)
    weight = counted_weight(shop, round_id, trained.weight, periods)
    return await kept(shop, round_id, lambda: masked_update(shop, round_id, trained.update, weight))


def _check_step(shop: Workshop, round_id: RoundId, protection: Protection, update: bytes) -> None:
    """That an update which is inspected goes anywhere: the others would take it for no work, and us for a free rider.

    Raises TermsRefused. Not in a mode that is charged: there a refusal must not depend on the records.
    """
    request = shop.ledger.chain.read(Request, request_key(round_id.request))
    current = shop.ledger.chain.read(Round, round_key(round_id.request))
    if request is None or current is None or request.terms.privacy in CHARGED_MODES:
        return
    inspected = settings_dict(protection.aggregation_settings).get("inspect") != "false"
    if inspected and _stands_still(update, shop.blobs.view(current.base_model), request.terms):
        raise TermsRefused("training makes no step under these terms")


def _stands_still(update: bytes, base: Bytes, terms: RequestTerms) -> bool:
    if is_delta(update):
        return not any(block.values.any() for block in read_delta(update, terms.parameters, terms.scale_bits))
    # Work is seen in the model, whatever moves behind it; where it is seen elsewhere, by all that moves.
    seen = terms.parameters
    if RULES[terms.aggregation].place is None:
        seen //= strategy(terms.strategy, settings_dict(terms.strategy_settings)).vectors
    end = HEAD.size + 4 * seen
    return update[:end] == bytes(base[:end])


async def _train(
    shop: Workshop, round_id: RoundId, current: RoundInWork, state: bytes | None, protection: Protection | None
) -> Trained:
    """Train the round; every job is charged before it is given away, also one that takes the place of a crashed one.

    Raises TermsRefused, BudgetSpent, JobRefused, and WorkerCrashed after CRASHES_MAX of them.
    """
    terms = current.request.terms
    periods = await trio.to_thread.run_sync(shop.anchored_periods)
    if shop.records is None or not periods:
        raise TermsRefused("no anchored records here")
    base = await kept(shop, round_id, lambda: _base_model(shop, current))
    masked = protection is not None and protection.masked
    privacy = await kept(shop, round_id, lambda: round_privacy(shop, round_id.request, terms, periods, masked))
    job = TrainRound(
        training_terms(
            terms,
            round_id.number,
            shop.ledger.key,
            round_id.request,
            shop.settings.allow_no_guarantee,
            privacy.sigma,
            privacy.accuracy,
            privacy.query_sigma,
            privacy.units,
            place_of(current.request, shop.me),
        ),
        str(shop.records.path),
        periods,
        base,
        state,
    )

    def tell(progress: Progress) -> None:
        shop.tell(round_id, "epoch", epoch=progress.epoch, epochs=progress.epochs, loss_micro=progress.loss)

    charges: tuple[Charge, ...] = ()
    for crashes in range(1, CRASHES_MAX + 1):
        if (cost := privacy.cost) is not None:
            charges = (await kept(shop, round_id, lambda: charge(shop, round_id, terms, cost)),)
        began = trio.current_time()
        try:
            trained = await shop.process.do(job, tell)
        except WorkerCrashed as error:
            log.warning("worker_crashed", round=round_name(round_id), crashes=crashes, reason=str(error))
            if crashes == CRASHES_MAX:
                raise
        else:
            assert isinstance(trained, RoundTrained)
            return Trained(trained, periods, trio.current_time() - began, charges)
    raise AssertionError("the last crash raises")


def _fault_of(error: Exception) -> str:
    """One word of a few for why a round was declined: a label of the figures."""
    if isinstance(error, JobRefused):
        return error.code
    if isinstance(error, (TermsRefused, BudgetSpent)):
        return "terms" if isinstance(error, TermsRefused) else "budget"
    return "crashed" if isinstance(error, WorkerCrashed) else "store"


async def _base_model(shop: Workshop, current: RoundInWork) -> bytes:
    await shop.fetch_model(current.round.base_model, current.request)
    return bytes(shop.blobs.view(current.round.base_model))


async def _announce(shop: Workshop, task: RoundTask, body: AnnounceUpdate | AnnounceProtected | DeclineRound) -> None:
    """Say it until the ledger shows it; the round's end cancels this."""
    said_at = trio.current_time() - RESEND_S
    while True:
        current = shop.ledger.chain.read(Round, round_key(task.id.request))
        part = participant(current, shop.me) if current is not None else None
        if part is None or part.fate is not Fate.MISSING:
            return
        if trio.current_time() - said_at >= RESEND_S:
            await shop.say(body)
            said_at = trio.current_time()
        await task.bell.wait(RESEND_S)


def _tell_trained(shop: Workshop, round_id: RoundId, done: Trained) -> None:
    """To our own people only. Accuracies on our own test records: of the model the round began with, of our update."""
    trained = done.result
    for warning in trained.warnings:
        log.warning("training_warning", round=round_name(round_id), warning=warning)
    shop.tell(
        round_id,
        "trained",
        records=trained.records,
        seconds=done.seconds,
        steps=trained.steps,
        beta=trained.beta,
        guarantee=trained.guarantee,
        epsilon=done.charge[0].epsilon_micro / MICRO if done.charge else trained.epsilon,
        warnings=list(trained.warnings),
        start_accuracy_micro=trained.start.accuracy if trained.start else None,
        own_accuracy_micro=trained.trained.accuracy if trained.trained else None,
    )
