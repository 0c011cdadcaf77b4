"""What this node's trainings have spent of its data set's privacy: one small file, never forgotten, never refunded.

A data directory holds one kind of record (`record_store.py` refuses another), so it is one data set and has one budget:
whatever request a record is trained for, and whenever it came, it shares what was spent. A charge is on the disk before
the training process hears of the job; a crash after that has cost it. What a charge is made of: `privacy_plan.py`.

The file is there whole or as it was before, so damage is never the trace of a crash: it stops training until somebody
looks. Costs are Rényi epsilons in billionths, rounded up: whole numbers add up alike in every order.
"""

import hashlib
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from fl.privacy.accountant import RDP_ORDERS, ZERO_RDP, Rdp, epsilon_micro
from ledger.codec import Size, decode, encode
from ledger.errors import CorruptStore, InvalidBytes
from ledger.fields import Amount, Count, Digest, Name, Positive, Text
from ledger.types import AMOUNT_MAX
from node.files import Files, OsFiles

# In the data directory.
FOLDER = "privacy"
FILE = "budget"
MAGIC = b"HQP1"
_DIGEST_BYTES = 32
NANO = 10**9
MICRO = 10**6
PICO = 10**12
# A kilobyte each, written anew with every charge. Past it the oldest are added up into one sum.
ACCOUNTS_MAX = 1024
# The newest charges of a request, for people to read; all of them count in its sum.
CHARGES_SHOWN_MAX = 32

Costs = Annotated[tuple[Amount, ...], Size(len(RDP_ORDERS), len(RDP_ORDERS))]
NOTHING: tuple[int, ...] = (0,) * len(RDP_ORDERS)


class BudgetSpent(Exception):
    """The round would cost more than is left; nothing was charged. The text fits a DeclineRound."""


class BudgetDamaged(CorruptStore):
    """The file that says what was spent is not what was written: nothing may be trained on the strength of it."""


@dataclass(frozen=True, slots=True)
class ChargedRound:
    """One job that the training process was given, or was about to be: its Poisson steps over `units`."""

    round: Count
    attempt: Count
    units: Positive
    steps: Count


@dataclass(frozen=True, slots=True)
class Account:
    """What one request has cost. The noise is chosen once and kept for the whole request.

    `noise_micro`, `query_noise_micro`: noise multipliers x 10^6 (the second 0 without a query). `delta_pico`: at which
    `epsilon_micro` is this request's own limit. `charges`: how many; `newest`: the last of them.
    """

    request: Digest
    mode: Name
    unit: Text
    noise_micro: Positive
    query_noise_micro: Amount
    batch: Positive
    epsilon_micro: Positive
    delta_pico: Positive
    charges: Count = 0
    spent: Costs = NOTHING
    newest: Annotated[tuple[ChargedRound, ...], Size(0, CHARGES_SHOWN_MAX)] = ()

    def spent_micro(self) -> int:
        """Epsilon of this request alone at its own delta, in millionths, rounded up."""
        return epsilon_micro(as_rdp(self.spent), self.delta_pico / PICO)

    def charged(self, charge: ChargedRound, cost: Sequence[int]) -> "Account":
        newest = (*self.newest, charge)[-CHARGES_SHOWN_MAX:]
        return replace(self, charges=self.charges + 1, spent=added(self.spent, cost), newest=newest)


@dataclass(frozen=True, slots=True)
class Book:
    """The file. `orders`: at which the costs are; `folded`: the sum of requests too old to be kept apart."""

    orders: Annotated[tuple[Positive, ...], Size(1, 256)] = RDP_ORDERS
    folded: Costs = NOTHING
    accounts: Annotated[tuple[Account, ...], Size(0, ACCOUNTS_MAX)] = ()

    def spent(self) -> tuple[int, ...]:
        return added(self.folded, *(account.spent for account in self.accounts))

    def spent_micro(self, delta: float) -> int:
        """Epsilon of all requests together at `delta`, in millionths, rounded up."""
        return epsilon_micro(as_rdp(self.spent()), delta)

    def account(self, request: bytes) -> Account | None:
        return next((each for each in self.accounts if each.request == request), None)

    def with_account(self, account: Account) -> "Book":
        """`account` in the place of the request's own, or last; the oldest is folded when there are too many."""
        accounts = [each for each in self.accounts if each.request != account.request]
        folded = self.folded
        if len(accounts) == len(self.accounts) and len(accounts) >= ACCOUNTS_MAX:
            folded = added(folded, accounts.pop(0).spent)
        return Book(self.orders, folded, (*accounts, account))


@dataclass(frozen=True, slots=True)
class Limit:
    """What the owner of the data lets go of it in all, at this delta."""

    epsilon_micro: int
    delta: float


# [privacy] epsilon_max and delta, where nothing is configured.
DEFAULT_LIMIT = Limit(10 * MICRO, 1e-5)


class PrivacyBudget:
    """Every call may block on the disk; safe to call from several threads. One owner: the data directory's lock."""

    def __init__(self, folder: Path, files: Files | None = None) -> None:
        self.path = folder / FILE
        self._files = files or OsFiles()
        self._lock = threading.Lock()
        self._book: Book | None = None
        # Whether all that the ledger remembers of charges from before `began_ms` was compared with it.
        self.compared = False
        self.began_ms = time.time_ns() // 10**6
        if files is None:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def book(self) -> Book:
        """What was spent. Raises BudgetDamaged, OSError."""
        with self._lock:
            return self._read()

    def charge(self, account: Account, charge: ChargedRound, cost: Sequence[int], limit: Limit) -> Account:
        """Charge one job to the request's account, opened with `account` when it has none. On the disk on return.

        A smaller delta of `account` is the request's from now on, and all that was spent is measured at it.

        Raises BudgetSpent when the request's own limit or the data set's would be passed, BudgetDamaged, OSError: then
        nothing may be trained. After an OSError the charge may be on the disk all the same.
        """
        with self._lock:
            book = self._read()
            before = book.account(account.request) or account
            before = replace(before, delta_pico=min(before.delta_pico, account.delta_pico))
            after = before.charged(charge, cost)
            book = book.with_account(after)
            check_limit(after.spent, after.delta_pico / PICO, after.epsilon_micro, "in this request")
            check_limit(book.spent(), limit.delta, limit.epsilon_micro, "in all")
            self._write(book)
            return after

    def adopt(self, account: Account) -> bool:
        """Take over what is known from elsewhere to have been spent, where the file knows less; whether it did.

        For a file that was lost, or is an old copy: the ledger remembers what was announced. Raises as `charge`.
        """
        with self._lock:
            book = self._read()
            known = book.account(account.request)
            # An old copy may count more charges than were announced, crashes among them, and yet lack the newest. The
            # vector taken from the ledger is rounded up: the file is held against the epsilon that was announced.
            announced = min(account.epsilon_micro, account.spent_micro())
            if known is not None:
                if known.charges >= account.charges and known.spent_micro() >= announced:
                    return False
                account = replace(
                    known,
                    delta_pico=min(known.delta_pico, account.delta_pico),
                    charges=max(known.charges, account.charges),
                    spent=tuple(map(max, known.spent, account.spent)),
                )
            self._write(book.with_account(account))
            return True

    def _read(self) -> Book:
        if self._book is None:
            self._book = _parse(self.path, self._files.read(self.path)) if self._files.exists(self.path) else Book()
        return self._book

    def _write(self, book: Book) -> None:
        body = encode(book)
        try:
            self._files.publish(self.path, MAGIC + hashlib.sha256(body).digest() + body, mode=0o600)
        except BaseException:
            # The new file or the old one: what counts is what the disk says when it answers again.
            self._book = None
            raise
        self._book = book


def costs_of(rdp: Rdp) -> tuple[int, ...]:
    """Rényi epsilons in billionths, rounded up. What is too large to be written counts as without end."""
    return tuple(min(math.ceil(each * NANO), AMOUNT_MAX) for each in rdp)


def added(*costs: Sequence[int]) -> tuple[int, ...]:
    return tuple(min(sum(each), AMOUNT_MAX) for each in zip(NOTHING, *costs, strict=True))


def as_rdp(costs: Sequence[int]) -> Rdp:
    assert len(costs) == len(ZERO_RDP)
    return tuple(each / NANO for each in costs)


def check_limit(costs: Sequence[int], delta: float, limit: int, where: str) -> None:
    """Raises BudgetSpent when `costs` come to more than `limit` (epsilon x 10^6) at this delta."""
    spent = epsilon_micro(as_rdp(costs), delta)
    if spent > limit:
        # A DeclineRound takes 64 bytes of it.
        raise BudgetSpent(f"privacy budget spent: epsilon {spent / MICRO:.6g} of {limit / MICRO:g} {where}")


def _parse(path: Path, data: bytes) -> Book:
    head = len(MAGIC) + _DIGEST_BYTES
    body = data[head:]
    remedy = "restore it from a backup: until then no round that costs privacy is trained"
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : head]:
        raise BudgetDamaged(
            f"privacy budget damaged: {path} holds {len(data)} bytes that are not what was written; {remedy}"
        )
    try:
        book = decode(Book, body)
    except InvalidBytes as error:
        raise BudgetDamaged(f"privacy budget damaged: {path} holds no budget: {error}; {remedy}") from None
    if book.orders != RDP_ORDERS:
        raise BudgetDamaged(
            f"privacy budget of another version: {path} counts at {len(book.orders)} orders, want {len(RDP_ORDERS)}"
        )
    return book
