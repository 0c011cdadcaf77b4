"""What the rest of the node may ask of it: reading the ledger, speaking on it, hearing what happens.

Handed to the local interface, the trainer, the attester, anchoring; satisfies `ports.Ledger` and `rpc.node.Services`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import trio

from consensus.replica import Replica
from ledger.chain import Chain
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.statements import LeaveLeague, RegisterMember, RotateKey, prove_key
from ledger.transactions import (
    Body,
    JoinRequest,
    PublishProtected,
    PublishRequest,
    Setting,
    Transaction,
    sign_transaction,
)
from ledger.types import Hash32, NodeKey, OrgId
from node.admission import NotAdmitted, Standing, ask_standing, hand_in
from node.cold_identity import keep_identity
from node.config import Config
from node.events import EventHub, Subscription
from node.key_ring import KeyRing
from node.membership import member_nodes
from node.network.addresses import parse_address, peer_id
from node.network.transport import Transport
from node.request_file import RequestDraft
from node.worker_protocol import ModelForm

if TYPE_CHECKING:
    # The parts bring numpy along, and come when the local interface answers already.
    from node.blobs import NodeBlobs
    from node.collecting import Collecting
    from node.ledger_keeping import LedgerKeeping
    from node.record_store import RecordStore
    from node.replica import ReplicaDriver
    from node.trainer import Trainer

# What may be said from outside: see `admission.py`.
OUTSIDERS_WORDS = (RegisterMember, RotateKey, LeaveLeague)
# Members of our own ledger that are asked how we stand, when none of the configuration answers.
DOORS_MAX = 4
# What makes this node keep more on its disk: models and updates of requests.
NEW_WORK = (PublishRequest, PublishProtected, JoinRequest)


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """Where the node stands in the agreement on the height after its head.

    `votes`: it may sign in that height. A node that lost its vote journal sits out heights it may have voted in.
    """

    height: int
    view: int
    leader: NodeKey | None
    active: bool
    seconds_in_height: float
    synced: bool
    syncing_to: int | None
    votes: bool


@dataclass(frozen=True, slots=True)
class Unsigned:
    """For a statement that an identity signs: whose, under which nonce, and the node key it names with its proof."""

    org: OrgId
    nonce: int
    key: NodeKey
    proof: bytes


class TrainerDesk:
    """The trainer as the local interface sees it."""

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer

    async def initial_model(self, draft: RequestDraft) -> tuple[Hash32, int]:
        """Draw the initial weights of a request: digest of their blob, which is kept here, and how many they are."""
        arguments, settings = (
            tuple(Setting(name, value) for name, value in pairs)
            for pairs in (draft.model_arguments, draft.strategy_settings)
        )
        form = ModelForm(draft.model, arguments, draft.scale_bits, draft.limit)
        return await self._trainer.make_initial_model(form, draft.seed, draft.strategy, settings)


@dataclass(slots=True)
class NodeServices:
    """The parts come up one after the other: `transport`, `driver`, `trainer` are None until theirs is there.

    `identity`: the organisation, as the files beside the node say. `inside`: whether the league knows this node.
    """

    config: Config
    ring: KeyRing
    identity: OrgId
    events: EventHub
    stop_daemon: Callable[[], None]
    replica: Replica = field(init=False)
    transport: Transport | None = None
    driver: "ReplicaDriver | None" = None
    blobs: "NodeBlobs | None" = None
    records: "RecordStore | None" = None
    collecting: "Collecting | None" = None
    keeping: "LedgerKeeping | None" = None
    trainer: TrainerDesk | None = None
    announced: tuple[str, ...] = ()
    inside: bool = False

    @property
    def key(self) -> KeyPair:
        """What this node signs with."""
        return self.ring.presented

    @property
    def chain(self) -> Chain:
        return self.replica.chain

    @property
    def rotation_begun(self) -> bool:
        """Whether a key waits to follow the present one."""
        return self.ring.following is not None

    @property
    def org(self) -> OrgId:
        """Whom this node signs for."""
        return self.chain.org_of(self.key.public) or self.identity

    @property
    def pending(self) -> Iterator[Transaction]:
        return iter(self.replica.intake.pool)

    def pending_transactions(self) -> Iterator[Transaction]:
        return self.pending

    def next_nonce(self, key: NodeKey) -> int:
        """What a new transaction signed with `key` must bear, those that wait counted in."""
        return self.replica.intake.next_nonce(key)

    async def submit(self, transaction: Transaction) -> None:
        """Raises InvalidTransaction with the reason. What an outsider's identity says goes through a member."""
        if not self.inside and isinstance(transaction.body, OUTSIDERS_WORDS):
            try:
                await hand_in(self._network(), self.doors, transaction)
            except NotAdmitted as error:
                raise InvalidTransaction("unreachable", str(error)) from None
        else:
            self._running().submit(transaction)

    async def submit_own(self, body: Body) -> Transaction:
        """Sign with the node's key and submit. Raises InvalidTransaction, also while the disk is too full."""
        if isinstance(body, RegisterMember | RotateKey) and self.org != bytes(self.key.public):
            raise InvalidTransaction("key", "the identity signs this, and this node has not got it")
        if not self.inside and isinstance(body, OUTSIDERS_WORDS):
            nonce = (await self._standing("a registration")).nonce
            own = sign_transaction(self.key, self.chain.chain_id, nonce, body)
            await self.submit(own)
            return own
        if isinstance(body, NEW_WORK) and self.keeping is not None and self.keeping.disk.refusal is not None:
            raise InvalidTransaction("disk", self.keeping.disk.refusal)
        return self._running().submit_own(body)

    async def standing(self) -> Standing:
        """How the league sees our organisation, asked of a member. Raises NotAdmitted."""
        if self.transport is None:
            raise NotAdmitted("the network is not up yet")
        return await ask_standing(self.transport, self.doors, self.chain.chain_id, self.org)

    async def statement(self, draw: bool) -> "Unsigned":
        """What a statement of our identity needs of this node: its nonce, and with `draw` the key that is to follow.

        A node whose key the league does not know brings that key itself. Raises InvalidTransaction, KeyFileError.
        """
        if self.inside:
            nonce, current = self.replica.intake.next_nonce(NodeKey(self.org)), self.chain.key_of(self.org)
        else:
            standing = await self._standing("a statement")
            nonce, current = standing.nonce, NodeKey(standing.key) if standing.key else None
        # Encrypting a key file takes a fifth of a second.
        fresh = draw and current == self.ring.current.public
        node = await trio.to_thread.run_sync(self._draw) if fresh else self.key
        return Unsigned(self.org, nonce, node.public, prove_key(node, self.chain.chain_id, self.org))

    def _draw(self) -> KeyPair:
        keep_identity(self.ring.file, self.config.key.identity, self.org)
        return self.ring.draw()

    async def _standing(self, what: str) -> Standing:
        try:
            return await self.standing()
        except NotAdmitted as error:
            raise InvalidTransaction("unreachable", f"{what} has to be numbered by a member: {error}") from None

    @property
    def doors(self) -> tuple[str, ...]:
        """Members that an outsider may ask: those of the configuration, then some that our ledger knows."""
        found = dict.fromkeys(self.config.network.bootstrap)
        for key, places in member_nodes(self.chain):
            if key != self.key.public:
                found.update(dict.fromkeys(f"{parse_address(place).place}/p2p/{peer_id(key)}" for place in places[:1]))
        return tuple(found)[: len(self.config.network.bootstrap) + DOORS_MAX]

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        """Height and index. Raises InvalidTransaction when it was dropped; the caller sets its own limit."""
        return await self._running().wait_final(tx_id)

    @property
    def catching_up(self) -> bool:
        # One height is always on its way; more than that is behind.
        return self.replica.behind > 1

    def consensus_status(self) -> ConsensusStatus:
        machine, behind = self.replica.machine, self.replica.behind
        began = self.driver.height_began if self.driver else trio.current_time()
        return ConsensusStatus(
            height=machine.setup.height,
            view=machine.view,
            leader=machine.leader(machine.view),
            active=machine.active,
            seconds_in_height=trio.current_time() - began,
            synced=not self.catching_up,
            syncing_to=self.chain.height + behind if self.catching_up else None,
            votes=machine.setup.may_vote,
        )

    def subscribe(self, topics: frozenset[str]) -> AbstractAsyncContextManager[Subscription]:
        return self.events.subscribe(topics)

    def stop(self) -> None:
        self.stop_daemon()

    def came_down(self) -> None:
        """The part that talks to others has ended; what it was asked meanwhile is answered so."""
        if self.driver is not None:
            self.driver.close()
        self.transport = self.driver = self.trainer = self.collecting = self.blobs = self.records = None
        self.keeping = None
        self.inside = False

    def _network(self) -> Transport:
        if self.transport is None:
            raise InvalidTransaction("starting", "the network is not up yet")
        return self.transport

    def _running(self) -> "ReplicaDriver":
        if self.driver is None:
            raise InvalidTransaction("starting", "the node is starting, its network is not up yet")
        return self.driver
