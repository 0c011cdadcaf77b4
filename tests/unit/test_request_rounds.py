"""Rounds of a data request (DESIGN D8): what is counted and paid, every fate, void rounds, short budgets, accuracy."""

from dataclasses import replace

import pytest

from fl.aggregate import total_weight_max
from ledger.codec import digest
from ledger.entries import ELECTION, Election, Fate, Stage
from ledger.parameters import LeagueParameters
from ledger.statements import ApproveMember, RegisterMember
from ledger.transactions import (
    CancelRequest,
    DeclineRound,
    JoinRequest,
    ReportAccuracy,
    Transfer,
    Verdict,
)
from ledger.types import AMOUNT_MAX, MICRO
from tests.support.league import BALANCE, League, anchored, terms
from tests.support.request_story import Story

AGGREGATION_MS_MAX = LeagueParameters().aggregation_max
VOID_ROUNDS_MAX = LeagueParameters().void_rounds_max

# --- a round that goes well


def test_a_whole_round_pays_records_times_price_and_leaves_a_receipt():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers, accuracy=400_000, tested_records=10)
    league.attest(story.id, story.providers)
    body = league.aggregate_body(story.id, quality=MICRO)
    author = league.chain.leaders()[0]
    final = league.say((league.key(author), body))
    for key in story.providers:
        assert league.balance(key) == BALANCE + 200
    request = league.request(story.id)
    assert (request.escrow, request.paid) == (10_000 - 600, 600)
    assert (request.model, request.model_round, request.round) == (body.model, 1, 2)
    assert (request.accuracy, request.judged_model, request.judged_round) == (400_000, terms().initial_model, 0)
    receipt = league.receipt(story.id, 1)
    assert (receipt.author, receipt.height) == (author, final.block.height)
    assert (receipt.base_model, receipt.model) == (terms().initial_model, body.model)
    assert [line.org for line in receipt.lines] == [key.org for key in story.providers]
    for line in receipt.lines:
        assert (line.fate, line.weight, line.paid, line.quality) == (Fate.DELIVERED, 100, 200, MICRO)
        assert line.periods == (1,)


def test_the_request_ends_after_its_rounds_and_what_is_left_returns():
    story = Story().to(Stage.DONE)
    request = story.league.request(story.id)
    assert (request.outcome, request.model_round, request.escrow) == ("all rounds done", 3, 0)
    assert story.league.balance(story.alice) == BALANCE - 3 * 600
    assert story.league.chain.next_deadline() is None
    assert story.league.refusal(story.alice, CancelRequest(story.id)) == "stage"


def test_target_accuracy_ends_the_request_with_the_model_that_was_tested():
    story = Story(target_accuracy=900_000)
    league = story.league
    league.whole_round(story.id, story.providers, accuracy=100_000, tested_records=10)
    tested = league.request(story.id).model
    league.whole_round(story.id, story.providers, accuracy=900_000, tested_records=10)
    request = league.request(story.id)
    assert request.stage is Stage.DONE
    assert request.outcome == "target accuracy reached"
    # The model of round 2 was made and paid, but nobody has tested it.
    assert (request.model, request.model_round, request.accuracy) == (tested, 1, 900_000)
    assert league.receipt(story.id, 2).lines[0].paid == 200


def test_accuracy_is_weighted_by_test_records_and_nobody_claims_more_than_it_may_be_paid_for():
    story = Story()
    league = story.league
    said = [(story.bob, 100_000, 10), (story.carol, 700_000, 50), (story.dave, 1_000_000, 10**9)]
    league.say(*[(key, league.announcement(story.id, key, accuracy=a, tested_records=n)) for key, a, n in said])
    league.attest(story.id, story.providers)
    league.aggregate(story.id)
    want = (100_000 * 10 + 700_000 * 50 + 1_000_000 * 100) // 160
    assert league.request(story.id).accuracy == want


def test_the_requester_tests_too_once_and_up_to_what_it_has_anchored():
    story = Story()
    league = story.league
    report = ReportAccuracy(story.id, 1, 0, 800_000, 10**6)
    assert league.refusal(story.bob, report) == "requester"
    league.say((story.alice, report))
    assert league.refusal(story.alice, report) == "reported"
    league.whole_round(story.id, story.providers, accuracy=200_000, tested_records=100)
    assert league.request(story.id).accuracy == (800_000 * 100 + 3 * 200_000 * 100) // 400


def test_accuracy_nobody_measured_is_none_and_reaches_no_target():
    story = Story(target_accuracy=1)
    story.league.whole_round(story.id, story.providers)
    assert story.league.request(story.id).accuracy == 0
    assert story.stage is Stage.TRAINING


def test_what_was_tested_by_who_did_not_deliver_does_not_count():
    story = Story(target_accuracy=900_000)
    league = story.league
    league.announce(story.id, [story.bob], accuracy=MICRO, tested_records=100)
    league.announce(story.id, [story.carol, story.dave], accuracy=100_000, tested_records=100)
    league.attest(story.id, [story.bob], Verdict.MALFORMED)
    league.attest(story.id, [story.carol, story.dave])
    league.aggregate(story.id)
    assert league.request(story.id).accuracy == 100_000


# --- what records count


def test_records_count_up_to_the_offer_the_anchors_and_the_periods_named():
    story = Story(joined=False)
    league = story.league
    league.say((story.bob, anchored(2, records=1_000)))
    league.say((story.bob, JoinRequest(story.id, "vibration", 500, ())))  # holds 1 100, offers 500
    league.say((story.carol, JoinRequest(story.id, "vibration", 10**6, ())))  # holds 100, offers a million
    league.say((story.dave, JoinRequest(story.id, "vibration", 100, ())))
    league.say(
        (story.bob, league.announcement(story.id, story.bob, record_count=10**6, periods=(1, 2))),
        (story.carol, league.announcement(story.id, story.carol, record_count=10**6)),
        (story.dave, league.announcement(story.id, story.dave, record_count=30)),
    )
    league.attest(story.id, story.providers)
    league.aggregate(story.id)
    weights = {line.org: line.weight for line in league.receipt(story.id, 1).lines}
    assert weights == {story.bob.org: 500, story.carol.org: 100, story.dave.org: 30}


def test_an_update_names_anchored_periods_of_its_own_sender():
    story = Story()
    league = story.league
    for periods in ((2,), (1, 1), (1, 2)):
        announced = league.announcement(story.id, story.bob, periods=periods)
        assert league.refusal(story.bob, announced) == "periods"


def test_who_has_anchored_nothing_is_not_invited():
    story = Story(joined=False)
    league = story.league
    eve = league.stranger("eve")
    league.say((eve, RegisterMember("eve", ())))
    league.say(*[(key, ApproveMember(eve.org)) for key in league.keys[:3]])
    league.join(story.id, [story.bob, story.carol, eve])
    assert set(story.fates()) == {story.bob.org, story.carol.org}


def test_an_update_of_the_wrong_length_is_refused():
    story = Story()
    league = story.league
    assert league.refusal(story.bob, league.announcement(story.id, story.bob, blob_bytes=4 * 2 + 65)) == "blob"
    assert league.refusal(story.bob, league.announcement(story.id, story.bob, blob_bytes=4 * 2 + 64)) == "accepted"


def test_one_update_a_provider_and_round():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    again = league.announcement(story.id, story.bob, blob=digest("test", b"better"))
    assert league.refusal(story.bob, again) == "announced"
    assert league.refusal(story.bob, DeclineRound(story.id, 1, 0, "no")) == "announced"
    league.say((story.carol, DeclineRound(story.id, 1, 0, "no")))
    assert league.refusal(story.carol, league.announcement(story.id, story.carol)) == "announced"


# --- fates


def test_the_round_moves_on_when_nobody_is_waited_for_any_more():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    league.say((story.carol, DeclineRound(story.id, 1, 0, "privacy budget spent")))
    assert story.stage is Stage.TRAINING
    league.announce(story.id, [story.dave])
    assert story.stage is Stage.ATTESTING
    assert league.request(story.id).deadline == league.now + 30_000


def test_late_missing_and_declined_providers_are_not_paid_and_the_receipt_says_why():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    league.say((story.carol, DeclineRound(story.id, 1, 0, "privacy budget spent")))
    league.commit(after_ms=120_000)
    assert story.stage is Stage.ATTESTING
    league.announce(story.id, [story.dave])
    assert story.fate(story.dave) is Fate.LATE
    assert league.refusal(story.alice, league.attestation(story.id, [story.dave])) == "blob"
    before = league.standing(story.carol).reputation, league.standing(story.dave).reputation
    league.attest(story.id, [story.bob])
    league.aggregate(story.id)
    lines = {line.org: line for line in league.receipt(story.id, 1).lines}
    assert {org: line.fate for org, line in lines.items()} == {
        story.bob.org: Fate.DELIVERED,
        story.carol.org: Fate.DECLINED,
        story.dave.org: Fate.LATE,
    }
    assert lines[story.carol.org].reason == "privacy budget spent"
    assert [line.paid for line in lines.values()].count(0) == 2
    # To say no in time costs nothing; to keep the league waiting does.
    assert league.standing(story.carol).reputation == before[0]
    assert league.standing(story.dave).reputation < before[1]


def test_an_update_in_the_block_that_passes_the_deadline_is_late():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    league.say((story.carol, league.announcement(story.id, story.carol)), after_ms=120_000)
    assert story.fates() == {
        story.bob.org: Fate.ANNOUNCED,
        story.carol.org: Fate.LATE,
        story.dave.org: Fate.MISSING,
    }


def test_an_update_that_no_quorum_could_fetch_is_unavailable_and_unpaid():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    league.attest(story.id, [story.bob, story.carol])
    league.attest(story.id, [story.dave], by=[story.dave, story.alice])
    assert story.stage is Stage.ATTESTING
    league.commit(after_ms=30_000)
    assert story.stage is Stage.AGGREGATING
    assert story.fate(story.dave) is Fate.UNAVAILABLE
    league.aggregate(story.id)
    line = league.receipt(story.id, 1).lines[-1]
    assert (line.fate, line.paid, line.reason) == (Fate.UNAVAILABLE, 0, "held by 2 of the committee in time")


@pytest.mark.parametrize("verdict", [Verdict.MALFORMED, Verdict.OUT_OF_RANGE])
def test_an_update_that_more_than_f_refuse_is_refused_with_the_reason(verdict: Verdict):
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    league.attest(story.id, [story.dave], verdict, by=[story.alice])
    assert story.fate(story.dave) is Fate.ANNOUNCED, "one member of four may lie"
    league.attest(story.id, [story.dave], verdict, by=[story.bob])
    assert story.fate(story.dave) is Fate.REFUSED
    league.attest(story.id, [story.bob, story.carol])
    league.aggregate(story.id)
    line = league.receipt(story.id, 1).lines[-1]
    assert (line.fate, line.paid) == (Fate.REFUSED, 0)
    assert line.reason == verdict.name.lower().replace("_", " ")


def test_a_late_refusal_takes_nothing_from_what_a_quorum_holds():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    league.attest(story.id, [story.bob], by=[story.alice, story.bob, story.carol])
    league.attest(story.id, [story.bob], Verdict.MALFORMED, by=[story.dave])
    assert story.fate(story.bob) is Fate.DELIVERED


def test_each_member_attests_once_what_was_announced_and_only_with_a_seat():
    story = Story()
    league = story.league
    league.announce(story.id, [story.bob])
    attestation = league.attestation(story.id, [story.bob])
    league.say((story.alice, attestation))
    assert league.refusal(story.alice, attestation) == "attested"
    opposite = league.attestation(story.id, [story.bob], Verdict.MALFORMED)
    assert league.refusal(story.alice, opposite) == "attested"
    (entry,) = attestation.attestations
    twice = replace(attestation, attestations=(entry, entry))
    assert league.refusal(story.carol, twice) == "attested"
    other = replace(attestation, attestations=(replace(entry, blob=digest("test", b"other")),))
    assert league.refusal(story.carol, other) == "blob"
    nobody = replace(attestation, attestations=(replace(entry, provider=story.alice.org),))
    assert league.refusal(story.carol, nobody) == "invited"
    silent = replace(attestation, attestations=(replace(entry, provider=story.carol.org),))
    assert league.refusal(story.carol, silent) == "blob"


def test_a_member_without_a_seat_does_not_attest():
    league = League(5)
    requester, provider, *_ = league.keys
    league.anchor([provider])
    request = league.publish(requester, terms(providers_max=1))
    league.join(request, [provider])
    league.announce(request, [provider])
    seated = league.chain.committee().members
    (outside,) = (key for key in league.keys if key.org not in seated)
    assert league.refusal(outside, league.attestation(request, [provider])) == "committee"


# --- rounds that come to nothing


def test_a_void_round_is_tried_again_and_after_three_the_escrow_returns():
    story = Story(providers_min=2)
    league = story.league
    for attempt in range(VOID_ROUNDS_MAX):
        assert league.round(story.id).attempt == attempt
        league.announce(story.id, [story.bob])
        league.commit(after_ms=120_000)
        league.attest(story.id, [story.bob])
        receipt = league.receipt(story.id, 1, attempt)
        assert receipt.model == b""
        assert all(line.paid == 0 for line in receipt.lines)
    request = league.request(story.id)
    assert (request.stage, request.model_round) == (Stage.FAILED, 0)
    assert "3 rounds in a row" in request.outcome
    assert league.balance(story.alice) == BALANCE
    # Who delivered into a void round is not to blame; who was missing is.
    assert league.standing(story.bob).reputation > league.standing(story.carol).reputation
    assert league.standing(story.carol).rounds_missed == VOID_ROUNDS_MAX


def test_a_request_that_made_a_model_before_is_done_and_not_failed():
    story = Story()
    league = story.league
    league.whole_round(story.id, story.providers)
    for _ in range(VOID_ROUNDS_MAX):
        league.commit(after_ms=120_000)
    request = league.request(story.id)
    assert (request.stage, request.model_round) == (Stage.DONE, 1)
    assert league.balance(story.alice) == BALANCE - 600


def test_a_good_round_forgets_the_void_ones_before_it():
    story = Story(rounds_max=9)
    league = story.league
    for _ in range(VOID_ROUNDS_MAX):
        league.commit(after_ms=120_000)
        league.whole_round(story.id, story.providers)
        assert league.request(story.id).void_rounds == 0
    assert story.stage is Stage.TRAINING


def test_when_the_budget_cannot_pay_a_round_any_more_the_rest_returns():
    story = Story(budget=1_300)
    league = story.league
    league.whole_round(story.id, story.providers)
    league.whole_round(story.id, story.providers)
    request = league.request(story.id)
    assert (request.stage, request.paid, request.escrow) == (Stage.DONE, 1_200, 0)
    assert "paid for round 3" in request.outcome
    assert league.balance(story.alice) == BALANCE - 1_200


def test_who_joined_first_is_invited_first_when_the_budget_is_short():
    story = Story(budget=450)
    assert set(story.fates()) == {story.bob.org, story.carol.org}


def test_an_offer_as_large_as_the_budget_does_not_keep_the_others_out():
    story = Story(joined=False, budget=1_000, providers_min=2)
    league = story.league
    league.say((story.bob, anchored(2, 400)))
    league.join(story.id, [story.bob], records=500)
    league.join(story.id, [story.carol, story.dave])
    assert story.stage is Stage.TRAINING
    assert set(story.fates()) == {story.carol.org, story.dave.org}


def test_records_that_an_exact_mean_cannot_add_up_are_not_invited():
    limit, scale_bits = 2**11 - 1, 20
    most = total_weight_max(limit << scale_bits)
    league = League(4, balance=2 * most)
    alice, bob, carol, _ = league.keys
    league.anchor([bob, carol], most)
    request = league.publish(alice, terms(limit=limit, scale_bits=scale_bits, price=1, budget=2 * most))
    league.join(request, [bob], records=most)
    league.join(request, [carol], records=1)
    league.commit(after_ms=60_000)
    assert [part.org for part in league.round(request).participants] == [bob.org], "one record more would overflow"


def test_a_round_that_nobody_can_aggregate_is_paid_and_ends_the_request():
    story = Story(aggregation="no such rule").to(Stage.AGGREGATING)
    league = story.league
    assert league.chain.next_deadline() == league.now + AGGREGATION_MS_MAX
    before = league.standing(story.bob)
    league.commit(after_ms=AGGREGATION_MS_MAX - 1)
    assert story.stage is Stage.AGGREGATING, "a weekend is no reason to give it up"
    league.commit(after_ms=1)
    request = league.request(story.id)
    assert (request.stage, request.outcome) == (Stage.FAILED, "nobody could aggregate round 1")
    assert (request.paid, request.escrow) == (600, 0)
    assert league.balance(story.bob) == BALANCE + 200
    assert league.balance(story.alice) == BALANCE - 600
    receipt = league.receipt(story.id, 1)
    assert (receipt.model, [line.paid for line in receipt.lines]) == (b"", [200] * 3)
    after = league.standing(story.bob)
    assert after.reputation == before.reputation, "nobody knows how good it was"
    assert (after.rounds_delivered, after.tokens_earned) == (1, 200)
    assert league.chain.next_deadline() is None


def test_a_second_round_that_nobody_can_aggregate_leaves_the_first_ones_model():
    story = Story()
    league = story.league
    league.whole_round(story.id, story.providers)
    model = league.request(story.id).model
    story.to(Stage.AGGREGATING)
    league.commit(after_ms=AGGREGATION_MS_MAX)
    request = league.request(story.id)
    assert (request.stage, request.model, request.model_round, request.paid) == (Stage.DONE, model, 1, 1_200)


def test_every_deadline_is_told_so_that_an_idle_league_wakes_up():
    story = Story(joined=False)
    league = story.league
    assert league.chain.next_deadline() == league.now + 60_000
    league.join(story.id, story.providers)
    assert league.chain.next_deadline() == league.now + 120_000
    league.announce(story.id, story.providers)
    assert league.chain.next_deadline() == league.now + 30_000
    league.attest(story.id, story.providers)
    assert league.chain.next_deadline() == league.now + AGGREGATION_MS_MAX


# --- what could break the books


def test_what_a_member_ever_earned_may_pass_all_tokens_that_there_are():
    # Tokens go round: the count of earnings must not stop the league.
    league = League(4, balance=AMOUNT_MAX // 4)
    alice, bob, *_ = league.keys
    league.anchor([bob], records=1)
    for number in range(6):
        budget = AMOUNT_MAX // 4
        request = league.publish(alice, terms(price=budget, budget=budget, rounds_max=1, providers_max=1))
        league.join(request, [bob], records=1)
        league.whole_round(request, [bob])
        assert league.standing(bob).tokens_earned == min((number + 1) * budget, AMOUNT_MAX)
        league.say((bob, Transfer(alice.org, budget, "again")))


def test_a_round_that_spans_an_election_counts_who_sits_when_it_is_decided():
    story = Story()
    league = story.league
    league.announce(story.id, story.providers)
    epoch = league.chain.read(Election, ELECTION)
    league.attest(story.id, story.providers, by=[story.alice, story.bob])
    league.commit(after_ms=1)
    league.attest(story.id, story.providers, by=[story.carol])
    assert epoch != league.chain.read(Election, ELECTION)
    assert story.stage is Stage.AGGREGATING


def test_two_requests_live_side_by_side():
    story = Story()
    league = story.league
    second = league.publish(story.bob, terms(title="second", providers_max=1))
    league.join(second, [story.carol])
    league.announce(story.id, story.providers)
    league.announce(second, [story.carol])
    league.attest(second, [story.carol])
    league.attest(story.id, story.providers)
    author = league.key(league.chain.leaders()[0])
    league.say((author, league.aggregate_body(story.id)), (author, league.aggregate_body(second)))
    assert league.request(story.id).round == league.request(second).round == 2
    assert league.balance(story.carol) == BALANCE + 400
