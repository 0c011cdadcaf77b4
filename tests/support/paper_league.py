"""A league on paper: the rules over a state in a dict, without signatures, trees and votes; a block costs little.

`say` runs one transaction in the block in the making, `pass_time` closes it and opens the next.
"""

from collections.abc import Iterator, Sequence

from ledger.election import leader_order
from ledger.entries import ELECTION, Election
from ledger.errors import InvalidTransaction
from ledger.execution import apply_transaction, end_block, next_nonce, open_block
from ledger.genesis import found
from ledger.keys import KeyPair
from ledger.rewards import supply, tokens_in_circulation
from ledger.state import State
from ledger.transactions import AggregateProtected, AggregateRound, Body, Transaction
from ledger.types import Hash32, OrgId
from tests.support.league import START_MS, founders, genesis_of


class PaperLeague:
    """`keys`: founders, ascending by organisation. `state`: what the block in the making has made of it."""

    def __init__(self, members: int, **parameters: int) -> None:
        self.keys = founders(members)
        genesis = genesis_of(self.keys, **parameters)
        self._chain_id = genesis.chain_id
        self._rows: dict[bytes, bytes] = {}
        self.height, self.now = 0, START_MS
        self.state = State(self._rows.get, self._scan)
        found(genesis, self.state)
        self._commit()
        self._open()

    def say(self, key: KeyPair, body: Body) -> str:
        """The code of the refusal; "" when it ran."""
        return self._apply(key, body)[0]

    def publish(self, key: KeyPair, body: Body) -> Hash32:
        """The id of what must run."""
        code, transaction_id = self._apply(key, body)
        assert not code, code
        return transaction_id

    def lead(self, body: Body) -> str:
        """What the author of the block puts into it."""
        author = next(key for key in self.keys if key.public == self._context.author)
        return self.say(author, body)

    def pass_time(self, ms: int = 1_000) -> None:
        end_block(self.state, self._context)
        self._commit()
        assert tokens_in_circulation(self.state) == supply(self.state), "tokens appeared or vanished"
        self.now += ms
        self._open()

    @property
    def seated(self) -> Sequence[OrgId]:
        return self._context.seated

    @property
    def quorum(self) -> int:
        return self._context.committee.quorum

    def rows(self) -> dict[bytes, bytes | None]:
        """All that is in the state now, committed or not."""
        return {**self._rows, **self.state.changes()}

    def _apply(self, key: KeyPair, body: Body) -> tuple[str, Hash32]:
        leads = isinstance(body, AggregateRound | AggregateProtected)
        nonce = self.height if leads else next_nonce(self.state, key.public)
        transaction = Transaction(key.public, nonce, body, bytes(64))
        try:
            apply_transaction(self.state, self._context, transaction)
        except InvalidTransaction as error:
            return error.code, transaction.id
        return "", transaction.id

    def _open(self) -> None:
        self.height += 1
        author = leader_order(self.state.need(Election, ELECTION))[0]
        self._context = open_block(self.state, self._chain_id, self.height, self.now, author, ())

    def _commit(self) -> None:
        for key, value in self.state.changes().items():
            if value is None:
                self._rows.pop(key, None)
            else:
                self._rows[key] = value
        self.state = State(self._rows.get, self._scan)

    def _scan(self, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return iter(sorted((key, value) for key, value in self._rows.items() if key.startswith(prefix)))
