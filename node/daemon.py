"""The daemon, from start to end: read this file first. Every task belongs to a nursery here; leaving it stops all.

Order of coming up: the ledger from disk, then the local interface (within a second), then the network and the replica
that needs it, then data, anchoring and training. Nothing is decided here.
"""

import errno
import functools
import importlib
import logging
import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import trio

from consensus.events import Timing
from consensus.intake import SignatureMemory
from consensus.replica import Replica, ReplicaSettings
from ledger.chain import HEAD, Chain, Head
from ledger.codec import decode
from ledger.errors import (
    CorruptStore,
    InvalidGenesis,
    StoreFull,
    StoreLocked,
    StoreOfAnotherVersion,
    StoreUnavailable,
    UnknownProtocol,
)
from ledger.genesis import Genesis, genesis_from_json
from ledger.types import OrgId
from node.cold_identity import own_org
from node.config import Config
from node.data_folder import LEDGER
from node.events import EventHub
from node.identity import KeyFileError, peer_id
from node.journal_file import JournalFile
from node.key_ring import KeyRing
from node.ledger_folder import settle_ledger
from node.leveldb import LevelDbStore
from node.logs import configure_logs
from node.metrics import Metrics
from node.record_errors import RecordStoreError
from node.replica import Halted, now_ms
from node.rpc.listeners import CannotListen
from node.rpc.server import serve_rpc
from node.services import NodeServices
from node.start_errors import BadStart
from node.vote_memory import JOURNAL, NEVER_VOTES, open_votes

log = logging.getLogger(__name__)

# What is wrong with what the operator gave, and not with what runs.
OPERATORS_TO_MEND = (
    BadStart,
    InvalidGenesis,
    StoreLocked,
    StoreOfAnotherVersion,
    RecordStoreError,
    CannotListen,
)
EXIT_OK, EXIT_CONFIGURATION, EXIT_OUTDATED, EXIT_DISK_FULL, EXIT_BROKEN = 0, 3, 9, 11, 70


def run_daemon(config: Config, ring: KeyRing) -> int:
    """Run until SIGTERM, SIGINT or the `stop` method; the exit code of the process."""
    configure_logs(config.node.log_level, config.node.log_format)
    try:
        trio.run(_main, config, ring)
    except BaseExceptionGroup as group:
        ended = group.split(trio.Cancelled)[1] or group
        return _explain(_first_leaf(ended))
    except BaseException as error:
        return _explain(error)
    return EXIT_OK


def _explain(error: BaseException) -> int:
    """One line for the operator and an exit code for the supervisor; what is a fault of ours goes on upwards."""
    taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
    if taken or isinstance(error, OPERATORS_TO_MEND):
        print(f"hanse: {error}", file=sys.stderr)
        return EXIT_CONFIGURATION
    if isinstance(error, UnknownProtocol):
        print(f"hanse: stopped: {error}", file=sys.stderr)
        return EXIT_OUTDATED
    if isinstance(error, StoreFull) or (isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)):
        print(f"hanse: stopped: {error}", file=sys.stderr)
        return EXIT_DISK_FULL
    if isinstance(error, Halted | CorruptStore | StoreUnavailable | OSError):
        # Nothing that was promised is lost: the disk holds what was final, and the league goes on without us.
        print(f"hanse: stopped: {error}", file=sys.stderr)
        return EXIT_BROKEN
    raise error


def _first_leaf(group: BaseException) -> BaseException:
    while isinstance(group, BaseExceptionGroup):
        group = group.exceptions[0]
    return group


async def _main(config: Config, ring: KeyRing) -> None:
    genesis = _read_genesis(config.genesis.file)
    data_dir = config.node.data_dir
    metrics, answering = Metrics(), False
    with closing(EventHub()) as events, _open_ledger(data_dir) as (store, head):
        identity = _settle_keys(config, ring, Chain(store, genesis))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            services = NodeServices(config, ring, identity, events, nursery.cancel_scope.cancel)
            while True:
                with _open_replica(config, ring, genesis, store, head) as (services.replica, journal):
                    if not answering:
                        await _answer(nursery, services, metrics)
                        answering = True
                    member = await trio.to_thread.run_sync(importlib.import_module, "node.member")
                    await member.run_member(services, journal, metrics)
                    head = services.chain.height
                if ring.settle(services.chain.key_of(services.org), data_dir / JOURNAL):
                    log.warning("the key of this node was rotated: it goes on as %s", peer_id(ring.current.public))


async def _answer(nursery: trio.Nursery, services: NodeServices, metrics: Metrics) -> None:
    config = services.config
    rpc = replace(
        config.rpc.settings(config.node.data_dir),
        disk_free_bytes_min=config.storage.disk_free_min,
        data_type=config.data.data_type,
        privacy_limit=config.privacy.limit(),
        telling=config.privacy.accuracy,
        disclose_labels=config.privacy.disclose_labels,
    )
    page = metrics if config.metrics.enabled else None
    await nursery.start(functools.partial(serve_rpc, services, rpc, metrics=page))


# --- coming up


def _read_genesis(path: Path) -> Genesis:
    try:
        return genesis_from_json(path.read_text())
    except OSError as error:
        raise BadStart(f"{path}: {error.strerror}; want the league's genesis file") from None
    except InvalidGenesis as error:
        raise BadStart(f"{path}: {error}") from None


@contextmanager
def _open_ledger(data_dir: Path) -> Iterator[tuple[LevelDbStore, int | None]]:
    """The ledger's store and the height of its head; None where there was no ledger."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    settle_ledger(data_dir)
    had_ledger = (data_dir / LEDGER).exists()
    store = LevelDbStore(data_dir / LEDGER)
    try:
        stored = store.get(HEAD) if had_ledger else None
        yield store, decode(Head, stored).height if stored else None
    finally:
        store.close()
        settle_ledger(data_dir)


def _settle_keys(config: Config, ring: KeyRing, chain: Chain) -> OrgId:
    """Whose node this is; a rotation that was final when the last run ended is carried through. Raises BadStart."""
    beside = config.key.identity
    try:
        identity = own_org(beside, ring.current.public)
    except KeyFileError as error:
        raise BadStart(str(error)) from None
    registered = chain.org_of(ring.current.public)
    if registered not in (None, identity) and beside.exists():
        raise BadStart(
            f"{beside} names the organisation {identity.hex()[:16]}, and by the ledger {ring.file} is the key of"
            f" {registered.hex()[:16]}: one of the two files is another node's"
        )
    if ring.settle(chain.key_of(registered or identity), config.node.data_dir / JOURNAL):
        log.warning("the key of this node was rotated: it goes on as %s", peer_id(ring.current.public))
    return registered or identity


@contextmanager
def _open_replica(
    config: Config, ring: KeyRing, genesis: Genesis, store: LevelDbStore, head: int | None
) -> Iterator[tuple[Replica, JournalFile]]:
    """The replica over the ledger, with its votes. `head`: of the ledger before it was opened, None for no ledger."""
    consensus = config.consensus
    timing = Timing(consensus.view_timeout_ms, consensus.view_timeout_step_ms, consensus.resend_ms, consensus.grace_ms)

    def make_chain(signatures: SignatureMemory) -> Chain:
        return Chain(store, genesis, signatures.check)

    journal, first_vote = open_votes(config.node.data_dir, head)
    try:
        height = Chain(store, genesis).height + 1
        records, later = journal.load(height), journal.later(height)
        key = ring.presented
        if key is not ring.current:
            # The votes in the journal are the current key's, and the other must not sign any beside them.
            records, first_vote, later = [], NEVER_VOTES, {}
        settings = ReplicaSettings(timing, consensus.clock_tolerance_ms)
        yield Replica(make_chain, genesis.chain_id, key, settings, now_ms(), records, first_vote, later), journal
    finally:
        journal.close()


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return
