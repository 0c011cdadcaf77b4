"""The requester's own test of the model that a round begins with, said on the ledger beside the providers' (D8)."""

import structlog
import trio

from ledger.entries import Round, round_key
from ledger.transactions import ReportAccuracy
from node.network.blob_store import NoSpaceForBlob
from node.rounds import RoundId, RoundInWork
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import model_form, round_name
from node.worker_protocol import Evaluate, Evaluated
from node.workshop import RESEND_S, RoundTask, Workshop

log = structlog.get_logger(__name__)


def should_report(shop: Workshop, current: RoundInWork) -> bool:
    """The ledger counts test records up to those anchored, so without an anchor a report says nothing.

    A requester's own test records are its own to tell of, exactly; `[privacy] accuracy = "none"` keeps them to itself.
    """
    return (
        shop.settings.telling != "none"
        and current.request.requester == shop.me
        and not current.round.requester_tested
        and shop.records is not None
        and bool(shop.anchored_records())
        and shop.records.test_count() > 0
    )


async def report(shop: Workshop, task: RoundTask, current: RoundInWork) -> None:
    """Test and say. Returns when the ledger shows it or is past it."""
    assert shop.records is not None
    with task.scope:
        try:
            await shop.fetch_model(current.round.base_model, current.request)
            model = bytes(shop.blobs.view(current.round.base_model))
            form = model_form(current.request.terms)
            tested = await shop.process.do(Evaluate(form, str(shop.records.path), model))
        except (JobRefused, WorkerCrashed, NoSpaceForBlob) as error:
            # Its report is one voice among the providers'; this round does without it.
            log.warning("accuracy_not_reported", round=round_name(task.id), reason=str(error))
            shop.tell(task.id, "not_tested", reason=str(error))
            await trio.sleep_forever()
        assert isinstance(tested, Evaluated)
        score = tested.score
        body = ReportAccuracy(*task.id, accuracy=score.accuracy, tested_records=score.records)
        shop.tell(task.id, "tested", accuracy_micro=score.accuracy, records=score.records)
        said_at = trio.current_time() - RESEND_S
        while not _is_reported(shop, task.id):
            if trio.current_time() - said_at >= RESEND_S:
                await shop.say(body)
                said_at = trio.current_time()
            await task.bell.wait(RESEND_S)


def _is_reported(shop: Workshop, round_id: RoundId) -> bool:
    current = shop.ledger.chain.read(Round, round_key(round_id.request))
    return current is None or bool(current.requester_tested)
