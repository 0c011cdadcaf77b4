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
from ledger.league_entries import PROTOCOL
from node.admission import serve_admission
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
from node.ledger_keeping import LedgerKeeping
from node.members import Members
from node.membership import member_nodes
from node.metrics import Metrics
from node.network.address_book import AddressBook, addresses_to_announce
from node.network.address_exchange import AddressExchange
from node.network.blob_exchange import BlobExchange
from node.network.blob_store import BlobStore
from node.network.libp2p_transport import open_transport
from node.network.transport import Transport, TransportConfig
from node.record_store import RecordStore
from node.replica import ReplicaDriver
from node.sealed import Withheld
from node.services import NodeServices, TrainerDesk
from node.start_errors import BadStart
from node.trainer import Trainer
from node.training_process import WorkerSettings, open_training_process
from node.workshop import TrainerSettings

log = logging.getLogger(__name__)


async def run_member(services: NodeServices, journal: JournalFile, metrics: Metrics) -> None:
    """Network, replica, records, training. Returns when the key that was to follow is the ledger's: begin anew.

    Else it ends when it is cancelled or something breaks: raises BadStart, RecordStoreError, Halted, CorruptStore,
    StoreUnavailable, UnknownProtocol, OSError.
    """
    config = services.config
    try:
        with _open_records(config) as services.records:
            async with open_transport(_transport_config(config, services.key, services.chain)) as transport:
                services.transport = transport
                await _run_parts(services, transport, journal, metrics)
    finally:
        services.came_down()


async def _run_parts(services: NodeServices, transport: Transport, journal: JournalFile, metrics: Metrics) -> None:
    config, key, chain = services.config, services.key, services.chain
    data_dir = config.node.data_dir
    blob_store = BlobStore(data_dir / "blobs", config.storage.blob_bytes_max)
    withheld = Withheld(lambda: services.chain, lambda: services.org, blob_store)
    services.blobs = blobs = NodeBlobs(blob_store, BlobExchange(transport, blob_store, withheld))
    book = AddressBook(data_dir / "addresses", chain.chain_id, [each for each, _ in member_nodes(chain)])
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
        members = Members(services, addresses, transport, nursery.cancel_scope.cancel)
        figures = BlockFigures(metrics, chain, services.org)
        services.keeping = keeping = LedgerKeeping(config, chain, transport, blob_store, upkeep)

        def wake() -> None:
            for part in (attester, trainer, anchorer, upkeep):
                if part is not None:
                    part.wake()

        def committed(final: FinalBlock, outcome: Outcome) -> None:
            tell_block(services.events, chain, final, outcome)
            figures.count(final, outcome)
            if any(changed.startswith((MEMBERS, PROTOCOL)) for changed in outcome.changes):
                members.look()
            keeping.committed()
            wake()

        def rebased() -> None:
            members.look()
            wake()

        aggregation = Aggregation(chain, blobs, key.public)
        compute, heard = aggregation.compute_while_wanted, attester.wake
        driver = ReplicaDriver(
            services.replica, journal, transport, metrics, data_dir, compute, committed, heard=heard, rebased=rebased
        )
        services.driver = driver
        serve_admission(transport, chain, driver.submit)
        transport.watch_peers(
            lambda peer, up: notify("peer", {"org": (chain.org_of(peer) or peer).hex(), "connected": up})
        )
        _set_gauges(metrics, services, blob_store)
        await nursery.start(driver.run)
        nursery.start_soon(members.run)
        nursery.start_soon(addresses.run)
        nursery.start_soon(attester.run)
        nursery.start_soon(trainer.run)
        nursery.start_soon(upkeep.run)
        nursery.start_soon(keeping.run, driver)
        if services.records is not None and anchorer is not None:
            collecting = Collecting(services.records, config.data, anchorer.anchored_through, anchorer.wake, notify)
            services.collecting = collecting
            await _collect(collecting)
            nursery.start_soon(anchorer.run)
            nursery.start_soon(collecting.run)


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
        allow_no_guarantee=config.privacy.allow_no_guarantee,
        require_guarantee=config.privacy.require_guarantee,
        telling=config.privacy.accuracy,
        limit=config.privacy.limit(),
        disclose_labels=config.privacy.disclose_labels,
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
