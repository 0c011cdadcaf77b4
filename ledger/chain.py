"""The chain over a store: build a block, check one, append a final one. Height h is on disk whole or not at all.

Validity is a pure function of a block and its parent's state (DESIGN D6). Whether a block is *timely* or its aggregate
is right is readiness, and is somebody else's business.

Rows: `S`+key state entry, `N`+hash tree node, `M` head, `V` layout; those of blocks and headers are in `chain_rows.py`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from ledger.aggregation import AggregationTask, aggregates_due
from ledger.blocks import (
    Block,
    FinalBlock,
    FinalHeader,
    Header,
    nullified_root,
    transactions_root,
)
from ledger.certificates import Certificate, Committee, VoteKind, check_certificate
from ledger.chain_rows import COMMITTEE, ChainRows, Held, drop_blocks, height_key, put_block
from ledger.codec import Range, Size, decode, encode
from ledger.deadlines import next_deadline
from ledger.election import committee_of, leader_order
from ledger.entries import ELECTION, MEMBERS, Election, Member
from ledger.errors import (
    CorruptStore,
    InvalidBlock,
    InvalidBytes,
    InvalidCertificate,
    InvalidTransaction,
    StoreOfAnotherVersion,
)
from ledger.execution import apply_transaction, end_block, next_nonce, open_block
from ledger.genesis import Genesis, found
from ledger.governance import enter_height
from ledger.keyring import key_of, org_of
from ledger.league_entries import SCHEDULE, Protocol, Schedule
from ledger.parameters import LeagueParameters
from ledger.protocols import rules_of
from ledger.state import State
from ledger.state_tree import StateProof, StateTree
from ledger.store import Store, WriteBatch
from ledger.transactions import AggregateProtected, AggregateRound, Transaction
from ledger.types import AMOUNT_MAX, BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, ZERO_HASH, Hash32, NodeKey, OrgId

T = TypeVar("T")
# An aggregate in a block, and what it must come from.
Claim = tuple[AggregationTask, AggregateRound | AggregateProtected]

HEAD = b"M"
# How rows and entries are laid out; one more whenever an older program could not read them, or this one not older rows.
LAYOUT_KEY, LAYOUT = b"V", 2
# Outcomes of blocks that were checked and not yet appended: one per view of a height is more than enough.
OUTCOMES_KEPT_MAX = 8

SignatureCheck = Callable[[Transaction], None]


@dataclass(frozen=True, slots=True)
class Head:
    """The last final height, as it lies in the store."""

    height: Annotated[int, Range(0, AMOUNT_MAX)]
    block_id: Annotated[bytes, Size(32, 32)]
    time: Annotated[int, Range(0, AMOUNT_MAX)]
    state_root: Annotated[bytes, Size(32, 32)]
    chain_id: Annotated[bytes, Size(32, 32)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a block does to the state and the tree over it."""

    state_root: Hash32
    next_committee: Committee
    claims: tuple[Claim, ...]  # aggregates in the block, and what each must come from
    changes: dict[bytes, bytes | None] = field(repr=False)
    new_nodes: dict[bytes, bytes] = field(repr=False)
    stale_nodes: tuple[bytes, ...] = field(repr=False)


class Chain:
    """One league's chain. Synchronous; one owner."""

    def __init__(self, store: Store, genesis: Genesis, check_signature: SignatureCheck | None = None) -> None:
        """Open the chain in `store`, founding it when the store is empty.

        `check_signature` raises InvalidTransaction; the default verifies, a mempool may pass one that remembers what it
        has verified. Raises CorruptStore when the store holds another league's chain, StoreOfAnotherVersion when
        another version of Hanse wrote it.
        """
        self.store = store
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self._rows = ChainRows(store)
        self._check_signature = check_signature or (lambda transaction: transaction.check_signature(self.chain_id))
        self._outcomes: dict[bytes, tuple[Block, Outcome]] = {}
        stored = store.get(HEAD)
        self._head = self._found() if stored is None else self._opened(stored)
        self._election = self._need_election()

    # --- reading ---

    @property
    def height(self) -> int:
        return self._head.height

    @property
    def head_id(self) -> Hash32:
        return Hash32(self._head.block_id)

    @property
    def head_time(self) -> int:
        """Block time of the head in ms; the genesis time at height 0."""
        return self._head.time

    @property
    def state_root(self) -> Hash32:
        return Hash32(self._head.state_root)

    @property
    def head(self) -> Header | None:
        """The head's header; None at height 0, where there is no block."""
        return self.header(self.height)

    @property
    def held(self) -> Held:
        """From which heights on the store has headers, and whole blocks: pruning and snapshots leave older ones out."""
        return self._rows.held()

    def final_block(self, height: int) -> FinalBlock | None:
        """A block with its certificate; None below `held.first_block`, beyond the head and at height 0."""
        return self._rows.final_block(height)

    block = final_block

    def header(self, height: int) -> Header | None:
        return self._rows.header(height)

    def height_of(self, block_id: bytes) -> int | None:
        return self._rows.height_of(block_id)

    def find_transaction(self, transaction_id: bytes) -> tuple[int, int] | None:
        """Height and index of a final transaction, when its block is held."""
        return self._rows.find_transaction(transaction_id)

    def value(self, key: bytes) -> bytes | None:
        """The state's bytes under a key at the head."""
        return self.store.get(b"S" + key)

    def read(self, kind: type[T], key: bytes) -> T | None:
        """The state's entry under a key at the head."""
        return self.state().get(kind, key)

    def scan(self, kind: type[T], prefix: bytes) -> Iterator[tuple[bytes, T]]:
        """Entries under a prefix at the head, with the rest of their keys."""
        yield from self.state().scan(kind, prefix)

    def state(self) -> State:
        """A working copy of the state at the head."""
        return State(self.value, self._scan_state)

    def prove(self, key: bytes) -> StateProof:
        """That a key has its value, or none, under the head's state root."""
        return self._tree().prove(key)

    def committee(self) -> Committee:
        """Who votes on the next height."""
        return committee_of(self._election)

    def leaders(self) -> tuple[NodeKey, ...]:
        """leader(view) of the next height is this at view mod n."""
        return leader_order(self._election)

    def committee_at(self, height: int) -> Committee | None:
        """Who voted, or votes, on a height up to the next."""
        return self._rows.committee_at(height)

    def final_header(self, height: int) -> FinalHeader | None:
        """What a light client needs of a height; None below `held.first_header`, beyond the head and at height 0."""
        return self._rows.final_header(height)

    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]:
        """Headers of heights in after+1 .. up_to that hand over to another committee, ascending.

        Those from height 1 on are there whatever else is dropped: they lead from the genesis to every later header.
        """
        return self._rows.committee_changes(after, up_to)

    def members(self) -> list[tuple[OrgId, Member]]:
        return [(OrgId(org), member) for org, member in self.scan(Member, MEMBERS)]

    def org_of(self, key: bytes) -> OrgId | None:
        """Whose key this is, or was once: a node's, or an identity of a member or a former one. None for a stranger's.

        Whether it is in use says `key_of(org) == key`.
        """
        return org_of(self.state(), key)

    def key_of(self, org: bytes) -> NodeKey | None:
        """The key that a member's node signs with now; None for somebody who is no member."""
        return key_of(self.state(), org)

    def seated(self) -> tuple[OrgId, ...]:
        """Whose seats vote on the next height, ascending."""
        return tuple(OrgId(seat.org) for seat in self._election.seats)

    def next_nonce(self, key: bytes) -> int:
        """The nonce of whoever signs with this key: an organisation's keys share theirs."""
        return next_nonce(self.state(), key)

    def parameters(self) -> LeagueParameters:
        """What holds for the next height."""
        return enter_height(self.state(), self.height + 1)[0]

    def schedule(self) -> Schedule:
        """Parameters that are decided and begin at a later height than the next, or with it."""
        return self.state().need(Schedule, SCHEDULE)

    def protocol(self) -> Protocol:
        """The version that the next height runs by, and the one that is scheduled after it."""
        return enter_height(self.state(), self.height + 1)[1]

    def next_deadline(self) -> int | None:
        """Block time in ms at which a request moves by itself."""
        return next_deadline(self.state())

    # --- building and checking ---

    def trial(self, author: NodeKey, time: int, nullified: Sequence[Certificate] = ()) -> "Trial":
        """An empty block on the head to try transactions on. Raises UnknownProtocol."""
        return Trial(self, author, time, tuple(nullified))

    def check(self, block: Block) -> Outcome:
        """What a block on the head does. Raises InvalidBlock; says nothing about time, blobs or votes.

        Raises UnknownProtocol when the next height runs by rules that this program does not have.
        """
        known = self._outcomes.get(block.id)
        # The id covers the header only: the same header over another body is another question.
        if known is not None and (known[0] is block or known[0] == block):
            return known[1]
        header = block.header
        self._check_header(block)
        if len(block.encoded) > BLOCK_BYTES_MAX:
            raise InvalidBlock(f"{len(block.encoded)} bytes, at most {BLOCK_BYTES_MAX}")
        self._check_nullified(block)
        trial = self.trial(NodeKey(header.author), header.time, block.nullified)
        for at, transaction in enumerate(block.transactions):
            try:
                self._check_signature(transaction)
                trial.apply(transaction)
            except InvalidTransaction as error:
                raise InvalidBlock(f"transaction {at}: {error.code}: {error}") from None
        try:
            outcome = trial.outcome()
        except InvalidBytes as error:
            raise InvalidBlock(f"it leaves a state that cannot be written: {error}") from None
        if outcome.state_root != header.state_root:
            raise InvalidBlock(f"state root {header.state_root.hex()[:16]}, want {outcome.state_root.hex()[:16]}")
        if outcome.next_committee.hash != header.next_committee:
            raise InvalidBlock("the next committee is not the elected one")
        self.remember(block, outcome)
        return outcome

    def remember(self, block: Block, outcome: Outcome) -> None:
        """Keep a checked block's outcome until its height is final, so that it is computed once."""
        while len(self._outcomes) >= OUTCOMES_KEPT_MAX:
            self._outcomes.pop(next(iter(self._outcomes)))
        self._outcomes[block.id] = block, outcome

    def append(self, final: FinalBlock, checked_certificate: bool = False, sync: bool = True) -> Outcome:
        """Make a final block the head: one synced batch with its certificate and everything it does.

        Without `sync` a power cut may take the block back, with all after it; whoever says so calls `sync` before
        anything leaves that rests on the block.

        Raises InvalidBlock, InvalidCertificate. A certificate for an invalid block is InvalidBlock too: the caller
        must take that for what it is, a broken quorum or a bug of ours (simplex rule 12).
        """
        block, certificate = final.block, final.certificate
        if block.height != self.height + 1:
            raise InvalidBlock(f"height {block.height}, want {self.height + 1}")
        subject = certificate.subject
        if (subject.height, subject.block, subject.kind) != (block.height, block.id, VoteKind.FINALIZE):
            raise InvalidCertificate("the certificate does not make this block final")
        if not checked_certificate:
            check_certificate(self.chain_id, self.committee(), certificate)
        outcome = self.check(block)
        batch = WriteBatch()
        put_block(batch, final, self.committee(), outcome.next_committee)
        head = Head(block.height, block.id, block.header.time, outcome.state_root, self.chain_id)
        self._write_state(batch, head, outcome, sync)
        self._outcomes.clear()
        self._head = head
        self._election = self._need_election()
        return outcome

    def sync(self) -> None:
        """The head is on the disk when this returns."""
        self.store.write(WriteBatch({HEAD: encode(self._head)}), sync=True)

    def reopen(self) -> None:
        """Begin anew at the head that the store has now: a snapshot took the place of what was there."""
        stored = self.store.get(HEAD)
        if stored is None:
            raise CorruptStore("the store that took the ledger's place has no head")
        self._head = self._opened(stored)
        self._outcomes.clear()
        self._election = self._need_election()

    def drop_blocks(self, below: int) -> bool:
        """Forget the oldest blocks below a height, but not their headers; False when there was nothing to forget.

        Some at a time: call again until it says so. The head's block always stays. Unsynced: at worst they are back.
        """
        batch = drop_blocks(self._rows, min(below, self.height))
        if batch.changes:
            self.store.write(batch, sync=False)
        return bool(batch.changes)

    def _check_header(self, block: Block) -> None:
        header, protocol = block.header, self.protocol()
        wanted = {
            "version": (header.version, rules_of(protocol.version, protocol.since_height).version),
            "chain_id": (header.chain_id, self.chain_id),
            "height": (header.height, self.height + 1),
            "parent": (header.parent, self.head_id),
            "committee": (header.committee, self.committee().hash),
            "author": (header.author, self.leaders()[header.view % len(self.leaders())]),
            "transactions_root": (header.transactions_root, transactions_root(block.transactions)),
            "nullified_root": (header.nullified_root, nullified_root(block.nullified)),
        }
        for name, (came, want) in wanted.items():
            if came != want:
                raise InvalidBlock(f"{name} {_short(came)}, want {_short(want)}")
        if header.time <= self.head_time:
            raise InvalidBlock(f"time {header.time}, want above the parent's {self.head_time}")

    def _check_nullified(self, block: Block) -> None:
        """A fresh block of view v shows that views 0 .. v-1 failed, each by a certificate of this height."""
        if len(block.nullified) != block.header.view:
            raise InvalidBlock(f"{len(block.nullified)} failed views shown, want {block.header.view}")
        committee = self.committee()
        for view, certificate in enumerate(block.nullified):
            subject = certificate.subject
            if (subject.height, subject.view, subject.kind) != (block.height, view, VoteKind.NULLIFY):
                raise InvalidBlock(f"failed view {view} is shown by a {subject.kind.name} of view {subject.view}")
            try:
                check_certificate(self.chain_id, committee, certificate)
            except InvalidCertificate as error:
                raise InvalidBlock(f"failed view {view}: {error}") from None

    # --- the store ---

    def _scan_state(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        for key, value in self.store.scan(b"S" + prefix):
            yield key[1:], value

    def _tree(self) -> StateTree:
        return StateTree(self.state_root, lambda node_id: self.store.get(b"N" + node_id))

    def _need_election(self) -> Election:
        return self.state().need(Election, ELECTION)

    def _found(self) -> Head:
        state = State(lambda key: None, lambda prefix: iter(()))
        found(self.genesis, state)
        changes = state.changes()
        update = StateTree(ZERO_HASH, lambda node_id: None).update(changes)
        committee = self.genesis.committee
        outcome = Outcome(update.root, committee, (), changes, update.new_nodes, update.stale)
        batch = WriteBatch()
        batch.put(LAYOUT_KEY, height_key(LAYOUT))
        batch.put(COMMITTEE + height_key(1), encode(committee))
        head = Head(0, self.chain_id, self.genesis.time, update.root, self.chain_id)
        self._write_state(batch, head, outcome)
        return head

    def _opened(self, stored: bytes) -> Head:
        layout = int.from_bytes(self.store.get(LAYOUT_KEY) or b"", "big")
        if layout != LAYOUT:
            raise StoreOfAnotherVersion(
                f"the ledger in the store has layout {layout or 'none'}, this version of Hanse reads layout {LAYOUT}: "
                "start the version that wrote it, or begin with an empty folder and catch up from the others"
            )
        try:
            head = decode(Head, stored)
        except InvalidBytes as error:
            raise CorruptStore(f"the store's head is damaged: {error}") from None
        if head.chain_id != self.chain_id:
            raise CorruptStore(f"the store holds chain {head.chain_id.hex()[:16]}, want {self.chain_id.hex()[:16]}")
        return head

    def _write_state(self, batch: WriteBatch, head: Head, outcome: Outcome, sync: bool = True) -> None:
        for key, value in outcome.changes.items():
            if value is None:
                batch.delete(b"S" + key)
            else:
                batch.put(b"S" + key, value)
        for node_id in outcome.stale_nodes:
            batch.delete(b"N" + node_id)
        for node_id, node in outcome.new_nodes.items():
            batch.put(b"N" + node_id, node)
        batch.put(HEAD, encode(head))
        self.store.write(batch, sync=sync)


class Trial:
    """A block in the making: transactions are tried one by one; those that are refused leave no trace."""

    def __init__(self, chain: Chain, author: NodeKey, time: int, nullified: tuple[Certificate, ...]) -> None:
        self._chain = chain
        self._author = author
        self._time = time
        self._nullified = nullified
        self._applied: list[Transaction] = []
        self._claims: list[Claim] = []
        self.state = chain.state()
        self.context = open_block(self.state, chain.chain_id, chain.height + 1, time, author, nullified)

    def apply(self, transaction: Transaction) -> None:
        """Raises InvalidTransaction; the signature is not looked at."""
        if len(self._applied) >= BLOCK_TRANSACTIONS_MAX:
            raise InvalidTransaction("full", f"a block holds {BLOCK_TRANSACTIONS_MAX} transactions")
        body = transaction.body
        claim = self._claim(body) if isinstance(body, AggregateRound | AggregateProtected) else None
        apply_transaction(self.state, self.context, transaction)
        if claim is not None:
            self._claims.append(claim)
        self._applied.append(transaction)

    def _claim(self, body: AggregateRound | AggregateProtected) -> Claim | None:
        for task in aggregates_due(self.state):
            if task.request == body.request:
                return task, body
        return None

    def apply_all(self, transactions: Sequence[Transaction]) -> list[tuple[Transaction, InvalidTransaction]]:
        """Apply what can be; returns what was refused and why."""
        refused = []
        for transaction in transactions:
            try:
                self.apply(transaction)
            except InvalidTransaction as error:
                refused.append((transaction, error))
        return refused

    def outcome(self) -> Outcome:
        """Close the block: run the election, hash the state."""
        end_block(self.state, self.context)
        changes = self.state.changes()
        update = self._chain._tree().update(changes)
        committee = committee_of(self.state.need(Election, ELECTION))
        return Outcome(update.root, committee, tuple(self._claims), changes, update.new_nodes, update.stale)

    def block(self, view: int) -> Block:
        """The finished block, born in `view`; its outcome is remembered by the chain."""
        outcome = self.outcome()
        transactions = tuple(self._applied)
        header = Header(
            version=self.context.rules.version,
            chain_id=self._chain.chain_id,
            height=self.context.height,
            view=view,
            time=self._time,
            parent=self._chain.head_id,
            author=self._author,
            transactions_root=transactions_root(transactions),
            nullified_root=nullified_root(self._nullified),
            state_root=outcome.state_root,
            committee=self.context.committee.hash,
            next_committee=outcome.next_committee.hash,
        )
        block = Block(header, self._nullified, transactions)
        self._chain.remember(block, outcome)
        return block


def _short(value: object) -> str:
    return value.hex()[:16] if isinstance(value, bytes) else str(value)
