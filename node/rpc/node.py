"""What the methods see of the node they speak for: the services it must offer, and who is who.

The services are protocols, so that nothing here depends on how the daemon is wired.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from ledger.blocks import FinalBlock, FinalHeader, Header
from ledger.certificates import Committee
from ledger.chain_rows import Held
from ledger.entries import CANDIDATES, MEMBERS, Candidate, Member, member_key
from ledger.genesis import Genesis
from ledger.keys import KeyPair
from ledger.league_entries import FORMERS, Former, former_key
from ledger.membership import is_voter
from ledger.parameters import LeagueParameters
from ledger.state import State
from ledger.state_tree import StateProof
from ledger.transactions import Body, Transaction
from ledger.types import Hash32, NodeKey, OrgId
from node.events import Subscription
from node.membership import Membership, membership_of
from node.network.addresses import key_of_peer_id
from node.network.transport import PeerStatus
from node.rpc.settings import RpcSettings
from node.rpc.views import unhex

T = TypeVar("T")


class Started(Protocol):
    """Trio's task status, as far as it is used here."""

    def started(self, value: Any) -> None: ...


class ChainView(Protocol):
    """The ledger as this node has it; reads are at the head, synchronous and cheap."""

    @property
    def genesis(self) -> Genesis: ...
    @property
    def chain_id(self) -> Hash32: ...
    @property
    def height(self) -> int: ...
    @property
    def head_id(self) -> Hash32: ...
    @property
    def head_time(self) -> int: ...
    @property
    def state_root(self) -> Hash32: ...
    def block(self, height: int) -> FinalBlock | None: ...
    def header(self, height: int) -> Header | None: ...
    def height_of(self, block_id: bytes) -> int | None: ...
    def find_transaction(self, tx_id: bytes) -> tuple[int, int] | None: ...
    def read(self, kind: type[T], key: bytes) -> T | None: ...
    def scan(self, kind: type[T], prefix: bytes) -> Iterator[tuple[bytes, T]]: ...
    def value(self, key: bytes) -> bytes | None: ...
    def prove(self, key: bytes) -> StateProof: ...
    def committee(self) -> Committee: ...
    def leaders(self) -> tuple[NodeKey, ...]: ...
    def org_of(self, key: bytes) -> OrgId | None: ...
    def key_of(self, org: bytes) -> NodeKey | None: ...
    def state(self) -> State: ...
    def parameters(self) -> LeagueParameters: ...
    def seated(self) -> tuple[OrgId, ...]: ...
    def committee_at(self, height: int) -> Committee | None: ...
    def final_header(self, height: int) -> FinalHeader | None: ...
    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]: ...
    @property
    def held(self) -> Held: ...


class Consensus(Protocol):
    """Where this node stands in the agreement on the height after its head."""

    @property
    def height(self) -> int: ...
    @property
    def view(self) -> int: ...
    @property
    def leader(self) -> NodeKey | None: ...
    @property
    def active(self) -> bool: ...
    @property
    def seconds_in_height(self) -> float: ...
    @property
    def synced(self) -> bool: ...
    @property
    def syncing_to(self) -> int | None: ...
    @property
    def votes(self) -> bool: ...


class Peers(Protocol):
    def peers(self) -> list[PeerStatus]: ...


class Services(Protocol):
    """What the daemon hands to this package."""

    @property
    def key(self) -> KeyPair: ...
    @property
    def org(self) -> OrgId: ...
    @property
    def chain(self) -> ChainView: ...
    @property
    def transport(self) -> Peers | None: ...
    @property
    def pending(self) -> Iterable[Transaction]: ...
    @property
    def blobs(self) -> Any: ...
    @property
    def records(self) -> Any: ...
    @property
    def collecting(self) -> Any: ...
    @property
    def keeping(self) -> Any: ...
    @property
    def trainer(self) -> Any: ...

    @property
    def inside(self) -> bool: ...
    @property
    def rotation_begun(self) -> bool: ...

    def next_nonce(self, key: NodeKey) -> int: ...
    async def statement(self, draw: bool) -> Any: ...
    async def standing(self) -> Any: ...
    async def submit(self, transaction: Transaction) -> None: ...
    async def submit_own(self, body: Body) -> Transaction: ...
    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]: ...
    def consensus_status(self) -> Consensus: ...
    def subscribe(self, topics: frozenset[str]) -> AbstractAsyncContextManager[Subscription]: ...
    def stop(self) -> None: ...


@dataclass(slots=True)
class Node:
    """One node as its methods see it. `version`: of the program. `started`: trio time."""

    services: Services
    settings: RpcSettings
    version: str
    started: float
    openrpc: dict[str, Any] = field(default_factory=dict)

    @property
    def chain(self) -> ChainView:
        return self.services.chain

    @property
    def org(self) -> OrgId:
        return self.services.org

    def resolve_org(self, text: str) -> OrgId:
        """The organisation that hex, a peer id or a member's name (when only one bears it) means. Raises ValueError."""
        if text == "me":
            return self.org
        if len(text) == 64:
            return OrgId(unhex(text))
        if text.startswith("12D3Koo"):
            return self._org_of_key(key_of_peer_id(text))
        # The ledger gives a name once: to a member, to who waits to be one, or to who was one.
        bearers = [org for org, member in self.chain.scan(Member, MEMBERS) if member.name == text]
        bearers += [org for org, candidate in self.chain.scan(Candidate, CANDIDATES) if candidate.name == text]
        bearers += [org for org, former in self.chain.scan(Former, FORMERS) if former.name == text]
        bearers = list(dict.fromkeys(bearers))
        if len(bearers) != 1:
            found = f"{len(bearers)} organisations have the name" if bearers else "no member has the name"
            raise ValueError(f"{found} {text[:64]!r}; want 64 hex digits, a peer id 12D3Koo..., a unique name or 'me'")
        return OrgId(bearers[0])

    def _org_of_key(self, key: NodeKey) -> OrgId:
        org = self.chain.org_of(key)
        if org is not None:
            return org
        waiting = (OrgId(each) for each, candidate in self.chain.scan(Candidate, CANDIDATES) if candidate.key == key)
        # A key that is nobody's may be that of an organisation which keeps only one.
        return next(waiting, OrgId(key))

    def name_of(self, org: bytes) -> str | None:
        """The name of who is a member or was one; None for anybody else."""
        found = self.chain.read(Member, member_key(org)) or self.chain.read(Former, former_key(org))
        return found.name if found else None

    @property
    def membership(self) -> Membership:
        """How our organisation stands by our ledger."""
        return membership_of(self.chain, self.org, self.services.key.public)

    @property
    def is_voter(self) -> bool:
        """Whether we have a vote on members and rules."""
        return is_voter(self.chain.state(), self.org)

    def signer(self, key: bytes) -> dict[str, str | None]:
        """Who votes, leads or is connected: organisation and name (of a stranger the key is all we know)."""
        org = self.chain.org_of(key)
        return {"org": (org or key).hex(), "name": self.name_of(org) if org else None}

    def key_of(self, org: bytes) -> NodeKey:
        """Where an organisation's node is found; of one that is no member, the key that is its name."""
        return self.chain.key_of(org) or NodeKey(org)

    def head(self) -> dict[str, Any]:
        """Which ledger an answer is about; every answer of ledger data carries it as `head`."""
        return {"height": self.chain.height, "id": self.chain.head_id.hex()}


@dataclass(slots=True)
class Later:
    """A method's promise to finish: the calls of a batch are begun in their order and waited for together."""

    finish: Callable[[], Awaitable[Any]]


@dataclass(slots=True)
class AfterAnswer:
    """A result, and what to do once it has been sent."""

    result: Any
    act: Callable[[], None]
