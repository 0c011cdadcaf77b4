"""The checks of the end-to-end runs fail where they must: forked, lost, doubled and made-up things are found."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.rpc.errors import RpcError
from tests.e2e import checks
from tests.e2e.bookkeeping import Attempt, Books
from tests.e2e.checks import Witness
from tests.e2e.manifest import Checks


@dataclass
class Ledger:
    """What a node would show: `blocks[height - 1]` is its list of transfer ids."""

    blocks: list[list[str]]
    fork_at: int = 0
    state_fork_at: int = 0
    balances: dict[str, int] = field(default_factory=lambda: {"alice": 90, "bob": 110})
    escrow: int = 0
    punished: tuple[str, ...] = ()
    first: int = 1

    def witness(self, name: str) -> Witness:
        return Witness(name, self.ask, lambda calls: [self._try(method, given) for method, given in calls])

    def _try(self, method: str, given: Mapping[str, Any]) -> Any:
        try:
            return self.ask(method, **given)
        except RpcError as error:
            return error

    def ask(self, method: str, **given: Any) -> Any:
        answers: dict[str, Callable[..., Any]] = {
            "status": lambda: {"head": {"height": len(self.blocks)}},
            "header": self._header,
            "sync": lambda: {"first_header": self.first, "first_block": self.first},
            "block": lambda height: {
                "block": {
                    "transactions": [{"id": each, "body": {"kind": "transfer"}} for each in self.blocks[height - 1]]
                }
            },
            "tx": self._tx,
            "account": lambda org: {"balance": self.balances[org.removeprefix("org-")]},
            "request.list": lambda: {"requests": [{"escrow": self.escrow}]},
            "ranking": lambda: {
                "ranking": [{"name": name, "punished_height": 3 * (name in self.punished)} for name in self.balances]
            },
        }
        return answers[method](**given)

    def _id(self, height: int) -> str:
        return f"{height}{'-other' if self.fork_at and height >= self.fork_at else ''}"

    def _header(self, height: int) -> Any:
        root = f"s{height}{height == self.state_fork_at}"
        parent = self._id(height - 1)
        return {"header": {"height": height, "id": self._id(height), "state_root": root, "parent": parent}}

    def _tx(self, id: str) -> Any:
        for height, block in enumerate(self.blocks, 1):
            if id in block and height >= self.first:
                return {"status": "final", "height": height, "index": block.index(id)}
        raise RpcError("not_found", "no such transaction")


def attempt(name: str, place: tuple[int, int] | None, *, superseded: bool = False, payment: str = "") -> Attempt:
    made = Attempt(payment or name, "alice", "bob", 10, 0, name, "", signed_at=1.0, final_at=2.0)
    made.place, made.superseded = place, superseded
    return made


def against(verdict: checks.Verdict) -> str:
    return "; ".join(verdict.against)


ORGS = {"alice": "org-alice", "bob": "org-bob"}
HONEST: Sequence[list[str]] = ([], ["t1"], [], ["t2"], [])


def test_one_history_is_one_block_and_state_at_every_height() -> None:
    alice, bob = Ledger(list(HONEST)).witness("alice"), Ledger(list(HONEST)).witness("bob")
    assert checks.one_history([alice, bob]).held
    forked = Ledger(list(HONEST), fork_at=3).witness("carol")
    assert "height 3 is not one block" in against(checks.one_history([alice, forked]))
    other_state = Ledger(list(HONEST), state_fork_at=2).witness("dave")
    assert "height 2 is not one block and state" in against(checks.one_history([alice, other_state]))
    behind = Ledger(list(HONEST[:4])).witness("erin")
    assert "heads differ" in against(checks.one_history([alice, behind]))
    assert checks.one_history([alice, behind], 4).held, "the fifth block came while they were asked"
    assert "heads differ" in against(checks.one_history([alice, behind], 5))
    assert "height 3 is not one block" in against(checks.one_history([alice, forked], 2))


def test_tokens_that_vanish_or_appear_are_missed() -> None:
    assert checks.supply_is_kept([Ledger([]).witness("alice")], ORGS, 200).held
    assert checks.supply_is_kept([Ledger([], escrow=5).witness("alice")], ORGS, 205).held
    assert "want 201" in against(checks.supply_is_kept([Ledger([]).witness("alice")], ORGS, 201))


def test_a_transfer_is_final_once_at_one_place_or_nowhere() -> None:
    books = Books([attempt("t1", (2, 0)), attempt("t2", (4, 0)), attempt("t3", None, superseded=True)])
    nodes = [Ledger(list(HONEST)).witness(name) for name in ("alice", "bob")]
    assert checks.transfers_are_settled(books).held
    assert checks.transfers_are_final_once(books, nodes).held
    twice = Ledger([*HONEST, ["t1"]]).witness("carol")
    assert "t1 is 2 times" in against(checks.transfers_are_final_once(books, [twice]))
    revived = Ledger([*HONEST, ["t3"]]).witness("carol")
    assert "t3 is 1 times" in against(checks.transfers_are_final_once(books, [revived]))
    forgot = Ledger([[], ["t1"], [], [], []]).witness("carol")
    assert "carol has t2 at None, want (4, 0)" in against(checks.transfers_are_final_once(books, [nodes[0], forgot]))


def test_a_node_without_the_first_blocks_is_asked_for_what_it_holds_only() -> None:
    books = Books([attempt("t1", (2, 0)), attempt("t2", (4, 0))])
    archive, late = Ledger(list(HONEST)).witness("alice"), Ledger(list(HONEST), first=3).witness("bob")
    assert checks.one_history([archive, late]).held
    assert checks.transfers_are_final_once(books, [late, archive]).held
    assert "nobody holds the blocks below 3" in against(checks.transfers_are_final_once(books, [late]))
    assert checks.began_with_snapshots(Checks(by_snapshot=("bob",)), [archive, late]).held
    assert "alice holds all blocks" in against(
        checks.began_with_snapshots(Checks(by_snapshot=("alice",)), [archive, late])
    )


def test_a_lost_transfer_and_a_payment_made_twice_are_found() -> None:
    lost = Books([attempt("t1", None)])
    assert "neither final nor refused" in against(checks.transfers_are_settled(lost))
    again = Books([attempt("t1", (2, 0), payment="rent"), attempt("t2", (4, 0), payment="rent")])
    assert "rent was paid twice" in against(
        checks.transfers_are_final_once(again, [Ledger(list(HONEST)).witness("alice")])
    )


def test_balances_are_what_the_clients_books_say() -> None:
    node = Ledger(list(HONEST)).witness("alice")
    once = Books([attempt("t1", (2, 0))])
    assert checks.balances_are_paid(once, {"alice": 100, "bob": 100}, ORGS, [node]).held
    never = Books([attempt("t1", None, superseded=True)])
    assert "alice holds 90, want 100" in against(
        checks.balances_are_paid(never, {"alice": 100, "bob": 100}, ORGS, [node])
    )


def test_only_the_guilty_are_convicted() -> None:
    node = Ledger([], punished=("bob",)).witness("alice")
    assert checks.convictions(Checks(convicted=("bob",)), [node]).held
    assert checks.convictions(Checks(may_be_convicted=("bob",)), [node]).held
    assert "did nothing" in against(checks.convictions(Checks(), [node]))
    assert "nothing is proven against alice" in against(checks.convictions(Checks(convicted=("alice", "bob")), [node]))


def test_recovery_counts_what_was_signed_after_the_fault_only() -> None:
    books = Books([attempt("t1", (2, 0)), attempt("t2", (4, 0))])
    books.attempts[0].signed_at, books.attempts[0].final_at = 5.0, 9.0
    books.attempts[1].signed_at, books.attempts[1].final_at = 7.0, 8.0
    assert books.first_final_since(4.0) == 8.0
    assert books.first_final_since(7.5) is None
