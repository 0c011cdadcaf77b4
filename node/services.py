"""What the rest of the node may ask of it: reading the ledger, speaking on it, hearing what happens.

Handed to the local interface, the trainer, the attester, anchoring; satisfies `ports.Ledger` and `rpc.node.Services`.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from consensus.replica import Replica
from ledger.chain import Chain
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.transactions import Body, RegisterMember, Setting, Transaction
from ledger.types import Hash32, NodeKey, OrgId
from node.admission import NotAdmitted, Standing, ask_standing, ask_to_register
from node.config import Config
from node.events import EventHub, Subscription
from node.network.transport import Transport
from node.request_file import RequestDraft
from node.worker_protocol import ModelForm

if TYPE_CHECKING:
    # The parts bring numpy along, and come when the local interface answers already.
    from node.blobs import NodeBlobs
    from node.collecting import Collecting
    from node.record_store import RecordStore
    from node.replica import ReplicaDriver
    from node.trainer import Trainer


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """Where the node stands in the agreement on the height after its head."""

    height: int
    view: int
    leader: NodeKey | None
    active: bool
    seconds_in_height: float
    synced: bool
    syncing_to: int | None


class TrainerDesk:
    """The trainer as the local interface sees it."""

    def __init__(self, trainer: "Trainer") -> None:
        self._trainer = trainer

    async def initial_model(self, draft: RequestDraft) -> tuple[Hash32, int]:
        """Draw the initial weights of a request: digest of their blob, which is kept here, and how many they are."""
        arguments = tuple(Setting(name, value) for name, value in draft.model_arguments)
        form = ModelForm(draft.model, arguments, draft.scale_bits, draft.limit)
        return await self._trainer.make_initial_model(form, draft.seed)


@dataclass(slots=True)
class NodeServices:
    """The parts come up one after the other: `transport`, `driver`, `trainer` are None until theirs is there."""

    config: Config
    key: KeyPair
    replica: Replica
    events: EventHub
    stop_daemon: Callable[[], None]
    transport: Transport | None = None
    driver: "ReplicaDriver | None" = None
    blobs: "NodeBlobs | None" = None
    records: "RecordStore | None" = None
    collecting: "Collecting | None" = None
    trainer: TrainerDesk | None = None
    announced: tuple[str, ...] = ()

    @property
    def chain(self) -> Chain:
        return self.replica.chain

    @property
    def org(self) -> OrgId:
        """Whom this node signs for."""
        return self.chain.org_of(self.key.public) or self.key.org

    @property
    def pending(self) -> Iterator[Transaction]:
        return iter(self.replica.intake.pool)

    def pending_transactions(self) -> Iterator[Transaction]:
        return self.pending

    def next_nonce(self, key: NodeKey) -> int:
        """What a new transaction signed with `key` must bear, those that wait counted in."""
        return self.replica.intake.next_nonce(key)

    async def submit(self, transaction: Transaction) -> None:
        """Raises InvalidTransaction with the reason."""
        self._running().submit(transaction)

    async def submit_own(self, body: Body) -> Transaction:
        """Sign and submit. An outsider's registration goes to a bootstrap peer, for nobody else would hear it."""
        if isinstance(body, RegisterMember) and self.chain.org_of(self.key.public) is not None:
            return await self.register(body.name, body.addresses)
        return self._running().submit_own(body)

    async def register(self, name: str, addresses: tuple[str, ...]) -> Transaction:
        """Ask the league to let us in. Raises InvalidTransaction."""
        if self.transport is None:
            raise InvalidTransaction("starting", "the network is not up yet")
        bootstrap = self.config.network.bootstrap
        try:
            return await ask_to_register(
                self.transport, self.key, self.chain, bootstrap, name, addresses or self.announced
            )
        except NotAdmitted as error:
            raise InvalidTransaction("unreachable", str(error)) from None

    async def standing(self) -> Standing:
        """How the league sees us, asked of a bootstrap peer. Raises NotAdmitted."""
        if self.transport is None:
            raise NotAdmitted("the network is not up yet")
        return await ask_standing(self.transport, self.config.network.bootstrap)

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        """Height and index. Raises InvalidTransaction when it was dropped; the caller sets its own limit."""
        return await self._running().wait_final(tx_id)

    def consensus_status(self) -> ConsensusStatus:
        machine, behind = self.replica.machine, self.replica.behind
        began = self.driver.height_began if self.driver else trio.current_time()
        return ConsensusStatus(
            height=machine.setup.height,
            view=machine.view,
            leader=machine.leader(machine.view),
            active=machine.active,
            seconds_in_height=trio.current_time() - began,
            # One height is always on its way; more than that is behind.
            synced=behind <= 1,
            syncing_to=self.chain.height + behind if behind > 1 else None,
        )

    def subscribe(self, topics: frozenset[str]) -> AbstractAsyncContextManager[Subscription]:
        return self.events.subscribe(topics)

    def stop(self) -> None:
        self.stop_daemon()

    def _running(self) -> "ReplicaDriver":
        if self.driver is None:
            raise InvalidTransaction("starting", "the node is starting, its network is not up yet")
        return self.driver
