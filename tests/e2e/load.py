"""Clients that pay each other all the time, whatever happens to the nodes, and keep books of all they signed.

A client is an organisation with its key, which is not the node's process: it hands its transfers to any node, asks any
node what became of them, and hands the same bytes in again when nothing did. What `submit_tx` promises, and what is
held here against it: a transfer that was taken may be lost with the node that took it, before anybody else heard of it;
the same bytes handed in again, anywhere and however often, are final once or never; and a nonce is used once, so that a
transfer whose nonce another transaction used (the node's own duties bear the same account's nonces) is refused for good
and may be signed anew.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ledger.keys import KeyPair
from ledger.transactions import Transfer, sign_transaction
from ledger.types import Hash32, OrgId
from node.rpc.errors import RpcError
from tests.e2e.asking import Asker, Silence
from tests.e2e.bookkeeping import Attempt, Books

log = logging.getLogger(__name__)

# How often a client asks what became of its transfers: recovery times are as exact as this.
LOOK_EVERY_S = 0.05
# What is not final by then is handed in again: longer than a dead leader costs, so mostly nothing is sent twice.
AGAIN_AFTER_S = 3.0
AMOUNT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Client:
    """An organisation that pays. `name`: of its node, and in the books."""

    name: str
    key: KeyPair
    org: OrgId


class Payer:
    """One client, in a thread of its own from `start` to `settle`.

    `gateways`: nodes that may be handed to and asked now, by name; looked up anew each time.
    """

    def __init__(
        self,
        me: Client,
        others: Sequence[Client],
        chain_id: Hash32,
        books: Books,
        gateways: Callable[[], dict[str, Asker]],
        every_s: float,
        in_flight: int,
        rng: random.Random,
    ) -> None:
        self._me = me
        self._others = others
        self._chain_id = chain_id
        self._books = books
        self._gateways = gateways
        self._every_s = every_s
        self._in_flight = in_flight
        self._rng = rng
        self._waiting: list[Attempt] = []
        # Payments to be made with the next nonces: those that were superseded come first.
        self._owed: list[tuple[str, str, int]] = []
        self._nonce: int | None = None
        self._count = 0
        # The highest head that an answer was about.
        self._height = 0
        self._ends = threading.Event()
        self.fault: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"payer-{me.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def sign_no_more(self) -> None:
        """From now on only what is under way is brought to its end."""
        self._ends.set()

    def join(self, timeout_s: float) -> bool:
        """Whether all it signed is settled. Raises what broke it."""
        self._thread.join(timeout_s)
        if self.fault is not None:
            raise self.fault
        return not self._thread.is_alive()

    # --- the thread

    def _run(self) -> None:
        try:
            due = time.monotonic()
            while not self._ends.is_set() or self._waiting:
                moment = time.monotonic()
                if moment >= due and not self._ends.is_set() and len(self._waiting) < self._in_flight:
                    due = max(due + self._every_s, moment)
                    self._sign_one()
                self._look()
                time.sleep(LOOK_EVERY_S)
        except BaseException as error:
            self.fault = error

    def _choose(self) -> tuple[str, Asker] | None:
        gateways = self._gateways()
        return self._rng.choice(sorted(gateways.items(), key=lambda each: each[0])) if gateways else None

    def _sign_one(self) -> None:
        if self._nonce is None:
            self._nonce = self._next_nonce()
            if self._nonce is None:
                return
        if self._owed:
            payment, receiver, amount = self._owed.pop(0)
        else:
            self._count += 1
            payment = f"{self._me.name} {self._count}"
            receiver, amount = self._rng.choice(self._others).name, self._rng.randint(1, AMOUNT_MAX)
        to = next(each.org for each in self._others if each.name == receiver)
        signed = sign_transaction(self._me.key, self._chain_id, self._nonce, Transfer(to, amount, payment))
        attempt = Attempt(
            payment,
            self._me.name,
            receiver,
            amount,
            self._nonce,
            signed.id.hex(),
            signed.encoded.hex(),
            time.monotonic(),
            self._height,
        )
        self._nonce += 1
        self._books.add(attempt)
        self._waiting.append(attempt)
        self._hand_in([attempt])

    def _next_nonce(self) -> int | None:
        """The first nonce that nothing final bears, as far as one node knows; None when that one is silent."""
        gateway = self._choose()
        if gateway is None:
            return None
        try:
            return int(gateway[1].call("account", org=self._me.org.hex())["nonce"])
        except (Silence, RpcError):
            return None

    def _hand_in(self, attempts: Sequence[Attempt]) -> None:
        gateway = self._choose()
        moment = time.monotonic()
        for each in attempts:
            each.said_at = moment
        if gateway is None:
            return
        name, asker = gateway
        calls = [("submit_tx", {"transaction": each.encoded, "mode": "async"}) for each in attempts]
        try:
            answers = asker.batch(calls)
        except Silence:
            return
        for each, answer in zip(attempts, answers, strict=True):
            if not isinstance(answer, RpcError):
                each.taken_by.append(name)

    def _look(self) -> None:
        """Ask one node what became of all that waits; hand in again what has waited too long."""
        gateway = self._choose()
        if not self._waiting or gateway is None:
            return
        # The account first: a nonce that is used then, and a transaction that is not there afterwards, says enough.
        calls: list[tuple[str, dict[str, Any]]] = [("account", {"org": self._me.org.hex()})]
        calls += [("tx", {"id": each.id}) for each in self._waiting]
        try:
            account, *found = gateway[1].batch(calls)
        except Silence:
            return
        if isinstance(account, RpcError):
            return
        moment = time.monotonic()
        self._height = max(self._height, int(account["head"]["height"]))
        for each, answer in zip(self._waiting, found, strict=True):
            if not isinstance(answer, RpcError) and answer["status"] == "final":
                each.place, each.final_at = (int(answer["height"]), int(answer["index"])), moment
            elif isinstance(answer, RpcError) and answer.kind.word != "not_found":
                continue
            elif isinstance(answer, RpcError) and int(answer.details["first_block"]) > each.after_height + 1:
                # This node would not know: it does not hold all blocks in which it might lie.
                continue
            elif isinstance(answer, RpcError) and int(account["nonce"]) > each.nonce:
                each.superseded = True
                self._owed.append((each.payment, each.receiver, each.amount))
        if any(each.superseded for each in self._waiting):
            # Something else bears our nonces: begin again after it.
            self._nonce = max(self._nonce or 0, int(account["nonce"]))
        self._waiting = [each for each in self._waiting if not each.settled]
        late = [each for each in self._waiting if moment - each.said_at >= AGAIN_AFTER_S]
        if late:
            self._hand_in(late)
