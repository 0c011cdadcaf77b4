"""Who did what no correct program does: points that fade, pauses, bans that end, and a league that keeps its quorum."""

from dataclasses import replace

import pytest
import trio

from ledger.types import NodeKey
from node.network.bucket import Bucket
from node.network.conduct import Conduct
from node.network.incoming import Incoming
from node.network.link import REPEATS_MAX, Inbox, Outbox, Overrun
from node.network.peer_scores import REMEMBERED_MAX, PeerScores, Verdict
from node.network.strangers import NETWORKS_REMEMBERED_MAX, Allowances
from node.network.transport import Fault, Limits

LIMITS = Limits()
MALLORY, ALICE = NodeKey(b"m" * 32), NodeKey(b"a" * 32)
CHAIN = bytes(32)


def faults_until(verdict, scores, now=0.0, fault=Fault.GARBAGE):
    for count in range(1, 100):
        if scores.blame(MALLORY, fault, now) is verdict:
            return count
    raise AssertionError(f"never {verdict}")


def test_points_pause_first_and_ban_then():
    scores = PeerScores(LIMITS)
    assert faults_until(Verdict.PAUSED, scores) == 3
    assert scores.paused(MALLORY, 0.0)
    assert scores.banned_s(MALLORY, 0.0) == 0
    assert faults_until(Verdict.BANNED, scores) == 2
    assert scores.banned_s(MALLORY, 0.0) == LIMITS.ban_first_s
    assert scores.faults(MALLORY) == 5
    for _ in range(50):
        scores.blame(MALLORY, Fault.GARBAGE, 1.0)
    assert scores.score(MALLORY, 1.0) == 0, "what it had sent before it was refused is paid for"


def test_a_fault_now_and_then_fades_and_never_bans():
    scores = PeerScores(LIMITS)
    for minute in range(1_000):
        assert scores.blame(MALLORY, Fault.GARBAGE, 60.0 * minute) is Verdict.NOTED
    assert scores.score(MALLORY, 60.0 * 1_000) < LIMITS.pause_score


def test_a_ban_ends_by_itself_and_the_next_one_lasts_twice_as_long_up_to_a_bound():
    scores = PeerScores(LIMITS)
    now, lengths = 0.0, []
    for _ in range(7):
        faults_until(Verdict.BANNED, scores, now)
        lengths.append(scores.banned_s(MALLORY, now))
        now += lengths[-1]
        assert scores.banned_s(MALLORY, now) == 0
        assert not scores.paused(MALLORY, now)
    assert lengths == [15, 30, 60, 120, 240, 300, 300]
    faults_until(Verdict.BANNED, scores, now + LIMITS.bans_forgotten_s + 1)
    assert scores.banned_s(MALLORY, now + LIMITS.bans_forgotten_s + 1) == LIMITS.ban_first_s


def test_who_must_not_be_banned_is_paused_only():
    scores = PeerScores(LIMITS)
    for _ in range(100):
        assert scores.blame(MALLORY, Fault.GARBAGE, 0.0, may_ban=False) is not Verdict.BANNED
    assert scores.paused(MALLORY, 0.0)
    assert scores.banned_s(MALLORY, 0.0) == 0


def test_what_is_remembered_is_bounded():
    scores, allowances = PeerScores(LIMITS), Allowances(1.0, 1.0)
    for number in range(REMEMBERED_MAX + 1):
        scores.blame(str(number), Fault.GARBAGE, 0.0)
    assert scores.faults("0") == 0
    assert scores.faults("1") == 1
    for number in range(NETWORKS_REMEMBERED_MAX + 1):
        assert allowances.take(str(number), 0.0)
    assert allowances.take("0", 0.0), "forgotten, so full again"
    assert not allowances.take(str(NETWORKS_REMEMBERED_MAX), 0.0)


@pytest.mark.trio
@pytest.mark.parametrize(("others", "banned"), [(1, 0), (2, 0), (3, 1), (5, 1), (6, 2), (9, 3)])
async def test_no_more_members_are_refused_than_may_be_faulty(others, banned, autojump_clock):
    members = [NodeKey(bytes([number]) * 32) for number in range(others)]
    conduct = Conduct(LIMITS)
    conduct.set_members(members)
    for member in members:
        for _ in range(50):
            conduct.blame(member, Fault.GARBAGE, "garbage")
    assert sum(conduct.banned_s(member) > 0 for member in members) == banned
    assert all(conduct.paused(member) for member in members)
    await trio.sleep(LIMITS.ban_last_s)
    assert not any(conduct.banned_s(member) for member in members)


@pytest.mark.trio
async def test_strangers_answer_for_their_network_and_members_never_do():
    conduct = Conduct(LIMITS)
    conduct.set_members([ALICE])
    while not conduct.blame_stranger("192.0.2.1", Fault.GARBAGE, "garbage"):
        pass
    assert conduct.refuses_network("192.0.2.1")
    assert not conduct.refuses_network("192.0.2.2")
    assert conduct.banned_s(ALICE) == 0


def test_an_allowance_refills_evenly_and_debts_have_an_end():
    bucket = Bucket(2.0, 10.0, 0.0)
    assert bucket.take(10, 0.0)
    assert not bucket.take(1, 0.4)
    assert bucket.take(1, 0.5)
    bucket.spend(1_000, 0.5)
    assert bucket.level(0.5) == -10
    assert bucket.wait_s(0.5) == 5.0
    assert bucket.wait_s(5.5) == 0
    assert bucket.level(1_000.0) == 10
    assert bucket.level(0.0) == 10, "a clock that went back gives nothing and takes nothing"
    never = Bucket(0.0, 1.0, 0.0)
    never.spend(2, 0.0)
    assert never.wait_s(0.0) == float("inf")


@pytest.mark.trio
async def test_a_member_whose_messages_cost_too_much_waits_and_the_others_do_not(autojump_clock):
    incoming = Incoming(replace(LIMITS, processing_share=0.5, processing_burst_s=1.0))
    incoming.share_among(5)
    came: list[tuple[NodeKey, float]] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(incoming.feed)

        async def consume():
            async for org, _ in incoming.channel:
                came.append((org, trio.current_time()))
                if org == MALLORY:
                    incoming.charge(org, 0.5)

        async def post(org, count, every_s):
            for _ in range(count):
                await incoming.put(org, b"x")
                await trio.sleep(every_s)

        began = trio.current_time()
        nursery.start_soon(consume)
        nursery.start_soon(post, MALLORY, 30, 0)
        nursery.start_soon(post, ALICE, 100, 0.1)
        await trio.sleep(10.05)
        late = [at - began for org, at in came if org == MALLORY]
        # A second at once, then a tenth of a second in each second: five seconds for what cost half a one.
        assert 4 <= len(late) <= 10
        assert incoming.held_s(MALLORY) > 0
        assert incoming.held_s(ALICE) == 0
        promptly = [at - began for org, at in came if org == ALICE]
        assert promptly == pytest.approx([0.1 * number for number in range(100)], abs=1e-6)
        nursery.cancel_scope.cancel()


def test_messages_that_had_arrived_are_repeated_so_often_and_no_more():
    inbox, outbox = Inbox(), Outbox(bytes(16), CHAIN, LIMITS)
    outbox.post(b"once")
    frames = outbox.hello() + outbox.take()
    inbox.hello(frames[8:56], CHAIN)
    number, _ = inbox.message(frames[64:])
    inbox.delivered(number)
    for _ in range(REPEATS_MAX):
        assert inbox.message(frames[64:]) is None
    with pytest.raises(Overrun):
        inbox.message(frames[64:])
    inbox.hello(frames[8:56], CHAIN)
    assert inbox.message(frames[64:]) is None, "a new stream begins anew"
