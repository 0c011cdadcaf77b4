"""What is let into the pool: signatures once, rules against a trial block on the head, refusals with a reason.

A member's own mistake is refused at once; what a peer sent and does not fit yet is parked for a few heights, for it may
only have overtaken the block it rests on.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence

from consensus.pending import Admission, PendingTransactions
from ledger.chain import Chain, Trial
from ledger.errors import InvalidTransaction
from ledger.execution import next_nonce
from ledger.keyring import key_of, sender_of, speaks
from ledger.parameters import REQUESTS_OPEN_LIMIT
from ledger.protection import AcceptShares, OfferMaskKeys, OpenShares, RevealShares, ShareMaskSecrets
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnnounceProtected,
    AnnounceUpdate,
    AttestBlobs,
    Body,
    DeclineRound,
    ReportAccuracy,
    ReportEquivocation,
    ReportForDuty,
    SkipNonce,
    Transaction,
)
from ledger.types import BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX, Hash32, NodeKey

# Signatures remembered as good: the pool twice over, 128 bytes each.
SIGNATURES_KEPT_MAX = 40_000
# Transactions that did not fit the head when they came. Past that the oldest goes, of the sender that has most: it is
# sent again.
PARKED_MAX = 1_024
PARKED_HEIGHTS = 8
# Who has so many transactions in a block rests before its next ones are put in, for each of them so long: one that
# submits without end would else have block follow block, and everybody else's word would wait for one of them. Each
# costs a node a millisecond. While others say a little now and then, whom the waiting is for, a block takes 32 of a
# busy sender, a twentieth of a node's time, 45 a second; else 128, and some 500 a second.
BLOCK_SHARE_MAX = 16
SENDER_PER_BLOCK_MAX, REST_MS_EACH = 128, 1
BESIDE_OTHERS_MAX, REST_BESIDE_OTHERS_MS_EACH = 32, 20
OTHERS_MS = 5_000
# A busy sender's last few are no other's few.
BUSY_MS = 30_000
# What a block takes beside transactions: its header, what shows that views failed, aggregates. More only when it must.
BLOCK_MARGIN_BYTES = 512 * 1024
# Header, lists around the transactions, and aggregates that became due by what the block itself says.
BLOCK_HEADER_BYTES = 64 * 1024

# What a member owes the league while the state asks for it, and says again until the state shows it.
Duty = (
    AnnounceUpdate
    | AnnounceProtected
    | OfferMaskKeys
    | ShareMaskSecrets
    | AcceptShares
    | OpenShares
    | RevealShares
    | AttestBlobs
    | DeclineRound
    | ReportAccuracy
    | ReportEquivocation
    | ReportForDuty
    | SkipNonce
)
# What only the author of a block puts into it, and nobody sends.
AGGREGATES = (AggregateRound, AggregateProtected)


class SignatureMemory:
    """Checks each transaction's signature once, however often it comes: from a client, a peer, in a block."""

    def __init__(self, chain_id: Hash32) -> None:
        self._chain_id = chain_id
        self._good: OrderedDict[bytes, None] = OrderedDict()

    def check(self, transaction: Transaction) -> None:
        """Raises InvalidTransaction."""
        # The id does not cover the signature: a copy with another one is another question.
        name = transaction.id + transaction.signature
        if name in self._good:
            return
        transaction.check_signature(self._chain_id)
        self._good[name] = None
        if len(self._good) > SIGNATURES_KEPT_MAX:
            self._good.popitem(last=False)


class Intake:
    """The pool of one node and the trial block that says what of it would run on the head."""

    def __init__(self, chain: Chain, signatures: SignatureMemory, now_ms: int) -> None:
        self.pool = PendingTransactions()
        self._chain = chain
        self._signatures = signatures
        self._parked: OrderedDict[Hash32, tuple[Transaction, int]] = OrderedDict()
        self._trial = self._fresh_trial(now_ms)
        self._runnable = 0
        self._rests_until: dict[NodeKey, int] = {}
        self._busy_until: dict[NodeKey, int] = {}
        self._others_until = 0
        self._sender_max = SENDER_PER_BLOCK_MAX

    @property
    def has_runnable(self) -> bool:
        """Whether a transaction waits that the head's state accepts."""
        return self._runnable > 0

    def next_nonce(self, org: NodeKey, body: Body | None = None) -> int:
        """The nonce that a new transaction of `org` (saying `body`) must bear, those that wait counted in.

        What is parked here may be final elsewhere: of two statements with one nonce, one is lost. So only a duty takes
        the nonce of a parked duty: either may be lost, for who owes it says it again.
        """
        spare = isinstance(body, Duty)
        taken = {each.nonce for each in self._parked_of(org) if not (spare and isinstance(each.body, Duty))}
        nonce = self.pool.next_nonce(org, self._chain.next_nonce(org))
        while nonce in taken:
            nonce = self.pool.next_nonce(org, nonce + 1)
        return nonce

    def gap(self, org: NodeKey) -> int | None:
        """The nonce that is missing in the pool while later ones of `org` wait for it; None when nothing waits so."""
        head = self._chain.next_nonce(org)
        return self.pool.next_nonce(org, head) if self.pool.has_gap(org, head) else None

    def is_refused_duty(self, org: NodeKey, nonce: int) -> bool:
        """Whether a duty with this nonce was refused by the head and is only parked."""
        return any(each.nonce == nonce and isinstance(each.body, Duty) for each in self._parked_of(org))

    def _parked_of(self, org: NodeKey) -> list[Transaction]:
        return [each for each, _ in self._parked.values() if each.sender == org]

    def submit(self, transaction: Transaction) -> bool:
        """A client's transaction; False when it waits already. Raises InvalidTransaction, and then keeps nothing."""
        self._signatures.check(transaction)
        self._refuse_aggregates(transaction)
        if not self._add(transaction):
            return False
        refused = self._run(NodeKey(transaction.sender))
        for each, error in refused:
            if each.id == transaction.id:
                self.pool.drop(each.id)
                raise error
            # One that waited for this one: whoever said it is told when its nonce is used.
            self._park(each)
        return True

    def receive(self, transaction: Transaction) -> bool:
        """A peer's; whether it is new and waits. Raises InvalidTransaction only for what can never be right."""
        if transaction.id in self._parked or self.pool.get(transaction.id) is not None:
            return False
        self._refuse_aggregates(transaction)
        self._signatures.check(transaction)
        try:
            if not self._add(transaction):
                return False
        except InvalidTransaction:
            return False
        for each, _ in self._run(NodeKey(transaction.sender)):
            if self._is_member(each.sender):
                self._park(each)
            else:
                # Keys cost nothing: what strangers are refused must not push out what members said early.
                self.pool.drop(each.id)
        return self.pool.get(transaction.id) is not None

    def choose(self, taken_bytes: int = 0) -> list[Transaction]:
        """What the next block should try, in order. `taken_bytes`: of the block, by what shows that views failed and
        by aggregates; a block that is too long would be refused, and so would the next."""
        room = BLOCK_BYTES_MAX - max(BLOCK_MARGIN_BYTES, taken_bytes + BLOCK_HEADER_BYTES)
        state = self._chain.state()
        # One place stays free for each aggregate, which is not in the pool.
        each_max, resting = self._sender_max, self._rests_until.keys()
        count = BLOCK_TRANSACTIONS_MAX - REQUESTS_OPEN_LIMIT
        # An identity replaces its node's key or leaves, and counts nonces with that key: whoever stole the key could
        # else keep it with transactions without end, each of which uses up the nonce that the rotation bears.
        identities = {sender for sender in self.pool.senders if key_of(state, sender) not in (None, sender)}
        return self.pool.ready(lambda org: next_nonce(state, org), room, count, each_max, resting, identities)

    def rest_ms(self, now_ms: int) -> int | None:
        """How long until somebody who rests has rested enough; None when nobody rests."""
        ends = min(self._rests_until.values(), default=None)
        return None if ends is None else max(0, ends - now_ms)

    def rested(self, now_ms: int) -> None:
        """Time has passed: who has rested enough is looked at again."""
        for sender in [each for each, ends in self._rests_until.items() if ends <= now_ms]:
            del self._rests_until[sender]
            for each, _ in self._run(sender):
                self._park(each)

    def _begin_rests(self, final: Sequence[Transaction], now_ms: int) -> None:
        self._rests_until = {sender: ends for sender, ends in self._rests_until.items() if ends > now_ms}
        counts = Counter(NodeKey(each.sender) for each in final)
        self._busy_until = {sender: ends for sender, ends in self._busy_until.items() if ends > now_ms}
        self._busy_until |= {sender: now_ms + BUSY_MS for sender, count in counts.items() if count >= BLOCK_SHARE_MAX}
        if counts.keys() - self._busy_until.keys():
            self._others_until = now_ms + OTHERS_MS
        beside_others = now_ms < self._others_until
        self._sender_max = BESIDE_OTHERS_MAX if beside_others else SENDER_PER_BLOCK_MAX
        each_ms = REST_BESIDE_OTHERS_MS_EACH if beside_others else REST_MS_EACH
        for sender, count in counts.items():
            if count >= BLOCK_SHARE_MAX:
                self._rests_until[sender] = now_ms + count * each_ms

    def refused(self, refused: Sequence[tuple[Transaction, InvalidTransaction]]) -> None:
        """Transactions that a block in the making did not accept: the trial's clock was behind."""
        for transaction, error in refused:
            self._runnable = max(0, self._runnable - 1)
            if error.code != "nonce":
                self._park(transaction)

    def new_head(self, final: Iterable[Transaction], now_ms: int) -> list[tuple[Transaction, InvalidTransaction]]:
        """After a block: what of the pool still runs, and what is dropped for good, with the reason."""
        counted = [each for each in final if not isinstance(each.body, AGGREGATES)]
        losers = self._losers(counted)
        self.pool.remove_final(counted)
        state = self._chain.state()
        # An organisation has two keys, and one count of nonces: what one of them said may use up the other's.
        for loser in self.pool.stale(lambda key: next_nonce(state, key)):
            self.pool.drop(loser.id)
            losers.append(loser)
        dropped = [(loser, _nonce_is_used(loser)) for loser in losers]
        for each in counted:
            self._parked.pop(each.id, None)
        parked, self._parked = self._parked, OrderedDict()
        self._trial = self._fresh_trial(now_ms)
        self._begin_rests(counted, now_ms)
        for transaction, height in parked.values():
            if self._chain.height - height > PARKED_HEIGHTS:
                dropped.append((transaction, self._reason(transaction, now_ms)))
                continue
            try:
                self._add(transaction)
            except InvalidTransaction as error:
                dropped.append((transaction, error))
        self._runnable = 0
        for transaction in self.choose():
            try:
                self._trial.apply(transaction)
                self._runnable += 1
            except InvalidTransaction as error:
                # It only follows one that was refused: it keeps its place, and the next to bear that nonce frees it.
                if error.code == "nonce":
                    continue
                first = parked.get(transaction.id)
                self._park(transaction, self._chain.height if first is None else first[1])
        return dropped

    def _losers(self, final: Sequence[Transaction]) -> list[Transaction]:
        """What waits with a nonce that another transaction signed with the same key has used."""
        rivals = [(each, self.pool.waiting(NodeKey(each.sender), each.nonce)) for each in final]
        return [waiting for each, waiting in rivals if waiting is not None and waiting.id != each.id]

    def _fresh_trial(self, now_ms: int) -> Trial:
        time = max(self._chain.head_time + 1, now_ms)
        return self._chain.trial(self._chain.leaders()[0], time)

    def _add(self, transaction: Transaction) -> bool:
        """Raises InvalidTransaction when the pool does not take it; False when it has it."""
        self._refuse_strangers_queues(transaction)
        admission = self.pool.add(transaction, self._chain.next_nonce(transaction.sender))
        if admission in (Admission.ADDED, Admission.KNOWN):
            return admission is Admission.ADDED
        code = "nonce" if admission in (Admission.STALE, Admission.NONCE_TAKEN, Admission.GAP_TOO_WIDE) else "full"
        raise InvalidTransaction(code, f"nonce {transaction.nonce}: {admission.value}")

    def _run(self, sender: NodeKey) -> list[tuple[Transaction, InvalidTransaction]]:
        """Try on the trial what of this sender the next block can take; a refusal ends its run."""
        if sender in self._rests_until:
            return []
        end = self._chain.next_nonce(sender) + self._sender_max
        while next_nonce(self._trial.state, sender) < end:
            following = self.pool.waiting(sender, next_nonce(self._trial.state, sender))
            if following is None:
                return []
            try:
                self._trial.apply(following)
                self._runnable += 1
            except InvalidTransaction as error:
                return [(following, error)]
        return []

    def _park(self, transaction: Transaction, height: int | None = None) -> None:
        self.pool.drop(transaction.id)
        self._parked[transaction.id] = (transaction, self._chain.height if height is None else height)
        if len(self._parked) > PARKED_MAX:
            counts = Counter(each.sender for each, _ in self._parked.values())
            largest = max(counts, key=lambda sender: (counts[sender], sender))
            del self._parked[next(name for name, (each, _) in self._parked.items() if each.sender == largest)]

    def _reason(self, transaction: Transaction, now_ms: int) -> InvalidTransaction:
        try:
            self._fresh_trial(now_ms).apply(transaction)
        except InvalidTransaction as error:
            return error
        return InvalidTransaction("full", "waited for too many heights")

    def _refuse_strangers_queues(self, transaction: Transaction) -> None:
        """A stranger waits with one registration that can run now, and with nothing behind it.

        The pool shares itself out by sender, and anybody can make up senders: if each could leave something there that
        never runs, they would hold all of it for ever, at the price of some key pairs.
        """
        sender_of(self._trial.state, transaction.sender, transaction.body)
        if self._is_member(transaction.sender):
            return
        expected = self._chain.next_nonce(transaction.sender)
        if transaction.nonce != expected:
            raise InvalidTransaction("nonce", f"nonce {transaction.nonce}, want {expected} of who is no member")

    def _is_member(self, key: bytes) -> bool:
        return speaks(self._trial.state, key)

    @staticmethod
    def _refuse_aggregates(transaction: Transaction) -> None:
        if isinstance(transaction.body, AGGREGATES):
            raise InvalidTransaction("author", "an aggregate is put in a block by its author, never sent")


def _nonce_is_used(loser: Transaction) -> InvalidTransaction:
    return InvalidTransaction("nonce", f"nonce {loser.nonce}: another transaction of this sender is final with it")
