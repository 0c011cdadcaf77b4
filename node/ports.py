"""What records, training, attesting and aggregation need of the daemon, as small protocols. No code, no I/O.

`node/services.py` and `node/blobs.py` satisfy them; tests hand in doubles.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol, TypeVar

from fl.fixed_point import Bytes
from ledger.blocks import FinalBlock, FinalHeader, Header
from ledger.certificates import Committee
from ledger.genesis import Genesis
from ledger.keys import KeyPair
from ledger.state_tree import StateProof
from ledger.transactions import Body, Transaction
from ledger.types import Hash32, NodeKey, OrgId

T = TypeVar("T")


class ChainView(Protocol):
    """Cheap synchronous reads at the head."""

    @property
    def genesis(self) -> Genesis: ...

    @property
    def chain_id(self) -> Hash32: ...

    @property
    def height(self) -> int: ...

    @property
    def head(self) -> Header | None:
        """None at height 0, where there is no block."""

    def read(self, kind: type[T], key: bytes) -> T | None: ...

    def scan(self, kind: type[T], prefix: bytes) -> Iterator[tuple[bytes, T]]: ...

    def value(self, key: bytes) -> bytes | None: ...

    def prove(self, key: bytes) -> StateProof: ...

    def block(self, height: int) -> FinalBlock | None: ...

    def header(self, height: int) -> Header | None: ...

    def final_header(self, height: int) -> FinalHeader | None: ...

    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]: ...

    def committee(self) -> Committee:
        """Who votes on the height after the head."""

    def committee_at(self, height: int) -> Committee | None: ...

    def org_of(self, key: bytes) -> OrgId | None:
        """The organisation that signs with `key` now."""

    def key_of(self, org: bytes) -> NodeKey | None:
        """The key that a member's node signs with now, which is where it is found in the network."""


class Ledger(Protocol):
    """The node's own way to read the ledger and to speak on it. `key` signs, `org` is whom it signs for."""

    @property
    def key(self) -> KeyPair: ...

    @property
    def org(self) -> OrgId: ...

    @property
    def chain(self) -> ChainView: ...

    @property
    def catching_up(self) -> bool:
        """Whether others are known to be blocks ahead: what the head here asks for may long be over."""

    def pending_transactions(self) -> Iterator[Transaction]:
        """What waits to become final, this node's own included."""

    async def submit_own(self, body: Body) -> Transaction:
        """Sign with the node's key and next nonce, submit. Raises InvalidTransaction."""

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        """Height and index, once final. Raises InvalidTransaction when it was dropped as invalid."""


class Blobs(Protocol):
    """Content-addressed bytes: kept here, fetched from others."""

    def has(self, digest: bytes) -> bool: ...

    def view(self, digest: bytes) -> Bytes:
        """The bytes of a blob that is here. Raises BlobUnavailable when it is not."""

    async def put(self, data: bytes) -> Hash32:
        """Keep the bytes, on the disk when this returns; their digest. Raises NoSpaceForBlob."""

    async def fetch(self, digest: bytes, bytes_max: int, sources: Sequence[NodeKey]) -> None:
        """Have the blob here, from the first of these nodes that serves it. At once when it is here already.

        Raises BlobUnavailable when none did now, or it is larger than `bytes_max`; NoSpaceForBlob.
        """
