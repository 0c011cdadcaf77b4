"""Every place where bytes from outside become values: how to call it, which faults it may raise, good bytes to damage.

`tests/fuzz` feeds each of them; its test of completeness finds modules that read bytes and are in no row here.
"""

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from consensus.messages import parse_message
from fl.delta_blob import Block, pack_delta, read_delta
from fl.fixed_point import InvalidVector, pack, unpack
from fl.gradient_blob import pack_gradient, unpack_gradient
from fl.mask_keys import DealtShare, open_share, public_key, seal_share
from fl.masked_blob import check_masked, new_masked
from fl.shamir import SHARE_BYTES, WrongShare, combine
from fl.strategies.kept_vector import keep, kept_vector
from fl.strategies.own_model import DamagedState, OwnModel, own_model
from ledger.bundles import bundle_from_json
from ledger.codec import decode, decode_union, encode, encode_union
from ledger.errors import CorruptStore, InvalidBytes, InvalidGenesis, InvalidTransaction
from ledger.genesis import genesis_from_json, genesis_to_json
from ledger.proofs import proof_from_json, proof_to_json
from ledger.records import parse_record
from ledger.state_keys import read_key
from ledger.transactions import parse_transaction
from node import chain_file, masking_memory, privacy_budget, training_memory
from node.chain_file import ChainFile, InvalidChainFile
from node.cold_identity import read_public
from node.config import ConfigError, parse_config
from node.identity import KeyFileError, key_from_text, load_key
from node.journal_file import JournalFile
from node.network.address_book import AddressBook
from node.network.addresses import parse_address
from node.network.blob_pieces import pack_piece, unpack_piece
from node.network.blob_store import InvalidBlob
from node.network.link import Inbox, Outbox, ping, receiver_frames, sender_frames
from node.network.transport import InvalidAddress, Limits
from node.network.wire import FrameKind, FrameReader, InvalidFrame, frame
from node.pkcs8 import InvalidKeyBytes, WrongPassphrase, key_pem, seed_from_pem
from node.privacy_budget import BudgetDamaged
from node.request_file import RequestFileError, parse_request
from node.rpc.errors import RpcError
from node.rpc.jsonrpc import encode_json, parse_json
from node.statement_file import StatementFileError, read_statement
from node.worker_protocol import parse_answer, parse_job, read_frame
from tests.support.formats import example, types, unions
from tests.support.golden import CHAIN, KEY, stored
from tests.support.masked_round import context, org

Read = Callable[[bytes], Any]

# Half a page; no more of what came is repeated into a log.
FAULT_CHARS_MAX = 2_000


@dataclass(frozen=True)
class Decoder:
    """`read` raises nothing but `faults`; `again` writes what was read, and must give the very bytes."""

    name: str
    read: Read
    faults: tuple[type[Exception], ...]
    examples: tuple[bytes, ...]
    again: Callable[[Any], bytes] | None = None


def feed(decoder: Decoder, data: bytes) -> None:
    """One input. Raises whatever the decoder must not."""
    said = None
    try:
        value = decoder.read(data)
    except decoder.faults as fault:
        said = str(fault)
    if said is not None:
        assert said, "a fault without a word"
        assert len(said) < FAULT_CHARS_MAX, "the fault repeats what came"
    elif decoder.again is not None:
        again = decoder.again(value)
        assert decoder.name == "JSON" or again == data, "read, and written differently"


@cache
def decoders() -> tuple[Decoder, ...]:
    return (*_codec(), *_wire(), *_masked(), *_files(), *_texts())


def _codec() -> Iterator[Decoder]:
    for name, kind in types().items():
        yield Decoder(name, partial(decode, kind), (InvalidBytes,), (encode(example(kind)),), encode)
    for name, union in unions().items():
        vectors = [vector for key, vector in stored()["unions"].items() if key.startswith(f"{name} ")]
        examples = tuple(bytes.fromhex(vector) for vector in vectors if "SHA" not in vector)
        again = partial(_again_union, union)
        yield Decoder(f"any {name}", partial(decode_union, union), (InvalidBytes,), examples, again)
    transaction = encode(example(types()["ledger.transactions.Transaction"]))
    records = [encode(example(types()[f"ledger.records.{name}"])) for name in ("SensorRecord", "SaltedRecord")]
    message = bytes.fromhex(stored()["unions"]["Message Status"])
    yield Decoder("transaction", parse_transaction, (InvalidTransaction, InvalidBytes), (transaction,), encode)
    yield Decoder("record", parse_record, (InvalidBytes,), tuple(records), encode)
    yield Decoder("message", parse_message, (InvalidBytes,), (message,))


def _again_union(union: Any, value: Any) -> bytes:
    return encode_union(value, union)


# --- what peers and the own child process send


def _wire() -> Iterator[Decoder]:
    limits = Limits(message_bytes_max=4_096)
    outbox = Outbox(bytes(16), CHAIN, limits)
    outbox.post(b"message")
    outbox.post(b"another")
    said = outbox.hello() + outbox.take() + ping(3)
    heard = (
        frame(FrameKind.WELCOME, bytes(8)) + frame(FrameKind.ACKNOWLEDGE, bytes(8)) + frame(FrameKind.PONG, bytes(8))
    )
    channel = frame(FrameKind.DATA, b"blob.get") + frame(FrameKind.REFUSAL, b"busy\nlater")
    yield Decoder("frames of a sender", partial(_frames, lambda: receiver_frames(limits)), (InvalidFrame,), (said,))
    yield Decoder("frames of a receiver", partial(_frames, sender_frames), (InvalidFrame,), (heard,))
    yield Decoder("frames of a channel", partial(_frames, _channel_frames), (InvalidFrame,), (channel,))
    yield Decoder("a link", _link, (InvalidFrame,), (said,))
    noise, zeros = np.random.default_rng(1).bytes(2_000), bytes(2_000)
    pieces = (pack_piece(noise), pack_piece(zeros), pack_piece(bytes(range(100)) * 20))
    yield Decoder("blob piece", lambda data: unpack_piece(data, 2_000), (InvalidBlob,), pieces)
    blob = pack(np.arange(-3, 4, dtype=np.int32), 20)
    read_blob = lambda data: unpack(data, 7, 20, 2**20)  # noqa: E731
    yield Decoder("blob", read_blob, (InvalidVector,), (blob,), lambda vector: pack(vector, 20))
    changes = (Block(0, np.array([-3, 2], np.int32), 5, 3), Block(4, np.array([2**20, -1], np.int32), 1, 32))
    deltas = (pack_delta(changes, 7, 20), pack_delta(changes[:1], 7, 20), pack_delta((), 7, 20))
    read_changes = lambda data: read_delta(data, 7, 20)  # noqa: E731
    yield Decoder("changes to a model", read_changes, (InvalidVector,), deltas, lambda read: pack_delta(read, 7, 20))
    job, answer = (bytes.fromhex(stored()["layouts"][f"worker {name}"]) for name in ("job", "answer"))
    yield Decoder("worker job", _framed(parse_job), (InvalidBytes,), (job,))
    yield Decoder("worker answer", _framed(parse_answer), (InvalidBytes,), (answer,))


def _masked() -> Iterator[Decoder]:
    """What a masked round reads of its members. A sealed share opens for its holder as it was, or not at all."""
    blob, words = new_masked(7)
    words[:] = np.arange(8) * 2**60
    read_masked = lambda data: bytes(data[:16]) + check_masked(data, 7).tobytes()  # noqa: E731
    yield Decoder("masked blob", read_masked, (InvalidVector,), (bytes(blob),), lambda read: read)
    gradient = pack_gradient(np.arange(-3, 4) * 2**58)
    yield Decoder("gradient", lambda data: unpack_gradient(data, 7), (InvalidVector,), (gradient,), pack_gradient)
    shares = tuple(number.to_bytes(SHARE_BYTES, "big") for number in (0, 1, 2**256 + 296))
    read_share = lambda data: combine({1: data, 2: shares[0]})  # noqa: E731
    yield Decoder("share of a secret", read_share, (WrongShare,), shares)
    secret, public, where = bytes(range(32)), public_key(bytes(range(32))), context(7)
    dealt = DealtShare(shares[1], bytes(16), shares[2], bytes(16))

    def sealed(given: DealtShare) -> bytes:
        return seal_share(given, secret, public, where, org(0), org(1))

    read_sealed = lambda data: open_share(data, secret, public, where, org(0), org(1))  # noqa: E731
    yield Decoder("sealed share", read_sealed, (WrongShare,), (sealed(dealt),), sealed)


def _channel_frames() -> FrameReader:
    return FrameReader({FrameKind.DATA: 4_096, FrameKind.REFUSAL: 1_024})


def _frames(make: Callable[[], FrameReader], data: bytes) -> bytes:
    """All whole frames of `data`, fed in uneven pieces; what is left over must be the beginning of one."""
    reader = make()
    written = b""
    for at in range(0, len(data), 37):
        reader.feed(data[at : at + 37])
        while (item := reader.next()) is not None:
            written += frame(*item)
    assert data.startswith(written), "frames that were not sent"
    assert reader.wants() <= 8 + max(reader.bytes_max.values())
    return written


def _link(data: bytes) -> None:
    reader, inbox = receiver_frames(Limits(message_bytes_max=4_096)), Inbox()
    reader.feed(data)
    while (item := reader.next()) is not None:
        kind, body = item
        if kind is FrameKind.HELLO:
            inbox.hello(body, CHAIN)
        elif kind is FrameKind.MESSAGE and (taken := inbox.message(body)) is not None:
            inbox.delivered(taken[0])


def _framed(parse: Read) -> Read:
    def read(data: bytes) -> Any:
        body = read_frame(BytesIO(data))
        return None if body is None else parse(body)

    return read


# --- files that somebody may have damaged, or handed to us


def _files() -> Iterator[Decoder]:
    layouts = stored()["layouts"]
    keys = (key_pem(KEY.seed, None), stored()["sealed keys"]["key file"].encode())
    yield Decoder("key in PEM", partial(seed_from_pem, passphrase=None), (InvalidKeyBytes, WrongPassphrase), keys)
    yield Decoder("key file", _in_file(lambda path: load_key(path)), (KeyFileError, WrongPassphrase), keys[:1])
    named = f"{KEY.public.hex()}\n".encode()
    yield Decoder("public identity", _in_file(read_public), (KeyFileError,), (named,))
    yield Decoder("journal", _in_file(_open_journal), (CorruptStore,), (bytes.fromhex(layouts["journal"]),))
    yield Decoder("address book", _book, (InvalidBytes,), (_of("node.network.address_book.AddressRecords"),))
    memory = training_memory.MAGIC + bytes(32) + _of("node.training_memory.TrainingRecord")
    yield Decoder("training memory", lambda data: training_memory._parse(data, b"r" * 32), (InvalidBytes,), (memory,))
    masks = _sealed(masking_memory.MAGIC, _of("node.masking_memory.RoundSecrets"))
    request = (b"request" * 5)[:32]
    yield Decoder("masking secrets", lambda data: masking_memory._parse(data, request), (InvalidBytes,), (masks,))
    spent = _sealed(privacy_budget.MAGIC, _of("node.privacy_budget.Book"))
    place = Path("budget")
    yield Decoder("privacy budget", lambda data: privacy_budget._parse(place, data), (BudgetDamaged,), (spent,))
    own = OwnModel(np.array([1.5, -2], dtype=np.float32), 0.5, 3, (0.25,)).to_bytes()
    yield Decoder("own model", lambda data: own_model(data, 2), (DamagedState,), (own,), OwnModel.to_bytes)
    beside = keep(own, np.array([0.25], dtype=np.float32))
    yield Decoder("kept vector", lambda data: kept_vector(data, 1), (DamagedState,), (beside, keep(b"", np.ones(1))))
    head = _of("node.chain_file.ChainFileHead")
    chain = chain_file.MAGIC + len(head).to_bytes(4, "big") + head
    yield Decoder("exported ledger", _in_file(lambda path: ChainFile(path).head), (InvalidChainFile,), (chain,))


def _sealed(magic: bytes, body: bytes) -> bytes:
    return magic + hashlib.sha256(body).digest() + body


def _of(name: str) -> bytes:
    return encode(example(types()[name]))


def _in_file(read: Callable[[Path], Any]) -> Read:
    def from_bytes(data: bytes) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            path.touch(mode=0o600)
            path.write_bytes(data)
            return read(path)

    return from_bytes


def _open_journal(path: Path) -> None:
    JournalFile(path).close()


def _book(data: bytes) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        return AddressBook(Path(folder) / "book", CHAIN, (KEY.public,)).take(data)


# --- texts: of operators, other members, scripts


def _texts() -> Iterator[Decoder]:
    from tests.support.entry_examples import GENESIS
    from tests.support.proven_league import examples

    genesis = genesis_to_json(GENESIS).encode()
    yield Decoder("genesis", _text(genesis_from_json), (InvalidGenesis,), (genesis,))
    proofs = tuple(proof_to_json(proof).encode() for proof in examples().values())
    yield Decoder("proof", _text(proof_from_json), (InvalidBytes,), proofs)
    yield Decoder("dispute", _text(bundle_from_json), (InvalidBytes,), proofs)
    configs = Path(__file__).parents[2] / "configs"
    node, requests = (configs / "node.toml").read_bytes(), sorted((configs / "requests").glob("*.toml"))
    yield Decoder("configuration", _toml(_config), (ConfigError,), (node, node.replace(b"\n# ", b"\n")))
    texts = tuple(path.read_bytes() for path in requests)
    yield Decoder("request", _toml(parse_request), (RequestFileError,), texts)
    yield Decoder("statement", _in_file(read_statement), (StatementFileError,), (b'{"league": "x", "nonce": 1}',))
    address = stored()["layouts"]["address"].encode()
    places = (address, b"/ip4/192.0.2.1/tcp/4001", b"/dns4/kranbau.example/tcp/1")
    yield Decoder("address", _text(parse_address), (InvalidAddress,), places)
    yield Decoder("name of a key", _text(key_from_text), (ValueError,), (stored()["layouts"]["peer id"].encode(),))
    call = {"jsonrpc": "2.0", "id": 1, "method": "blocks", "params": {"count": 3, "to": [1.5, None, "ä", {"a": True}]}}
    yield Decoder("JSON", parse_json, (RpcError,), (encode_json(call),), _json_again)
    keys = (b"account/" + bytes(32), b"request/" + bytes(32), b"anchor/" + bytes(36))
    yield Decoder("key of the state", read_key, (), keys)


def _json_again(value: Any) -> bytes:
    """Numbers and spaces have many spellings in JSON: reading once more what was written must give the same value."""
    written = encode_json(value)
    assert json.dumps(parse_json(written)) == json.dumps(value)
    return written


def _text(read: Callable[[str], Any]) -> Read:
    """Text of a file or a JSON word. What is no UTF-8 is refused before; lone surrogates come through JSON."""
    return lambda data: read(data.decode(errors="surrogatepass" if _is_surrogate(data) else "replace"))


def _is_surrogate(data: bytes) -> bool:
    return b"\xed\xa0\x80" in data and _decodes(data, "surrogatepass")


def _decodes(data: bytes, errors: str) -> bool:
    try:
        data.decode(errors=errors)
    except UnicodeDecodeError:
        return False
    return True


def _toml(read: Callable[[str], Any]) -> Read:
    """Files of TOML are UTF-8, surrogates and all."""
    return lambda data: read(data.decode(errors="replace"))


def _config(text: str) -> Any:
    return parse_config(text, Path("config.toml"), {})
