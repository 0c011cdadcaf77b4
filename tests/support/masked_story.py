"""A masked request on paper, and what its providers say; their shares are made up, each another, and committed to.

What became public of whose secrets is noted as it is accepted: `public` says of (attempt, dealer, kind) which holders'
shares everybody can read, `members` how many were in U0 of an attempt.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterable

from ledger.aggregation import AggregationTask, aggregates_due
from ledger.codec import digest
from ledger.entries import FINAL_STAGES, Fate, Receipt, Request, Round, Stage, receipt_key, request_key, round_key
from ledger.keys import KeyPair
from ledger.protection import (
    AcceptShares,
    OfferMaskKeys,
    OpenedShare,
    OpenShares,
    RevealedShare,
    RevealShares,
    SealedShare,
    SecretKind,
    ShareMaskSecrets,
    share_commitment,
)
from ledger.protection_entries import MaskMember, MaskRound, masking_key
from ledger.transactions import (
    AggregateProtected,
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    JoinRequest,
    Protection,
    PublishProtected,
    Rejection,
    UpdateScore,
    Verdict,
)
from ledger.types import MICRO
from tests.support.league import anchored, terms
from tests.support.paper_league import PaperLeague

WINDOW_MS = 20_000
Secret = tuple[int, bytes, SecretKind]


class MaskedStory:
    """`providers` have joined a masked request of one more member; its first round has just opened."""

    def __init__(self, providers: int, *, limits: dict[str, int] | None = None, **changes: object) -> None:
        self.league = PaperLeague(providers + 1, **(limits or {}))
        self.requester, *self.providers = self.league.keys
        asked = {"providers_min": 3, "providers_max": providers, "budget": 60_000, "rounds_max": 1, **changes}
        body = PublishProtected(terms(**asked), Protection((), True, WINDOW_MS))
        self.id = self.league.publish(self.requester, body)
        self.public: defaultdict[Secret, set[bytes]] = defaultdict(set)
        self.members: dict[int, int] = {}
        for key in self.providers:
            assert self.league.say(key, anchored(1)) == ""
            assert self.league.say(key, JoinRequest(self.id, "vibration", 100, ())) == ""

    # --- how it stands

    @property
    def request(self) -> Request:
        return self.league.state.need(Request, request_key(self.id))

    @property
    def stage(self) -> Stage:
        return self.request.stage

    @property
    def is_over(self) -> bool:
        return self.stage in FINAL_STAGES

    @property
    def round(self) -> Round:
        return self.league.state.need(Round, round_key(self.id))

    @property
    def masking(self) -> MaskRound:
        return self.league.state.need(MaskRound, masking_key(self.id))

    @property
    def counted(self) -> list[bytes]:
        """U2, ascending."""
        return [each.org for each in self.masking.members if each.counted]

    def member(self, key: KeyPair) -> MaskMember | None:
        return next((each for each in self.masking.members if each.org == key.org), None)

    def receipt(self, number: int = 1, attempt: int = 0) -> Receipt:
        return self.league.state.need(Receipt, receipt_key(self.id, number, attempt))

    def fate(self, key: KeyPair) -> Fate:
        return next(part.fate for part in self.round.participants if part.org == key.org)

    def announced(self) -> list[KeyPair]:
        waiting = {part.org for part in self.round.participants if part.fate is Fate.ANNOUNCED}
        return [key for key in self.league.keys if key.org in waiting]

    def due(self) -> AggregationTask:
        [task] = aggregates_due(self.league.state)
        return task

    # --- what is said; each returns the code of the refusal, "" when it ran

    @property
    def _place(self) -> tuple[bytes, int, int]:
        # Of a request that is over, the last round there was.
        return self.id, self.request.round, self.request.attempt

    def offer(self, key: KeyPair) -> str:
        own = (made(self._place, key, b"mask"), made(self._place, key, b"exchange"))
        return self.league.say(key, OfferMaskKeys(*self._place, *own))

    def deal(self, key: KeyPair) -> str:
        shares = tuple(
            SealedShare(
                each.org,
                b"sealed",
                self._commitment(key.org, each.org, SecretKind.SEED),
                self._commitment(key.org, each.org, SecretKind.MASK_KEY),
            )
            for each in self.masking.members
        )
        return self.league.say(key, ShareMaskSecrets(*self._place, made(self._place, key, b"seed"), shares))

    def accept(self, key: KeyPair, refused: Iterable[KeyPair] = ()) -> str:
        orgs = tuple(sorted(each.org for each in refused))
        return self.league.say(key, AcceptShares(*self._place, orgs))

    def open(self, key: KeyPair, holders: Iterable[bytes] | None = None) -> str:
        member = self.member(key)
        complaints = member.complaints if member else ()
        self.members[self.request.attempt] = len(self.masking.members)
        attempt = self.request.attempt
        opened = tuple(
            OpenedShare(
                holder,
                *self._share(key.org, holder, SecretKind.SEED),
                *self._share(key.org, holder, SecretKind.MASK_KEY),
            )
            for holder in (complaints if holders is None else holders)
        )
        code = self.league.say(key, OpenShares(*self._place, opened)) if opened else "nothing"
        for each in opened if not code else ():
            for kind in SecretKind:
                self.public[attempt, key.org, kind].add(each.holder)
        return code

    def announce(self, key: KeyPair, **changes: int) -> str:
        blob = digest("test/masked", key.org + bytes([self.request.round, self.request.attempt]))
        update = AnnounceUpdate(*self._place, blob, 40, changes.get("record_count", 100), (1,), 0, 0)
        return self.league.say(key, AnnounceProtected(update, ()))

    def attest(self, providers: Iterable[KeyPair]) -> None:
        """A quorum of the committee holds the updates of these."""
        blobs = {part.org: part.blob for part in self.round.participants}
        held = tuple(Attestation(key.org, blobs[key.org], Verdict.HELD) for key in providers)
        seated = [key for key in self.league.keys if key.org in self.league.seated][: self.league.quorum]
        for key in seated if held else ():
            assert self.league.say(key, AttestBlobs(*self._place, held)) == ""

    def reveal(
        self, key: KeyPair, dealers: Iterable[bytes] | None = None, kinds: dict[bytes, SecretKind] | None = None
    ) -> str:
        """`kinds`: other secrets than are due, of these dealers."""
        attempt, due = self.request.attempt, self.kinds_due() | (kinds or {})
        self.members[attempt] = len(self.masking.members)
        shares = tuple(
            RevealedShare(dealer, *self._share(dealer, key.org, due[dealer]))
            for dealer in (sorted(due) if dealers is None else dealers)
        )
        code = self.league.say(key, RevealShares(*self._place, shares)) if shares else "nothing"
        for each in shares if not code else ():
            self.public[attempt, each.dealer, due[each.dealer]].add(key.org)
        return code

    def kinds_due(self) -> dict[bytes, SecretKind]:
        """Which secret of each of U2 is to be told, by what the ledger says."""
        delivered = {part.org for part in self.round.participants if part.fate is Fate.DELIVERED}
        return {org: SecretKind.SEED if org in delivered else SecretKind.MASK_KEY for org in self.counted}

    def aggregate(self, rejected: Iterable[KeyPair] = (), *, whole: bool = True) -> str:
        """The leader's word: a sum, or none for these dealers, or for nobody's visible fault."""
        task = self.due()
        blamed = tuple(Rejection(org, "wrong shares") for org in sorted(key.org for key in rejected))
        scores = tuple(UpdateScore(each.org, MICRO) for each in task.contributions)
        model = digest("test/model", bytes([task.round, task.attempt]))
        said = (model, 24, scores, ()) if whole and not blamed else (b"", 0, (), blamed)
        return self.league.lead(AggregateProtected(*self._place, *said))

    # --- made-up secrets

    def _share(self, dealer: bytes, holder: bytes, kind: SecretKind) -> tuple[bytes, bytes]:
        name = hashlib.sha256(dealer + holder + bytes([kind, self.request.round, self.request.attempt])).digest()
        return b"\x00" + name, name[:16]

    def _commitment(self, dealer: bytes, holder: bytes, kind: SecretKind) -> bytes:
        return share_commitment(*self._place, dealer, holder, kind, *self._share(dealer, holder, kind))


def made(place: tuple[bytes, int, int], key: KeyPair, what: bytes) -> bytes:
    request, number, attempt = place
    return hashlib.sha256(what + request + bytes([number, attempt]) + key.org).digest()
