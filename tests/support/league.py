"""A tiny league for tests of the ledger: founders with keys, and real blocks built, certified and appended at once.

No network and no consensus: every member signs what the rules would let it sign. Bodies of all kinds are made here too.
"""

from collections.abc import Sequence
from dataclasses import replace

from ledger.aggregation import AggregationResult, aggregate_transaction_body, aggregates_due
from ledger.blocks import Block, FinalBlock
from ledger.certificates import Certificate, Committee, Equivocation, Subject, VoteKind, cast, certify
from ledger.chain import Chain, Trial
from ledger.codec import digest
from ledger.entries import (
    Account,
    Member,
    Receipt,
    Request,
    Round,
    Standing,
    account_key,
    member_key,
    receipt_key,
    request_key,
    round_key,
    standing_key,
)
from ledger.genesis import Genesis, GenesisMember
from ledger.keys import KeyPair
from ledger.memory_store import MemoryStore
from ledger.parameters import LeagueParameters
from ledger.protocols import NEWEST
from ledger.rewards import supply, tokens_in_circulation
from ledger.store import Store
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnchorRecords,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    JoinRequest,
    PublishRequest,
    ReportEquivocation,
    RequestTerms,
    Transaction,
    Verdict,
    sign_transaction,
)
from ledger.types import ZERO_HASH, Hash32, OrgId

START_MS = 1_700_000_000_000
BALANCE = 1_000_000


def key_of(name: str) -> KeyPair:
    return KeyPair.from_seed(digest("test/league", name.encode()))


def founders(count: int) -> list[KeyPair]:
    """Keys of the first members, ascending by organisation as a genesis wants them."""
    return sorted((key_of(f"founder {number}") for number in range(count)), key=lambda key: key.org)


def genesis_of(keys: Sequence[KeyPair], balance: int = BALANCE, protocol: int = NEWEST, **parameters: int) -> Genesis:
    members = tuple(GenesisMember(key.org, f"factory {at}", (), balance) for at, key in enumerate(keys))
    return Genesis("test league", START_MS, members, LeagueParameters(**parameters), protocol)


def certificate(
    chain_id: Hash32, committee: Committee, keys: Sequence[KeyPair], subject: Subject, votes: int | None = None
) -> Certificate:
    """`votes` members of the committee (a quorum unless told) sign `subject`."""
    seated = [key for key in keys if key.org in committee.members][: committee.quorum if votes is None else votes]
    return certify([cast(key, chain_id, subject) for key in seated])


class League:
    """Founders, their chain and a clock. `say` makes one block of what is said, `refusal` tells the code of a no."""

    def __init__(
        self,
        members: int = 4,
        store: Store | None = None,
        balance: int = BALANCE,
        protocol: int = NEWEST,
        **parameters: int,
    ) -> None:
        self.keys = founders(members)
        self.genesis = genesis_of(self.keys, balance, protocol, **parameters)
        self.store: Store = MemoryStore() if store is None else store
        self.chain = Chain(self.store, self.genesis)
        self.now = START_MS

    def reopened(self) -> Chain:
        """The chain as a daemon finds it after a restart."""
        return Chain(self.store, self.genesis)

    def stranger(self, name: str) -> KeyPair:
        """A key that is known to the test and not to the league."""
        key = key_of(name)
        self.keys.append(key)
        return key

    def key(self, public: bytes) -> KeyPair:
        return next(key for key in self.keys if key.public == public)

    # --- saying things

    def sign(self, said: Sequence[tuple[KeyPair, Body]]) -> list[Transaction]:
        """Transactions with the nonces that the head expects; an aggregate's is the height."""
        nonces: dict[OrgId, int] = {}
        signed = []
        for key, body in said:
            if isinstance(body, AggregateRound | AggregateProtected):
                signed.append(sign_transaction(key, self.chain.chain_id, self.chain.height + 1, body))
                continue
            whose = self.chain.org_of(key.public) or key.org
            nonce = nonces.get(whose, self.chain.next_nonce(key.public))
            nonces[whose] = nonce + 1
            signed.append(sign_transaction(key, self.chain.chain_id, nonce, body))
        return signed

    def say(self, *said: tuple[KeyPair, Body], after_ms: int = 1_000, failed_views: int = 0) -> FinalBlock:
        """One block of all this, `after_ms` after the last one. Raises InvalidTransaction when something is refused."""
        return self.commit(self.sign(said), after_ms=after_ms, failed_views=failed_views)

    def commit(
        self, transactions: Sequence[Transaction] = (), after_ms: int = 1_000, failed_views: int = 0
    ) -> FinalBlock:
        self.now += after_ms
        final = self.certified(self.build(transactions, self.now, failed_views))
        # Checked by a chain that did not build it, as every other member does.
        Chain(self.store, self.genesis).check(final.block)
        self.chain.append(final)
        assert tokens_in_circulation(self.chain.state()) == supply(self.chain.state()), "tokens appeared or vanished"
        return final

    def build(self, transactions: Sequence[Transaction], time: int, failed_views: int = 0) -> Block:
        trial = self.trial(time, failed_views)
        for transaction in transactions:
            trial.apply(transaction)
        return trial.block(failed_views)

    def trial(self, time: int | None = None, failed_views: int = 0) -> Trial:
        leaders = self.chain.leaders()
        shown = tuple(self.nullification(view) for view in range(failed_views))
        return self.chain.trial(leaders[failed_views % len(leaders)], time or self.now + 1_000, shown)

    def certified(self, block: Block, votes: int | None = None) -> FinalBlock:
        return FinalBlock(block, self.vote(VoteKind.FINALIZE, block.header.view, block.id, votes))

    def nullification(self, view: int) -> Certificate:
        return self.vote(VoteKind.NULLIFY, view, ZERO_HASH)

    def vote(self, kind: VoteKind, view: int, block_id: Hash32, votes: int | None = None) -> Certificate:
        committee = self.chain.committee()
        subject = Subject(self.chain.height + 1, committee.hash, view, kind, block_id)
        return certificate(self.chain.chain_id, committee, self.keys, subject, votes)

    def vote_of(self, keys: Sequence[KeyPair], kind: VoteKind, view: int = 0) -> Certificate:
        """A certificate that these keys sign, whether they may or not, for an empty block on the head."""
        committee, block_id = self.chain.committee(), self.build([], self.now + 1).id
        subject = Subject(self.chain.height + 1, committee.hash, view, kind, block_id)
        return certify([cast(key, self.chain.chain_id, subject) for key in keys])

    def refusal(self, key: KeyPair, body: Body, after_ms: int = 1_000) -> str:
        """The code with which the next block would refuse this; it must leave no trace in the state."""
        trial = self.trial(self.now + after_ms)
        before = trial.state.changes()
        refused = trial.apply_all(self.sign([(key, body)]))
        if not refused:
            return "accepted"
        [(_, error)] = refused
        assert trial.state.changes() == before, "a refused transaction left something behind"
        assert str(error), "a refusal without a reason"
        return error.code

    def equivocation(self, guilty: KeyPair, height: int | None = None) -> ReportEquivocation:
        """Proof that `guilty` notarized two blocks of one view of the height in work, or of `height`."""
        at = self.chain.height + 1 if height is None else height
        committee = self.chain.committee().hash
        first, second = (
            cast(guilty, self.chain.chain_id, Subject(at, committee, 0, VoteKind.NOTARIZE, digest("test", block)))
            for block in (b"one", b"other")
        )
        return ReportEquivocation(Equivocation(first, second))

    # --- looking

    def balance(self, key: KeyPair) -> int:
        account = self.chain.read(Account, account_key(key.org))
        return account.balance if account else 0

    def standing(self, key: KeyPair) -> Standing:
        found = self.chain.read(Standing, standing_key(key.org))
        assert found is not None
        return found

    def is_member(self, key: KeyPair) -> bool:
        return self.chain.read(Member, member_key(key.org)) is not None

    def request(self, request_id: bytes) -> Request:
        found = self.chain.read(Request, request_key(request_id))
        assert found is not None
        return found

    def round(self, request_id: bytes) -> Round:
        found = self.chain.read(Round, round_key(request_id))
        assert found is not None
        return found

    def receipt(self, request_id: bytes, number: int, attempt: int = 0) -> Receipt:
        found = self.chain.read(Receipt, receipt_key(request_id, number, attempt))
        assert found is not None, f"no receipt of round {number} attempt {attempt}"
        return found

    # --- a data request, step by step

    def anchor(self, keys: Sequence[KeyPair], records: int = 100) -> None:
        self.say(*[(key, anchored(1, records)) for key in keys])

    def publish(self, requester: KeyPair, terms: RequestTerms) -> Hash32:
        return self.say((requester, PublishRequest(terms))).block.transactions[0].id

    def join(self, request_id: bytes, keys: Sequence[KeyPair], records: int = 100) -> None:
        self.say(*[(key, JoinRequest(request_id, "vibration", records, ())) for key in keys])

    def announcement(self, request_id: bytes, key: KeyPair, **changes: object) -> AnnounceUpdate:
        current = self.round(request_id)
        blob = digest("test/update", key.org + bytes([current.number, current.attempt]))
        plain = AnnounceUpdate(request_id, current.number, current.attempt, blob, 24, 100, (1,), 0, 0)
        return replace(plain, **changes)  # type: ignore[arg-type]

    def announce(self, request_id: bytes, keys: Sequence[KeyPair], **changes: object) -> None:
        self.say(*[(key, self.announcement(request_id, key, **changes)) for key in keys])

    def attestation(
        self, request_id: bytes, providers: Sequence[KeyPair], verdict: Verdict = Verdict.HELD
    ) -> AttestBlobs:
        current = self.round(request_id)
        blobs = {part.org: part.blob for part in current.participants}
        entries = tuple(Attestation(key.org, blobs[key.org], verdict) for key in providers)
        return AttestBlobs(request_id, current.number, current.attempt, entries)

    def attest(
        self,
        request_id: bytes,
        providers: Sequence[KeyPair],
        verdict: Verdict = Verdict.HELD,
        by: Sequence[KeyPair] | None = None,
    ) -> None:
        """A quorum of the committee, or `by`, says it of all these providers."""
        committee = self.chain.committee()
        seated = [key for key in self.keys if key.org in committee.members][: committee.quorum]
        body = self.attestation(request_id, providers, verdict)
        self.say(*[(key, body) for key in (seated if by is None else by)])

    def aggregate_body(
        self, request_id: bytes, quality: int = 500_000, rejected: Sequence[bytes] = ()
    ) -> AggregateRound | AggregateProtected:
        """What a leader would say. `rejected`: of a sealed request's providers; with too few others, no model."""
        for task in aggregates_due(self.chain.state()):
            if task.request == request_id:
                kept = [each.org for each in task.contributions if each.org not in rejected]
                model = digest("test/model", task.base_model + bytes([task.round]))
                scores = tuple((org, quality) for org in kept)
                blamed = tuple((each.org, "a copy") for each in task.contributions if each.org in rejected)
                whole = AggregationResult(model, 24, scores, blamed)
                none = AggregationResult(b"", 0, (), blamed)
                return aggregate_transaction_body(task, whole if len(kept) >= task.updates_least else none)
        raise AssertionError("the request awaits no aggregate")

    def aggregate(self, request_id: bytes, quality: int = 500_000, rejected: Sequence[bytes] = ()) -> FinalBlock:
        author = self.key(self.chain.leaders()[0])
        return self.say((author, self.aggregate_body(request_id, quality, rejected)))

    def whole_round(self, request_id: bytes, providers: Sequence[KeyPair], **changes: object) -> None:
        """Everybody announces, a quorum holds it, the leader aggregates."""
        self.announce(request_id, providers, **changes)
        self.attest(request_id, providers)
        self.aggregate(request_id)


def anchored(period: int, records: int = 100, begins: int = 0, ends: int = 3_600_000) -> AnchorRecords:
    return AnchorRecords(period, records, digest("test/records", bytes([period % 256])), begins, ends)


def terms(**changes: object) -> RequestTerms:
    """Three rounds among one to three providers at 2 tokens a record."""
    plain = RequestTerms(
        title="bearings",
        model="mlp",
        model_arguments=(),
        parameters=2,
        initial_model=digest("test/model", b"initial"),
        scale_bits=20,
        limit=512,
        strategy="fedavg",
        strategy_settings=(),
        aggregation="mean",
        privacy="none",
        privacy_settings=(),
        data_type="vibration",
        epochs=1,
        batch=1,
        training_settings=(),
        price=2,
        budget=10_000,
        target_accuracy=0,
        rounds_max=3,
        providers_min=1,
        providers_max=3,
        join_window=60_000,
        round_deadline=120_000,
        attest_window=30_000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]
