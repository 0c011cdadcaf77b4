"""Protected requests (protocol 3): terms that fit, charges that everybody sees, and updates that are rejected."""

from dataclasses import replace

import pytest

from ledger.codec import digest
from ledger.entries import Fate, Stage, Standing, standing_key
from ledger.keys import KeyPair
from ledger.protection import Charge, Rejection
from ledger.protection_entries import Spent, charge_key
from ledger.requests import weight_counted
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnnounceProtected,
    AnnounceUpdate,
    Body,
    Protection,
    PublishProtected,
    PublishRequest,
    Setting,
    UpdateScore,
)
from ledger.types import BLOB_BYTES_MAX
from tests.support.league import League, terms
from tests.support.masked_story import MaskedStory
from tests.support.transaction_examples import EXAMPLES

SEALED = Protection((), False, 1)
MASKED = Protection((), True, 20_000)
CHARGE = Charge("sound", "record", 1_200_000, 32, 480, 15, 0, 1_500_000, 10_000_000)


class SealedStory:
    """A sealed request of alice's that the other three have joined."""

    def __init__(self, protection: Protection = SEALED, **changes: object) -> None:
        self.league = League(4)
        self.alice, *self.providers = self.league.keys
        self.league.anchor(self.league.keys)
        asked = terms(**{"providers_min": 2, "rounds_max": 1, **changes})
        self.id = self.league.say((self.alice, PublishProtected(asked, protection))).block.transactions[0].id
        self.league.join(self.id, self.providers)

    def announcement(self, key: KeyPair, *charge: Charge, **changes: object) -> AnnounceProtected:
        return AnnounceProtected(self.league.announcement(self.id, key, **changes), charge)

    def to_aggregating(self) -> "SealedStory":
        self.league.say(*[(key, self.announcement(key)) for key in self.providers])
        self.league.attest(self.id, self.providers)
        assert self.stage is Stage.AGGREGATING
        return self

    @property
    def stage(self) -> Stage:
        return self.league.request(self.id).stage

    def aggregate(self, rejected: list[KeyPair], *, model: bool = True, kept: list[KeyPair] | None = None) -> str:
        """The leader's word, or why it is refused."""
        blamed = tuple(Rejection(key.org, "a copy") for key in rejected)
        scored = [key for key in self.providers if key not in rejected] if kept is None else kept
        scores = tuple(UpdateScore(key.org, 500_000) for key in scored) if model else ()
        said = (digest("test", b"model"), 24) if model else (b"", 0)
        author = self.league.key(self.league.chain.leaders()[0])
        body = AggregateProtected(self.id, 1, self.league.request(self.id).attempt, *said, scores, blamed)
        code = self.league.refusal(author, body)
        if code == "accepted":
            self.league.say((author, body))
        return code


# --- what may be asked for


@pytest.mark.parametrize(
    "body", [body for body in EXAMPLES if type(body).KIND >= 20], ids=lambda body: type(body).__name__
)
@pytest.mark.parametrize("version", [1, 2])
def test_before_protocol_3_nothing_is_protected(body: Body, version: int):
    league = League(4, protocol=version)
    assert league.refusal(league.key(league.chain.leaders()[0]), body) == "protocol"


@pytest.mark.parametrize(
    ("changes", "protection"),
    [
        ({}, replace(SEALED, exchange_window=2)),
        ({}, replace(SEALED, aggregation_settings=(Setting("b", "1"), Setting("a", "1")))),
        ({"aggregation": "trimmed-mean"}, MASKED),
        ({"providers_min": 2}, MASKED),
        ({"providers_max": 65}, MASKED),
        ({}, replace(MASKED, exchange_window=999)),
        ({"parameters": BLOB_BYTES_MAX // 8}, MASKED),
        ({"parameters": (BLOB_BYTES_MAX - 64) // 4}, SEALED),
        ({"price": 0 + 1, "limit": 2**30}, SEALED),
    ],
)
def test_a_protection_that_contradicts_its_terms_or_the_league_is_refused(
    changes: dict[str, object], protection: Protection
):
    league = League(4)
    plain = {"providers_min": 3, "providers_max": 5}
    good = PublishProtected(
        terms(**plain), replace(protection, aggregation_settings=(), exchange_window=20_000 if protection.masked else 1)
    )
    assert league.refusal(league.keys[0], good) == "accepted"
    assert league.refusal(league.keys[0], PublishProtected(terms(**{**plain, **changes}), protection)) == "terms"


def test_a_masked_request_with_a_robust_rule_is_refused_with_the_reason():
    league = League(4)
    body = PublishProtected(terms(providers_min=3, aggregation="median"), MASKED)
    trial = league.trial()
    [(_, error)] = trial.apply_all(league.sign([(league.keys[0], body)]))
    assert "has to see single updates, which masking hides" in str(error)


# --- plain and protected do not mix


def test_a_protected_request_takes_protected_statements_and_a_plain_one_plain_ones():
    sealed, plain = SealedStory(), League(4)
    alice, bob, *_ = plain.keys
    plain.anchor(plain.keys)
    request = plain.publish(alice, terms(providers_max=1))
    plain.join(request, [bob])
    assert plain.refusal(bob, AnnounceProtected(plain.announcement(request, bob), ())) == "protection"
    assert sealed.league.refusal(sealed.providers[0], sealed.announcement(sealed.providers[0]).update) == "protection"
    sealed.to_aggregating()
    author = sealed.league.key(sealed.league.chain.leaders()[0])
    scores = tuple(UpdateScore(key.org, 1) for key in sealed.providers)
    body = AggregateRound(sealed.id, 1, 0, digest("test", b"model"), 24, scores)
    assert sealed.league.refusal(author, body) == "protection"
    plain.announce(request, [bob])
    plain.attest(request, [bob])
    author = plain.key(plain.chain.leaders()[0])
    score = (UpdateScore(bob.org, 1),)
    assert plain.refusal(author, AggregateProtected(request, 1, 0, bytes(32), 24, score, ())) == "protection"


def test_old_kinds_go_on_beside_the_new_ones():
    league = League(4)
    assert league.refusal(league.keys[0], PublishRequest(terms())) == "accepted"


# --- charges


def test_what_data_was_charged_is_on_the_ledger_with_the_update_late_or_not():
    story = SealedStory(privacy="sound", rounds_max=2)
    alice, bob, late = story.providers
    for key in (alice, bob):
        story.league.say((key, story.announcement(key, CHARGE)))
    story.league.commit(after_ms=200_000)
    assert story.stage is Stage.ATTESTING
    story.league.say((late, story.announcement(late, CHARGE)))
    assert [story.league.chain.read(Spent, charge_key(story.id, key.org)) for key in story.providers] == [
        Spent(1, CHARGE)
    ] * 3
    story.league.attest(story.id, [alice, bob])
    assert story.aggregate([late], kept=[alice, bob]) == "rejected", "what is late is not looked at"
    assert story.aggregate([], kept=[alice, bob]) == "accepted"
    more = replace(CHARGE, epsilon_micro=2_000_000)
    story.league.say((bob, story.announcement(bob, more)))
    assert story.league.chain.read(Spent, charge_key(story.id, bob.org)) == Spent(2, more)


@pytest.mark.parametrize(
    ("privacy", "charges"),
    [
        ("sound", ()),
        ("distributed", ()),
        ("none", (CHARGE,)),
        ("paper", (replace(CHARGE, mode="paper"),)),
        ("sound", (replace(CHARGE, mode="none"),)),
        ("sound", (replace(CHARGE, batch=481),)),
    ],
)
def test_a_charge_is_said_exactly_where_the_mode_has_a_price(privacy: str, charges: tuple[Charge, ...]):
    story = SealedStory(privacy=privacy)
    bob = story.providers[0]
    assert story.league.refusal(bob, story.announcement(bob, *charges)) == "charge"
    right = (replace(CHARGE, mode=privacy),) if privacy in ("sound", "distributed") else ()
    assert story.league.refusal(bob, story.announcement(bob, *right)) == "accepted"


def test_a_sealed_blob_may_be_an_id_longer_and_a_masked_one_64_bits_a_parameter():
    story = SealedStory()
    bob = story.providers[0]
    for bytes_, code in ((4 * 2 + 64 + 32, "accepted"), (4 * 2 + 64 + 33, "blob")):
        assert story.league.refusal(bob, story.announcement(bob, blob_bytes=bytes_)) == code
    masked = MaskedStory(3)
    for say in (masked.offer, masked.deal, masked.accept):
        for key in masked.providers:
            assert say(key) == ""
    place = (masked.id, 1, 0)
    for bytes_, code in ((8 * 3 + 65, "blob"), (8 * 3 + 64, "")):
        update = AnnounceUpdate(*place, bytes(32), bytes_, 100, (1,), 0, 0)
        assert masked.league.say(masked.providers[0], AnnounceProtected(update, ())) == code


def test_a_provider_knows_beforehand_what_its_update_counts_for():
    story = SealedStory()
    for key, trained_on in zip(story.providers, (70, 100, 5_000), strict=True):
        story.league.say((key, story.announcement(key, record_count=trained_on)))
    weights = [part.weight for part in story.league.round(story.id).participants]
    assert weights == [weight_counted(trained_on, 100, 100) for trained_on in (70, 100, 5_000)]


# --- who is rejected


def test_who_the_rule_rejects_is_unpaid_named_with_the_reason_and_loses_a_little():
    story = SealedStory().to_aggregating()
    copier = story.providers[1]
    reputation = story.league.standing(copier).reputation
    assert story.aggregate([copier]) == "accepted"
    receipt = story.league.receipt(story.id, 1)
    assert [(line.fate, line.paid > 0, line.reason) for line in receipt.lines] == [
        (Fate.DELIVERED, True, ""),
        (Fate.REJECTED, False, "a copy"),
        (Fate.DELIVERED, True, ""),
    ]
    found = story.league.chain.read(Standing, standing_key(copier.org))
    assert found is not None
    assert (found.reputation < reputation, found.rounds_missed) == (True, 1)
    assert story.stage is Stage.DONE


def test_with_too_few_left_there_is_no_model_and_who_did_its_part_loses_nothing():
    story = SealedStory(rounds_max=2).to_aggregating()
    honest, *copies = story.providers
    reputation = story.league.standing(honest).reputation
    assert story.aggregate(copies) == "blob"
    assert story.aggregate([], model=False) == "blob"
    assert story.aggregate(copies, model=False) == "accepted"
    receipt = story.league.receipt(story.id, 1)
    assert [(line.fate, line.paid) for line in receipt.lines] == [
        (Fate.UNUSED, 0),
        (Fate.REJECTED, 0),
        (Fate.REJECTED, 0),
    ]
    assert not receipt.model
    assert story.league.standing(honest).reputation == reputation
    # The round is tried again, with everybody: a rule may err.
    assert (story.stage, story.league.request(story.id).attempt) == (Stage.TRAINING, 1)
    assert len(story.league.round(story.id).participants) == 3


def test_scores_and_rejections_name_all_that_delivered_once():
    story = SealedStory().to_aggregating()
    bob, carol, dave = story.providers
    assert story.aggregate([], kept=[bob, carol]) == "scores"
    assert story.aggregate([bob], kept=[bob, carol, dave]) == "scores"
    assert story.aggregate([carol, bob]) == "rejected"
    assert story.aggregate([story.alice], kept=[bob, carol, dave]) == "invited"
    assert story.aggregate([]) == "accepted"
