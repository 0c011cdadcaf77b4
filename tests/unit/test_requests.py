"""A data request (DESIGN D8): who may say what in which stage, how it begins, is aggregated and is cancelled."""

from dataclasses import replace

import pytest

from ledger import request_terms as rules
from ledger.aggregation import aggregation_task, awaiting_aggregate
from ledger.codec import digest
from ledger.entries import FINAL_STAGES, Stage
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.protection import (
    AcceptShares,
    OfferMaskKeys,
    OpenedShare,
    OpenShares,
    RevealedShare,
    RevealShares,
    SealedShare,
    ShareMaskSecrets,
)
from ledger.request_lookup import EXCHANGE, STAGES_ALLOWED
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    PublishRequest,
    ReportAccuracy,
    Setting,
    UpdateScore,
    Verdict,
)
from ledger.types import BLOB_BYTES_MAX
from tests.support.league import BALANCE, League, terms
from tests.support.request_story import Story


def at(stage: Stage) -> Story:
    return Story(joined=False) if stage is Stage.OPEN else Story().to(stage)


# --- the table


def bodies(story: Story) -> dict[type, tuple[KeyPair, Body]]:
    """One well-meant transaction a kind, as right as the stage lets it be."""
    request, bob = story.id, story.bob
    blob = digest("test", b"blob")
    held = Attestation(bob.org, digest("test/update", bob.org + bytes([1, 0])), Verdict.HELD)
    return {
        JoinRequest: (story.dave, JoinRequest(request, "vibration", 100, ())),
        AnnounceUpdate: (bob, AnnounceUpdate(request, 1, 0, blob, 24, 100, (1,), 0, 0)),
        DeclineRound: (bob, DeclineRound(request, 1, 0, "budget")),
        ReportAccuracy: (story.alice, ReportAccuracy(request, 1, 0, 5, 5)),
        AttestBlobs: (story.alice, AttestBlobs(request, 1, 0, (held,))),
        AggregateRound: (
            story.league.key(story.league.chain.leaders()[0]),
            AggregateRound(request, 1, 0, blob, 24, (UpdateScore(bob.org, 0),)),
        ),
        CancelRequest: (story.alice, CancelRequest(request)),
        AnnounceProtected: (bob, AnnounceProtected(AnnounceUpdate(request, 1, 0, blob, 24, 100, (1,), 0, 0), ())),
        OfferMaskKeys: (bob, OfferMaskKeys(request, 1, 0, blob, request)),
        ShareMaskSecrets: (
            bob,
            ShareMaskSecrets(request, 1, 0, blob, (SealedShare(bob.org, b"sealed", blob, blob),)),
        ),
        AcceptShares: (bob, AcceptShares(request, 1, 0, ())),
        OpenShares: (bob, OpenShares(request, 1, 0, (OpenedShare(bob.org, *(bytes(33), bytes(16)) * 2),))),
        RevealShares: (bob, RevealShares(request, 1, 0, (RevealedShare(bob.org, bytes(33), bytes(16)),))),
        AggregateProtected: (
            story.league.key(story.league.chain.leaders()[0]),
            AggregateProtected(request, 1, 0, blob, 24, (UpdateScore(bob.org, 0),), ()),
        ),
    }


# Masked rounds have stages of their own: `test_masked_rounds.py`.
PLAIN_STAGES = [stage for stage in Stage if stage not in EXCHANGE | {Stage.UNMASKING}]


@pytest.mark.parametrize("stage", PLAIN_STAGES)
def test_every_stage_refuses_what_is_not_in_its_row_of_the_table(stage: Stage):
    story = at(stage)
    for kind, (sender, body) in bodies(story).items():
        code = story.league.refusal(sender, body)
        if stage in STAGES_ALLOWED[kind]:
            assert code != "stage", f"{kind.__name__} in {stage.name}"
        else:
            assert code == "stage", f"{kind.__name__} in {stage.name}: {code}"


def test_the_table_is_what_the_design_says():
    assert STAGES_ALLOWED[JoinRequest] == set(Stage) - FINAL_STAGES
    assert STAGES_ALLOWED[AggregateRound] == STAGES_ALLOWED[AggregateProtected] == {Stage.AGGREGATING}
    assert all(not allowed & FINAL_STAGES for allowed in STAGES_ALLOWED.values())


@pytest.mark.parametrize("kind", list(STAGES_ALLOWED), ids=lambda kind: kind.__name__)
def test_nothing_is_said_of_a_request_that_is_not_there(kind: type):
    story = Story()
    sender, body = bodies(story)[kind]
    about = {"update": replace(body.update, request=bytes(32))} if kind is AnnounceProtected else {"request": bytes(32)}
    assert story.league.refusal(sender, replace(body, **about)) == "request"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", [AnnounceUpdate, DeclineRound, ReportAccuracy, AttestBlobs])
@pytest.mark.parametrize("change", [{"round": 2}, {"attempt": 1}])
def test_only_the_round_and_attempt_in_work_is_spoken_of(kind: type, change: dict[str, int]):
    story = Story()
    sender, body = bodies(story)[kind]
    assert story.league.refusal(sender, replace(body, **change)) == "round"


# --- publication


def test_a_request_escrows_its_budget_under_the_id_of_its_transaction():
    story = Story(joined=False, budget=600_000)
    request = story.league.request(story.id)
    assert (request.stage, request.escrow, request.requester) == (Stage.OPEN, 600_000, story.alice.org)
    assert request.deadline == story.league.now + 60_000
    assert request.model == request.judged_model == terms().initial_model
    assert story.league.balance(story.alice) == BALANCE - 600_000
    assert story.league.refusal(story.alice, PublishRequest(terms(budget=400_001))) == "balance"
    assert story.league.refusal(story.alice, PublishRequest(terms(budget=400_000))) == "accepted"


@pytest.mark.parametrize(
    "changes",
    [
        {"providers_min": 3, "providers_max": 2},
        {"model_arguments": (Setting("b", ""), Setting("a", ""))},
        {"training_settings": (Setting("a", "1"), Setting("a", "2"))},
        {"privacy_settings": (Setting("a", "1"), Setting("a", "1"))},
        {"strategy_settings": (Setting("z", "1"), Setting("a", "1"))},
    ],
)
def test_contradictory_terms_are_refused(changes: dict[str, object]):
    assert League(4).refusal(League(4).keys[0], PublishRequest(terms(**changes))) == "terms"


def test_a_model_that_fits_no_blob_is_not_asked_for():
    league = League(4)
    most = (BLOB_BYTES_MAX - rules.BLOB_OVERHEAD_BYTES_MAX) // 4
    assert league.refusal(league.keys[0], PublishRequest(terms(parameters=most))) == "accepted"
    assert league.refusal(league.keys[0], PublishRequest(terms(parameters=most + 1))) == "terms"


def test_one_member_does_not_take_all_places_for_requests():
    league = League(4)
    alice, bob, *_ = league.keys
    # A token each and a year to wait for offers: 64 of these closed the market.
    worthless = PublishRequest(terms(budget=1, join_window=366 * 86_400_000))
    first, *_ = [
        league.publish(alice, worthless.terms) for _ in range(league.chain.parameters().requests_per_member_max)
    ]
    assert league.refusal(alice, worthless) == "full"
    assert league.refusal(bob, worthless) == "accepted"
    league.say((alice, CancelRequest(first)))
    assert league.refusal(alice, worthless) == "accepted"


def test_open_requests_are_bounded():
    story = Story(limits={"requests_open_max": 1, "requests_per_member_max": 1})
    assert story.league.refusal(story.bob, PublishRequest(terms())) == "full"
    story.to(Stage.CANCELLED)
    assert story.league.refusal(story.bob, PublishRequest(terms())) == "accepted"


# --- joining


def test_an_offer_is_recorded_with_type_size_and_attributes():
    story = Story(joined=False)
    offer = JoinRequest(story.id, "vibration", 77, (Setting("machine", "press"),))
    story.league.say((story.bob, offer))
    (provider,) = story.league.request(story.id).providers
    assert (provider.org, provider.data_type, provider.record_count) == (story.bob.org, "vibration", 77)
    assert provider.attributes == offer.attributes
    assert story.league.refusal(story.bob, offer) == "joined"


def test_nobody_joins_its_own_request_or_with_other_data():
    story = Story(joined=False)
    assert story.league.refusal(story.alice, JoinRequest(story.id, "vibration", 1, ())) == "requester"
    assert story.league.refusal(story.bob, JoinRequest(story.id, "images", 1, ())) == "data_type"


def test_a_request_starts_as_soon_as_all_places_are_taken():
    story = Story(joined=False)
    story.league.join(story.id, story.providers[:2])
    assert story.stage is Stage.OPEN
    story.league.join(story.id, story.providers[2:])
    assert story.stage is Stage.TRAINING
    assert story.league.request(story.id).deadline == story.league.now + 120_000


def test_what_a_provider_says_about_its_data_is_bounded():
    """Every provider's attributes lie in the request's entry, which each word about the request writes anew."""
    most = (*(Setting(f"a{number:02}", "x" * 253) for number in range(15)), Setting("b", "ä" * 127), Setting("c", "1"))
    told = sum(len(each.name.encode()) + len(each.value.encode()) for each in most)
    fits = (*most[:-1], Setting("c", "1" * (4096 - told + 1)))
    story = Story(joined=False)
    for attributes, code in ((fits, "accepted"), ((*fits, Setting("d", "")), "size")):
        assert story.league.refusal(story.bob, JoinRequest(story.id, "vibration", 100, attributes)) == code


def test_a_request_starts_when_the_join_window_ends_with_enough_and_fails_with_too_few():
    enough, few = Story(joined=False, providers_min=2), Story(joined=False, providers_min=2)
    enough.league.join(enough.id, enough.providers[:2])
    few.league.join(few.id, few.providers[:1])
    for story, stage in ((enough, Stage.TRAINING), (few, Stage.FAILED)):
        story.league.commit(after_ms=58_000)
        assert story.stage is Stage.OPEN
        story.league.commit(after_ms=1_000)
        assert story.stage is stage
    assert few.league.balance(few.alice) == BALANCE
    assert "1 providers joined, 2 were wanted" in few.league.request(few.id).outcome


def test_a_latecomer_takes_part_from_the_next_round_on():
    story = Story(joined=False, providers_max=3)
    league = story.league
    league.join(story.id, [story.bob])
    league.commit(after_ms=60_000)
    league.join(story.id, [story.carol])
    assert [part.org for part in league.round(story.id).participants] == [story.bob.org]
    assert league.refusal(story.carol, replace(league.announcement(story.id, story.bob))) == "invited"
    league.whole_round(story.id, [story.bob])
    assert {part.org for part in league.round(story.id).participants} == {story.bob.org, story.carol.org}


def test_places_are_bounded():
    story = Story(joined=False, providers_max=1)
    story.league.join(story.id, [story.bob])
    assert story.league.refusal(story.carol, JoinRequest(story.id, "vibration", 1, ())) == "full"


# --- the aggregate


def test_only_the_author_of_the_block_aggregates_in_it():
    story = Story().to(Stage.AGGREGATING)
    league = story.league
    body = league.aggregate_body(story.id)
    other = league.key(league.chain.leaders()[1])
    assert league.refusal(other, body) == "author"
    assert league.refusal(league.key(league.chain.leaders()[0]), body) == "accepted"


def test_scores_name_exactly_who_delivered_in_order():
    story = Story().to(Stage.AGGREGATING)
    league = story.league
    body = league.aggregate_body(story.id)
    author = league.key(league.chain.leaders()[0])
    stranger = UpdateScore(story.alice.org, 5)
    for scores in (body.scores[:-1], body.scores[::-1], (*body.scores, stranger), (*body.scores[:-1], stranger)):
        assert league.refusal(author, replace(body, scores=scores)) == "scores"
    assert league.refusal(author, replace(body, model_bytes=4 * 2 + 65)) == "blob"
    assert league.refusal(author, replace(body, round=2)) == "round"
    assert league.refusal(author, replace(body, attempt=1)) == "round"


def test_a_round_is_aggregated_and_paid_once():
    story = Story().to(Stage.AGGREGATING)
    league = story.league
    author, body = league.key(league.chain.leaders()[0]), league.aggregate_body(story.id)
    with pytest.raises(InvalidTransaction) as caught:
        league.say((author, body), (author, body))
    assert caught.value.code == "stage"


def test_an_aggregate_does_not_race_with_what_else_its_author_says():
    story = Story().to(Stage.AGGREGATING)
    league = story.league
    author = league.key(league.chain.leaders()[0])
    before = league.chain.next_nonce(author.org)
    league.aggregate(story.id)
    assert league.chain.next_nonce(author.org) == before


def test_the_task_names_all_that_the_aggregate_depends_on():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob, story.carol])
    league.say((story.dave, DeclineRound(story.id, 1, 0, "no")))
    foreseen = aggregation_task(story.id, league.request(story.id), league.round(story.id), foreseen=True)
    league.attest(story.id, [story.bob, story.carol])
    ((found, request, current),) = awaiting_aggregate(league.chain.state())
    task = aggregation_task(found, request, current)
    assert foreseen == task, "what was computed ahead is what is needed"
    assert [each.org for each in task.contributions] == [story.bob.org, story.carol.org]
    assert [each.weight for each in task.contributions] == [100, 100]
    assert (task.base_model, task.aggregation, task.limit) == (terms().initial_model, "mean", 512)


# --- cancelling


@pytest.mark.parametrize("stage", [Stage.OPEN, Stage.TRAINING])
def test_the_requester_may_cancel_before_anything_is_announced(stage: Stage):
    story = at(stage)
    league = story.league
    assert league.refusal(story.bob, CancelRequest(story.id)) == "requester"
    league.say((story.alice, CancelRequest(story.id)))
    assert story.stage is Stage.CANCELLED
    assert league.balance(story.alice) == BALANCE
    assert league.chain.next_deadline() is None
    if stage is not Stage.OPEN:
        assert league.receipt(story.id, 1).model == b""


def test_work_that_was_announced_is_settled_before_the_request_ends():
    # A requester with a seat has an update's bytes as soon as it is announced: cancelling then had them for nothing.
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    league.say((story.alice, CancelRequest(story.id)))
    assert league.refusal(story.alice, CancelRequest(story.id)) == "cancelled"
    league.announce(story.id, [story.carol, story.dave])
    league.attest(story.id, story.providers)
    assert story.stage is Stage.AGGREGATING
    league.aggregate(story.id)
    assert (story.stage, league.request(story.id).outcome) == (Stage.CANCELLED, "cancelled by the requester")
    assert league.balance(story.alice) == BALANCE - 600
    assert league.request(story.id).model_round == 1


@pytest.mark.parametrize("stage", [Stage.ATTESTING, Stage.AGGREGATING])
def test_a_request_is_cancelled_in_every_stage_and_no_other_round_begins(stage: Stage):
    story = at(stage)
    league = story.league
    league.say((story.alice, CancelRequest(story.id)))
    if stage is Stage.ATTESTING:
        league.commit(after_ms=30_000)  # nobody attests in time: the round is void, and not tried again
    else:
        league.aggregate(story.id)
    assert story.stage is Stage.CANCELLED
    assert league.balance(story.alice) == BALANCE - (0 if stage is Stage.ATTESTING else 600)
    assert league.chain.next_deadline() is None
