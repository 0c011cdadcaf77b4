"""A node's ledger on the disk, for verbs: opened when no node runs on it, asked of the node when one does."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.which_node import node_client

if TYPE_CHECKING:
    from node.config import Config
    from node.ledger_check import SeldomSynced
    from node.leveldb import LevelDbStore
    from node.rpc.client import RpcClient


@contextmanager
def block_source(config: "Config", config_path: str) -> Iterator[tuple[int, Callable[[int, int], Iterator[bytes]]]]:
    """(height of the head, blocks(first, last) as canonical bytes): from the stopped node's ledger, or the node."""
    from ledger.errors import StoreLocked

    try:
        store = _ledger(config.node.data_dir, create=False)
    except StoreLocked:
        with node_client(config_path) as client:
            head: int = client.call("status")["head"]["height"]
            yield head, lambda first, last: _served(client, first, last)
        return
    try:
        with explained(str(config.node.data_dir)):
            height = _stored_height(store)
        yield height, lambda first, last: _stored(store, first, last)
    finally:
        store.close()


def _served(client: "RpcClient", first: int, last: int) -> Iterator[bytes]:
    at: int | None = first
    while at is not None and at <= last:
        page = client.call("blocks.raw", start=at)
        for row in page["blocks"][: last - at + 1]:
            yield bytes.fromhex(row)
        at = page["next"]


def _stored(store: "LevelDbStore", first: int, last: int) -> Iterator[bytes]:
    from ledger.chain_rows import BLOCK, height_key

    for height in range(first, last + 1):
        row = store.get(BLOCK + height_key(height))
        if row is None:
            raise CliError(Exit.NOT_FOUND, f"block {height} is not kept here any more")
        yield row


def _stored_height(store: "LevelDbStore") -> int:
    from ledger.chain import HEAD, Head
    from ledger.codec import decode

    row = store.get(HEAD)
    return 0 if row is None else decode(Head, row).height


@contextmanager
def whole_store(config: "Config", create: bool) -> "Iterator[LevelDbStore]":
    """The ledger of a node that does not run. Raises CliError."""
    from ledger.errors import StoreLocked

    try:
        store = _ledger(config.node.data_dir, create)
    except StoreLocked:
        text = f"the ledger in {config.node.data_dir} is in use: stop the node first (`hanse stop`)"
        raise CliError(Exit.REFUSED, text) from None
    try:
        yield store
    finally:
        store.close()


def _ledger(data_dir: Path, create: bool) -> "LevelDbStore":
    """Raises CliError, StoreLocked."""
    from node.data_folder import JOINED, LEDGER
    from node.ledger_folder import open_ledger

    if not create and not any(data_dir.glob(f"{LEDGER}/CURRENT")) and not any(data_dir.glob(f"{JOINED}*")):
        raise CliError(Exit.NOT_FOUND, f"{data_dir}: there is no ledger yet")
    with explained(str(data_dir)):
        return open_ledger(data_dir)


@contextmanager
def scratch() -> "Iterator[SeldomSynced]":
    """A store on the disk that is gone afterwards: a long chain would not fit into memory."""
    from node.ledger_check import SeldomSynced
    from node.leveldb import LevelDbStore

    with TemporaryDirectory(prefix="hanse-verify-") as folder:
        store = SeldomSynced(LevelDbStore(Path(folder)), batches_per_sync=0)
        try:
            yield store
        finally:
            store.close()


@contextmanager
def explained(what: str) -> Iterator[None]:
    """The exit code of whatever is wrong with a ledger. A ledger that another process has open is the caller's."""
    from ledger.errors import CorruptStore, InvalidBytes, StoreLocked, StoreUnavailable, UnknownProtocol
    from node.chain_file import InvalidChainFile
    from node.ledger_check import WrongLedger

    try:
        yield
    except WrongLedger as error:
        raise CliError(Exit.NOT_VERIFIED, f"{what} does not hold: {error}", height=error.height) from None
    except InvalidChainFile as error:
        raise CliError(Exit.MALFORMED, str(error)) from None
    except (CorruptStore, InvalidBytes) as error:
        raise CliError(Exit.NOT_VERIFIED, f"{what} does not hold: {error}") from None
    except UnknownProtocol as error:
        raise CliError(Exit.OUTDATED, f"{what}: {error}") from None
    except StoreLocked:
        raise
    except StoreUnavailable as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
