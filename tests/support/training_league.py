"""Trainers, attesters and anchorers of a few founders over one sealed chain: all the node but consensus and network."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trio

from ledger.aggregation import AggregationResult, aggregates_due
from ledger.entries import Request, request_key
from ledger.transactions import AnchorRecords
from ledger.types import Hash32
from node.aggregation import Aggregation
from node.anchoring import Anchorer
from node.attesting import Attester
from node.network.blob_store import BlobStore
from node.record_store import RecordStore
from node.trainer import Trainer, TrainerSettings
from node.training_process import WorkerSettings, open_training_process
from tests.support.factory_records import filled_store
from tests.support.linked_blobs import LinkedBlobs
from tests.support.open_requests import TERMS, vector_blob
from tests.support.sealed_chain import NodeLedger, SealedChain, key_of

FOUNDERS = ("alice", "bob", "carol", "dave")
BASE = vector_blob(0.0)


class TrainingLeague:
    """`told[name]` is what a founder's trainer and anchorer said. Blocks are sealed by `seal`, or by `live`."""

    def __init__(self, folder: Path, nursery: trio.Nursery, stack: ExitStack) -> None:
        self.folder = folder
        self.nursery = nursery
        self.stack = stack
        self.sealed = SealedChain(*FOUNDERS)
        stores: dict[Any, BlobStore] = {}
        self.blobs = {name: LinkedBlobs(folder / name / "blobs", key_of(name).org, stores) for name in FOUNDERS}
        self.records: dict[str, RecordStore] = {}
        self.told: dict[str, list[Mapping[str, Any]]] = {name: [] for name in FOUNDERS}
        self.parts: list[Any] = []
        self.results: dict[bytes, AggregationResult] = {}
        self.blobs["dave"].store.put(BASE)

    def keep_records(self, name: str, seed: int, anchored: bool = True) -> RecordStore:
        """Three periods of 13 records, on the ledger when `anchored`."""
        store, closed = filled_store(self.folder / name / "records.sqlite", seed=seed)
        self.records[name] = store
        self.stack.callback(store.close)
        if anchored:
            for each in closed:
                body = AnchorRecords(each.period, each.record_count, each.root, each.begins, each.ends)
                self.sealed.say(name, body)
            self.seal()
        return store

    async def process(self, **settings: Any) -> Any:
        """A real training process, for as long as the test lasts."""
        return await self.nursery.start(_hold_process, WorkerSettings(**{"nice": 0, **settings}))

    def trainer(
        self,
        name: str,
        process: Any,
        ledger: NodeLedger | None = None,
        joins: bool = True,
        **settings: Any,
    ) -> Trainer:
        trainer = Trainer(
            TrainerSettings(TERMS.data_type, lambda data_type: joins, **settings),
            ledger or self.sealed.ledger(name),
            self.blobs[name],
            self.records.get(name),
            process,
            self.folder / name,
            lambda topic, data: self.told[name].append(data),
        )
        self.parts.append(trainer)
        return trainer

    def anchorer(self, name: str) -> Anchorer:
        anchorer = Anchorer(
            self.sealed.ledger(name), self.records[name], lambda topic, data: self.told[name].append(data)
        )
        self.parts.append(anchorer)
        return anchorer

    def attesters(self) -> None:
        """Every founder does its duty."""
        for name in FOUNDERS:
            attester = Attester(self.sealed.ledger(name), self.blobs[name])
            self.parts.append(attester)
            self.nursery.start_soon(attester.run)

    def seal(self, after_ms: int = 10) -> None:
        self.sealed.seal(after_ms, self.results)
        for part in self.parts:
            part.wake()

    async def live(self) -> None:
        """Seal a block whenever somebody has something to say or an aggregate is due, until cancelled."""
        leader = Aggregation(self.sealed.chain, self.blobs["carol"], key_of("carol").org)
        while True:
            for task in aggregates_due(self.sealed.chain.state()):
                self.results[task.request] = await leader.compute(task)
                self.seal()
            if self.sealed.pending:
                for part in self.parts:
                    part.wake()
                self.seal()
            await trio.sleep(0.005)

    def request(self, request_id: Hash32) -> Request:
        found = self.sealed.chain.read(Request, request_key(request_id))
        assert found is not None
        return found

    def events(self, name: str) -> list[str]:
        return [str(data["event"]) for data in self.told[name]]


async def _hold_process(settings: WorkerSettings, task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
    async with open_training_process(settings) as process:
        task_status.started(process)
        await trio.sleep_forever()
