"""The golden bytes of every format: `python -m tests.support.golden` shows what changed, `--write` means it.

Formats that are types are found by `formats.py`; those that are bytes laid out by hand are built here, each by the code
that writes it. Whoever writes new vectors says so in the changelog: what was written before may not be read any more.
"""

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

import numpy as np

from consensus.journal import OwnVote
from fl.delta_blob import Block, pack_delta
from fl.fixed_point import pack
from fl.strategies.kept_vector import keep
from fl.strategies.own_model import OwnModel
from ledger.certificates import Committee, Subject, VoteKind, cast
from ledger.codec import digest, encode, encode_union
from ledger.types import Hash32
from node.journal_file import JournalFile
from node.network.addresses import Address, peer_id
from node.network.blob_store import blob_digest
from node.network.link import SESSION_BYTES, Inbox, Outbox, ping, pong
from node.network.transport import Limits
from node.network.wire import FrameKind, frame
from node.pkcs8 import key_pem
from node.worker_protocol import answer_frame, job_frame
from tests.support.formats import example, types, unions
from tests.support.league import key_of

VECTORS = Path(__file__).parents[1] / "vectors" / "formats.json"
CHAIN = digest("test", b"golden chain")
KEY = key_of("golden key")
PASSPHRASE = "die Brücke am Kai"


def golden_types() -> dict[str, str]:
    return {name: encode(example(kind)).hex() for name, kind in types().items()}


def golden_unions() -> dict[str, str]:
    """`[KIND, body]` of every member; a digest where the body is long, for it is among the types."""
    return {
        f"{name} {member.__name__}": shortened(encode_union(example(member), union))
        for name, union in unions().items()
        for member in get_args(union)
    }


def golden_layouts() -> dict[str, str]:
    """What is laid out by hand: frames, links, the journal, blobs, names."""
    outbox = Outbox(bytes(range(SESSION_BYTES)), CHAIN, Limits())
    outbox.post(b"message")
    hello, message = outbox.hello(), outbox.take()
    inbox = Inbox()
    model = pack(np.array([0, 1, -1, 2**31 - 1, -(2**31)], dtype=np.int32), 20)
    return {
        **{f"frame {kind.name}": frame(kind, b"body").hex() for kind in FrameKind},
        "link hello": hello.hex(),
        "link welcome": inbox.hello(hello[8:], CHAIN).hex(),
        "link message": message.hex(),
        "link acknowledgement": inbox.acknowledgement().hex(),
        "link ping": ping(1).hex(),
        "link pong": pong(ping(1)[8:]).hex(),
        "journal": _journal().hex(),
        "blob": model.hex(),
        "changes to a blob": pack_delta(
            [
                Block(0, np.array([-3, 2], np.int32), 5, 3),
                Block(4, np.array([2**31 - 1, -(2**31)], np.int32), 1, 32),
            ],
            6,
            20,
        ).hex(),
        "blob name": blob_digest(model).hex(),
        "own model": OwnModel(np.array([1.5, -2], dtype=np.float32), 0.5, 3, (0.25,)).to_bytes().hex(),
        "own model with a drift": OwnModel(np.array([1.5], dtype=np.float32), 0.5, 3, (), 0.125).to_bytes().hex(),
        "kept vector": keep(b"own", np.array([1.5, -2], dtype=np.float32)).hex(),
        "worker job": shortened(job_frame(example(get_args(unions()["Job"])[0]))),
        "worker answer": shortened(answer_frame(example(get_args(unions()["Answer"])[0]))),
        "peer id": peer_id(KEY.public),
        "address": str(Address("ip6", "2001:db8::1", 4001, KEY.public)),
        "key seed": KEY.seed.hex(),
        "key file": key_pem(KEY.seed, None).decode(),
    }


def shortened(data: bytes) -> str:
    return data.hex() if len(data) <= 256 else f"{len(data)} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}"


def _journal() -> bytes:
    committee = Committee((KEY.public,))
    vote = cast(KEY, CHAIN, Subject(7, committee.hash, 1, VoteKind.NOTARIZE, Hash32(bytes(32))))
    with tempfile.TemporaryDirectory() as folder:
        journal = JournalFile(Path(folder) / "journal")
        journal.append(7, [OwnVote(vote)])
        journal.close()
        return (Path(folder) / "journal").read_bytes()


def golden() -> dict[str, dict[str, Any]]:
    return {"types": golden_types(), "unions": golden_unions(), "layouts": golden_layouts()}


def stored() -> dict[str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = json.loads(VECTORS.read_text())
    return content


def main() -> None:
    before = stored() if VECTORS.exists() else {}
    fresh = golden()
    # Its salt is drawn at random: what was written once must be read for ever, and is never written anew.
    kept = before.get("sealed keys") or {"passphrase": PASSPHRASE, "key file": key_pem(KEY.seed, PASSPHRASE).decode()}
    for part, vectors in fresh.items():
        old = before.get(part, {})
        for name in sorted(vectors.keys() | old.keys()):
            if vectors.get(name) != old.get(name):
                change = "is new" if name not in old else "is gone" if name not in vectors else "has changed"
                print(f"{part}: {name} {change}")
    if "--write" in sys.argv[1:]:
        VECTORS.write_text(json.dumps({**fresh, "sealed keys": kept}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
