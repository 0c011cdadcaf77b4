"""Services for tests of the local interface: a real chain over a memory store, of one member that makes its own blocks.

Only the network and the consensus are missing; what is submitted waits until `make_block` is called, or is final at
once with `instant`.
"""

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio

from ledger.blocks import FinalBlock
from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.chain import Chain
from ledger.errors import InvalidTransaction
from ledger.genesis import Genesis, GenesisMember, LeagueParameters
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.statements import prove_key
from ledger.transactions import Body, Transaction, sign_transaction
from ledger.types import Hash32, OrgId
from node.admission import Standing, standing_of
from node.events import EventHub, NodeEvent, Subscription
from node.metrics import Metrics
from node.network.transport import Direction, PeerStatus
from node.rpc.client import RpcClient
from node.rpc.server import RpcAddresses, serve_rpc
from node.rpc.settings import RpcSettings
from node.services import Unsigned

ALICE, BOB = KeyPair.from_seed(b"a" * 32), KeyPair.from_seed(b"b" * 32)
TOKENS = 1_000_000


def two_member_genesis() -> Genesis:
    """Alice and Bob; a committee of two needs both to sign."""
    members = [
        GenesisMember(ALICE.org, "alice", ("/ip4/127.0.0.1/tcp/4001",), TOKENS),
        GenesisMember(BOB.org, "bob", (), TOKENS),
    ]
    members.sort(key=lambda each: each.org)
    return Genesis("test league", 1_000, tuple(members), LeagueParameters())


@dataclass
class FakeConsensus:
    height: int = 1
    view: int = 0
    leader: OrgId | None = ALICE.org
    active: bool = False
    seconds_in_height: float = 0.0
    synced: bool = True
    syncing_to: int | None = None
    votes: bool = True


@dataclass
class FakePeers:
    connected: bool = True

    def peers(self) -> list[PeerStatus]:
        return [
            PeerStatus(
                org=BOB.org,
                connected=self.connected,
                direction=Direction.DIALLED if self.connected else None,
                address="/ip4/127.0.0.1/tcp/4002",
                since_s=1.5,
                round_trip_s=0.001,
                bytes_in=10,
                bytes_out=20,
                messages_queued=0,
                messages_dropped=0,
                last_error=None,
            )
        ]


@dataclass
class LoneServices:
    """Alice's node. `instant`: every transaction is final as soon as it is submitted."""

    instant: bool = True
    key: KeyPair = ALICE
    chain: Chain = field(default_factory=lambda: Chain(MemoryStore(), two_member_genesis()))
    transport: FakePeers | None = field(default_factory=FakePeers)
    consensus: FakeConsensus = field(default_factory=FakeConsensus)
    hub: EventHub = field(default_factory=EventHub)
    pending: list[Transaction] = field(default_factory=list)
    blobs: object | None = None
    records: object | None = None
    collecting: object | None = None
    keeping: object | None = None
    trainer: object | None = None
    stopped: trio.Event = field(default_factory=trio.Event)
    new_head: trio.Event = field(default_factory=trio.Event)
    submitted: int = 0
    inside: bool = True
    rotation_begun: bool = False

    @property
    def org(self) -> OrgId:
        return self.key.org

    def next_nonce(self, org: OrgId) -> int:
        return self.chain.next_nonce(org) + sum(each.sender == org for each in self.pending)

    async def statement(self, draw: bool) -> Unsigned:
        key = KeyPair.from_seed(b"n" * 32) if draw else self.key
        proof = prove_key(key, self.chain.chain_id, self.org)
        return Unsigned(self.org, self.next_nonce(self.org), key.public, proof)

    async def standing(self) -> Standing:
        return standing_of(self.chain, self.org)

    async def submit(self, transaction: Transaction) -> None:
        transaction.check_signature(self.chain.chain_id)
        if transaction.nonce != self.next_nonce(OrgId(transaction.sender)):
            want = self.next_nonce(OrgId(transaction.sender))
            raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want {want}")
        trial = self.chain.trial(ALICE.org, self.chain.head_time + 1)
        for each in [*self.pending, transaction]:
            trial.apply(each)
        self.submitted += 1
        self.pending.append(transaction)
        if self.instant:
            self.make_block()

    async def submit_own(self, body: Body) -> Transaction:
        own = sign_transaction(self.key, self.chain.chain_id, self.next_nonce(self.key.org), body)
        await self.submit(own)
        return own

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        while (place := self.chain.find_transaction(tx_id)) is None:
            await self.new_head.wait()
        return place

    def consensus_status(self) -> FakeConsensus:
        return self.consensus

    def subscribe(self, topics: frozenset[str]) -> AbstractAsyncContextManager[Subscription]:
        return self.hub.subscribe(topics)

    def stop(self) -> None:
        self.stopped.set()

    def make_block(self) -> None:
        """All that waits becomes final, signed by both members."""
        author = self.chain.leaders()[0]
        trial = self.chain.trial(author, self.chain.head_time + 1_000)
        refused = trial.apply_all(self.pending)
        assert not refused, refused
        block = trial.block(view=0)
        committee = self.chain.committee()
        subject = Subject(block.height, committee.hash, 0, VoteKind.FINALIZE, block.id)
        keys = sorted((key for key in (ALICE, BOB) if key.public in committee.members), key=lambda key: key.public)
        certificate = certify([cast(key, self.chain.chain_id, subject) for key in keys])
        self.chain.append(FinalBlock(block, certificate))
        self.pending.clear()
        self.new_head.set()
        self.new_head = trio.Event()
        self.hub.publish(
            NodeEvent("block", block.height, {"id": block.id.hex(), "transactions": len(block.transactions)})
        )


@asynccontextmanager
async def served(services: LoneServices, settings: RpcSettings, metrics: Metrics | None = None):  # type: ignore[no-untyped-def]
    """A running local interface; yields its RpcAddresses."""
    async with trio.open_nursery() as nursery:
        addresses: RpcAddresses = await nursery.start(
            lambda task_status: serve_rpc(services, settings, metrics=metrics, task_status=task_status)
        )
        yield addresses
        nursery.cancel_scope.cancel()


def clients(addresses: RpcAddresses) -> Iterator[RpcClient]:
    """One over the Unix socket, one over HTTP."""
    yield RpcClient(f"unix:{addresses.socket}")
    assert addresses.http
    yield RpcClient(addresses.http, cookie_file=addresses.cookie)


def settings_in(folder: Path, **bounds: object) -> RpcSettings:
    return RpcSettings(data_dir=folder, **{"listen": "127.0.0.1:0", **bounds})  # type: ignore[arg-type]
