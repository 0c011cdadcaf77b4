"""When a request is over: the final model into the data directory of its requester and of every provider.

A provider also gets the model that it would itself use, made by the request's strategy from its own state.
"""

import structlog
import trio

from ledger.entries import Request, Stage
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import BadTrainingSettings, model_form, training_terms
from node.worker_protocol import Evaluate, Evaluated, ModelServed, Score, ServeModel
from node.workshop import RETRY_FIRST_S, RETRY_LONGEST_S, Workshop

log = structlog.get_logger(__name__)


async def keep_final_model(shop: Workshop, request_id: bytes, request: Request) -> None:
    """Until the shelf has it, however long its holders or a full disk keep us waiting."""
    pause_s = RETRY_FIRST_S
    while not shop.shelf.has(request_id):
        try:
            await _keep(shop, request_id, request)
        except (OSError, NoSpaceForBlob, BlobUnavailable) as error:
            log.error("final_model_not_kept", request=request_id.hex()[:16], reason=str(error))
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, RETRY_LONGEST_S)
    # The strategy's state has done its last service.
    await trio.to_thread.run_sync(shop.memory.forget, request_id)
    shop.notify("training", {"request": request_id.hex(), "event": "kept", "stage": request.stage.name.lower()})


async def _keep(shop: Workshop, request_id: bytes, request: Request) -> None:
    if request.stage is not Stage.DONE:
        await trio.to_thread.run_sync(shop.shelf.note_end, request_id, request, "")
        return
    await shop.fetch_model(request.model, request)
    model = bytes(shop.blobs.view(request.model))
    score = await _tested(shop, request_id, request, model)
    served = await _served(shop, request_id, request) if shop.provides(request) else None
    try:
        await trio.to_thread.run_sync(shop.shelf.keep, request_id, request, model, score, served)
    except ValueError as error:
        # A model that this node has no plug-in for: its blob stays, its tensors have no names here.
        log.warning("final_model_not_exported", request=request_id.hex()[:16], reason=str(error))
        await trio.to_thread.run_sync(shop.shelf.note_end, request_id, request, str(error))


async def _tested(shop: Workshop, request_id: bytes, request: Request, model: bytes) -> Score | None:
    """The global model on our own test records, where there are any."""
    if shop.records is None or not await trio.to_thread.run_sync(shop.records.test_count):
        return None
    try:
        tested = await shop.process.do(Evaluate(model_form(request.terms), str(shop.records.path), model))
    except (JobRefused, WorkerCrashed) as error:
        log.warning("final_model_not_tested", request=request_id.hex()[:16], reason=str(error))
        return None
    assert isinstance(tested, Evaluated)
    return tested.score


async def _served(shop: Workshop, request_id: bytes, request: Request) -> ModelServed | None:
    record = await trio.to_thread.run_sync(shop.memory.load, request_id)
    if shop.records is None or record is None:
        return None
    number, allow = max(1, request.model_round), shop.settings.allow_no_guarantee
    try:
        terms = training_terms(request.terms, number, shop.ledger.key, request_id, allow)
        model = bytes(shop.blobs.view(request.model))
        periods = await trio.to_thread.run_sync(shop.anchored_periods)
        served = await shop.process.do(ServeModel(terms, str(shop.records.path), periods, model, record.after))
    except (JobRefused, WorkerCrashed, BadTrainingSettings) as error:
        # The global model is kept all the same.
        log.warning("served_model_not_made", request=request_id.hex()[:16], reason=str(error))
        return None
    assert isinstance(served, ModelServed)
    return served
