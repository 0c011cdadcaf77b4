"""What must hold at the end of a run, asked of the nodes through their local interface and of nothing else."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from node.rpc.errors import RpcError
from tests.e2e.bookkeeping import Attempt, Books
from tests.e2e.manifest import Checks

# Asked for in one batch; the interface takes 512.
BATCH = 200

Ask = Callable[..., Any]
Batch = Callable[[Sequence[tuple[str, Mapping[str, Any]]]], list[Any]]


@dataclass(frozen=True, slots=True)
class Witness:
    """An honest node that is asked."""

    name: str
    ask: Ask
    batch: Batch


@dataclass(frozen=True, slots=True)
class Verdict:
    """One check: what it says, and what contradicts it (empty: it holds)."""

    what: str
    against: tuple[str, ...] = ()

    @property
    def held(self) -> bool:
        return not self.against


def one_history(witnesses: Sequence[Witness], reached: int | None = None) -> Verdict:
    """Every node has the same block and state at every height, each block on its parent, and all are at one head.

    `reached`: a head that all were seen at. A block may follow it while they are asked one after the other, with what
    a node had to say for itself; it is one block wherever it is shown, but not everybody has it yet.
    """
    against: list[str] = []
    histories = {each.name: dict(_headers(each)) for each in witnesses}
    heads = {name: max(history, default=0) for name, history in histories.items()}
    if min(heads.values(), default=0) < (max(heads.values(), default=0) if reached is None else reached):
        against.append(f"heads differ: {heads}")
    for name, history in histories.items():
        if sorted(history) != list(range(min(history, default=1), heads[name] + 1)):
            against.append(f"{name} has gaps in its history")
        against += [
            f"{name}: block {height} is not on its parent"
            for height in history
            if height - 1 in history and history[height][2] != history[height - 1][0]
        ]
    for height in range(1, max(heads.values(), default=0) + 1):
        shown = {name: history[height] for name, history in histories.items() if height in history}
        if len(set(shown.values())) > 1:
            ids = {name: block[0][:16] for name, block in shown.items()}
            against.append(f"height {height} is not one block and state: {ids}")
    return Verdict(f"one history of {max(heads.values(), default=0)} blocks at {len(witnesses)} nodes", tuple(against))


def _headers(witness: Witness) -> Iterator[tuple[int, tuple[str, str, str]]]:
    """Height → (block, state root, parent), of all headers that the node holds."""
    first, head = int(witness.ask("sync")["first_header"]), _head(witness)
    for at in range(first, head + 1, BATCH):
        calls = [("header", {"height": height}) for height in range(at, min(at + BATCH, head + 1))]
        for answer in witness.batch(calls):
            if isinstance(answer, RpcError):
                raise answer
            shown = answer["header"]
            yield int(shown["height"]), (str(shown["id"]), str(shown["state_root"]), str(shown["parent"]))


def _head(witness: Witness) -> int:
    return int(witness.ask("status")["head"]["height"])


def supply_is_kept(witnesses: Sequence[Witness], orgs: Mapping[str, str], supply: int) -> Verdict:
    """At every node all tokens of the genesis are in accounts and escrow, no more and no less.

    `orgs`: by name, all organisations that ever were members.
    """
    against = []
    for witness in witnesses:
        held = sum(_balances(witness, orgs).values())
        escrow = sum(int(each["escrow"]) for each in witness.ask("request.list")["requests"])
        if held + escrow != supply:
            against.append(f"{witness.name}: {held} in accounts and {escrow} in escrow, want {supply}")
    return Verdict(f"all {supply} tokens are there", tuple(against))


def transfers_are_settled(books: Books) -> Verdict:
    """Every transfer that was signed is final or can never run."""
    against = [
        f"{each.payment} (nonce {each.nonce}, taken: {', '.join(each.taken_by) or 'nobody'}) neither final nor refused"
        for each in books.unsettled()
    ]
    final = sum(1 for _ in books.finals())
    lost = len(books.attempts) - final - len(against)
    return Verdict(f"{final} transfers are final, {lost} refused for another use of their nonce", tuple(against))


def transfers_are_final_once(books: Books, witnesses: Sequence[Witness]) -> Verdict:
    """What was seen final lies at one place, the same at every node; what was refused nowhere; nobody pays twice."""
    against = [f"{payment} was paid twice" for payment in books.paid_twice()]
    # Who holds most: at least one node of a run keeps all blocks, or what was refused could not be shown to be nowhere.
    archive = min(witnesses, key=_first_block)
    if _first_block(archive) > 1:
        against.append(f"nobody holds the blocks below {_first_block(archive)}")
    times = Counter(_transfers(archive))
    for each in books.attempts:
        wanted = 1 if each.place is not None else 0
        if times[each.id] != wanted:
            against.append(f"{each.payment} is {times[each.id]} times in blocks of {archive.name}, want {wanted}")
    for witness in witnesses:
        against += _misplaced(witness, books.attempts)
    return Verdict(f"each of {len(books.attempts)} signed transfers is final once or never, everywhere", tuple(against))


def _first_block(witness: Witness) -> int:
    return int(witness.ask("sync")["first_block"])


def _transfers(witness: Witness) -> Iterator[str]:
    """The id of every transfer in every block that the node holds."""
    head = _head(witness)
    for first in range(_first_block(witness), head + 1, BATCH):
        calls = [("block", {"height": height}) for height in range(first, min(first + BATCH, head + 1))]
        for answer in witness.batch(calls):
            if isinstance(answer, RpcError):
                raise answer
            for transaction in answer["block"]["transactions"]:
                if transaction["body"]["kind"] == "transfer":
                    yield str(transaction["id"])


def _misplaced(witness: Witness, attempts: Sequence[Attempt]) -> list[str]:
    against, first = [], _first_block(witness)
    for at in range(0, len(attempts), BATCH):
        some = attempts[at : at + BATCH]
        for each, answer in zip(some, witness.batch([("tx", {"id": each.id}) for each in some]), strict=True):
            shown = None
            if not isinstance(answer, RpcError) and answer["status"] == "final":
                shown = (int(answer["height"]), int(answer["index"]))
            # Of a block that it does not hold, a node cannot tell.
            wanted = each.place if each.place is None or each.place[0] >= first else None
            if shown != wanted:
                against.append(f"{witness.name} has {each.payment} at {shown}, want {wanted}")
    return against


def began_with_snapshots(checks: Checks, witnesses: Sequence[Witness]) -> Verdict:
    """The nodes that the manifest names do not hold the first blocks, and so did not get to the head by them."""
    first = {witness.name: _first_block(witness) for witness in witnesses}
    against = [
        f"{name} holds all blocks from {first.get(name)} on" for name in checks.by_snapshot if first.get(name) == 1
    ]
    return Verdict(f"{', '.join(checks.by_snapshot)} began with a snapshot", tuple(against))


def _balances(witness: Witness, orgs: Mapping[str, str]) -> dict[str, int]:
    return {name: int(witness.ask("account", org=org)["balance"]) for name, org in orgs.items()}


def balances_are_paid(
    books: Books, before: Mapping[str, int], orgs: Mapping[str, str], witnesses: Sequence[Witness]
) -> Verdict:
    """Every account holds what it held, less what its client paid and more what it got, by the clients' own books."""
    wanted = books.balances(before)
    against = []
    for witness in witnesses:
        shown = _balances(witness, orgs)
        against += [
            f"{witness.name}: {name} holds {shown.get(name)}, want {amount}"
            for name, amount in wanted.items()
            if shown.get(name) != amount
        ]
    return Verdict("every account holds what the clients' books say", tuple(against))


def convictions(checks: Checks, witnesses: Sequence[Witness]) -> Verdict:
    """Proven equivocation: of those that must have been found out, perhaps of those that may, of nobody else."""
    against = []
    for witness in witnesses:
        rows = witness.ask("ranking")["ranking"]
        found = {str(row["name"]) for row in rows if int(row["punished_height"])}
        against += [f"{witness.name}: nothing is proven against {name}" for name in set(checks.convicted) - found]
        innocent = found - set(checks.convicted) - set(checks.may_be_convicted)
        against += [f"{witness.name}: {name} is convicted and did nothing" for name in innocent]
    said = f"{', '.join(checks.convicted)} convicted, nobody else" if checks.convicted else "nobody honest is convicted"
    return Verdict(said, tuple(against))


def request_ended(checks: Checks, request: str, witnesses: Sequence[Witness]) -> Verdict:
    """The request came to the end that the manifest wants, and all nodes show the same receipts of it."""
    against = []
    receipts = set()
    for witness in witnesses:
        stage = witness.ask("request.get", request=request)["request"]["stage"]
        if checks.request and stage != checks.request:
            against.append(f"{witness.name}: the request is {stage}, want {checks.request}")
        receipts.add(repr(witness.ask("receipts", request=request)["receipts"]))
    if len(receipts) > 1:
        against.append("receipts differ between nodes")
    return Verdict(f"the request is {checks.request or 'over'}, with the same receipts everywhere", tuple(against))
