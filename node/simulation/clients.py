"""What people do with the league meanwhile: transfers that are handed in again until something is known of them,
requests of several rounds, some of them cancelled, nonces left out."""

from dataclasses import dataclass, field
from random import Random

import trio

from ledger.chain import Chain
from ledger.entries import FINAL_STAGES, AnchorTotals, Request, anchor_totals_key, request_key
from ledger.errors import InvalidTransaction, StoreUnavailable
from ledger.protection import MASKED_PROVIDERS_MIN
from ledger.transactions import (
    Body,
    CancelRequest,
    Protection,
    PublishProtected,
    PublishRequest,
    Transaction,
    Transfer,
    sign_transaction,
)
from ledger.types import Hash32
from node.simulation.disk import PowerCut
from node.simulation.factory import initial_model, terms
from node.simulation.life import Life
from node.simulation.member import Member
from node.simulation.referee import Referee

# A client that does not know what became of its statement hands in the same bytes again.
AGAIN_S = 3.0
ROUNDS = 3
# Of each step of a masked round: a dead leader or two, and a node that starts.
EXCHANGE_MS = 10_000
# Refusals of a cancel that nothing will ever change: a request that has ended does not begin again.
OVER = frozenset({"stage", "cancelled"})
# What a daemon may answer with when its disk or its machine fails under a call.
NODE_FAULTS = (StoreUnavailable, OSError, PowerCut)


@dataclass(slots=True)
class Clients:
    """`promised`: statements a node took and that are not known to be final or refused yet, by id."""

    members: list[Member]
    referee: Referee
    rng: Random
    promised: dict[Hash32, tuple[Member, Transaction]] = field(default_factory=dict)
    taken: dict[Hash32, Member] = field(default_factory=dict)
    refused: set[Hash32] = field(default_factory=set)
    masked: bool = False
    requests_wanted: int = 0

    async def run(self, transfers: int, requests: int, cancels: int, until_s: float) -> None:
        """Everything that is wanted is asked for by `until_s`; what is promised is followed for ever."""
        self.requests_wanted = requests
        async with trio.open_nursery() as nursery:
            for _ in range(transfers):
                nursery.start_soon(self._transfer, self.rng.uniform(0, until_s), self.rng.random() < 0.1)
            for number in range(requests):
                nursery.start_soon(self._request, number, until_s * number / max(1, requests))
            for _ in range(cancels):
                nursery.start_soon(self._cancel, self.rng.uniform(0, until_s))
            nursery.start_soon(self._follow)

    def say(self, member: Member, body: Body) -> Transaction | None:
        """Hand a statement to a node; None when it is down or refuses."""
        life = member.alive
        if life is None:
            return None
        try:
            transaction = life.driver.submit_own(body)
        except (InvalidTransaction, *NODE_FAULTS):
            return None
        self._promise(member, transaction)
        return transaction

    def is_idle(self) -> bool:
        return not self.promised and not self.requests_wanted

    def _promise(self, member: Member, transaction: Transaction) -> None:
        if member.correct:
            self.promised[transaction.id] = (member, transaction)
            self.taken[transaction.id] = member

    async def _transfer(self, at_s: float, leave_gap: bool) -> None:
        await trio.sleep(at_s)
        sender, receiver = self.rng.choice(self.members), self.rng.choice(self.members)
        body = Transfer(receiver.org, self.rng.randrange(1, 100), "")
        if not leave_gap or sender.alive is None or not sender.correct:
            self.say(sender, body)
            return
        # Signed elsewhere with the nonce after the next: it waits until the node lets the missing one go.
        life = sender.alive
        nonce = life.driver.replica.intake.next_nonce(life.key.public) + 1
        transaction = sign_transaction(life.key, life.chain.chain_id, nonce, body)
        try:
            life.driver.submit(transaction)
        except (InvalidTransaction, *NODE_FAULTS):
            return
        self._promise(sender, transaction)

    async def _request(self, number: int, at_s: float) -> None:
        """Published once it is heard of; tried again, for who crashes forgets what it wanted."""
        await trio.sleep(at_s)
        publisher = [member for member in self.members if member.correct][number]
        title = f"simulated {number}"
        model = initial_model()
        while not publisher.leaving:
            life = publisher.alive
            if life is not None and self._anchored(life) and self._find(life.chain, title) is None:
                try:
                    blob = await life.blobs.put(model)
                except NODE_FAULTS:
                    blob = None
                if blob is not None:
                    self.referee.archive[blob] = model
                    self.say(publisher, self._published(blob, title))
            await trio.sleep(AGAIN_S)
            life = publisher.alive
            if life is not None and self._find(life.chain, title) is not None:
                break
        self.requests_wanted -= 1

    def _published(self, model: Hash32, title: str) -> PublishRequest | PublishProtected:
        most = len(self.members) - 1
        if not self.masked:
            return PublishRequest(terms(model, most, title, ROUNDS))
        return PublishProtected(
            terms(model, most, title, ROUNDS, MASKED_PROVIDERS_MIN), Protection((), True, EXCHANGE_MS)
        )

    def _anchored(self, life: Life) -> bool:
        """Whether somebody else has records to offer."""
        others = [member.org for member in self.members if member.org != life.org]
        return any(life.chain.read(AnchorTotals, anchor_totals_key(org)) for org in others)

    @staticmethod
    def _find(chain: Chain, title: str) -> Hash32 | None:
        for request_id, request in chain.scan(Request, request_key(b"")):
            if request.terms.title == title:
                return Hash32(request_id)
        return None

    async def _cancel(self, at_s: float) -> None:
        await trio.sleep(at_s)
        for member in self.members:
            life = member.alive
            if life is None or not member.correct:
                continue
            for request_id, request in life.chain.scan(Request, request_key(b"")):
                if request.requester == life.org and request.stage not in FINAL_STAGES:
                    self.say(member, CancelRequest(request_id))
                    return

    async def _follow(self) -> None:
        while True:
            await trio.sleep(AGAIN_S)
            for transaction_id, (member, transaction) in list(self.promised.items()):
                life = member.alive
                if life is not None:
                    self._look_after(life, transaction_id, transaction)
                elif member.gone:
                    # Who has left asks no more; whether it became final is seen by the others.
                    del self.promised[transaction_id]

    def _look_after(self, life: Life, transaction_id: Hash32, transaction: Transaction) -> None:
        """Final, refused because its nonce or its key is used up, or handed in again as it is."""
        if life.chain.find_transaction(transaction_id) is not None:
            del self.promised[transaction_id]
        elif (
            transaction.nonce < life.chain.next_nonce(transaction.sender)
            or life.chain.key_of(life.org) != transaction.sender
        ):
            self.refused.add(transaction_id)
            del self.promised[transaction_id]
        else:
            try:
                life.driver.submit(transaction)
            except InvalidTransaction as error:
                if isinstance(transaction.body, CancelRequest) and error.code in OVER:
                    # Its node lost it in a crash, and meanwhile the request has ended: that lasts.
                    self.refused.add(transaction_id)
                    del self.promised[transaction_id]
                # Else known already, or not now: the next look tells.
            except NODE_FAULTS:
                return
