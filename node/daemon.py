"""The daemon, from start to end: read this file first. Every task belongs to a nursery here; leaving it stops all.

Order of coming up: the ledger from disk, then the local interface (within a second), then the network and the replica
that needs it, then data, anchoring and training. Nothing is decided here.
"""

import functools
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trio

from consensus.events import Timing
from consensus.intake import SignatureMemory
from consensus.replica import Replica, ReplicaSettings
from ledger.blocks import FinalBlock
from ledger.chain import Chain, Outcome
from ledger.entries import MEMBERS
from ledger.errors import CorruptStore, InvalidGenesis, StoreLocked, StoreUnavailable
from ledger.genesis import Genesis, genesis_from_json
from ledger.keys import KeyPair
from node.admission import NotAdmitted, serve_admission
from node.aggregation import Aggregation
from node.anchoring import Anchorer
from node.attesting import Attester
from node.blob_upkeep import BlobUpkeep
from node.blobs import NodeBlobs
from node.collecting import Collecting
from node.config import Config
from node.events import EventHub, NodeEvent
from node.happenings import count_block, tell_block
from node.journal_file import JournalFile
from node.leveldb import LevelDbStore
from node.logs import configure_logs
from node.metrics import Metrics
from node.network.address_book import AddressBook, addresses_to_announce
from node.network.address_exchange import AddressExchange
from node.network.blob_exchange import BlobExchange
from node.network.blob_store import BlobStore
from node.network.libp2p_transport import open_transport
from node.network.transport import Transport, TransportConfig
from node.record_errors import RecordStoreError
from node.record_store import RecordStore
from node.replica import Halted, ReplicaDriver, now_ms, recall_vote_from, remember_vote_from
from node.rpc.listeners import CannotListen
from node.rpc.server import serve_rpc
from node.services import NodeServices, TrainerDesk
from node.trainer import Trainer
from node.training_process import WorkerSettings, open_training_process
from node.workshop import TrainerSettings

log = logging.getLogger(__name__)

# How an outsider asks whether it was let in: seldom enough for the bootstrap peers' limit on strangers.
STANDING_EVERY_S = 6.0

EXIT_OK, EXIT_CONFIGURATION, EXIT_BROKEN = 0, 3, 70


class BadStart(Exception):
    """Something the operator gave cannot be run with. The text says what and where."""


def run_daemon(config: Config, key: KeyPair) -> int:
    """Run until SIGTERM, SIGINT or the `stop` method; the exit code of the process."""
    configure_logs(config.node.log_level, config.node.log_format)
    try:
        trio.run(_main, config, key)
    except BaseExceptionGroup as group:
        ended = group.split(trio.Cancelled)[1] or group
        return _explain(_first_leaf(ended))
    except BaseException as error:
        return _explain(error)
    return EXIT_OK


def _explain(error: BaseException) -> int:
    """One line for the operator and an exit code for the supervisor; what is a fault of ours goes on upwards."""
    if isinstance(error, BadStart | InvalidGenesis | StoreLocked | RecordStoreError | CannotListen):
        print(f"hanse: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if isinstance(error, Halted | CorruptStore | StoreUnavailable | OSError):
        # Nothing that was promised is lost: the disk holds what was final, and the league goes on without us.
        print(f"hanse: stopped: {error}", file=sys.stderr)
        return EXIT_BROKEN
    raise error


def _first_leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _main(config: Config, key: KeyPair) -> None:
    genesis = _read_genesis(config.genesis.file)
    data_dir = config.node.data_dir
    metrics, events = Metrics(), EventHub()
    with _open_disk(data_dir) as (store, journal, first_vote), _open_records(config) as records:
        replica = _open_replica(config, key, genesis, store, journal, first_vote)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            services = NodeServices(config, key, replica, events, nursery.cancel_scope.cancel, records=records)
            rpc, page = config.rpc.settings(data_dir), metrics if config.metrics.enabled else None
            await nursery.start(functools.partial(serve_rpc, services, rpc, metrics=page))
            async with open_transport(_transport_config(config, key, replica.chain)) as transport:
                services.transport = transport
                await _run_member(services, transport, journal, metrics)
        events.close()


async def _run_member(services: NodeServices, transport: Transport, journal: JournalFile, metrics: Metrics) -> None:
    """The part of a node that talks to others. Ends when it is cancelled or something breaks."""
    config, key, chain = services.config, services.key, services.chain
    data_dir = config.node.data_dir
    blob_store = BlobStore(data_dir / "blobs", config.storage.blob_bytes_max)
    services.blobs = blobs = NodeBlobs(blob_store, BlobExchange(transport, blob_store))
    book = AddressBook(data_dir / "addresses", chain.chain_id, [org for org, _ in chain.members()])
    addresses = AddressExchange(transport, book)
    services.announced = addresses_to_announce(config.network.announce, transport.listening)
    worker = WorkerSettings(config.training.threads, config.training.nice, config.training.idle_exit_s)

    def notify(topic: str, data: object) -> None:
        services.events.publish(NodeEvent(topic, chain.height, data))  # type: ignore[arg-type]

    async with open_training_process(worker) as process, trio.open_nursery() as nursery:
        attester = Attester(services, blobs)
        upkeep = BlobUpkeep(services, blob_store)
        trainer = Trainer(_trainer_settings(config), services, blobs, services.records, process, data_dir, notify)
        services.trainer = TrainerDesk(trainer)
        anchorer = Anchorer(services, services.records, notify) if services.records else None
        members = Members(chain, key, addresses, transport, services)

        def committed(final: FinalBlock, outcome: Outcome) -> None:
            tell_block(services.events, chain, final, outcome)
            count_block(metrics, chain, key.org, final, outcome)
            if any(changed.startswith(MEMBERS) for changed in outcome.changes):
                members.look()
            for part in (attester, trainer, anchorer, upkeep):
                if part is not None:
                    part.wake()

        aggregation = Aggregation(chain, blobs, key.org)
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
        members = dict(self._chain.members())
        if self._inside or self._key.org in members:
            if not self._inside:
                self._enter()
            self._addresses.set_members({org: member.addresses for org, member in members.items()})
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
        if self._key.org in dict(self._chain.members()):
            self._addresses.set_members({org: member.addresses for org, member in self._chain.members()})
            self._addresses.announce(self._key, self._services.announced, now_ms())


# --- coming up


def _read_genesis(path: Path) -> Genesis:
    try:
        return genesis_from_json(path.read_text())
    except OSError as error:
        raise BadStart(f"{path}: {error.strerror}; want the league's genesis file") from None
    except InvalidGenesis as error:
        raise BadStart(f"{path}: {error}") from None


@contextmanager
def _open_disk(data_dir: Path) -> Iterator[tuple[LevelDbStore, JournalFile, int | None]]:
    """Ledger and vote journal. A journal that is missing beside a ledger, or both, means: do not vote at once."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    had_journal, had_ledger = (data_dir / "journal").exists(), (data_dir / "ledger").exists()
    store = LevelDbStore(data_dir / "ledger")
    try:
        if not had_journal:
            from ledger.chain import HEAD, Head
            from ledger.codec import decode

            stored = store.get(HEAD) if had_ledger else None
            # Only the height after the head can have been voted in; with the ledger gone too, others must be asked.
            remember_vote_from(data_dir, decode(Head, stored).height + 2 if stored else None)
        journal = JournalFile(data_dir / "journal")
        try:
            yield store, journal, recall_vote_from(data_dir)
        finally:
            journal.close()
    finally:
        store.close()


@contextmanager
def _open_records(config: Config) -> Iterator[RecordStore | None]:
    if not config.data.source:
        yield None
        return
    with RecordStore(config.node.data_dir / "records.sqlite") as records:
        yield records


def _open_replica(
    config: Config, key: KeyPair, genesis: Genesis, store: LevelDbStore, journal: JournalFile, first_vote: int | None
) -> Replica:
    consensus = config.consensus
    timing = Timing(consensus.view_timeout_ms, consensus.view_timeout_step_ms, consensus.resend_ms, consensus.grace_ms)

    def make_chain(signatures: SignatureMemory) -> Chain:
        return Chain(store, genesis, signatures.check)

    head = Chain(store, genesis).height
    records = journal.load(head + 1)
    settings = ReplicaSettings(timing, consensus.clock_tolerance_ms)
    return Replica(make_chain, genesis.chain_id, key, settings, now_ms(), records, first_vote)


async def _collect(collecting: Collecting) -> None:
    from fl.data.errors import DataError

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


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return
