"""A real chain whose blocks a test seals itself: every founder's key is here, so certificates are real too."""

from collections.abc import Callable, Iterator

import trio

from ledger.aggregation import AggregationResult, aggregate_transaction_body, aggregates_due
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Subject, VoteKind, cast, certify
from ledger.chain import Chain
from ledger.codec import digest
from ledger.errors import InvalidTransaction
from ledger.genesis import Genesis, GenesisMember, LeagueParameters
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.transactions import Body, Transaction, sign_transaction
from ledger.types import Hash32, OrgId

GENESIS_TIME = 1_700_000_000_000
BALANCE = 10_000_000


def key_of(name: str) -> KeyPair:
    return KeyPair.from_seed(digest("test/key", name.encode()))


def genesis_of(*names: str) -> Genesis:
    members = sorted((GenesisMember(key_of(name).org, name, (), BALANCE) for name in names), key=lambda m: m.org)
    return Genesis("test league", GENESIS_TIME, tuple(members), LeagueParameters())


async def wait_until(condition: Callable[[], object], within_s: float = 30.0) -> None:
    """Wait for a condition that other tasks make true; fails the test when it does not come."""
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.005)


class SealedChain:
    """`pending` waits for `seal`; what a block refused is in `refused`."""

    def __init__(self, *names: str) -> None:
        self.genesis = genesis_of(*names)
        self.keys = {key_of(name).org: key_of(name) for name in names}
        self.chain = Chain(MemoryStore(), self.genesis)
        self.pending: list[Transaction] = []
        self.refused: dict[Hash32, InvalidTransaction] = {}
        self.sealed = trio.Event()

    def ledger(self, name: str) -> "NodeLedger":
        return NodeLedger(self, key_of(name))

    def say(self, name: str, body: Body) -> Transaction:
        """Put a signed transaction among the pending ones."""
        key = key_of(name)
        ahead = sum(waiting.sender == key.org for waiting in self.pending)
        transaction = sign_transaction(key, self.chain.chain_id, self.chain.next_nonce(key.org) + ahead, body)
        self.pending.append(transaction)
        return transaction

    def seal(self, after_ms: int = 10, aggregates: dict[bytes, AggregationResult] | None = None) -> Block:
        """A block of all that is pending, and of the aggregates due whose request has a result here."""
        chain = self.chain
        author = chain.leaders()[0]
        trial = chain.trial(author, chain.head_time + after_ms)
        for task in aggregates_due(trial.state):
            result = (aggregates or {}).get(task.request)
            if result is not None:
                body = aggregate_transaction_body(task, result)
                trial.apply(sign_transaction(self.keys[author], chain.chain_id, chain.height + 1, body))
        for transaction, error in trial.apply_all(self.pending):
            self.refused[transaction.id] = error
        self.pending.clear()
        block = trial.block(0)
        subject = Subject(block.height, chain.committee().hash, 0, VoteKind.FINALIZE, block.id)
        votes = [cast(self.keys[org], chain.chain_id, subject) for org in chain.committee().members]
        chain.append(FinalBlock(block, certify(votes)))
        self.sealed.set()
        self.sealed = trio.Event()
        return block


class NodeLedger:
    """`node.ports.Ledger` of one founder."""

    def __init__(self, sealed: SealedChain, key: KeyPair) -> None:
        self._sealed = sealed
        self.key = key
        self.said: list[Body] = []
        self.catching_up = False

    @property
    def chain(self) -> Chain:
        return self._sealed.chain

    @property
    def org(self) -> OrgId:
        return self.key.org

    def pending_transactions(self) -> Iterator[Transaction]:
        return iter(list(self._sealed.pending))

    async def submit_own(self, body: Body) -> Transaction:
        await trio.lowlevel.checkpoint()
        self.said.append(body)
        name = next(member.name for member in self._sealed.genesis.members if member.org == self.key.org)
        return self._sealed.say(name, body)

    async def wait_final(self, tx_id: Hash32) -> tuple[int, int]:
        while (found := self.chain.find_transaction(tx_id)) is None:
            if tx_id in self._sealed.refused:
                raise self._sealed.refused[tx_id]
            await self._sealed.sealed.wait()
        return found
