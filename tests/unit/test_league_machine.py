"""Whatever members say in whatever order: nobody rules alone, every key is one's, every seat a member's, no token lost.

A hypothesis machine lets strangers in and members leave, rotate keys, vote, contradict themselves and pay each other.
After every block the totals are what a scan counts, and the committee has not changed by more than it may.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.election import committee_of, leader_order
from ledger.entries import CANDIDATES, MEMBERS, Candidate, Election, Member, Standing, standing_key
from ledger.keys import KeyPair
from ledger.league_entries import BALLOTS, FORMERS, Ballot, Former, KeyOwner, key_owner_key
from ledger.motions import ActivateProtocol, ChangeParameters, ChangeRoles, Expel, Motion, Pardon
from ledger.parameters import LeagueParameters
from ledger.rewards import supply, tokens_in_circulation
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, Support
from ledger.transactions import Body, SkipNonce, Transfer
from tests.support.league import League, key_of
from tests.support.members import Factory, election, factory, totals

who = st.integers(0, 11)
OUTSIDERS = 6


class LeagueLife(RuleBasedStateMachine):
    """Founders keep one key, who comes later keeps its identity apart."""

    @initialize(founders=st.integers(1, 8))
    def found(self, founders: int) -> None:
        self.league = League(founders, ballot_expiry_heights=40, registration_expiry_heights=40, jail_epochs=2)
        self.everybody = [Factory(f"factory {at}", key, key) for at, key in enumerate(self.league.keys)]
        self.everybody += [factory(f"outsider {at}") for at in range(OUTSIDERS)]
        self.league.keys += [each.node for each in self.everybody[founders:]]
        self.rotations = 0
        self.before: Election = election(self.league)
        self.steps: list[tuple[Election, Election]] = []

    def say(self, key: KeyPair, body: Body) -> None:
        if self.league.refusal(key, body) == "accepted":
            self.league.say((key, body))
            self.note()

    def note(self) -> None:
        now = election(self.league)
        self.steps.append((self.before, now))
        self.before = now

    def one(self, number: int) -> Factory:
        return self.everybody[number % len(self.everybody)]

    @rule(number=who, roles=st.integers(0, 3))
    def register(self, number: int, roles: int) -> None:
        one = self.one(number)
        if one.identity is not one.node:
            self.say(one.identity, one.registration(self.league, roles))

    @precondition(lambda self: totals(self.league).candidates)
    @rule(voices=st.lists(who, min_size=1, max_size=12, unique=True), pick=st.integers(0, 63))
    def approve(self, voices: list[int], pick: int) -> None:
        waiting = [org for org, _ in self.league.chain.scan(Candidate, CANDIDATES)]
        for voice in voices:
            self.say(self.one(voice).node, ApproveMember(waiting[pick % len(waiting)]))

    @rule(opener=who, about=who, what=st.integers(0, 4), roles=st.integers(0, 3))
    def put(self, opener: int, about: int, what: int, roles: int) -> None:
        org, height = self.one(about).org, self.league.chain.height
        motions: tuple[Motion, ...] = (
            Expel(org, "why not"),
            ChangeRoles(org, roles),
            Pardon(org),
            ChangeParameters(LeagueParameters(seats_max=4 + about, jail_epochs=2), height + 20),
            ActivateProtocol(self.league.chain.protocol().version + 1, height + 10_000),
        )
        self.say(self.one(opener).node, OpenBallot(motions[what]))

    @precondition(lambda self: totals(self.league).ballots)
    @rule(voices=st.lists(who, min_size=1, max_size=12, unique=True), pick=st.integers(0, 63))
    def support(self, voices: list[int], pick: int) -> None:
        open_now = [ballot for ballot, _ in self.league.chain.scan(Ballot, BALLOTS)]
        for voice in voices:
            self.say(self.one(voice).node, Support(open_now[pick % len(open_now)]))

    @rule(number=who, to=who, by_identity=st.booleans())
    def leave(self, number: int, to: int, by_identity: bool) -> None:
        one = self.one(number)
        self.say(one.identity if by_identity else one.node, LeaveLeague(self.one(to).org))

    @rule(number=who, stolen=who, honest=st.integers(0, 3))
    def rotate(self, number: int, stolen: int, honest: int) -> None:
        one = self.one(number)
        self.rotations += 1
        new = key_of(f"machine's key {self.rotations}") if honest else self.one(stolen).node
        body = one.rotation(self.league, new)
        if self.league.refusal(one.identity, body) == "accepted":
            # A stranger's key may be had with its consent: then the stranger cannot bring it any more.
            self.league.keys += [] if new in self.league.keys else [new]
            self.say(one.identity, body)
            one.node = new

    @rule(guilty=who, reporter=who)
    def contradict(self, guilty: int, reporter: int) -> None:
        self.say(self.one(reporter).node, self.league.equivocation(self.one(guilty).node))

    @rule(number=who, to=who)
    def pay(self, number: int, to: int) -> None:
        self.say(self.one(number).node, Transfer(self.one(to).org, 1_000, ""))

    @rule(failed=st.integers(0, 3), blocks=st.integers(1, 6))
    def time_passes(self, failed: int, blocks: int) -> None:
        for _ in range(blocks):
            self.league.commit(failed_views=failed, after_ms=86_400_000)
            self.note()

    @invariant()
    def totals_are_what_a_scan_counts(self) -> None:
        chain, counted = self.league.chain, totals(self.league)
        members = dict(chain.scan(Member, MEMBERS))
        assert counted.members == len(members)
        assert counted.voters == sum(member.roles != 0 for member in members.values()) >= 1
        assert counted.candidates == len(list(chain.scan(Candidate, CANDIDATES)))
        assert counted.ballots == len(list(chain.scan(Ballot, BALLOTS)))
        assert tokens_in_circulation(chain.state()) == supply(chain.state()) == counted.supply

    @invariant()
    def every_key_is_ones_and_in_use_by_members_only(self) -> None:
        chain = self.league.chain
        members, gone = dict(chain.scan(Member, MEMBERS)), dict(chain.scan(Former, FORMERS))
        assert not members.keys() & gone.keys()
        keys = [member.key for member in members.values()]
        assert len(set(keys)) == len(keys)
        names = [each.name for each in (*members.values(), *gone.values())]
        assert len(set(names)) == len(names)
        in_use = {key: owner.org for key, owner in chain.scan(KeyOwner, key_owner_key(b"")) if not owner.until_height}
        assert in_use == {member.key: org for org, member in members.items()}
        for org in (*members, *gone):
            owner = chain.read(KeyOwner, key_owner_key(org))
            assert owner is None or owner.org == org, "nobody's identity is another's node key"
            assert chain.read(Standing, standing_key(org)) is not None

    @invariant()
    def seats_are_voters_with_the_keys_they_have_now(self) -> None:
        chain, seats = self.league.chain, election(self.league).seats
        assert chain.committee() == committee_of(election(self.league))
        assert list(chain.committee().members) == sorted({seat.key for seat in seats})
        for seat in seats:
            member = chain.read(Member, MEMBERS + seat.org)
            assert member is not None
            assert (member.key, member.roles != 0) == (seat.key, True)
        assert set(leader_order(election(self.league))) == set(chain.committee().members)
        assert {*election(self.league).skipped} <= {seat.org for seat in seats}

    @invariant()
    def a_committee_changes_by_f_newcomers_an_epoch(self) -> None:
        for before, now in self.steps:
            newcomers = {seat.org for seat in now.seats} - {seat.org for seat in before.seats}
            assert now.epoch - before.epoch in (0, 1)
            if now.epoch == before.epoch:
                assert [seat.org for seat in now.seats] == [seat.org for seat in before.seats]
            elif {seat.org for seat in now.seats} & {seat.org for seat in before.seats}:
                assert len(newcomers) <= max(1, (len(before.seats) - 1) // 3)
        self.steps = []

    @invariant()
    def who_opens_the_chain_now_sees_the_same(self) -> None:
        again = self.league.reopened()
        assert (again.leaders(), again.committee()) == (self.league.chain.leaders(), self.league.chain.committee())
        again.check(self.league.build([], self.league.now + 1))

    def teardown(self) -> None:
        if hasattr(self, "league"):
            nobody: Any = key_of("nobody")
            assert self.league.refusal(nobody, SkipNonce()) == "member"


TestLeagueLife = LeagueLife.TestCase
TestLeagueLife.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
