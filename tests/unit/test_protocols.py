"""Upgrades: the version of a height is the state's, old blocks keep their rules, and an old program stops in time."""

from dataclasses import replace

import pytest

from ledger import protocols
from ledger.blocks import FinalBlock
from ledger.chain import Chain
from ledger.errors import InvalidBlock, UnknownProtocol
from ledger.governance import NOTICE_HEIGHTS
from ledger.league_entries import Usage, usage_key
from ledger.memory_store import MemoryStore
from ledger.motions import ActivateProtocol
from ledger.protocols import NEWEST, VERSIONS
from ledger.statements import OpenBallot
from tests.support.league import League, anchored, founders, genesis_of
from tests.support.members import carry


def upgrade(league: League, version: int, ahead: int = NOTICE_HEIGHTS) -> int:
    """Decide to run a version; the height it begins at."""
    carry(league, ActivateProtocol(version, league.chain.height + 1 + ahead))
    scheduled = league.chain.protocol().scheduled
    assert scheduled is not None
    assert scheduled.version == version
    return scheduled.from_height


def replayed(league: League, up_to: int) -> Chain:
    """A chain that gets the blocks of another from the first on."""
    chain = Chain(MemoryStore(), league.genesis)
    for height in range(1, up_to + 1):
        final = league.chain.final_block(height)
        assert isinstance(final, FinalBlock)
        chain.append(final)
    return chain


def test_a_league_begins_with_the_newest_protocol_unless_it_says_otherwise():
    assert League(4).chain.protocol().version == NEWEST == max(VERSIONS)
    assert League(4, protocol=1).chain.protocol().version == 1
    assert genesis_of(founders(4), protocol=1).chain_id != genesis_of(founders(4)).chain_id


def test_blocks_say_the_version_of_their_height():
    league = League(4, protocol=1)
    begins = upgrade(league, 2)
    while league.chain.height < begins + 2:
        league.commit()
    versions = [league.chain.header(height).version for height in range(1, league.chain.height + 1)]  # type: ignore[union-attr]
    assert versions == [1 if height < begins else 2 for height in range(1, league.chain.height + 1)]
    assert league.chain.protocol().scheduled is None
    assert league.chain.protocol().since_height == begins


def test_a_block_of_another_version_than_its_heights_is_invalid():
    league, other = League(4, protocol=1), League(4, protocol=2)
    foreign = other.build([], other.now + 1)
    with pytest.raises(InvalidBlock, match="version 2, want 1"):
        league.chain.check(foreign)


def test_an_old_chain_is_replayed_by_its_old_rules_and_goes_on_by_the_new_ones():
    # Version 1 has no storage quota: nothing is counted, and nobody is refused, before the height of the upgrade.
    league = League(4, protocol=1, storage_quota=2**20)
    alice = league.keys[0]
    league.say((alice, anchored(1)))
    assert league.chain.read(Usage, usage_key(alice.org)) is None
    begins = upgrade(league, 2)
    while league.chain.height + 1 < begins:
        league.commit()
    league.say((alice, anchored(2)))
    assert league.chain.height == begins
    assert league.chain.read(Usage, usage_key(alice.org)) is not None
    again = replayed(league, league.chain.height)
    assert again.state_root == league.chain.state_root
    assert dict(again.store.scan()) == dict(league.store.scan())


def test_versions_come_one_by_one_and_are_announced():
    league = League(4, protocol=1)
    height = league.chain.height + 1 + NOTICE_HEIGHTS
    for version in (1, 3):
        assert league.refusal(league.keys[0], OpenBallot(ActivateProtocol(version, height))) == "version"
    assert league.refusal(league.keys[0], OpenBallot(ActivateProtocol(2, height - 1))) == "height"


def test_what_is_scheduled_can_be_put_off():
    league = League(4, protocol=1)
    upgrade(league, 2, ahead=20)
    begins = upgrade(league, 2, ahead=60)
    for _ in range(30):
        league.commit()
    assert league.chain.protocol().version == 1
    assert league.chain.protocol().scheduled.from_height == begins  # type: ignore[union-attr]


def test_members_may_decide_for_what_this_program_does_not_know_and_it_stops_where_that_begins():
    league = League(4)
    begins = upgrade(league, NEWEST + 1)
    while league.chain.height + 1 < begins:
        league.commit()
    # Up to the height itself nothing differs; there it stops, whole, and says what is wanted.
    for ask in (
        lambda: league.chain.trial(league.chain.leaders()[0], league.now + 1),
        lambda: league.reopened().trial(league.chain.leaders()[0], league.now + 1),
    ):
        with pytest.raises(UnknownProtocol, match=f"protocol {NEWEST + 1} from height {begins}") as caught:
            ask()
        assert (caught.value.version, caught.value.from_height, caught.value.newest) == (NEWEST + 1, begins, NEWEST)
    assert league.reopened().protocol().version == NEWEST + 1
    assert league.reopened().height == begins - 1
    assert len(league.reopened().members()) == 4


def test_a_newer_program_goes_on_where_the_older_one_stopped(monkeypatch: pytest.MonkeyPatch):
    league = League(4)
    begins = upgrade(league, NEWEST + 1)
    while league.chain.height + 1 < begins:
        league.commit()
    behind = replayed(league, begins - 1)
    newer = replace(protocols.rules_of(NEWEST, 1), version=NEWEST + 1)
    with monkeypatch.context() as patched:
        patched.setattr(protocols, "_RULES", {**protocols._RULES, NEWEST + 1: newer})
        for _ in range(3):
            league.commit()
        assert league.chain.head.version == NEWEST + 1  # type: ignore[union-attr]
        final = league.chain.final_block(begins)
        assert final is not None
    # The older program refuses neither block nor members: it stops.
    with pytest.raises(UnknownProtocol):
        behind.check(final.block)
    with pytest.raises(UnknownProtocol):
        behind.append(final)
    assert behind.height == begins - 1


def test_the_chain_is_opened_again_right_at_an_upgrade():
    league = League(4, protocol=1)
    begins = upgrade(league, 2)
    while league.chain.height + 1 < begins:
        league.commit()
    for _ in range(2):
        again = league.reopened()
        assert again.protocol() == league.chain.protocol()
        again.check(league.build([], league.now + 1))
        league.commit()
