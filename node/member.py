"""The part of a node that talks to others, from its network to its trainer: the second half of `daemon.py`.

Loaded when the local interface answers already, for numpy and the network's pieces take half a second to import. Every
task belongs to a nursery here; nothing is decided here.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import trio

from fl.data.errors import DataError
from ledger.blocks import FinalBlock
from ledger.chain import Chain, Outcome
from ledger.entries import MEMBERS
from ledger.keys import KeyPair
from ledger.types import NodeKey
from node.admission import NotAdmitted, serve_admission
from node.aggregation import Aggregation
from node.anchoring import Anchorer
from node.attesting import Attester
from node.blob_upkeep import BlobUpkeep
from node.blobs import NodeBlobs
from node.collecting import Collecting
from node.config import Config
from node.events import NodeEvent
from node.happenings import BlockFigures, count_training, tell_block
from node.journal_file import JournalFile
from node.metrics import Metrics
from node.network.address_book import AddressBook, addresses_to_announce
from node.network.address_exchange import AddressExchange
from node.network.blob_exchange import BlobExchange
from node.network.blob_store import BlobStore
from node.network.libp2p_transport import open_transport
from node.network.transport import Transport, TransportConfig
from node.record_store import RecordStore
from node.replica import ReplicaDriver, now_ms
from node.services import NodeServices, TrainerDesk
from node.start_errors import BadStart
from node.trainer import Trainer
from node.training_process import WorkerSettings, open_training_process
from node.workshop import TrainerSettings

log = logging.getLogger(__name__)

# How an outsider asks whether it was let in: seldom enough for the bootstrap peers' limit on strangers.
STANDING_EVERY_S = 6.0


async def run_member(services: NodeServices, journal: JournalFile, metrics: Metrics) -> None:
    """Network, replica, records, training. Ends when it is cancelled or something breaks.

    Raises BadStart, RecordStoreError, Halted, CorruptStore, StoreUnavailable, OSError.
    """
    config = services.config
    with _open_records(config) as services.records:
        async with open_transport(_transport_config(config, services.key, services.chain)) as transport:
            services.transport = transport
            await _run_parts(services, transport, journal, metrics)


async def _run_parts(services: NodeServices, transport: Transport, journal: JournalFile, metrics: Metrics) -> None:
    config, key, chain = services.config, services.key, services.chain
    data_dir = config.node.data_dir
    blob_store = BlobStore(data_dir / "blobs", config.storage.blob_bytes_max)
    services.blobs = blobs = NodeBlobs(blob_store, BlobExchange(transport, blob_store))
    book = AddressBook(data_dir / "addresses", chain.chain_id, [key for key, _ in member_nodes(chain)])
    addresses = AddressExchange(transport, book)
    services.announced = addresses_to_announce(config.network.announce, transport.listening)
    worker = WorkerSettings(config.training.threads, config.training.nice, config.training.idle_exit_s)

    def notify(topic: str, data: Mapping[str, Any]) -> None:
        services.events.publish(NodeEvent(topic, chain.height, data))
        if topic == "training":
            count_training(metrics, data)

    async with open_training_process(worker) as process, trio.open_nursery() as nursery:
        attester = Attester(services, blobs)
        upkeep = BlobUpkeep(services, blob_store)
        trainer = Trainer(_trainer_settings(config), services, blobs, services.records, process, data_dir, notify)
        services.trainer = TrainerDesk(trainer)
        anchorer = Anchorer(services, services.records, notify) if services.records else None
        members = Members(chain, key, addresses, transport, services)
        figures = BlockFigures(metrics, chain, services.org)

        def committed(final: FinalBlock, outcome: Outcome) -> None:
            tell_block(services.events, chain, final, outcome)
            figures.count(final, outcome)
            if any(changed.startswith(MEMBERS) for changed in outcome.changes):
                members.look()
            for part in (attester, trainer, anchorer, upkeep):
                if part is not None:
                    part.wake()

        aggregation = Aggregation(chain, blobs, key.public)
        compute = aggregation.compute_while_wanted
        driver = ReplicaDriver(
            services.replica, journal, transport, metrics, data_dir, compute, committed, heard=attester.wake
        )
        services.driver = driver
        serve_admission(transport, chain, driver.submit)
        transport.watch_peers(lambda org, up: notify("peer", {"org": org.hex(), "connected": up}))
        _set_gauges(metrics, services, blob_store)
        await nursery.start(driver.run)
        nursery.start_soon(members.run)
        nursery.start_soon(addresses.run)
        nursery.start_soon(attester.run)
        nursery.start_soon(trainer.run)
        nursery.start_soon(upkeep.run)
        if services.records is not None and anchorer is not None:
            collecting = Collecting(services.records, config.data, anchorer.anchored_through, anchorer.wake, notify)
            services.collecting = collecting
            await _collect(collecting)
            nursery.start_soon(anchorer.run)
            nursery.start_soon(collecting.run)


class Members:
    """Keeps the network's idea of who is in the league to the ledger's, and waits outside while we are not in it."""

    def __init__(
        self, chain: Chain, key: KeyPair, addresses: AddressExchange, transport: Transport, services: NodeServices
    ) -> None:
        self._chain = chain
        self._key = key
        self._addresses = addresses
        self._transport = transport
        self._services = services
        self._inside = False
        self.look()

    def look(self) -> None:
        """Members admit and dial each other; an outsider waits to be dialled by those who let it in."""
        members = dict(member_nodes(self._chain))
        if self._inside or self._key.public in members:
            if not self._inside:
                self._enter()
            self._addresses.set_members(members)
        else:
            self._transport.set_members(dict.fromkeys(members, ()))

    async def run(self) -> None:
        """Ask now and then whether we were let in, until we were."""
        while not self._inside and self._services.config.network.bootstrap:
            await trio.sleep(STANDING_EVERY_S)
            try:
                standing = await self._services.standing()
            except NotAdmitted as error:
                log.info("no bootstrap peer answers: %s", error)
                continue
            if standing.member and not self._inside:
                self._enter()
                self.look()

    def _enter(self) -> None:
        self._inside = True
        members = dict(member_nodes(self._chain))
        if self._key.public in members:
            self._addresses.set_members(members)
            self._addresses.announce(self._key, self._services.announced, now_ms())


def member_nodes(chain: Chain) -> Iterator[tuple[NodeKey, tuple[str, ...]]]:
    """The node key of every member, and the addresses that the ledger has of it."""
    for org, member in chain.members():
        key = chain.key_of(org)
        if key is not None:
            yield key, member.addresses


# --- coming up


@contextmanager
def _open_records(config: Config) -> Iterator[RecordStore | None]:
    if not config.data.source:
        yield None
        return
    with RecordStore(config.node.data_dir / "records.sqlite") as records:
        yield records


async def _collect(collecting: Collecting) -> None:
    try:
        await collecting.begin()
    except DataError as error:
        raise BadStart(f"[data] {error}") from None


def _transport_config(config: Config, key: KeyPair, chain: Chain) -> TransportConfig:
    network = config.network
    return TransportConfig(
        key=key,
        chain_id=chain.chain_id,
        listen=network.listen,
        announce=network.announce,
        bootstrap=network.bootstrap,
        limits=network.transport_limits(),
    )


def _trainer_settings(config: Config) -> TrainerSettings:
    training = config.training
    return TrainerSettings(
        data_type=config.data.data_type,
        joins=training.offers,
        price_min=training.price_min,
        allow_no_guarantee=training.allow_no_guarantee,
    )


def _set_gauges(metrics: Metrics, services: NodeServices, blobs: BlobStore) -> None:
    """Figures that are read when somebody asks."""
    transport = services.transport
    assert transport is not None
    metrics.view.set_function(lambda: services.replica.machine.view)
    metrics.pending.set_function(lambda: len(services.replica.intake.pool))
    metrics.peers.set_function(lambda: sum(peer.connected for peer in transport.peers()))
    metrics.synced.set_function(lambda: int(services.consensus_status().synced))
    metrics.blob_bytes.set_function(lambda: sum(blobs.size(digest) for digest in list(blobs)))
