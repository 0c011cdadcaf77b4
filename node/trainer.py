"""Follows the ledger for a provider and a requester: joins, trains, announces, reports accuracy, keeps the final model.

Every request has its own task; a round that is over cancels it. The gradient work happens in `training_process.py`,
what must outlive a crash is in `training_memory.py`, what terms mean in `training_terms.py`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
import trio

from fl.fixed_point import HEAD
from ledger.entries import (
    FINAL_STAGES,
    REQUESTS,
    Anchor,
    AnchorTotals,
    Fate,
    Request,
    Round,
    Stage,
    anchor_key,
    anchor_totals_key,
    request_key,
    round_key,
)
from ledger.errors import InvalidTransaction
from ledger.transactions import (
    AnnounceUpdate,
    Body,
    DeclineRound,
    JoinRequest,
    ReportAccuracy,
    RequestTerms,
    Setting,
)
from ledger.types import Hash32
from node.model_export import ModelShelf
from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.ports import Blobs, Ledger
from node.record_store import RecordStore
from node.rounds import (
    RoundId,
    RoundInWork,
    blob_bytes_max,
    model_holders,
    open_requests,
    participant,
    rounds_in_work,
)
from node.training_memory import TrainingMemory, TrainingRecord
from node.training_process import JobRefused, TrainingProcess, WorkerCrashed
from node.training_terms import (
    TermsRefused,
    check_terms,
    model_form,
    periods_to_train,
    round_name,
    short_reason,
    training_terms,
)
from node.wakeup import Wakeup
from node.worker_protocol import (
    Evaluate,
    Evaluated,
    InitialModel,
    ModelForm,
    ModelMade,
    ModelServed,
    Progress,
    RoundTrained,
    Score,
    ServeModel,
    TrainRound,
)

log = structlog.get_logger(__name__)

# A process killed by the machine (memory, an operator) may fare better next time; one that dies three times will not.
CRASHES_MAX = 3
# What was announced and has not shown up on the ledger is announced again; the same bytes, so no harm is done.
RESEND_S = 3.0
RETRY_S = 1.0

TAKING_UPDATES = frozenset({Stage.TRAINING, Stage.ATTESTING})
TAKING_OFFERS = frozenset({Stage.OPEN, Stage.TRAINING, Stage.ATTESTING, Stage.AGGREGATING})

Notify = Callable[[str, Mapping[str, Any]], None]
"""Told (what happened, JSON-ready data); must not block. Topics are the event hub's."""


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """What this organisation trains for others. `joins(data_type)`: whether such a request is joined without asking."""

    data_type: str
    joins: Callable[[str], bool]
    price_min: int = 1
    allow_no_guarantee: bool = False
    attributes: tuple[Setting, ...] = ()


@dataclass(slots=True)
class _Work:
    """A round that is being taken part in, until it is over."""

    id: RoundId
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    bell: Wakeup = field(default_factory=Wakeup)


class Trainer:
    """Run it once; ring `wake` at every new head. Without records it only makes and keeps models."""

    def __init__(
        self,
        settings: TrainerSettings,
        ledger: Ledger,
        blobs: Blobs,
        records: RecordStore | None,
        process: TrainingProcess,
        data_dir: Path,
        notify: Notify,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._records = records
        self._process = process
        self._memory = TrainingMemory(data_dir / "strategies")
        self.shelf = ModelShelf(data_dir / "models")
        self._notify = notify
        self._me = ledger.key.org
        self._wakeup = Wakeup()
        self._works: dict[bytes, _Work] = {}
        self._reports: dict[bytes, _Work] = {}
        # Requests that ended while we look after their models; and offers made, so that each is made once.
        self._finishing: set[bytes] = set()
        self._mine_open: set[bytes] = set()
        self._offered: set[bytes] = set()

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        self._recall_requests()
        async with trio.open_nursery() as nursery:
            while True:
                self._look(nursery)
                await self._wakeup.wait(RESEND_S)

    # -- what is to be done

    def _recall_requests(self) -> None:
        """After a start: requests of ours, or that we trained for, may have ended while we were away."""
        for request_id, request in self._ledger.chain.scan(Request, REQUESTS):
            concerned = request.requester == self._me or self._provides(request)
            if concerned and not self.shelf.has(request_id):
                self._mine_open.add(request_id)

    def _look(self, nursery: trio.Nursery) -> None:
        chain = self._ledger.chain
        for request_id, request in open_requests(chain):
            if request.requester == self._me or self._provides(request):
                self._mine_open.add(request_id)
            if self._should_join(request_id, request):
                self._offered.add(request_id)
                nursery.start_soon(self._join, request_id, request)
        in_work = {work.id.request: work for work in rounds_in_work(chain)}
        for tasks in (self._works, self._reports):
            for task in list(tasks.values()):
                self._follow(task, in_work.get(task.id.request))
        for current in in_work.values():
            self._begin(nursery, current)
        for concerned in self._mine_open - self._finishing:
            ended = chain.read(Request, request_key(concerned))
            if ended is not None and ended.stage in FINAL_STAGES:
                self._finishing.add(concerned)
                nursery.start_soon(self._finish, concerned, ended)

    def _follow(self, work: _Work, current: RoundInWork | None) -> None:
        """Cancel what is no longer wanted, tell the rest that there is news."""
        if current is None or current.id != work.id or current.request.stage not in TAKING_UPDATES:
            work.scope.cancel()
        work.bell.ring()

    def _begin(self, nursery: trio.Nursery, current: RoundInWork) -> None:
        request_id = current.id.request
        if current.request.stage not in TAKING_UPDATES:
            return
        part = participant(current.round, self._me)
        if part is not None and part.fate is Fate.MISSING and request_id not in self._works:
            work = self._works[request_id] = _Work(current.id)
            nursery.start_soon(self._take_part, work, current)
        if self._should_report(current) and request_id not in self._reports:
            work = self._reports[request_id] = _Work(current.id)
            nursery.start_soon(self._report, work, current)

    # -- joining

    def _provides(self, request: Request) -> bool:
        return any(provider.org == self._me for provider in request.providers)

    def _should_join(self, request_id: bytes, request: Request) -> bool:
        terms = request.terms
        if (
            request_id in self._offered
            or request.requester == self._me
            or self._provides(request)
            or request.stage not in TAKING_OFFERS
            or len(request.providers) >= terms.providers_max
            or terms.data_type != self._settings.data_type
            or not self._settings.joins(terms.data_type)
            or not self._anchored_records()
        ):
            return False
        refusal = None
        if terms.price < self._settings.price_min:
            refusal = f"price {terms.price}, want at least {self._settings.price_min}"
        try:
            check_terms(terms, self._settings.allow_no_guarantee)
        except TermsRefused as error:
            refusal = str(error)
        if refusal is not None:
            self._offered.add(request_id)
            log.info("request_not_joined", request=request_id.hex()[:16], reason=refusal)
            self._notify("training", {"request": request_id.hex(), "event": "not_joined", "reason": refusal})
        return refusal is None

    async def _join(self, request_id: bytes, request: Request) -> None:
        body = JoinRequest(request_id, request.terms.data_type, self._anchored_records(), self._settings.attributes)
        try:
            transaction = await self._ledger.submit_own(body)
            with trio.move_on_after(10 * RESEND_S) as patience:
                await self._ledger.wait_final(transaction.id)
        except InvalidTransaction as error:
            log.info("offer_refused", request=request_id.hex()[:16], code=error.code, reason=str(error))
            return
        if patience.cancelled_caught:
            # Lost on its way; the next look offers again if that still makes sense.
            self._offered.discard(request_id)

    def _anchored_records(self) -> int:
        totals = self._ledger.chain.read(AnchorTotals, anchor_totals_key(self._me))
        return totals.records if totals is not None else 0

    # -- a round as a provider

    async def _take_part(self, work: _Work, current: RoundInWork) -> None:
        """Answer one round: with an update, or with the reason why not. Exactly one answer, the same after a crash."""
        try:
            with work.scope:
                record = await trio.to_thread.run_sync(self._memory.load, work.id.request)
                if record is None or record.id != work.id or record.answer is None:
                    record = await self._answer(work, current, record)
                assert record.answer is not None
                await self._announce(work, record.answer)
        except (OSError, NoSpaceForBlob) as error:
            # Our disk is full or failing. Nothing was announced that is not on it; the next head tries again.
            log.error("round_not_kept", round=round_name(work.id), reason=str(error))
            self._tell(work.id, "failed", reason=str(error))
            await trio.sleep(RETRY_S)
        finally:
            if self._works.get(work.id.request) is work:
                del self._works[work.id.request]
            self.wake()

    async def _answer(self, work: _Work, current: RoundInWork, known: TrainingRecord | None) -> TrainingRecord:
        """Train, or find out why not, and have the answer on the disk before anybody hears of it."""
        before = known.state_for(work.id.number) if known is not None else None
        try:
            check_terms(current.request.terms, self._settings.allow_no_guarantee)
            trained, periods = await self._train(work, current, before)
        except (TermsRefused, JobRefused, WorkerCrashed) as error:
            log.warning("round_declined", round=round_name(work.id), reason=str(error))
            self._tell(work.id, "declined", reason=str(error))
            decline = DeclineRound(*work.id, short_reason(str(error)))
            record = TrainingRecord(*work.id, before, before, decline, None)
        else:
            digest = await self._blobs.put(trained.update)
            score = trained.start
            update = AnnounceUpdate(
                *work.id,
                blob=digest,
                blob_bytes=len(trained.update),
                record_count=trained.weight,
                periods=periods,
                accuracy=score.accuracy if score is not None else 0,
                tested_records=score.records if score is not None else 0,
            )
            own = trained.trained.accuracy if trained.trained is not None else None
            record = TrainingRecord(*work.id, before, trained.state, update, own)
            self._tell_trained(work.id, trained)
        await trio.to_thread.run_sync(self._memory.save, record)
        return record

    async def _train(
        self, work: _Work, current: RoundInWork, state: bytes | None
    ) -> tuple[RoundTrained, tuple[int, ...]]:
        """Raises TermsRefused, JobRefused, and WorkerCrashed after CRASHES_MAX of them."""
        if self._records is None:
            raise TermsRefused("no records here")
        periods = periods_to_train(self._anchored_periods(self._records))
        if not periods:
            raise TermsRefused("no anchored records")
        terms = current.request.terms
        await self._fetch_model(current.round.base_model, current.request, terms)
        job = TrainRound(
            training_terms(terms, work.id.number, self._ledger.key, work.id.request, self._settings.allow_no_guarantee),
            str(self._records.path),
            periods,
            bytes(self._blobs.view(current.round.base_model)),
            state,
        )
        for crashes in range(1, CRASHES_MAX + 1):
            try:
                trained = await self._process.do(job, lambda progress: self._tell_progress(work.id, progress))
            except WorkerCrashed as error:
                log.warning("worker_crashed", round=round_name(work.id), crashes=crashes, reason=str(error))
                if crashes == CRASHES_MAX:
                    raise
            else:
                assert isinstance(trained, RoundTrained)
                return trained, periods
        raise AssertionError("the last crash raises")

    def _anchored_periods(self, records: RecordStore) -> list[int]:
        """Closed periods whose root on the ledger is ours: what does not match would not stand a dispute."""
        chain, anchored = self._ledger.chain, []
        for closed in records.closed_periods():
            anchor = chain.read(Anchor, anchor_key(self._me, closed.period))
            if anchor is not None and anchor.root == closed.root:
                anchored.append(closed.period)
        return anchored

    async def _announce(self, work: _Work, body: AnnounceUpdate | DeclineRound) -> None:
        """Until the ledger shows it; the round's end cancels this."""
        if isinstance(body, AnnounceUpdate) and not self._blobs.has(body.blob):
            log.error("update_lost", round=round_name(work.id), blob=body.blob.hex()[:16])
        sent_at = -RESEND_S
        while True:
            current = self._ledger.chain.read(Round, round_key(work.id.request))
            part = participant(current, self._me) if current is not None else None
            if part is None or part.fate is not Fate.MISSING:
                return
            if trio.current_time() - sent_at >= RESEND_S and not self._is_pending(body):
                sent_at = trio.current_time()
                await self._submit(body)
            await work.bell.wait(RESEND_S)

    def _is_pending(self, body: Body) -> bool:
        return any(
            transaction.sender == self._me and transaction.body == body
            for transaction in self._ledger.pending_transactions()
        )

    async def _submit(self, body: Body) -> None:
        try:
            await self._ledger.submit_own(body)
        except InvalidTransaction as error:
            # The ledger moved on between our look and our word; the next head tells where it stands.
            log.info("transaction_refused", kind=type(body).__name__, code=error.code, reason=str(error))

    # -- a round as the requester

    def _should_report(self, current: RoundInWork) -> bool:
        return (
            current.request.requester == self._me
            and not current.round.requester_tested
            and self._records is not None
            and bool(self._anchored_records())
            and self._records.test_count() > 0
        )

    async def _report(self, work: _Work, current: RoundInWork) -> None:
        """The requester's own test of the model that the round began with."""
        try:
            with work.scope:
                await self._fetch_model(current.round.base_model, current.request, current.request.terms)
                score = await self.evaluate(
                    model_form(current.request.terms), bytes(self._blobs.view(current.round.base_model))
                )
                body = ReportAccuracy(*work.id, accuracy=score.accuracy, tested_records=score.records)
                while not self._is_reported(work.id):
                    if not self._is_pending(body):
                        await self._submit(body)
                    await work.bell.wait(RESEND_S)
        except (JobRefused, WorkerCrashed, NoSpaceForBlob) as error:
            # Its report is one voice among the providers'; the round does without it.
            log.warning("accuracy_not_reported", round=round_name(work.id), reason=str(error))
            self._tell(work.id, "not_tested", reason=str(error))
            with work.scope:
                await trio.sleep_forever()
        finally:
            if self._reports.get(work.id.request) is work:
                del self._reports[work.id.request]
            self.wake()

    def _is_reported(self, round_id: RoundId) -> bool:
        current = self._ledger.chain.read(Round, round_key(round_id.request))
        return current is None or bool(current.requester_tested)

    # -- when a request is over

    async def _finish(self, request_id: bytes, request: Request) -> None:
        """Put the final model on the shelf: the requester bought it, a provider may use its own mix of it."""
        work = self._works.get(request_id)
        if work is not None:
            work.scope.cancel()
        while not self.shelf.has(request_id):
            try:
                if request.stage is Stage.DONE:
                    await self._shelve(request_id, request)
                else:
                    self.shelf.note_end(request_id, request)
            except BlobUnavailable as error:
                log.info("final_model_unavailable", request=request_id.hex()[:16], reason=str(error))
            except (OSError, NoSpaceForBlob) as error:
                log.error("final_model_not_kept", request=request_id.hex()[:16], reason=str(error))
            if not self.shelf.has(request_id):
                await trio.sleep(RETRY_S)
        self._mine_open.discard(request_id)
        self._finishing.discard(request_id)
        self._notify("training", {"request": request_id.hex(), "event": "kept", "stage": request.stage.name.lower()})

    async def _shelve(self, request_id: bytes, request: Request) -> None:
        await self._fetch_model(request.model, request, request.terms)
        served = await self._serve(request_id, request) if self._provides(request) else None
        model = bytes(self._blobs.view(request.model))
        await trio.to_thread.run_sync(self.shelf.keep, request_id, request, model, served)

    async def _serve(self, request_id: bytes, request: Request) -> ModelServed | None:
        record = await trio.to_thread.run_sync(self._memory.load, request_id)
        if self._records is None or record is None:
            return None
        key, allow = self._ledger.key, self._settings.allow_no_guarantee
        try:
            served = await self._process.do(
                ServeModel(
                    training_terms(request.terms, max(1, request.model_round), key, request_id, allow),
                    str(self._records.path),
                    bytes(self._blobs.view(request.model)),
                    record.after,
                )
            )
        except (JobRefused, WorkerCrashed, ValueError) as error:
            # The global model is kept all the same.
            log.warning("served_model_not_made", request=request_id.hex()[:16], reason=str(error))
            return None
        assert isinstance(served, ModelServed)
        return served

    # -- for the RPC and for reports

    async def make_initial_model(self, form: ModelForm, seed: int) -> tuple[Hash32, int]:
        """Make the first global model of a request and store its blob: digest and number of parameters.

        Raises JobRefused for a model that cannot be made, WorkerCrashed, NoSpaceForBlob.
        """
        made = await self._process.do(InitialModel(form, seed))
        assert isinstance(made, ModelMade)
        return await self._blobs.put(made.model), parameters_of(made.model)

    async def evaluate(self, form: ModelForm, model: bytes) -> Score:
        """A global model on this node's own test records. Raises JobRefused when there are none, WorkerCrashed."""
        if self._records is None:
            raise JobRefused("store", "this node keeps no records")
        evaluated = await self._process.do(Evaluate(form, str(self._records.path), model))
        assert isinstance(evaluated, Evaluated)
        return evaluated.score

    async def _fetch_model(self, digest: bytes, request: Request, terms: RequestTerms) -> None:
        """Keep asking until somebody has it; whoever no longer wants it cancels."""
        while not self._blobs.has(digest):
            try:
                holders = model_holders(self._ledger.chain, request, self._me)
                await self._blobs.fetch(digest, blob_bytes_max(terms), holders)
            except BlobUnavailable as error:
                log.info("model_unavailable", blob=digest.hex()[:16], reason=str(error))
                await trio.sleep(RETRY_S)

    def _tell(self, round_id: RoundId, event: str, **data: object) -> None:
        about = {"request": round_id.request.hex(), "round": round_id.number, "attempt": round_id.attempt}
        self._notify("training", {**about, "event": event, **data})

    def _tell_progress(self, round_id: RoundId, progress: Progress) -> None:
        self._tell(round_id, "epoch", epoch=progress.epoch, epochs=progress.epochs, loss_micro=progress.loss)

    def _tell_trained(self, round_id: RoundId, trained: RoundTrained) -> None:
        """Accuracies on our own test records: of the model the round began with, and of our update."""
        for warning in trained.warnings:
            log.warning("training_warning", round=round_name(round_id), warning=warning)
        self._tell(
            round_id,
            "trained",
            records=trained.records,
            steps=trained.steps,
            beta=trained.beta,
            guarantee=trained.guarantee,
            epsilon=trained.epsilon,
            warnings=list(trained.warnings),
            start_accuracy_micro=trained.start.accuracy if trained.start else None,
            own_accuracy_micro=trained.trained.accuracy if trained.trained else None,
        )


def parameters_of(blob: bytes) -> int:
    """How many coordinates a vector's blob of ours holds."""
    return (len(blob) - HEAD.size) // 4
