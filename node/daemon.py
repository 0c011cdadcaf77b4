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
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import trio

from consensus.events import Timing
from consensus.intake import SignatureMemory
from consensus.replica import Replica, ReplicaSettings
from ledger.chain import HEAD, Chain, Head
from ledger.codec import decode
from ledger.errors import CorruptStore, InvalidGenesis, StoreLocked, StoreOfAnotherVersion, StoreUnavailable
from ledger.genesis import Genesis, genesis_from_json
from ledger.keys import KeyPair
from node.config import Config
from node.events import EventHub
from node.journal_file import JournalFile
from node.leveldb import LevelDbStore
from node.logs import configure_logs
from node.metrics import Metrics
from node.record_errors import RecordStoreError
from node.replica import Halted, now_ms
from node.rpc.listeners import CannotListen
from node.rpc.server import serve_rpc
from node.services import NodeServices
from node.start_errors import BadStart
from node.vote_memory import open_votes

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
EXIT_OK, EXIT_CONFIGURATION, EXIT_BROKEN = 0, 3, 70


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
    taken = isinstance(error, OSError) and error.errno in (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
    if taken or isinstance(error, OPERATORS_TO_MEND):
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
    with _open_disk(data_dir) as (store, journal, first_vote):
        replica = _open_replica(config, key, genesis, store, journal, first_vote)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_on_signal, nursery.cancel_scope)
            services = NodeServices(config, key, replica, events, nursery.cancel_scope.cancel)
            rpc = replace(config.rpc.settings(data_dir), disk_free_bytes_min=config.storage.disk_free_min)
            page = metrics if config.metrics.enabled else None
            await nursery.start(functools.partial(serve_rpc, services, rpc, metrics=page))
            member = await trio.to_thread.run_sync(importlib.import_module, "node.member")
            await member.run_member(services, journal, metrics)
        events.close()


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
    had_ledger = (data_dir / "ledger").exists()
    store = LevelDbStore(data_dir / "ledger")
    try:
        stored = store.get(HEAD) if had_ledger else None
        journal, first_vote = open_votes(data_dir, decode(Head, stored).height if stored else None)
        try:
            yield store, journal, first_vote
        finally:
            journal.close()
    finally:
        store.close()


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


async def _stop_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _ in signals:
            scope.cancel()
            return
