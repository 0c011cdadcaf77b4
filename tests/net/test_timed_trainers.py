"""Rounds that end by time at factories with real training processes: what counts, and who sends nothing."""

from contextlib import ExitStack

import pytest

from ledger.entries import Fate, Receipt, Stage, receipt_key
from ledger.transactions import AnnounceUpdate, DeclineRound, Setting
from node import provider_rounds, requester_reports, trainer
from tests.support.open_requests import join, publish, round_of
from tests.support.sealed_chain import wait_until
from tests.support.training_league import BASE, TrainingLeague

# Far more than any machine gets done in the time: some hundred thousand steps.
ENDLESS = {"strategy": "t-sfl", "epochs": 10_000, "batch": 1, "providers_max": 1}


@pytest.fixture
async def league(tmp_path, nursery, monkeypatch):
    for part in (provider_rounds, requester_reports, trainer):
        monkeypatch.setattr(part, "RESEND_S", 0.05)
    with ExitStack() as stack:
        league = TrainingLeague(tmp_path, nursery, stack)
        yield league
        nursery.cancel_scope.cancel()


async def answer_to(league, nursery, **settings):
    """What alice says to a round in which a clock ends her training, and the request."""
    league.keep_records("alice", 1)
    asked = tuple(Setting(name, text) for name, text in sorted(settings.items()))
    request = publish(league.sealed, "dave", BASE, **ENDLESS, strategy_settings=asked)
    join(league.sealed, "alice", request)
    league.seal()
    assert league.request(request).stage is Stage.TRAINING
    alice = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", await league.process(), alice, allow_no_guarantee=True).run)
    said = (AnnounceUpdate, DeclineRound)
    await wait_until(lambda: any(isinstance(body, said) for body in alice.said), 60)
    league.seal()
    return next(body for body in alice.said if isinstance(body, said)), request


@pytest.mark.trio
async def test_a_clock_ends_training_and_the_update_counts_by_the_steps_it_rests_on(league, nursery):
    said, request = await answer_to(league, nursery, seconds="0.2", least="0")
    assert isinstance(said, AnnounceUpdate)
    # Of the 39 anchored records only as many count as there was time for; at least one does.
    assert 1 <= said.record_count < 39
    assert [part.weight for part in round_of(league.sealed, request).participants] == [said.record_count]


@pytest.mark.trio
async def test_who_gets_too_little_done_declines_and_says_why(league, nursery):
    said, request = await answer_to(league, nursery, seconds="0.2", least="1")
    assert isinstance(said, DeclineRound)
    assert "of 390000 steps in 0.2 s, want 390000" in said.reason
    receipt = league.sealed.chain.read(Receipt, receipt_key(request, 1, 0))
    assert [line.fate for line in receipt.lines] == [Fate.DECLINED]
