"""Follows the ledger for a provider and a requester: what is to be done at every new head, and what is over.

Joining is in `offers.py`, a provider's round in `provider_rounds.py`, what comes before and after a masked one in
`masked_rounds.py`, a requester's test in `requester_reports.py`, the end of a request in `final_models.py`. A task
whose round is over is cancelled, its training with it.
"""

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import trio

from fl.fixed_point import HEAD
from fl.privacy.modes import MODES
from ledger.entries import FINAL_STAGES, REQUESTS, Fate, Request, Stage, request_key
from ledger.transactions import Settings
from ledger.types import Hash32
from node.final_models import keep_final_model
from node.masked_rounds import EXCHANGING, exchange, masks_count, rounds_unmasked, should_exchange
from node.masking_memory import MaskingMemory
from node.model_export import ModelShelf
from node.offers import Offers
from node.ports import Blobs, Ledger
from node.privacy_budget import FOLDER, PrivacyBudget
from node.provider_rounds import take_part
from node.record_store import RecordStore
from node.requester_reports import report, should_report
from node.rounds import RoundInWork, open_requests, participant, rounds_in_work
from node.training_memory import TrainingMemory
from node.training_process import JobRefused, TrainingProcess
from node.wakeup import Wakeup
from node.worker_protocol import Evaluate, Evaluated, InitialModel, ModelForm, ModelMade, Score
from node.workshop import RESEND_S, Notify, RoundTask, TrainerSettings, Workshop

__all__ = ["Notify", "Trainer", "TrainerSettings"]

TAKING_UPDATES = frozenset({Stage.TRAINING, Stage.ATTESTING})

RoundWork = Callable[[Workshop, RoundTask, RoundInWork], Awaitable[None]]


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
        memory, masking = TrainingMemory(data_dir / "strategies"), MaskingMemory(data_dir / "masking")
        self.shelf = ModelShelf(data_dir / "models")
        budget = PrivacyBudget(data_dir / FOLDER)
        self._shop = Workshop(settings, ledger, blobs, records, process, memory, masking, budget, self.shelf, notify)
        self._offers = Offers(self._shop)
        self._wakeup = Wakeup()
        self._trainings: dict[bytes, RoundTask] = {}
        self._exchanges: dict[bytes, RoundTask] = {}
        self._reports: dict[bytes, RoundTask] = {}
        # Requests of ours, or that we offered data to, whose final model is not on the shelf yet.
        self._concerned: set[bytes] = set()
        self._finishing: set[bytes] = set()

    def wake(self) -> None:
        self._wakeup.ring()

    async def run(self) -> None:
        """Until cancelled."""
        # A crash may have come between a model's note on the shelf and the end of the memory that made it.
        for kept in filter(self.shelf.has, self._shop.memory.requests()):
            self._shop.memory.forget(kept)
        # Requests may have ended while we were away.
        for request_id, request in self._shop.ledger.chain.scan(Request, REQUESTS):
            self._mind(request_id, request)
        async with trio.open_nursery() as nursery:
            while True:
                self._look(nursery)
                await self._wakeup.wait(RESEND_S)

    async def make_initial_model(
        self, form: ModelForm, seed: int, strategy: str = "fedavg", strategy_settings: Settings = ()
    ) -> tuple[Hash32, int]:
        """Make the first global vector of a request and store its blob: digest and number of coordinates.

        Raises JobRefused for a model that cannot be made, WorkerCrashed, NoSpaceForBlob.
        """
        made = await self._shop.process.do(InitialModel(form, seed, strategy, strategy_settings))
        assert isinstance(made, ModelMade)
        digest = await self._shop.blobs.put(made.model)
        if self._shop.records is None:
            # A node without records has nothing to train or test: torch would only fill its memory until it is idle.
            await self._shop.process.let_go()
        return digest, (len(made.model) - HEAD.size) // 4

    async def evaluate(self, form: ModelForm, model: bytes) -> Score:
        """A model's blob on this node's own test records. Raises JobRefused, as when it has none; WorkerCrashed."""
        if self._shop.records is None:
            raise JobRefused("store", "this node keeps no records")
        evaluated = await self._shop.process.do(Evaluate(form, str(self._shop.records.path), model))
        assert isinstance(evaluated, Evaluated)
        return evaluated.score

    def _look(self, nursery: trio.Nursery) -> None:
        """Start what the head asks for, end what it no longer wants."""
        shop = self._shop
        for request_id, request in open_requests(shop.ledger.chain):
            self._mind(request_id, request)
            if self._offers.should_join(request_id, request):
                nursery.start_soon(self._offers.join, request_id, request)
        in_work = {current.id.request: current for current in rounds_in_work(shop.ledger.chain)}
        for task in [*self._trainings.values(), *self._reports.values()]:
            _follow(task, in_work.get(task.id.request), TAKING_UPDATES)
        for task in self._exchanges.values():
            _follow(task, in_work.get(task.id.request), EXCHANGING)
        for over in rounds_unmasked(shop.ledger.chain, shop.masking):
            nursery.start_soon(trio.to_thread.run_sync, shop.masking.forget, over)
        for current in in_work.values():
            if should_exchange(shop, current):
                self._begin(nursery, self._exchanges, exchange, current)
            if current.request.stage not in TAKING_UPDATES:
                continue
            part = participant(current.round, shop.me)
            awaited = part is not None and part.fate is Fate.MISSING
            if awaited and masks_count(shop, current) and _is_of_now(shop, current):
                self._begin(nursery, self._trainings, take_part, current)
            if should_report(shop, current):
                self._begin(nursery, self._reports, report, current)
        for concerned in self._concerned - self._finishing:
            ended = shop.ledger.chain.read(Request, request_key(concerned))
            if ended is not None and ended.stage in FINAL_STAGES:
                self._finishing.add(concerned)
                nursery.start_soon(self._finish, concerned, ended)

    def _mind(self, request_id: bytes, request: Request) -> None:
        ours = request.requester == self._shop.me or self._shop.provides(request)
        if ours and request_id not in self._concerned and not self.shelf.has(request_id):
            self._concerned.add(request_id)

    def _begin(
        self, nursery: trio.Nursery, tasks: dict[bytes, RoundTask], work: RoundWork, current: RoundInWork
    ) -> None:
        """One task a request and kind; a new round's waits until the old one's has gone."""
        request_id = current.id.request
        if request_id not in tasks:
            task = tasks[request_id] = RoundTask(current.id)
            nursery.start_soon(self._run_task, tasks, work, task, current)

    async def _run_task(
        self, tasks: dict[bytes, RoundTask], work: RoundWork, task: RoundTask, current: RoundInWork
    ) -> None:
        try:
            await work(self._shop, task, current)
        finally:
            del tasks[task.id.request]
            # What this round's task kept from beginning can begin now.
            self.wake()

    async def _finish(self, request_id: bytes, request: Request) -> None:
        await keep_final_model(self._shop, request_id, request)
        self._concerned.discard(request_id)
        self._finishing.discard(request_id)


def _is_of_now(shop: Workshop, current: RoundInWork) -> bool:
    """Whether the round may be begun here: one that is long over must not be charged for."""
    mode = MODES.get(current.request.terms.privacy)
    return mode is None or not mode.accounted or not shop.ledger.catching_up


def _follow(task: RoundTask, current: RoundInWork | None, stages: Collection[Stage]) -> None:
    """Cancel what is over, tell the rest that there is news. `stages`: in which there is something to do for it."""
    if current is None or current.id != task.id or current.request.stage not in stages:
        task.scope.cancel()
    task.bell.ring()
