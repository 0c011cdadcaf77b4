"""One simulated organisation: a node that lives, dies and comes back on the same disk.

Its parts are the daemon's, put together as `daemon.py` and `member.py` do it; instead of a trainer it has a `Factory`,
instead of libp2p the memory transport, instead of LevelDB and the journal's file a disk that forgets.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Protocol

import trio

from consensus.effects import Effect
from consensus.events import Timing
from consensus.intake import SignatureMemory
from consensus.replica import Replica, ReplicaSettings
from ledger.aggregation import AggregationResult, AggregationTask
from ledger.blocks import FinalBlock
from ledger.chain import HEAD, Chain, Head, Outcome
from ledger.codec import decode
from ledger.entries import MEMBERS
from ledger.errors import CorruptStore, StoreUnavailable
from ledger.genesis import Genesis
from ledger.keys import KeyPair
from ledger.types import NodeKey, OrgId
from node.aggregation import Aggregation
from node.attesting import Attester
from node.blobs import NodeBlobs
from node.files import Files
from node.journal_file import JournalFile
from node.loneliness import Company, Loneliness
from node.metrics import Metrics
from node.network.blob_exchange import BlobExchange
from node.network.blob_store import BlobStore
from node.network.memory_transport import MemoryNetwork
from node.network.transport import Transport
from node.simulation.disk import PowerCut, SimDisk
from node.simulation.factory import Factory
from node.simulation.faults import Lie
from node.simulation.liar import Liar, LyingBlobStore
from node.simulation.life import Life, WatchedDriver
from node.simulation.masked_factory import MaskedFactory
from node.simulation.network import open_sim_transport
from node.simulation.referee import Referee
from node.vote_memory import JOURNAL, NEVER_VOTES, open_votes

# All files of a simulated node are in one folder that is nowhere.
FOLDER = Path("/simulated")
# A node that meets nobody for so long looks whether it is known by the key that is to follow its own, or is helped.
ALONE_S, LOOK_S = 30.0, 2.0
FRESH = FOLDER / "journal.fresh"
TIMING = Timing(base_ms=2_000, step_ms=500, resend_ms=700, grace_ms=0)
START_MS = 1_700_000_000_000


class Surroundings(Protocol):
    """What a member needs of the world it lives in."""

    genesis: Genesis
    network: MemoryNetwork
    referee: Referee
    metrics: Metrics

    def repeats(self) -> bool:
        """Whether a message is said twice."""

    def bootstrap(self) -> dict[NodeKey, tuple[str, ...]]:
        """A member by its present key, as an operator writes it in a configuration: all that a ledger knows may have
        changed their keys since."""


class Member:
    """`live_on` runs it. `alive`: the life in progress, None while it is down. `forgetful`: it lost votes, and may not
    vote yet. `skew_ms`: how far its clock is off. `identity` is cold, `key` the node's, `following` the one drawn to
    take its place, `gone`: it has left the league and is switched off."""

    def __init__(
        self, world: Surroundings, identity: KeyPair, key: KeyPair, folder: Path, rng: Random, lies: Iterable[Lie] = ()
    ) -> None:
        self.identity = identity
        self.key = key
        self.following: KeyPair | None = None
        self.leaving = self.gone = False
        self.previous: KeyPair | None = None
        self._tries_other = False
        self.name = f"factory {identity.org.hex()[:8]}"
        self.disk = SimDisk(rng)
        self.liar = Liar(key, frozenset(lies), rng) if lies else None
        self.alive: Life | None = None
        self.forgetful = False
        self.stays_down = False
        self.skew_ms = 0
        self.acknowledged = 0
        self.crashes = 0
        self.down_s = 0.5
        self.twin_transport: Transport | None = None
        self._world = world
        self._folder = folder
        # Drawn from on its own: whether rounds are masked must not change what else the seed draws.
        self._masks = Random(f"masks/{folder.name}")
        self._dead = True
        self._rotted = False
        self._scope = trio.CancelScope()
        # As `hanse init` does: a new key has never voted.
        JournalFile(FOLDER / JOURNAL, self.disk.files()).close()

    @property
    def correct(self) -> bool:
        return self.liar is None

    @property
    def org(self) -> OrgId:
        return self.identity.org

    @property
    def presented(self) -> KeyPair:
        """See `key_ring.KeyRing.presented`."""
        other = self.following or self.previous
        return other if other is not None and self._tries_other else self.key

    @property
    def is_inside(self) -> bool:
        """Whether its own ledger names its node as a member's, for good as far as it knows."""
        alive = self.alive is not None and self.alive.chain.key_of(self.org) == self.key.public
        return alive and not self.leaving

    # --- what happens to it

    def crash(self, power: bool, down_s: float) -> None:
        """Kill the process, or cut the machine's power; it is back so many seconds later."""
        if self.alive is None:
            return
        self.crashes += 1
        self.down_s = down_s
        self._end(power)

    def lose_journal(self) -> None:
        """While it is down somebody deletes the journal."""
        assert self.alive is None
        self.disk.lose(JOURNAL)
        self.forgetful = True

    def wipe(self) -> None:
        """While it is down its data directory goes."""
        assert self.alive is None
        self.disk.wipe()
        shutil.rmtree(self._folder, ignore_errors=True)
        self.acknowledged = 0
        self.forgetful = True

    def rot_journal(self, at: int) -> None:
        """While it is down one bit of the journal turns over."""
        assert self.alive is None
        self.disk.rot(JOURNAL, at)
        self._rotted = self.forgetful = True

    def go(self) -> None:
        """It is a member no more, and is switched off."""
        self.gone = True
        if self.alive is not None:
            self._end(power=False)

    def _end(self, power: bool) -> None:
        self._dead = True
        self.alive = None
        if power:
            self.disk.cut_power()
        else:
            self.disk.kill()
        self._scope.cancel()

    # --- living

    async def live_on(self) -> None:
        """One life after the other, as a supervisor restarts a daemon that ended. Until cancelled."""
        while True:
            self._scope = trio.CancelScope()
            try:
                with self._scope:
                    await self._live()
            except BaseException as error:
                if self._world.referee.failure is not None:
                    raise self._world.referee.failure from None
                self._explain(error)
            self._dead, self.alive = True, None
            self.disk.kill()
            await trio.sleep(self.down_s)
            while self.stays_down or self.gone:
                await trio.sleep(1.0)

    def _explain(self, error: BaseException) -> None:
        """Only what a daemon may end of is an end; anything else is a bug and goes on upwards."""
        for leaf in _leaves(error):
            if isinstance(leaf, CorruptStore) and self._rotted:
                # Refused, as it must be: the operator moves the journal away.
                self._rotted = False
                self.disk.lose(JOURNAL)
            elif not self._may_end_of(leaf):
                raise error

    def _may_end_of(self, leaf: BaseException) -> bool:
        if isinstance(leaf, trio.Cancelled):
            return self._scope.cancel_called
        return isinstance(leaf, PowerCut | StoreUnavailable | OSError)

    async def _live(self) -> None:
        world, files = self._world, self.disk.files()
        self._dead = False
        store = self.disk.open_store()
        self._settle_key(Chain(store, world.genesis) if store.get(HEAD) else None, files)
        stored = store.get(HEAD)
        journal, first_vote = open_votes(FOLDER, decode(Head, stored).height if stored else None, files)

        def make_chain(signatures: SignatureMemory) -> Chain:
            return Chain(store, world.genesis, signatures.check)

        height = make_chain(SignatureMemory(world.genesis.chain_id)).height + 1
        records, later = journal.load(height), journal.later(height)
        if self.presented is not self.key:
            records, first_vote, later = [], NEVER_VOTES, {}
        replica = Replica(
            make_chain,
            world.genesis.chain_id,
            self.presented,
            ReplicaSettings(TIMING),
            self._clock(),
            records,
            first_vote,
            later,
        )
        if self.correct:
            world.referee.started(self.presented.public, replica.chain, self.acknowledged)
        if self.twin_transport is not None:
            await self._run_parts(replica, journal, self.twin_transport)
            return
        async with open_sim_transport(world.network, self.presented.public, self._mouth) as transport:
            await self._run_parts(replica, journal, transport)

    def _settle_key(self, chain: Chain | None, files: Files) -> None:
        """As `key_ring.py` does: first an empty journal, for a new key has never voted, then the key itself."""
        if chain is None or self.following is None or chain.key_of(self.org) != self.following.public:
            return
        JournalFile(FRESH, files).close()
        files.rename(FRESH, FOLDER / JOURNAL)
        files.sync_folder(FOLDER)
        files.publish(FOLDER / "key", self.following.public)
        self.previous, self.key, self.following, self._tries_other = self.key, self.following, None, False

    async def _run_parts(self, replica: Replica, journal: JournalFile, transport: Transport) -> None:
        chain, world = replica.chain, self._world
        bootstrap = world.bootstrap()
        transport.set_members(_addresses(chain, bootstrap))
        blob_store = self._blob_store()
        blobs = NodeBlobs(blob_store, BlobExchange(transport, blob_store))
        aggregation = Aggregation(chain, blobs, self.presented.public)

        async def compute(task: AggregationTask) -> AggregationResult | None:
            result = await aggregation.compute_while_wanted(task)
            return self.liar.result(result) if self.liar and result else result

        def committed(final: FinalBlock, outcome: Outcome) -> None:
            if self.correct:
                world.referee.committed(self.presented.public, chain, final, outcome)
            self.acknowledged = final.block.height
            if any(changed.startswith(MEMBERS) for changed in outcome.changes):
                transport.set_members(_addresses(chain, bootstrap))
                if self.following is not None and chain.key_of(self.org) == self.following.public:
                    # The next life begins under the new key.
                    self.down_s = 0.1
                    self._scope.cancel()
            if self.forgetful and self.alive is not None and self.alive.may_vote:
                self.forgetful = False
            attester.wake()
            factory.wake()

        driver = WatchedDriver(
            replica,
            journal,
            transport,
            world.metrics,
            FOLDER,
            compute,
            committed,
            heard=lambda: attester.wake(),
            clock=self._clock,
            files=self.disk.files(),
        )
        driver.watch = self._watch
        life = Life(self.org, self.presented, driver, blobs)
        attester = Attester(life, blobs)
        malformed = self.liar is not None and Lie.MALFORMED in self.liar.lies
        masked = MaskedFactory(life, blobs, world.referee.archive, FOLDER, self.disk.files(), self._masks.randbytes)
        factory = Factory(life, blobs, world.referee.archive, masked, malformed)
        self.alive = life
        if life.may_vote:
            self.forgetful = False
        async with trio.open_nursery() as nursery:
            await nursery.start(driver.run)
            nursery.start_soon(attester.run)
            nursery.start_soon(self._mind_loneliness, life, transport)
            nursery.start_soon(factory.run)
            if self.liar is not None:
                nursery.start_soon(self.liar.run, transport)

    async def _mind_loneliness(self, life: Life, transport: Transport) -> None:
        """As `members.py` does: whom nobody talks to may be known by the key that was to follow. Besides, its operator
        looks after it, and starts it anew with the address of a member as it is now."""
        loneliness = Loneliness(trio.current_time(), ALONE_S)
        while True:
            await trio.sleep(LOOK_S)
            peers = transport.peers()
            met = sum(peer.connected for peer in peers)
            if met and self.presented is self.key:
                self.previous = None
            other = (self.following or self.previous) is not None
            # Where nobody else is a member, nobody is missed.
            company = Company(met, len(life.chain.members())) if peers else Company(1, 2)
            if loneliness.too_long(trio.current_time(), company, other, self.presented is self.previous):
                self._tries_other = other and not self._tries_other
                self.down_s = 0.1
                self._scope.cancel()

    def _blob_store(self) -> BlobStore:
        self._folder.mkdir(parents=True, exist_ok=True)
        if self.liar is not None and self.liar.lies & {Lie.WITHHOLD, Lie.WRONG_BYTES}:
            return LyingBlobStore(self._folder, self.liar)
        return BlobStore(self._folder)

    def _watch(self, effects: Sequence[Effect]) -> None:
        if self._dead:
            raise PowerCut("a dead process acts")
        if self.correct:
            self._world.referee.did(self.presented.public, effects)

    def _mouth(self, to: NodeKey, message: bytes) -> list[bytes]:
        if self._dead:
            return []
        if self.liar is not None:
            said = self.liar.says(to, message)
        else:
            self._world.referee.said(self.presented.public, message)
            said = [message]
        return said * 2 if said and self._world.repeats() else said

    def _clock(self) -> int:
        return START_MS + 1_000 + self.skew_ms + int(trio.current_time() * 1000)


def _addresses(chain: Chain, bootstrap: dict[NodeKey, tuple[str, ...]]) -> dict[NodeKey, tuple[str, ...]]:
    """All members by their present keys, and those of the configuration that the ledger knows nothing of."""
    members: dict[NodeKey, tuple[str, ...]] = {
        key: () for org, _ in chain.members() if (key := chain.key_of(org)) is not None
    }
    return members | {key: places for key, places in bootstrap.items() if chain.org_of(key) is None}


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
