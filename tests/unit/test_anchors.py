"""Anchors: one root a period, in order, never replaced; what is trained on counts up to what they hold."""

from dataclasses import replace

import pytest

from ledger.anchors import anchor_totals, records_under
from ledger.entries import Anchor, AnchorTotals, anchor_key
from ledger.errors import InvalidTransaction
from ledger.types import AMOUNT_MAX
from tests.support.league import League, anchored


def test_an_anchor_says_who_when_how_many_and_which_root():
    league = League(4)
    alice, bob, *_ = league.keys
    league.say((alice, anchored(3, records=40, begins=5, ends=9)))
    league.say((alice, anchored(7, records=2)))
    found = league.chain.read(Anchor, anchor_key(alice.org, 3))
    assert found == Anchor(40, anchored(3).root, 5, 9, height=1)
    state = league.chain.state()
    assert anchor_totals(state, alice.org) == AnchorTotals(periods=2, records=42, last_period=7)
    assert anchor_totals(state, bob.org) == AnchorTotals(0, 0, 0)


def test_a_period_is_anchored_once_and_none_is_slipped_in_later():
    league = League(4)
    alice, bob, *_ = league.keys
    league.say((alice, anchored(3)))
    assert league.refusal(alice, replace(anchored(3), root=bytes(32))) == "period"
    assert league.refusal(alice, anchored(2)) == "period"
    assert league.refusal(alice, anchored(4)) == "accepted"
    assert league.refusal(bob, anchored(2)) == "accepted"


def test_period_zero_is_a_period_like_any_other():
    league = League(4)
    alice, *_ = league.keys
    league.say((alice, anchored(0)))
    assert league.refusal(alice, anchored(0)) == "period"
    assert league.refusal(alice, anchored(1)) == "accepted"


def test_time_runs_forward_in_a_period():
    league = League(4)
    assert league.refusal(league.keys[0], anchored(1, begins=9, ends=8)) == "period"
    assert league.refusal(league.keys[0], anchored(1, begins=9, ends=9)) == "accepted"


def test_records_never_outgrow_what_can_be_counted():
    league = League(4)
    alice, *_ = league.keys
    league.say((alice, anchored(1, records=AMOUNT_MAX - 5)))
    assert league.refusal(alice, anchored(2, records=6)) == "records"
    assert league.refusal(alice, anchored(2, records=5)) == "accepted"


@pytest.mark.parametrize("periods", [(1, 1), (2, 1), (1, 3), (9,)])
def test_records_are_counted_under_anchors_of_ones_own_each_once(periods: tuple[int, ...]):
    league = League(4)
    alice, bob, *_ = league.keys
    league.say((alice, anchored(1, 10)), (alice, anchored(2, 5)), (bob, anchored(3, 7)))
    state = league.chain.state()
    assert records_under(state, alice.org, (1, 2)) == 15
    assert records_under(state, alice.org, (2,)) == 5
    with pytest.raises(InvalidTransaction) as caught:
        records_under(state, alice.org, periods)
    assert caught.value.code == "periods"
