"""Masked rounds over the ledger's rules: whoever vanishes, forgets, crashes or lies, the sum is exact or nobody's."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from fl.aggregate import weighted_mean
from fl.fixed_point import pack
from fl.masked_blob import check_masked
from ledger.entries import Fate, Stage
from ledger.protection import OfferMaskKeys, RevealShares, ShareMaskSecrets
from ledger.protection_entries import MaskedInputs, unmasking_key
from node.network.blob_store import blob_digest
from node.rounds import RoundId
from node.unmasking import BLAME
from tests.support.masked_league import (
    CarelessDealer,
    Complainer,
    Fall,
    Garbler,
    MaskedLeague,
    SilentDealer,
    WrongDealer,
)
from tests.support.open_requests import PARAMETERS, SCALE_BITS

STEPS = (Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.TRAINING, Stage.UNMASKING)


def sums_are_exact(league: MaskedLeague, attempt: int = 0) -> None:
    """The model is bit for bit the weighted mean of what was delivered, though nobody was shown any of it."""
    vectors, weights = league.expected(1, attempt)
    plain = pack(weighted_mean(vectors, weights), SCALE_BITS)
    assert league.entry.model == league.receipt(1, attempt).model == blob_digest(plain)


def never_both(league: MaskedLeague) -> None:
    """Of no provider and attempt is more said than the shares of one secret, whatever was said how often."""
    told: dict[tuple[RoundId, bytes], set[bytes]] = {}
    for block in range(1, league.sealed.chain.height + 1):
        final = league.sealed.chain.block(block)
        assert final is not None
        for transaction in final.block.transactions:
            if isinstance(transaction.body, RevealShares):
                body = transaction.body
                for each in body.shares:
                    place = RoundId(body.request, body.round, body.attempt), each.dealer
                    told.setdefault(place, set()).add(each.share)
    for party in league.parties:
        for round_id, dealt in party.dealt.items():
            shares = told.get((round_id, party.org), set())
            assert not (shares & {each.seed_share for each in dealt} and shares & {each.key_share for each in dealt})


def one_word_an_attempt(league: MaskedLeague) -> None:
    """Whatever crashed in between, keys are offered and shares dealt once: the second time it is the same word."""
    for party in league.parties:
        for (_, kind), words in party.said.items():
            assert kind not in (OfferMaskKeys, ShareMaskSecrets) or len(words) == 1, (party.name, kind)


def test_a_round_in_which_all_goes_well_takes_one_block_a_step() -> None:
    league = MaskedLeague(7, rounds=2)
    league.run()
    assert league.entry.outcome == "all rounds done"
    steps = (Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.TRAINING, Stage.ATTESTING, Stage.UNMASKING)
    assert league.stages == [*steps, Stage.AGGREGATING] * 2
    assert {line.fate for line in league.receipt().lines} == {Fate.DELIVERED}
    vectors, weights = league.expected()
    assert league.receipt().model == blob_digest(pack(weighted_mean(vectors, weights), SCALE_BITS))
    assert league.sealed.chain.read(MaskedInputs, unmasking_key(league.request, 1, 0)) == league.tasks[0].masking
    never_both(league)


@pytest.mark.parametrize("pair", list(combinations(STEPS, 2)), ids=lambda pair: "+".join(each.name for each in pair))
def test_two_of_seven_vanish_for_good_at_any_two_steps(pair: tuple[Stage, Stage]) -> None:
    for speaks in (False, True):
        league = MaskedLeague(7, falls={at: Fall(stage, speaks) for at, stage in enumerate(pair)})
        league.run()
        assert league.entry.outcome == "all rounds done"
        assert league.receipt().attempt == 0, "no attempt was void"
        sums_are_exact(league)
        never_both(league)


@pytest.mark.parametrize("stage", STEPS, ids=lambda stage: stage.name)
def test_who_comes_back_without_its_secrets_sits_the_round_out(stage: Stage) -> None:
    league = MaskedLeague(4, falls={1: Fall(stage, speaks=True, returns=True)}, rounds=2)
    league.run()
    assert league.entry.outcome == "all rounds done"
    assert all(line.fate is Fate.DELIVERED for line in league.receipt(2).lines), "new keys, a new round"
    assert league.parties[1].lost or stage is Stage.UNMASKING
    never_both(league)


def test_more_than_a_third_vanish_and_nothing_is_unmasked() -> None:
    for stage in (Stage.SHARES, Stage.TRAINING, Stage.UNMASKING):
        league = MaskedLeague(7, falls={at: Fall(stage, speaks=False) for at in range(3)})
        league.run()
        assert not league.receipt().model
        assert not any(task.attempt == 0 for task in league.tasks)
        # Those who are left are enough for a round of their own.
        assert league.entry.outcome == "all rounds done"
        sums_are_exact(league, attempt=1)
        never_both(league)


@pytest.mark.parametrize("seed", range(8))
def test_crashes_at_any_write_and_lost_words_cost_time_only(seed: int) -> None:
    league = MaskedLeague(3 + seed % 5, seed=seed, loss=0.2, cut_short=0.15)
    league.run()
    assert league.entry.outcome == "all rounds done", league.stages
    sums_are_exact(league, league.entry.attempt)
    never_both(league)
    one_word_an_attempt(league)
    for party in league.parties:
        assert party.is_spent(RoundId(league.request, 1, league.entry.attempt))


def test_a_dealer_of_wrong_shares_is_named_and_the_next_attempt_does_without_it() -> None:
    league = MaskedLeague(7, liars={2: WrongDealer, 5: WrongDealer})
    league.run()
    liars = {league.parties[at].org for at in (2, 5)}
    void = {line.org: (line.fate, line.reason) for line in league.receipt().lines}
    assert {org for org, (fate, _) in void.items() if fate is Fate.REJECTED} == liars
    assert {reason for org, (_, reason) in void.items() if org in liars} == {BLAME}
    assert not league.receipt().model
    assert liars.isdisjoint(provider.org for provider in league.entry.providers)
    sums_are_exact(league, attempt=1)
    assert len(league.receipt(1, 1).lines) == 5


@pytest.mark.parametrize("liar", [CarelessDealer, Complainer], ids=lambda liar: liar.__name__)
def test_a_complaint_that_is_answered_holds_nobody_up(liar: type) -> None:
    league = MaskedLeague(4, liars={1: liar})
    league.run()
    assert Stage.ANSWERING in league.stages
    assert [line.fate for line in league.receipt().lines] == [Fate.DELIVERED] * 4
    sums_are_exact(league)
    never_both(league)


def test_a_dealer_that_does_not_answer_is_out() -> None:
    league = MaskedLeague(4, liars={1: SilentDealer})
    league.run()
    fates = Counter(line.fate for line in league.receipt().lines)
    assert fates == {Fate.DELIVERED: 3, Fate.REJECTED: 1}
    sums_are_exact(league)


def test_garbage_under_the_masks_voids_the_attempt_and_blames_nobody() -> None:
    league = MaskedLeague(4, liars={1: Garbler})
    league.run()
    assert not league.receipt().model
    assert {line.fate for line in league.receipt().lines} == {Fate.UNUSED}
    sums_are_exact(league, attempt=1)


def test_every_masked_blob_looks_like_noise() -> None:
    """Chi-squared over the bytes of each blob, at 255 degrees of freedom: beyond 380 once in a million blobs."""
    league = MaskedLeague(7)
    league.run()
    for party in league.parties:
        (blob,) = party.blobs.values()
        words = check_masked(blob, PARAMETERS)
        counts = np.bincount(words.view(np.uint8), minlength=256)
        even = counts.sum() / 256
        assert ((counts - even) ** 2 / even).sum() < 380, party.name
