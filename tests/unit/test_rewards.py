"""Tokens: moved, escrowed and paid, never made and never lost, whatever is said in whatever order."""

from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.codec import digest
from ledger.entries import FINAL_STAGES, Account, Request, Round, Stage, account_key, request_key, round_key
from ledger.protection_entries import protection_key
from ledger.rewards import reward, supply, tokens_in_circulation
from ledger.statements import RegisterMember
from ledger.transactions import (
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    Protection,
    PublishProtected,
    PublishRequest,
    ReportAccuracy,
    Transfer,
    Verdict,
)
from tests.support.league import BALANCE, League, anchored, terms

who = st.integers(0, 3)
amount = st.integers(1, BALANCE + 10) | st.integers(1, 100)


def test_a_round_earns_records_times_price():
    assert reward(3_600, 7) == 25_200


def test_a_transfer_moves_tokens_and_nothing_else():
    league = League(4)
    alice, bob, *_ = league.keys
    league.say((alice, Transfer(bob.org, 300, "")), (bob, Transfer(alice.org, 1, "")))
    assert (league.balance(alice), league.balance(bob)) == (BALANCE - 299, BALANCE + 299)


def test_a_transfer_to_oneself_changes_nothing():
    league = League(4)
    alice, *_ = league.keys
    league.say((alice, Transfer(alice.org, BALANCE, "")))
    assert league.balance(alice) == BALANCE


def test_nobody_spends_more_than_it_has():
    league = League(4)
    alice, bob, *_ = league.keys
    assert league.refusal(alice, Transfer(bob.org, BALANCE + 1, "")) == "balance"
    assert league.refusal(alice, Transfer(bob.org, BALANCE, "")) == "accepted"


@pytest.mark.parametrize("name", ["eve"])
def test_tokens_are_not_sent_where_nobody_can_spend_them(name: str):
    league = League(4)
    assert league.refusal(league.keys[0], Transfer(league.stranger(name).org, 1, "")) == "recipient"


class Books(RuleBasedStateMachine):
    """Anything anybody might say, sensible or not, in blocks that are checked and appended for real."""

    @initialize()
    def found(self) -> None:
        self.league = League(4)
        self.league.anchor(self.league.keys[1:], records=50)
        self.requests: list[bytes] = []
        self.waiting: list[tuple[Any, Body]] = []

    def try_to_say(self, at: int, body: Body) -> None:
        key = self.league.keys[at]
        if self.league.refusal(key, body) == "accepted":
            final = self.league.say((key, body))
            if isinstance(body, PublishRequest | PublishProtected):
                self.requests.append(final.block.transactions[0].id)

    def newest(self, back: int) -> bytes:
        return self.requests[-1 - back % len(self.requests)] if self.requests else bytes(32)

    def round_of(self, request: bytes) -> tuple[int, int]:
        current = self.league.chain.read(Round, round_key(request))
        return (current.number, current.attempt) if current else (1, 0)

    @rule(at=who, to=who, tokens=amount)
    def transfer(self, at: int, to: int, tokens: int) -> None:
        self.try_to_say(at, Transfer(self.league.keys[to].org, tokens, ""))

    @rule(
        at=who,
        budget=amount,
        price=st.integers(1, 50),
        least=st.integers(1, 3),
        most=st.integers(1, 3),
        sealed=st.booleans(),
    )
    def publish(self, at: int, budget: int, price: int, least: int, most: int, sealed: bool) -> None:
        wanted = terms(budget=budget, price=price, providers_min=least, providers_max=most, rounds_max=2)
        protected = PublishProtected(wanted, Protection((), False, 1))
        self.try_to_say(at, protected if sealed else PublishRequest(wanted))

    @rule(at=who, price=st.integers(1, 9), least=st.integers(1, 3), sealed=st.booleans())
    def a_request_that_all_others_join(self, at: int, price: int, least: int, sealed: bool) -> None:
        self.publish(at, 1_000, price, least, 3, sealed)
        for other in range(4):
            self.join(other, 0, 60)

    @rule(at=who, back=st.integers(0, 2), records=st.integers(1, 200))
    def join(self, at: int, back: int, records: int) -> None:
        self.try_to_say(at, JoinRequest(self.newest(back), "vibration", records, ()))

    @rule(at=who, period=st.integers(1, 5), records=st.integers(1, 100))
    def anchor(self, at: int, period: int, records: int) -> None:
        self.try_to_say(at, anchored(period, records))

    @rule(back=st.integers(0, 2), silent=st.integers(0, 9), accuracy=st.integers(0, 10**6))
    def everybody_announces(self, back: int, silent: int, accuracy: int) -> None:
        request = self.newest(back)
        number, attempt = self.round_of(request)
        for at, key in enumerate(self.league.keys):
            if at != silent:
                blob = digest("test/update", key.org)
                body = AnnounceUpdate(request, number, attempt, blob, 24, 60, (1,), accuracy, 9)
                self.try_to_say(at, AnnounceProtected(body, ()) if self.is_protected(request) else body)

    def is_protected(self, request: bytes) -> bool:
        return self.league.chain.read(Protection, protection_key(request)) is not None

    @rule(at=who, back=st.integers(0, 2))
    def decline(self, at: int, back: int) -> None:
        request = self.newest(back)
        self.try_to_say(at, DeclineRound(request, *self.round_of(request), "no"))

    @rule(back=st.integers(0, 2), verdict=st.sampled_from([Verdict.HELD, *Verdict]), silent=st.integers(0, 9))
    def committee_attests(self, back: int, verdict: Verdict, silent: int) -> None:
        request = self.newest(back)
        current = self.league.chain.read(Round, round_key(request))
        for part in current.participants if current else ():
            body = AttestBlobs(request, *self.round_of(request), (Attestation(part.org, part.blob, verdict),))
            if len(part.blob) == 32:
                for at in range(4):
                    if at != silent:
                        self.try_to_say(at, body)

    @rule(back=st.integers(0, 2), rejected=st.sets(who, max_size=3))
    def aggregate(self, back: int, rejected: set[int]) -> None:
        request = self.newest(back)
        found = self.league.chain.read(Request, request_key(request))
        if found is not None and found.stage is Stage.AGGREGATING:
            blamed = [self.league.keys[at].org for at in rejected] if self.is_protected(request) else []
            self.league.aggregate(request, rejected=blamed)

    @rule(price=st.integers(1, 9), sealed=st.booleans(), rejected=st.sets(who, max_size=3))
    def a_request_with_a_round_that_goes_well(self, price: int, sealed: bool, rejected: set[int]) -> None:
        self.a_request_that_all_others_join(0, price, 1, sealed)
        self.everybody_announces(0, 9, 5)
        self.committee_attests(0, Verdict.HELD, 9)
        self.aggregate(0, rejected)

    @rule(at=who, back=st.integers(0, 2))
    def cancel(self, at: int, back: int) -> None:
        self.try_to_say(at, CancelRequest(self.newest(back)))

    @rule(at=who, back=st.integers(0, 2))
    def report(self, at: int, back: int) -> None:
        request = self.newest(back)
        self.try_to_say(at, ReportAccuracy(request, *self.round_of(request), 5, 5))

    @rule(name=st.sampled_from(["eve", "frank"]))
    def register(self, name: str) -> None:
        key = self.league.stranger(name)
        self.league.keys.pop()
        if self.league.refusal(key, RegisterMember(name, ())) == "accepted":
            self.league.say((key, RegisterMember(name, ())))

    @rule(ms=st.sampled_from([1, 30_000, 60_000, 120_000]), failed=st.integers(0, 2))
    def time_passes(self, ms: int, failed: int) -> None:
        self.league.commit(after_ms=ms, failed_views=failed)

    @invariant()
    def the_books_balance(self) -> None:
        state = self.league.chain.state()
        assert tokens_in_circulation(state) == supply(state) == 4 * BALANCE
        for _, account in state.scan(Account, account_key(b"")):
            assert account.balance >= 0
        for _, request in state.scan(Request, request_key(b"")):
            assert request.escrow >= 0
            assert request.paid <= request.terms.budget
            if request.stage in FINAL_STAGES:
                assert request.escrow == 0

    @invariant()
    def what_is_on_the_disk_is_what_is_in_memory(self) -> None:
        assert self.league.reopened().state_root == self.league.chain.state_root


Books.TestCase.settings = settings(max_examples=8, stateful_step_count=25, deadline=None)
TestBooks = Books.TestCase
