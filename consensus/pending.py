"""Transactions that wait to be put in a block: bounded, deduplicated, in nonce order, fair between senders.

Holds what it is given: who adds checks signatures and rules. Nothing here is agreed on: two members' pools differ.
"""

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from itertools import islice

from ledger.transactions import Transaction
from ledger.types import Hash32, NodeKey

# Five full blocks; what a league of 256 submits in the worst minute of its history.
POOL_COUNT_MAX = 20_000
POOL_BYTES_MAX = 32 * 1024 * 1024
# One full block of one sender, so that a burst need not be paced by who submits it.
SENDER_COUNT_MAX = 4_096
SENDER_BYTES_MAX = 8 * 1024 * 1024
# Transactions of one sender overtake each other on the way; frames carry up to 512, so two frames may arrive swapped.
NONCE_GAP_MAX = 1_024


class Admission(Enum):
    """What became of an added transaction; the value is what a user is told."""

    ADDED = "added"
    KNOWN = "known already"
    STALE = "its nonce is used on the ledger"
    NONCE_TAKEN = "another transaction of this sender waits with this nonce"
    GAP_TOO_WIDE = "too many nonces before it are missing"
    SENDER_FULL = "its sender has as much waiting as one sender may"
    FULL = "the pool is full, and its sender has no smaller share than others"


@dataclass(slots=True)
class _Queue:
    """One sender's transactions. `arrived`: when the oldest came, in arrivals of the pool.

    Nonces from `run_start` up to `run_end` are known to be here without a gap: walking along thousands of them for each
    newcomer would make a sender's burst cost its square.
    """

    by_nonce: dict[int, Transaction] = field(default_factory=dict)
    arrived: dict[int, int] = field(default_factory=dict)
    bytes: int = 0
    run_start: int = 0
    run_end: int = 0

    def add(self, transaction: Transaction, arrival: int) -> None:
        self.by_nonce[transaction.nonce] = transaction
        self.arrived[transaction.nonce] = arrival
        self.bytes += len(transaction.encoded)

    def take(self, nonce: int) -> Transaction:
        transaction = self.by_nonce.pop(nonce)
        del self.arrived[nonce]
        self.bytes -= len(transaction.encoded)
        if nonce == self.run_start:
            self.run_start += 1
        elif self.run_start < nonce < self.run_end:
            self.run_end = nonce
        return transaction

    def first_missing(self, nonce: int) -> int:
        """The first nonce from `nonce` on that is not here."""
        if not self.run_start <= nonce < self.run_end:
            self.run_start = self.run_end = nonce
        while self.run_end in self.by_nonce:
            self.run_end += 1
        return self.run_end

    def run_from(self, nonce: int) -> Iterator[Transaction]:
        while (transaction := self.by_nonce.get(nonce)) is not None:
            yield transaction
            nonce += 1


class PendingTransactions:
    """The pool of one node.

    Eviction: when the pool is full, the sender with the most bytes in it loses its highest nonce, and only to a sender
    that has fewer bytes even with the newcomer, or to a lower nonce of its own. So nobody pushes out another's share by
    sending more, and what can run first is never given up for what can only run after it.
    """

    def __init__(
        self,
        *,
        count_max: int = POOL_COUNT_MAX,
        bytes_max: int = POOL_BYTES_MAX,
        sender_count_max: int = SENDER_COUNT_MAX,
        sender_bytes_max: int = SENDER_BYTES_MAX,
        gap_max: int = NONCE_GAP_MAX,
    ) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._sender_count_max, self._sender_bytes_max, self._gap_max = sender_count_max, sender_bytes_max, gap_max
        self._queues: dict[NodeKey, _Queue] = {}
        self._by_id: dict[Hash32, Transaction] = {}
        self._bytes = 0
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Transaction]:
        """All that wait, by sender and nonce."""
        for sender in sorted(self._queues):
            queue = self._queues[sender]
            for nonce in sorted(queue.by_nonce):
                yield queue.by_nonce[nonce]

    @property
    def bytes(self) -> int:
        return self._bytes

    @property
    def senders(self) -> Iterable[NodeKey]:
        """Of whom something waits."""
        return self._queues.keys()

    def get(self, transaction_id: Hash32) -> Transaction | None:
        return self._by_id.get(transaction_id)

    def waiting(self, sender: NodeKey, nonce: int) -> Transaction | None:
        """The transaction of a sender that waits with a nonce."""
        queue = self._queues.get(sender)
        return None if queue is None else queue.by_nonce.get(nonce)

    def next_nonce(self, sender: NodeKey, next_nonce: int) -> int:
        """The nonce a new transaction of `sender` should bear, given the ledger's next one."""
        queue = self._queues.get(sender)
        return next_nonce if queue is None else queue.first_missing(next_nonce)

    def has_gap(self, sender: NodeKey, next_nonce: int) -> bool:
        """Whether something of `sender` waits that cannot run before a transaction which is not here."""
        queue = self._queues.get(sender)
        return queue is not None and max(queue.by_nonce, default=-1) >= self.next_nonce(sender, next_nonce)

    def add(self, transaction: Transaction, next_nonce: int) -> Admission:
        """Let a checked transaction wait. `next_nonce`: its sender's on the ledger now."""
        sender, nonce = NodeKey(transaction.sender), transaction.nonce
        if transaction.id in self._by_id:
            return Admission.KNOWN
        if nonce < next_nonce:
            return Admission.STALE
        queue = self._queues.get(sender, _Queue())
        if nonce in queue.by_nonce:
            # The first stays: else a sender could make every node forward endless versions of one transaction.
            return Admission.NONCE_TAKEN
        if nonce - self.next_nonce(sender, next_nonce) > self._gap_max:
            return Admission.GAP_TOO_WIDE
        size = len(transaction.encoded)
        if len(queue.by_nonce) >= self._sender_count_max or queue.bytes + size > self._sender_bytes_max:
            # A lower nonce still gets in, at the cost of the sender's own highest.
            if nonce > max(queue.by_nonce, default=-1) or size > self._sender_bytes_max:
                return Admission.SENDER_FULL
            while len(queue.by_nonce) >= self._sender_count_max or queue.bytes + size > self._sender_bytes_max:
                self._remove(sender, max(queue.by_nonce))
        if not self._make_room(sender, nonce, size):
            return Admission.FULL
        self._arrivals += 1
        self._queues.setdefault(sender, queue).add(transaction, self._arrivals)
        self._by_id[transaction.id] = transaction
        self._bytes += size
        return Admission.ADDED

    def ready(
        self,
        next_nonce: Callable[[NodeKey], int],
        bytes_max: int,
        count_max: int,
        sender_count_max: int = SENDER_COUNT_MAX,
        resting: Container[NodeKey] = (),
        first: Container[NodeKey] = (),
    ) -> list[Transaction]:
        """What can run now, in order: one of each sender that is not `resting` in turn, whose first has waited longest
        first, but senders in `first` before all others.

        At most `sender_count_max` of each. Nonces of a sender run on from `next_nonce(sender)` without a gap. A
        transaction too long for what is left of `bytes_max` ends its sender's turn, not the others'.
        """
        runs: list[tuple[tuple[bool, int, NodeKey], Iterator[Transaction]]] = []
        for sender, queue in self._queues.items():
            nonce = next_nonce(sender)
            if nonce in queue.by_nonce and sender not in resting:
                place = (sender not in first, queue.arrived[nonce], sender)
                runs.append((place, islice(queue.run_from(nonce), sender_count_max)))
        turns = [run for _, run in sorted(runs, key=lambda each: each[0])]
        chosen: list[Transaction] = []
        while turns and len(chosen) < count_max:
            still = []
            for run in turns:
                transaction = next(run, None)
                if transaction is None or len(transaction.encoded) > bytes_max or len(chosen) == count_max:
                    continue
                bytes_max -= len(transaction.encoded)
                chosen.append(transaction)
                still.append(run)
            turns = still
        return chosen

    def remove_final(self, transactions: Iterable[Transaction]) -> None:
        """Transactions of a final block: they go, and with them what bears the same or a lower nonce."""
        last: dict[NodeKey, int] = {}
        for transaction in transactions:
            sender = NodeKey(transaction.sender)
            last[sender] = max(transaction.nonce, last.get(sender, -1))
        for sender, used in last.items():
            for nonce in [each for each in self._queues.get(sender, _Queue()).by_nonce if each <= used]:
                self._remove(sender, nonce)

    def stale(self, next_nonce: Callable[[NodeKey], int]) -> list[Transaction]:
        """What can never run: its nonce is used, perhaps by what another key of the same organisation signed."""
        found: list[Transaction] = []
        for sender, queue in self._queues.items():
            first = next_nonce(sender)
            found += [queue.by_nonce[nonce] for nonce in sorted(queue.by_nonce) if nonce < first]
        return found

    def drop(self, transaction_id: Hash32) -> None:
        """A transaction that turned out not to be valid any more. Unknown ids are fine."""
        transaction = self._by_id.get(transaction_id)
        if transaction is not None:
            self._remove(NodeKey(transaction.sender), transaction.nonce)

    def _make_room(self, sender: NodeKey, nonce: int, size: int) -> bool:
        """Evict until the newcomer fits; see the class for the rule. False, and nothing evicted beyond it, if not."""
        while len(self._by_id) >= self._count_max or self._bytes + size > self._bytes_max:
            if not self._queues:
                return False
            largest = max(self._queues, key=lambda each: (self._queues[each].bytes, each))
            own = self._queues[sender].bytes if sender in self._queues else 0
            if own + size >= self._queues[largest].bytes:
                largest = sender  # nobody has more than it would have: it can only trade with itself
                if sender not in self._queues or nonce > max(self._queues[sender].by_nonce):
                    return False
            self._remove(largest, max(self._queues[largest].by_nonce))
        return True

    def _remove(self, sender: NodeKey, nonce: int) -> None:
        queue = self._queues[sender]
        transaction = queue.take(nonce)
        if not queue.by_nonce:
            del self._queues[sender]
        del self._by_id[transaction.id]
        self._bytes -= len(transaction.encoded)
