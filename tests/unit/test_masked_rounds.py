"""Masked rounds step by step: who is waited for, what a complaint does, which shares are told, who is put out."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ledger.codec import digest
from ledger.departures import expel
from ledger.entries import Fate, Stage, Standing, standing_key
from ledger.keys import KeyPair
from ledger.masked_rounds import waited_for
from ledger.protection import (
    MASKED_PROVIDERS_MIN,
    AcceptShares,
    OfferMaskKeys,
    OpenedShare,
    OpenShares,
    Rejection,
    SecretKind,
    ShareMaskSecrets,
    is_usable_key,
    share_commitment,
    threshold,
    vanished_max,
)
from ledger.protection_entries import Dealing, Exclusion, MaskedInputs, dealing_key, exclusion_key, unmasking_key
from ledger.request_lookup import STAGES_ALLOWED
from ledger.statements import LeaveLeague
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnnounceProtected,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    UpdateScore,
)
from tests.support.masked_story import WINDOW_MS, MaskedStory
from tests.support.transaction_examples import EXAMPLES

STEPS = (Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.TRAINING, Stage.ATTESTING, Stage.UNMASKING, Stage.AGGREGATING)


def to(story: MaskedStory, stage: Stage, by: list[KeyPair] | None = None) -> MaskedStory:
    """Everybody, or `by`, does its part until the request stands there."""
    say = {Stage.KEYS: story.offer, Stage.SHARES: story.deal, Stage.CONTEST: story.accept}
    say |= {Stage.TRAINING: story.announce, Stage.UNMASKING: story.reveal}
    who = story.providers if by is None else by
    while story.stage is not stage:
        now = story.stage
        if now is Stage.ATTESTING:
            story.attest(story.announced())
        for key in who if now in say else ():
            if story.stage is now:
                assert say[now](key) == "", now
        if story.stage is now:
            story.league.pass_time(200_000)
        assert not story.is_over
    return story


def test_who_is_waited_for_is_told_at_every_step():
    story = MaskedStory(4)
    everybody = [key.org for key in story.providers]
    for stage in STEPS:
        story = to(MaskedStory(4), stage)
        say = {Stage.KEYS: story.offer, Stage.SHARES: story.deal, Stage.CONTEST: story.accept}
        say |= {Stage.TRAINING: story.announce, Stage.UNMASKING: story.reveal}
        waited = waited_for(story.league.state, story.id)
        assert waited == (everybody if stage in say else [])
        if stage in say:
            say[stage](story.providers[2])
            assert waited_for(story.league.state, story.id) == [org for org in everybody if org != everybody[2]]
    story.aggregate()
    assert waited_for(story.league.state, story.id) == []


def test_a_masked_round_goes_on_as_soon_as_nobody_is_waited_for_and_is_paid_like_any_other():
    story = MaskedStory(4)
    seen = [story.stage]
    for stage in STEPS[1:]:
        seen.append(to(story, stage).stage)
    assert seen == list(STEPS)
    task = story.due()
    assert task.masking is not None
    assert [each.org for each in task.masking.members] == [key.org for key in story.providers]
    assert all(len(each.shares) == threshold(4) == task.masking.threshold for each in task.masking.members)
    assert story.aggregate() == ""
    assert story.stage is Stage.DONE
    assert [(line.fate, line.paid, line.quality) for line in story.receipt().lines] == [
        (Fate.DELIVERED, 200, 1_000_000)
    ] * 4
    kept = story.league.state.get(MaskedInputs, unmasking_key(story.id, 1, 0))
    assert kept == task.masking, "what the sum was unmasked with stays, for who checks it later"
    left = {key.split(b"/")[0] for key, value in story.league.rows().items() if value is not None}
    assert not left & {b"masking", b"dealing", b"revealed"}


@pytest.mark.parametrize("stage", STEPS)
def test_every_stage_of_a_masked_round_refuses_what_is_not_in_its_row_of_the_table(stage: Stage):
    story = to(MaskedStory(4), stage)
    said = {type(body): body for body in EXAMPLES if type(body) in STAGES_ALLOWED}
    assert said.keys() == STAGES_ALLOWED.keys()
    for kind, body in said.items():
        if isinstance(body, AnnounceProtected):
            body = replace(body, update=replace(body.update, request=story.id))
        else:
            body = replace(body, request=story.id)  # type: ignore[call-arg]
        leads = kind in (AggregateRound, AggregateProtected)
        code = story.league.lead(body) if leads else story.league.say(story.providers[0], body)
        assert (code == "stage") is (stage not in STAGES_ALLOWED[kind]), f"{kind.__name__}: {code}"


def test_each_step_waits_for_its_window_and_no_longer():
    story = MaskedStory(4)
    for stage, following in pairwise(STEPS[:4]):
        to(story, stage)
        words = {Stage.KEYS: story.offer, Stage.SHARES: story.deal, Stage.CONTEST: story.accept}
        for key in story.providers[:3]:
            words[stage](key)
        assert story.request.deadline == story.league.now + WINDOW_MS
        story.league.pass_time(WINDOW_MS - 1)
        assert story.stage is stage
        story.league.pass_time(1)
        assert story.stage is following
        # Who fell out comes back by no later word.
        assert story.offer(story.providers[3]) == "stage"
        story = MaskedStory(4)


@pytest.mark.parametrize("missed", [Stage.KEYS, Stage.SHARES, Stage.CONTEST])
def test_who_missed_a_step_is_not_waited_for_and_its_update_is_refused(missed: Stage):
    story = to(MaskedStory(4), missed)
    story.providers, late = story.providers[:3], story.providers[3]
    to(story, Stage.TRAINING)
    assert story.counted == [key.org for key in story.providers]
    assert story.announce(late) == "masked"
    part = next(each for each in story.round.participants if each.org == late.org)
    assert (part.fate, part.reason.split()[-2:]) == (Fate.MISSING, ["in", "time"])
    to(story, Stage.ATTESTING)
    to(story, Stage.AGGREGATING)
    assert story.aggregate() == ""
    assert [line.paid for line in story.receipt().lines if line.org == late.org] == [0]


def test_thresholds_are_above_two_thirds_and_let_a_third_vanish():
    for members in range(MASKED_PROVIDERS_MIN, 65):
        assert 3 * threshold(members) > 2 * members
        assert threshold(members) + vanished_max(members) == members
        assert vanished_max(members) < threshold(members) - vanished_max(members), "f complaints can be answered"


# --- what is refused


def test_keys_that_share_no_secret_are_refused():
    story = MaskedStory(3)
    alice, _, _ = story.providers
    place = (story.id, 1, 0)
    own, other = digest("test", b"one"), digest("test", b"two")
    assert story.league.say(alice, OfferMaskKeys(*place, own, own)) == "key"
    assert story.league.say(alice, OfferMaskKeys(*place, bytes(32), own)) == "key"
    assert story.league.say(alice, OfferMaskKeys(*place, own, other)) == ""
    assert story.league.say(alice, OfferMaskKeys(*place, own, other)) == "said"
    assert story.league.say(story.requester, OfferMaskKeys(*place, bytes(32), own)) == "invited"


def test_nobody_keeps_others_out_by_saying_their_keys_first():
    """Mallory reads alice's and bob's keys on their way to a block, and is there first with one of each."""
    story = MaskedStory(4)
    mallory, alice, bob, _ = story.providers
    place = (story.id, 1, 0)
    keys = {key: (digest("test", b"mask" + key.org), digest("test", b"exchange" + key.org)) for key in (alice, bob)}
    assert story.league.say(mallory, OfferMaskKeys(*place, keys[alice][0], keys[bob][1])) == ""
    for key, own in keys.items():
        assert story.league.say(key, OfferMaskKeys(*place, *own)) == ""
    assert [each.org for each in story.masking.members] == [mallory.org, alice.org, bob.org]


def test_two_others_remain_in_a_sum_whoever_of_the_invited_collude():
    """Of seven two may collude: were three enough, four kept from offering would leave one alone between them."""
    for present, stage in ((3, Stage.KEYS), (4, Stage.SHARES)):
        story = MaskedStory(7)
        for key in story.providers[:present]:
            assert story.offer(key) == ""
        story.league.pass_time(WINDOW_MS)
        assert (story.stage, story.request.void_rounds) == (stage, int(stage is Stage.KEYS))
    # And 7 of 22 must not hold as many shares as bring a secret back, which is 7 where 9 or 10 deal.
    for present, voided in ((10, True), (11, False)):
        story = MaskedStory(22)
        for key in story.providers[:present]:
            assert story.offer(key) == ""
        story.league.pass_time(WINDOW_MS)
        assert bool(story.request.void_rounds) is voided


def test_points_of_small_order_are_known_in_every_spelling():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

    mine = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    field = 2**255 - 19
    small = [0, 1, field - 1, field, field + 1]
    small.append(325606250916557431795983626356110631294008115727848805560023387167927233504)
    small.append(39382357235489614581723060781553021112529911719440698176882885853963445705823)
    for point in small:
        for high in (0, 2**255):
            key = (point + high).to_bytes(32, "little")
            assert not is_usable_key(key)
            with pytest.raises(ValueError, match="shared key"):
                mine.exchange(X25519PublicKey.from_public_bytes(key))
    assert is_usable_key(mine.public_key().public_bytes_raw())


def test_a_dealing_names_each_member_of_U0_once_in_order():
    story = to(MaskedStory(4), Stage.SHARES)
    alice, bob, *_ = story.providers
    assert story.deal(alice) == ""
    assert story.deal(alice) == "said"
    whole = story.league.state.need(Dealing, dealing_key(story.id, alice.org)).shares
    for wrong in (whole[:-1], whole[::-1], (*whole, whole[0]), (whole[0], *whole[:3])):
        assert story.league.say(bob, ShareMaskSecrets(story.id, 1, 0, bytes(32), wrong)) == "holders"


def test_who_dealt_nothing_accepts_nothing_and_nobody_refuses_itself_or_strangers():
    story = to(MaskedStory(4), Stage.SHARES)
    alice, bob, carol, dave = story.providers
    to(story, Stage.CONTEST, [alice, bob, carol])
    assert story.accept(dave) == "dealt"
    assert story.accept(alice, [alice]) == story.accept(alice, [dave]) == "dealers"
    doubled = AcceptShares(story.id, 1, 0, (bob.org, bob.org))
    assert story.league.say(alice, doubled) == "dealers"
    assert story.accept(alice) == ""
    assert story.accept(alice) == "said"


# --- complaints


def test_a_dealer_that_opens_what_was_complained_of_stays_in():
    story = to(MaskedStory(4), Stage.CONTEST)
    alice, bob, carol, dave = story.providers
    for key in (alice, bob, carol):
        story.accept(key, [dave] if key is alice else [])
    story.accept(dave)
    assert story.stage is Stage.ANSWERING
    assert story.open(bob, [alice.org]) == "said"
    assert story.open(dave, [bob.org]) == "holders"
    right = story.league.state.need(Dealing, dealing_key(story.id, dave.org))
    lie = OpenedShare(alice.org, bytes(33), bytes(16), bytes(33), bytes(16))
    assert story.league.say(dave, OpenShares(story.id, 1, 0, (lie,))) == "share"
    assert story.open(dave) == ""
    assert story.stage is Stage.TRAINING
    assert dave.org in story.counted
    opened = story.league.state.need(Dealing, dealing_key(story.id, dave.org)).opened
    assert [each.holder for each in opened] == [alice.org]
    assert right.shares == story.league.state.need(Dealing, dealing_key(story.id, dave.org)).shares


def test_a_dealer_that_does_not_answer_is_put_out_of_the_request():
    story = to(MaskedStory(4, rounds_max=2), Stage.CONTEST)
    alice, bob, carol, dave = story.providers
    story.accept(alice, [dave])
    for key in (bob, carol, dave):
        story.accept(key)
    assert story.stage is Stage.ANSWERING
    story.league.pass_time(WINDOW_MS)
    assert story.stage is Stage.TRAINING
    assert (story.fate(dave), dave.org in story.counted) == (Fate.REJECTED, False)
    story.providers.remove(dave)
    to(story, Stage.AGGREGATING)
    assert story.aggregate() == ""
    line = next(line for line in story.receipt().lines if line.org == dave.org)
    assert (line.fate, line.paid) == (Fate.REJECTED, 0)
    assert "did not open" in line.reason
    # Neither invited to the next round nor let in again.
    assert dave.org not in {part.org for part in story.round.participants}
    assert story.league.say(dave, JoinRequest(story.id, "vibration", 100, ())) == "excluded"
    assert story.league.state.get(Exclusion, exclusion_key(story.id, dave.org)) is not None


@pytest.mark.parametrize("providers", [3, 4, 7, 10])
def test_so_many_complaints_that_answers_would_tell_its_secrets_put_a_dealer_out_at_once(providers: int):
    answered_max = threshold(providers) - 1 - vanished_max(providers)
    for complaints in (answered_max, answered_max + 1):
        story = to(MaskedStory(providers, rounds_max=2), Stage.CONTEST)
        *others, dealer = story.providers
        for at, key in enumerate(others):
            story.accept(key, [dealer] if at < complaints else [])
        if len(others) < complaints:
            continue
        story.accept(dealer)
        if complaints <= answered_max:
            assert story.stage is Stage.ANSWERING
            assert story.open(dealer) == ""
            assert story.stage is Stage.TRAINING
            assert dealer.org in story.counted
        else:
            excluded = story.league.state.get(Exclusion, exclusion_key(story.id, dealer.org))
            assert excluded is not None
            assert str(complaints) in excluded.reason


# --- what is revealed


def unmasking(providers: int = 4) -> MaskedStory:
    """All but the last have delivered."""
    story = to(MaskedStory(providers), Stage.TRAINING)
    to(story, Stage.UNMASKING, story.providers[:-1])
    return story


def test_of_who_delivered_the_seed_is_told_and_of_who_did_not_the_mask_key_and_no_other():
    story = unmasking()
    alice, bob, carol, dave = story.providers
    assert story.kinds_due() == {
        **{key.org: SecretKind.SEED for key in (alice, bob, carol)},
        dave.org: SecretKind.MASK_KEY,
    }
    for dealer, kind in story.kinds_due().items():
        other = SecretKind.SEED if kind is SecretKind.MASK_KEY else SecretKind.MASK_KEY
        assert story.reveal(alice, [dealer], {dealer: other}) == "share"
    assert story.reveal(alice) == ""
    assert story.reveal(alice) == "said"
    # Who has not delivered holds shares like the others, and tells them.
    assert story.reveal(dave) == story.reveal(carol) == ""
    assert story.stage is Stage.AGGREGATING
    inputs = story.due().masking
    assert inputs is not None
    assert [each.delivered for each in inputs.members] == [True, True, True, False]
    assert [[share.index for share in each.shares] for each in inputs.members] == [[1, 3, 4]] * 4


def test_shares_of_dealers_are_told_once_in_order_and_may_be_too_few():
    story = unmasking()
    alice, bob, carol, _ = story.providers
    assert story.reveal(alice, [bob.org, alice.org]) == "dealers"
    assert story.reveal(alice, [bob.org, bob.org]) == "dealers"
    # One dealer's share may be lost to a holder; of the others its word counts.
    assert story.reveal(alice, sorted({*story.counted} - {bob.org})) == ""
    assert story.reveal(bob) == story.reveal(carol) == ""
    assert story.stage is Stage.UNMASKING
    assert story.reveal(story.providers[3]) == ""
    assert story.stage is Stage.AGGREGATING


def test_who_is_not_in_U2_reveals_nothing():
    story = to(MaskedStory(5), Stage.CONTEST)
    story.providers, late = story.providers[:4], story.providers[4]
    to(story, Stage.UNMASKING)
    assert story.reveal(late) == "said"
    assert story.reveal(story.requester) == "invited"
    assert story.reveal(story.providers[0]) == ""


def test_who_has_left_is_not_waited_for_to_reveal():
    story = unmasking(4)
    alice, bob, carol, dave = story.providers
    assert story.reveal(alice) == story.reveal(bob) == ""
    for gone in (dave, carol):
        assert story.stage is Stage.UNMASKING
        assert story.league.say(gone, LeaveLeague(gone.org)) == ""
    # Two of three shares, and nobody left who could tell the third: void at once.
    assert not story.receipt().model
    assert story.stage is Stage.FAILED, "two providers are no masked round"


def test_too_few_that_deliver_or_reveal_make_the_round_void_and_nothing_of_it_is_unmasked():
    few = to(MaskedStory(4, rounds_max=2), Stage.TRAINING)
    for key in few.providers[:2]:
        few.announce(key)
    few.league.pass_time(200_000)
    few.attest(few.providers[:2])
    assert (few.stage, few.request.attempt) == (Stage.KEYS, 1)
    assert [line.fate for line in few.receipt().lines] == [Fate.UNUSED, Fate.UNUSED, Fate.MISSING, Fate.MISSING]
    assert not few.public
    silent = unmasking()
    reputations = [silent.league.state.need(Standing, standing_key(key.org)).reputation for key in silent.providers]
    for key in silent.providers[:2]:
        assert silent.reveal(key) == ""
    silent.league.pass_time(WINDOW_MS)
    assert (silent.stage, silent.request.attempt) == (Stage.KEYS, 1)
    assert [line.fate for line in silent.receipt().lines] == [
        Fate.UNUSED,
        Fate.UNUSED,
        Fate.UNAVAILABLE,
        Fate.MISSING,
    ]
    now = [silent.league.state.need(Standing, standing_key(key.org)).reputation for key in silent.providers]
    assert now[:2] == reputations[:2], "who did its part loses nothing"
    assert all(after < before for after, before in zip(now[2:], reputations[2:], strict=True))


# --- what the aggregate says


def test_dealers_of_wrong_shares_are_blamed_put_out_and_the_next_attempt_goes_on_without_them():
    story = to(MaskedStory(5), Stage.AGGREGATING)
    liar = story.providers[1]
    assert story.aggregate([liar]) == ""
    assert (story.stage, story.request.round, story.request.attempt) == (Stage.KEYS, 1, 1)
    fates = {line.org: line.fate for line in story.receipt().lines}
    assert fates.pop(liar.org) is Fate.REJECTED
    assert set(fates.values()) == {Fate.UNUSED}
    assert story.offer(liar) == "invited"
    story.providers.remove(liar)
    to(story, Stage.AGGREGATING)
    assert story.aggregate() == ""
    assert story.stage is Stage.DONE


def test_a_sum_that_is_none_makes_the_round_void_and_is_nobodys_visible_fault():
    story = MaskedStory(3)
    for attempt in range(3):
        assert story.request.attempt == attempt
        to(story, Stage.AGGREGATING)
        assert story.aggregate(whole=False) == ""
    assert story.stage is Stage.FAILED
    assert story.request.outcome == "3 rounds in a row came to nothing"


def test_an_aggregate_blames_members_of_U2_only_and_has_no_model_beside_the_blame():
    story = to(MaskedStory(4), Stage.AGGREGATING)
    assert story.aggregate([story.requester]) == "rejected"
    model = digest("test/model", b"one")
    liar = (Rejection(story.providers[0].org, "wrong shares"),)
    equal = tuple(UpdateScore(key.org, 1_000_000) for key in story.providers)
    better = (UpdateScore(equal[0].provider, 999_999), *equal[1:])
    for scores, rejected, code in ((equal, liar, "rejected"), (better, (), "scores"), (equal[1:], (), "scores")):
        body = AggregateProtected(story.id, 1, 0, model, 24, scores, rejected)
        assert story.league.lead(body) == code
    assert story.league.lead(AggregateProtected(story.id, 1, 0, b"", 24, (), liar)) == "blob"
    assert story.league.lead(AggregateProtected(story.id, 1, 0, model[:5], 24, equal, ())) == "blob"
    assert story.aggregate() == ""


# --- who goes, and requests that end


@pytest.mark.parametrize("stage", STEPS[:-1])
@pytest.mark.parametrize("how", ["leaves", "expelled", "declines"])
def test_a_round_goes_on_without_one_that_goes_in_any_stage(stage: Stage, how: str):
    story = to(MaskedStory(4), stage)
    gone = story.providers[1]
    if how == "leaves":
        assert story.league.say(gone, LeaveLeague(gone.org)) == ""
    elif how == "expelled":
        expel(story.league.state, story.league._context, gone.org)
    elif story.league.say(gone, DeclineRound(story.id, 1, 0, "disk full")) != "":
        assert stage in (Stage.ATTESTING, Stage.UNMASKING)
        return
    story.providers.remove(gone)
    story.league.pass_time()
    while story.stage is not Stage.AGGREGATING:
        before = story.stage
        to(story, STEPS[STEPS.index(story.stage) + 1])
        assert story.stage is not before
    assert story.aggregate() == ""
    assert story.stage is Stage.DONE
    paid = {line.org: line.paid for line in story.receipt().lines}
    assert all(paid[key.org] == 200 for key in story.providers)
    assert (paid[gone.org] > 0) is (stage in (Stage.ATTESTING, Stage.UNMASKING)), "what was announced is paid"


@pytest.mark.parametrize("stage", STEPS)
def test_a_masked_request_is_cancelled_in_any_stage(stage: Stage):
    story = to(MaskedStory(4, rounds_max=2), stage)
    assert story.league.say(story.requester, CancelRequest(story.id)) == ""
    if stage in (Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.TRAINING):
        assert story.stage is Stage.CANCELLED
    else:
        to(story, Stage.AGGREGATING)
        assert story.aggregate() == ""
        assert story.stage is Stage.CANCELLED
        assert story.request.paid == 800
    left = {key.split(b"/")[0] for key, value in story.league.rows().items() if value is not None}
    assert not left & {b"masking", b"dealing", b"revealed"}


# --- commitments


def test_a_commitment_is_to_one_share_of_one_secret_of_one_dealer_for_one_holder_in_one_attempt():
    one, two = digest("test", b"one"), digest("test", b"two")
    plain: tuple[object, ...] = (one, 1, 0, one, two, SecretKind.SEED, bytes(33), bytes(16))
    others: tuple[object, ...] = (two, 2, 1, two, one, SecretKind.MASK_KEY, b"\x01" * 33, b"\x01" * 16)
    seen = {share_commitment(*plain)}  # type: ignore[arg-type]
    for at, other in enumerate(others):
        seen.add(share_commitment(*plain[:at], other, *plain[at + 1 :]))  # type: ignore[arg-type]
    assert len(seen) == 9
