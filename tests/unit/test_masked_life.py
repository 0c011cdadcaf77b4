"""Whatever masked providers say or leave unsaid, in whatever order: never both secrets of one are told.

A third of them may vanish at any point, and no request waits for ever.
"""

from itertools import combinations_with_replacement

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.departures import expel
from ledger.entries import Fate, Stage
from ledger.keys import KeyPair
from ledger.protection import SecretKind, threshold, vanished_max
from ledger.statements import LeaveLeague
from ledger.transactions import CancelRequest, DeclineRound
from tests.support.masked_story import MaskedStory

# After which word of an attempt a provider vanishes: after none, its keys, ... its reveal.
WORDS = ("keys", "shares", "acceptance", "update", "reveal")


STAGES = (Stage.KEYS, Stage.SHARES, Stage.CONTEST, Stage.TRAINING, Stage.UNMASKING)


def attempt(story: MaskedStory, words: dict[bytes, int]) -> Stage:
    """One attempt, in which each provider says as many of its words as it is given; time does the rest.

    The stage in which it came to an end: AGGREGATING when it came to a sum.
    """
    began, last = story.request.attempt, story.stage
    saying = (story.offer, story.deal, story.accept, story.announce, story.reveal)
    while not story.is_over and story.request.attempt == began and story.stage is not Stage.AGGREGATING:
        now = last = story.stage
        if now is Stage.ATTESTING:
            story.attest(story.announced())
        else:
            at = STAGES.index(now)
            for key in story.providers:
                if words[key.org] > at and story.stage is now:
                    saying[at](key)
        if story.stage is now:
            story.league.pass_time(200_000)
    return Stage.AGGREGATING if not story.is_over and story.request.attempt == began else last


def expected(counts: list[int]) -> Stage:
    """By the sets and thresholds, where an attempt ends: `counts` words of each provider. Nobody works for nothing."""
    said = [sum(count > at for count in counts) for at in range(5)]
    least = max(3, threshold(said[0]))
    unmasked = max(least, vanished_max(said[0]) + 2)
    # Of the reveals as many matter as bring a secret back.
    for stage, enough in zip(STAGES, (3, least, least, unmasked, threshold(said[0])), strict=True):
        if said[STAGES.index(stage)] < enough:
            # Whether enough delivered shows when the committee has said what it holds; with nothing announced at once.
            return stage if stage is not Stage.TRAINING or not said[3] else Stage.ATTESTING
    return Stage.AGGREGATING


def check_secrets(story: MaskedStory) -> None:
    """Of nobody can everybody put both secrets together, with the shares of f more that collude."""
    for number, dealer, _ in list(story.public):
        keys = story.public.get((number, dealer, SecretKind.MASK_KEY), set())
        seeds = story.public.get((number, dealer, SecretKind.SEED), set())
        members = story.members[number]
        assert min(len(seeds), len(keys)) <= threshold(members) - 1 - vanished_max(members)


@pytest.mark.parametrize("providers", [3, 4, 5])
def test_every_way_of_vanishing_comes_to_a_sum_or_to_a_void_round_by_the_thresholds(providers: int):
    for counts in combinations_with_replacement(range(len(WORDS) + 1), providers):
        story = MaskedStory(providers)
        ended = attempt(story, {key.org: count for key, count in zip(story.providers, counts, strict=True)})
        assert ended is expected(list(counts)), counts
        check_secrets(story)
        if story.stage is Stage.AGGREGATING:
            assert story.aggregate() == ""
            paid = {line.org for line in story.receipt().lines if line.paid}
            assert paid == {key.org for key, count in zip(story.providers, counts, strict=True) if count > 3}
        else:
            assert not story.receipt().model
            assert not any(line.paid for line in story.receipt().lines)
            assert story.request.void_rounds == 1


@given(st.integers(3, 10), st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_a_third_vanishing_at_any_point_changes_nothing(providers: int, random):
    story = MaskedStory(providers)
    gone = random.sample(story.providers, vanished_max(providers))
    # Who vanishes right after its update is in the sum all the same.
    words = {key.org: random.randrange(5) if key in gone else 5 for key in story.providers}
    delivered = sum(count > 3 for count in words.values())
    attempt(story, words)
    if delivered >= vanished_max(sum(count > 0 for count in words.values())) + 2:
        assert story.stage is Stage.AGGREGATING
        assert story.aggregate() == ""
        assert story.stage is Stage.DONE
    check_secrets(story)


who = st.integers(0, 5)


class MaskedLife(RuleBasedStateMachine):
    """Words in any order, of anybody, right ones and wrong ones; some leave, time passes, aggregates blame."""

    @initialize(providers=st.integers(3, 6))
    def publish(self, providers: int) -> None:
        self.story = MaskedStory(providers, rounds_max=2)
        self.waited = 0

    def one(self, number: int) -> KeyPair:
        return self.story.providers[number % len(self.story.providers)]

    def running(self) -> bool:
        return not self.story.is_over

    @precondition(running)
    @rule(number=who, everybody=st.booleans())
    def go_on(self, number: int, everybody: bool) -> None:
        """What the stage asks for, of one or of all."""
        story, now = self.story, self.story.stage
        say = {Stage.KEYS: story.offer, Stage.SHARES: story.deal, Stage.CONTEST: story.accept}
        say |= {Stage.ANSWERING: story.open, Stage.TRAINING: story.announce, Stage.UNMASKING: story.reveal}
        for key in story.providers if everybody else [self.one(number)]:
            if now in say and story.stage is now:
                say[now](key)
        if now is Stage.ATTESTING:
            story.attest(story.announced() if everybody else story.announced()[:1])

    @precondition(running)
    @rule(number=who, accused=st.lists(who, max_size=3))
    def complain(self, number: int, accused: list[int]) -> None:
        if self.story.stage is Stage.CONTEST:
            one = self.one(number)
            self.story.accept(one, {key.org: key for key in map(self.one, accused) if key != one}.values())

    @precondition(running)
    @rule(number=who, dealer=who, kind=st.sampled_from(SecretKind))
    def reveal_what_is_not_due(self, number: int, dealer: int, kind: SecretKind) -> None:
        story, org = self.story, self.one(dealer).org
        if story.stage is Stage.UNMASKING and org in story.counted:
            due = story.kinds_due()[org]
            code = story.reveal(self.one(number), [org], {org: kind})
            assert code or kind is due, "a share of the other secret was taken"

    @precondition(running)
    @rule(number=who, late=st.booleans())
    def announce_late(self, number: int, late: bool) -> None:
        if self.story.stage is Stage.ATTESTING and late:
            self.story.announce(self.one(number))

    @precondition(running)
    @rule(number=who)
    def decline(self, number: int) -> None:
        story = self.story
        story.league.say(self.one(number), DeclineRound(story.id, story.request.round, story.request.attempt, "no"))

    @precondition(running)
    @rule(number=who, expelled=st.booleans(), rarely=st.integers(0, 5))
    def leave(self, number: int, expelled: bool, rarely: int) -> None:
        if rarely:
            return
        one, league = self.one(number), self.story.league
        if not expelled:
            league.say(one, LeaveLeague(one.org))
        elif one.org in league.seated:
            expel(league.state, league._context, one.org)
        league.pass_time()

    @precondition(running)
    @rule(rarely=st.integers(0, 9))
    def cancel(self, rarely: int) -> None:
        if not rarely:
            self.story.league.say(self.story.requester, CancelRequest(self.story.id))

    @precondition(running)
    @rule(blamed=st.lists(who, max_size=2), whole=st.booleans())
    def aggregate(self, blamed: list[int], whole: bool) -> None:
        if self.story.stage is Stage.AGGREGATING:
            liars = {each.org: each for each in map(self.one, blamed)} if not whole else {}
            code = self.story.aggregate(liars.values(), whole=whole)
            assert code in ("", "rejected")

    @precondition(lambda self: self.story.is_over)
    @rule(number=who)
    def speak_when_it_is_over(self, number: int) -> None:
        story = self.story
        assert story.offer(self.one(number)) in ("stage", "member")

    @rule(ms=st.sampled_from([1_000, 20_000, 120_000]))
    def time_passes(self, ms: int) -> None:
        self.story.league.pass_time(ms)

    @invariant()
    def never_both_secrets_of_one(self) -> None:
        if hasattr(self, "story"):
            check_secrets(self.story)

    @invariant()
    def nothing_waits_for_ever(self) -> None:
        if hasattr(self, "story") and not self.story.is_over:
            assert self.story.request.deadline > self.story.league.now - 1

    @invariant()
    def the_sets_lie_in_one_another_and_are_large_enough(self) -> None:
        if not hasattr(self, "story") or self.story.is_over:
            return
        story, masking = self.story, self.story.masking
        assert (masking.round, masking.attempt) == (story.request.round, story.request.attempt)
        counted = [each for each in masking.members if each.counted]
        assert all(each.accepted and each.seed_commitment for each in counted)
        if story.stage in (Stage.TRAINING, Stage.ATTESTING, Stage.UNMASKING, Stage.AGGREGATING):
            assert len(counted) >= max(3, masking.threshold)
        delivered = {part.org for part in story.round.participants if part.fate is Fate.DELIVERED}
        assert delivered <= {each.org for each in counted}
        if story.stage in (Stage.UNMASKING, Stage.AGGREGATING):
            assert len(delivered) >= max(3, masking.threshold, vanished_max(len(masking.members)) + 2)
        if story.stage is Stage.AGGREGATING:
            inputs = story.due().masking
            assert inputs is not None
            assert all(len(each.shares) == inputs.threshold for each in inputs.members)

    @invariant()
    def what_only_a_round_in_work_needs_is_gone_after_it(self) -> None:
        if hasattr(self, "story") and self.story.is_over:
            left = {key.split(b"/")[0] for key, value in self.story.league.rows().items() if value is not None}
            assert not left & {b"masking", b"dealing", b"revealed", b"round"}

    def teardown(self) -> None:
        """Left alone, every request comes to its end by time alone."""
        if hasattr(self, "story"):
            for _ in range(60):
                self.story.league.pass_time(4 * 86_400_000)
            assert self.story.is_over


TestMaskedLife = MaskedLife.TestCase
TestMaskedLife.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
