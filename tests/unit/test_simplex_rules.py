"""The rules of Simplex one by one, on a single machine: what it does, and what it must not do."""

from dataclasses import replace
from functools import partial

import pytest

from consensus.events import (
    BlockBuilt,
    BlockChecked,
    BlockReady,
    BodyReceived,
    Broadcast,
    BuildBlock,
    CertificateReceived,
    CheckBlock,
    Decide,
    Effect,
    FetchBody,
    Halt,
    Persist,
    ProposalReceived,
    Refused,
    Report,
    ResendDue,
    Send,
    SetTimer,
    Started,
    TimerExpired,
    VoteReceived,
    WorkArrived,
)
from consensus.heard import VIEWS_AHEAD_MAX
from consensus.journal import BodyHeld, CertificateHeld, JournalRecord, Kept, OwnProposal, OwnVote, first_height_to_vote
from consensus.machine import HeightMachine
from consensus.messages import CertificateMessage, Decided, Message, Proposal, VoteMessage
from ledger.blocks import Block, transactions_root
from ledger.certificates import Certificate, VoteKind
from ledger.errors import CorruptStore
from ledger.types import ZERO_HASH, Hash32
from tests.support.abstract_votes import (
    TIMING,
    block,
    certificate,
    is_signed,
    machine_of,
    member,
    members,
    sign,
    subject,
    vote,
)

N, X, F = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE
FOUR = members(4)
BORN = block(FOUR)  # by member 0 in view 0
RIVAL = block(FOUR, salt=1)


def proposal(view: int, fresh: Block | None = None, again: Hash32 | None = None, *proof: Certificate) -> Proposal:
    block_id = fresh.id if fresh is not None else again
    assert block_id is not None
    said = subject(FOUR, view, VoteKind.PROPOSE, block_id)
    return Proposal(said, sign(member(view % 4), said).signature, fresh, proof)


def started(number: int, *records: JournalRecord, work: bool = True, **options: object) -> HeightMachine:
    machine = machine_of(FOUR, member(number), records, **options)  # type: ignore[arg-type]
    machine.handle(Started())
    if work:
        machine.handle(WorkArrived())
    return machine


def propose_to(machine: HeightMachine, said: Proposal) -> list[Effect]:
    """A proposal, whose block if fresh is then found valid and ready."""
    effects = machine.handle(ProposalReceived(member(0), said))
    for effect in list(effects):
        if isinstance(effect, CheckBlock):
            effects += machine.handle(BlockChecked(effect.block.id, True))
            effects += machine.handle(BlockReady(effect.block.id))
    return effects


def hear(machine: HeightMachine, number: int, view: int, kind: VoteKind, block_id: Hash32 = ZERO_HASH) -> list[Effect]:
    return machine.handle(VoteReceived(member(number), vote(FOUR, number, view, kind, block_id)))


def learn(machine: HeightMachine, view: int, kind: VoteKind, block_id: Hash32 = ZERO_HASH) -> list[Effect]:
    return machine.handle(CertificateReceived(member(3), certificate(FOUR, view, kind, block_id, by=(0, 2, 3))))


def sent(effects: list[Effect]) -> list[Message]:
    return [effect.message for effect in effects if isinstance(effect, Broadcast)]


def votes(effects: list[Effect]) -> list[tuple[VoteKind, int, bytes]]:
    found = [message.vote.subject for message in sent(effects) if isinstance(message, VoteMessage)]
    return [(each.kind, each.view, each.block) for each in found]


def of_kind(effects: list[Effect], kind: type) -> list[Effect]:
    return [effect for effect in effects if isinstance(effect, kind)]


def test_S1_a_vote_for_another_height_or_committee_is_not_counted() -> None:
    machine = started(1)
    propose_to(machine, proposal(0, BORN))
    good = vote(FOUR, 2, 0, N, BORN.id)
    for wrong in (replace(good.subject, height=6), replace(good.subject, committee=members(5).hash)):
        assert not votes(machine.handle(VoteReceived(member(2), sign(member(2), wrong))))
        assert not votes(machine.handle(VoteReceived(member(3), sign(member(3), wrong))))
    assert machine.view == 0
    assert [committee.quorum for committee in map(members, (1, 2, 3, 4, 5, 6, 7, 31))] == [1, 2, 3, 3, 4, 5, 5, 21]


def test_S2_a_certificate_is_passed_on_once_and_a_forged_one_is_refused() -> None:
    machine = started(1)
    forged = certificate(FOUR, 0, X, by=(0, 2, 3))
    twice = replace(forged, signatures=(forged.signatures[0],) * 3)
    unsigned = replace(forged, signatures=tuple(replace(each, signature=bytes(64)) for each in forged.signatures))
    for bad in (twice, unsigned, replace(forged, signatures=forged.signatures[:2])):
        effects = machine.handle(CertificateReceived(member(3), bad))
        assert of_kind(effects, Refused)
        assert machine.view == 0
    assert CertificateMessage(forged) in sent(learn(machine, 0, X))
    assert learn(machine, 0, X) == []


def test_S2_votes_far_ahead_or_too_many_of_one_member_are_dropped_but_certificates_are_not() -> None:
    machine = started(1)
    far = VIEWS_AHEAD_MAX + 1
    for number in (0, 2, 3):
        assert hear(machine, number, far, X) == []
    blocks = [block(FOUR, salt=salt).id for salt in (5, 6, 7)]
    for block_id in blocks:  # the first two of member 2 are kept
        hear(machine, 2, 0, N, block_id)
    hear(machine, 0, 0, N, blocks[2])
    assert not of_kind(hear(machine, 3, 0, N, blocks[2]), Persist), "the third vote of member 2 was counted"
    learn(machine, far, N, blocks[2])
    assert machine.view == far + 1


def test_S3_what_others_may_rely_on_is_on_disk_before_it_leaves() -> None:
    machine = started(3)
    effects = propose_to(machine, proposal(0, BORN))
    first = effects.index(next(each for each in effects if isinstance(each, Persist)))
    persisted = effects[first]
    assert isinstance(persisted, Persist)
    assert [type(record) for record in persisted.records] == [BodyHeld, OwnVote]
    assert not sent(effects[:first])
    hear(machine, 0, 0, N, BORN.id)
    effects = hear(machine, 2, 0, N, BORN.id)
    persisted = next(each for each in effects if isinstance(each, Persist))
    assert [type(record) for record in persisted.records] == [CertificateHeld, OwnVote]
    assert not sent(effects[: effects.index(persisted)])
    assert votes(effects) == [(F, 0, BORN.id)]


def test_S3_a_leader_keeps_body_and_proposal_and_proposes_the_same_after_a_restart() -> None:
    machine = machine_of(FOUR, member(0))
    machine.handle(Started())
    assert of_kind(machine.handle(WorkArrived()), BuildBlock) == [BuildBlock(0, ())]
    effects = machine.handle(BlockBuilt(0, BORN))
    persisted = next(each for each in effects if isinstance(each, Persist))
    assert [type(record) for record in persisted.records] == [BodyHeld, OwnProposal]
    again = machine_of(FOUR, member(0), persisted.records)
    effects = again.handle(Started()) + again.handle(WorkArrived())
    assert proposal(0, BORN) in sent(effects)
    assert not of_kind(effects, BuildBlock)


def test_S3_without_its_journal_a_member_signs_nothing_until_it_cannot_contradict_itself() -> None:
    assert first_height_to_vote(Kept.ALL, head=7) == 8
    assert first_height_to_vote(Kept.CHAIN, head=7) == 9
    assert first_height_to_vote(Kept.NOTHING, head=0, heads_of_others=(9, 9), quorum=3) is None
    assert first_height_to_vote(Kept.NOTHING, head=0, heads_of_others=(9, 8, 9), quorum=3) == 12
    silent = started(1, may_vote=False)
    assert not votes(propose_to(silent, proposal(0, BORN)))
    assert not votes(silent.handle(TimerExpired(0)))
    learn(silent, 0, N, BORN.id)
    assert of_kind(learn(silent, 0, F, BORN.id), Decide), "it still follows and decides"


@pytest.mark.parametrize(
    "records",
    [
        (OwnVote(vote(FOUR, 3, 2, N, BORN.id)), OwnVote(vote(FOUR, 3, 2, N, RIVAL.id))),
        (OwnVote(vote(FOUR, 3, 2, X)), OwnVote(vote(FOUR, 3, 2, F, BORN.id))),
        (OwnVote(vote(FOUR, 3, 2, F, BORN.id)), OwnVote(vote(FOUR, 3, 2, X))),
        (OwnProposal(replace(proposal(0, BORN), block=None), fresh=True), BodyHeld(BORN)),
    ],
)
def test_S3_a_journal_that_no_correct_member_wrote_stops_it(records: tuple[JournalRecord, ...]) -> None:
    with pytest.raises(CorruptStore, match="vote journal"):
        machine_of(FOUR, member(3), records)


def test_S3_the_crash_that_would_stop_a_height_for_ever_does_not() -> None:
    """Member 3 leads and lies: only member 0 gets the notarization, finalizes, and crashes before its vote leaves.

    With the vote but not the notarization in the journal, 0 could not nullify, 1 and 2 alone are too few, and nobody
    could show the notarization: two nullify and two notarize votes, of three needed, for ever.
    """
    machines: dict[int, HeightMachine] = {}

    def start(number: int, records: tuple[JournalRecord, ...] = ()) -> None:
        plain = machine_of(FOUR, member(number))
        leaders = (member(3), member(0), member(1), member(2))
        setup = replace(plain.setup, leaders=leaders)
        machines[number] = HeightMachine(
            setup,
            records,
            verify=is_signed,
            sign=partial(sign, member(number)),
        )
        machines[number].handle(Started())
        machines[number].handle(WorkArrived())

    born = block(FOUR, author=member(3))
    said = subject(FOUR, 0, VoteKind.PROPOSE, born.id)
    shown = Proposal(said, sign(member(3), said).signature, born, ())
    for number in (0, 1, 2):
        start(number)
    disk = [each for each in propose_to(machines[0], shown) if isinstance(each, Persist)]
    propose_to(machines[1], shown)
    hear(machines[0], 1, 0, N, born.id)
    disk += [each for each in hear(machines[0], 3, 0, N, born.id) if isinstance(each, Persist)]
    start(0, tuple(record for persisted in disk for record in persisted.records))  # crashed before F left
    assert machines[0].view == 1
    for number in (1, 2):
        assert votes(machines[number].handle(TimerExpired(0))) == [(X, 0, ZERO_HASH)]
    resent = sent(machines[0].handle(ResendDue()))
    notarization = next(each for each in resent if isinstance(each, CertificateMessage))
    for number in (1, 2):
        machines[number].handle(CertificateReceived(member(0), notarization.certificate))
        assert machines[number].view == 1, "everybody leaves view 0 by the notarization"


def test_S4_the_view_is_the_highest_whose_proof_is_whole() -> None:
    machine = started(1)
    learn(machine, 1, X)
    assert machine.view == 0, "a gap is not jumped over"
    learn(machine, 0, X)
    assert machine.view == 2
    learn(machine, 6, N, BORN.id)
    assert machine.view == 7, "a notarization needs nothing below it"
    learn(machine, 3, N, BORN.id)
    assert machine.view == 7, "and it never falls"
    records = tuple(CertificateHeld(certificate(FOUR, view, X)) for view in (0, 1))
    assert machine_of(FOUR, member(1), records).view == 2, "a restart finds it again"


def test_S5_one_voice_does_not_wake_a_member_but_f_plus_1_do() -> None:
    machine = started(1, work=False)
    assert not machine.active
    assert not of_kind(hear(machine, 3, 0, X), SetTimer)
    assert not of_kind(hear(machine, 3, 0, N, BORN.id), SetTimer), "one member twice is one voice"
    assert of_kind(hear(machine, 2, 0, X), SetTimer) == [SetTimer(0, TIMING.base_ms)]
    for wake in (WorkArrived(), ProposalReceived(member(0), proposal(0, BORN))):
        assert of_kind(started(2, work=False).handle(wake), SetTimer)


def test_S6_a_view_has_one_timer_that_grows_with_the_view() -> None:
    machine = started(1)
    assert of_kind(learn(machine, 0, X), SetTimer) == [SetTimer(1, TIMING.base_ms + TIMING.step_ms)]
    assert not of_kind(machine.handle(WorkArrived()), SetTimer)
    assert not votes(machine.handle(TimerExpired(0))), "the timer of a view that is over"
    restarted = machine_of(FOUR, member(1), (CertificateHeld(certificate(FOUR, 0, X)),))
    assert of_kind(restarted.handle(Started()), SetTimer) == [SetTimer(1, TIMING.base_ms + TIMING.step_ms)]


def test_S7_a_leader_proposes_the_notarized_block_again_or_a_fresh_one_that_shows_every_nullification() -> None:
    machine = started(1)  # leads view 1
    effects = learn(machine, 0, X)
    (build,) = of_kind(effects, BuildBlock)
    assert isinstance(build, BuildBlock)
    assert [each.subject.view for each in build.nullified] == [0]
    notarized = started(1)
    effects = learn(notarized, 0, N, BORN.id)
    assert proposal(1, None, BORN.id, certificate(FOUR, 0, N, BORN.id, by=(0, 2, 3))) in sent(effects)
    assert not of_kind(effects, BuildBlock)
    assert not [each for each in sent(notarized.handle(WorkArrived())) if isinstance(each, Proposal)], "once a view"


def test_S7_a_leader_with_nothing_to_propose_is_asked_again_when_work_arrives() -> None:
    machine = started(0, work=False)
    assert of_kind(machine.handle(WorkArrived()), BuildBlock)
    assert machine.handle(BlockBuilt(0, None)) == []
    assert of_kind(machine.handle(WorkArrived()), BuildBlock)


def test_S7_grace_delays_the_sending_of_a_re_proposal_not_the_view() -> None:
    machine = started(1, timing=replace(TIMING, grace_ms=200))
    effects = learn(machine, 0, N, BORN.id)
    assert machine.view == 1
    assert not [each for each in sent(effects) if isinstance(each, Proposal)]
    assert of_kind(effects, SetTimer) == [SetTimer(1, 200)]
    effects = machine.handle(TimerExpired(1))
    assert [each for each in sent(effects) if isinstance(each, Proposal)]
    assert of_kind(effects, SetTimer) == [SetTimer(1, TIMING.base_ms + TIMING.step_ms - 200)]
    assert votes(machine.handle(TimerExpired(1))) == [(X, 1, ZERO_HASH)], "the view's whole time is over"


@pytest.mark.parametrize(
    "said",
    [
        replace(proposal(1, None, BORN.id, certificate(FOUR, 0, N, BORN.id)), signature=bytes(64)),
        proposal(2, None, BORN.id, certificate(FOUR, 0, N, BORN.id)),
        proposal(1, None, BORN.id, certificate(FOUR, 0, N, RIVAL.id)),
        proposal(1, None, BORN.id),
        proposal(1, None, BORN.id, certificate(FOUR, 0, X)),
        proposal(1, None, BORN.id, certificate(FOUR, 1, N, BORN.id)),
        proposal(2, block(FOUR, 2, (certificate(FOUR, 0, X),))),
        proposal(1, block(FOUR, 1)),
        proposal(1, BORN),
        proposal(0, block(FOUR, author=member(2))),
        proposal(0, BORN, None, certificate(FOUR, 0, X)),
    ],
    ids=[
        "not its leader's", "gap", "other block notarized", "no proof", "only a nullification", "proof of its own view",
        "fresh over a gap", "fresh without proof", "block of an earlier view", "another author", "proof beside a block",
    ],
)  # fmt: skip
def test_S8_a_proposal_without_an_unbroken_proof_is_refused(said: Proposal) -> None:
    machine = started(3)
    effects = machine.handle(ProposalReceived(member(said.subject.view % 4), said))
    assert of_kind(effects, Refused)
    assert machine.view == 0
    assert not votes(effects)


def test_S8_a_body_that_is_not_its_headers_is_refused_though_the_id_is_right() -> None:
    junk = Block(BORN.header, (certificate(FOUR, 0, X),), ())
    assert junk.id == BORN.id
    assert junk.header.transactions_root == transactions_root(())
    machine = started(1)
    said = replace(proposal(0, BORN), block=junk)
    assert of_kind(machine.handle(ProposalReceived(member(0), said)), Refused)


def test_S8_there_is_no_lock_a_finalized_block_does_not_forbid_another_that_is_justified() -> None:
    machine = started(3)
    assert (F, 0, BORN.id) in votes(learn(machine, 0, N, BORN.id))
    again = proposal(3, None, RIVAL.id, *(certificate(FOUR, 1, N, RIVAL.id), certificate(FOUR, 2, X)))
    other = started(2)
    learn(other, 0, N, BORN.id)
    assert (N, 3, RIVAL.id) in votes(other.handle(ProposalReceived(member(3), again)))


def test_S8_a_proposal_teaches_its_certificates() -> None:
    machine = started(3)
    fresh = block(FOUR, 2, (certificate(FOUR, 0, X), certificate(FOUR, 1, X)))
    effects = propose_to(machine, proposal(2, fresh))
    assert machine.view == 2
    assert votes(effects) == [(N, 2, fresh.id)]


def test_S9_a_fresh_block_is_notarized_once_held_valid_and_ready_a_re_proposal_on_its_notarization() -> None:
    machine = started(1)
    effects = machine.handle(ProposalReceived(member(0), proposal(0, BORN)))
    assert of_kind(effects, CheckBlock) == [CheckBlock(BORN)]
    assert not votes(machine.handle(BlockChecked(BORN.id, True)))
    assert votes(machine.handle(BlockReady(BORN.id))) == [(N, 0, BORN.id)]
    refusing = started(2)
    refusing.handle(ProposalReceived(member(0), proposal(0, BORN)))
    effects = refusing.handle(BlockReady(BORN.id)) + refusing.handle(BlockChecked(BORN.id, False))
    assert not votes(effects)
    late = started(3)
    effects = late.handle(ProposalReceived(member(1), proposal(1, None, BORN.id, certificate(FOUR, 0, N, BORN.id))))
    assert (N, 1, BORN.id) in votes(effects)
    assert of_kind(effects, FetchBody)


def test_S9_a_member_notarizes_once_a_view_and_after_its_own_nullification_too() -> None:
    machine = started(1)
    assert votes(machine.handle(TimerExpired(0))) == [(X, 0, ZERO_HASH)]
    assert votes(propose_to(machine, proposal(0, BORN))) == [(N, 0, BORN.id)]
    assert not votes(propose_to(machine, proposal(0, RIVAL)))


def test_S10_the_timer_nullifies_once_unless_the_view_was_finalized() -> None:
    machine = started(2)
    assert votes(machine.handle(TimerExpired(0))) == [(X, 0, ZERO_HASH)]
    assert machine.handle(TimerExpired(0)) == []


def test_S11_a_notarization_of_any_view_is_finalized_unless_that_view_was_nullified() -> None:
    machine = started(3)
    propose_to(machine, proposal(0, RIVAL))
    assert votes(learn(machine, 0, N, BORN.id)) == [(F, 0, BORN.id)], "whatever was notarized before"
    machine = started(3)
    machine.handle(TimerExpired(0))
    assert not votes(learn(machine, 0, N, BORN.id)), "never both"
    learn(machine, 1, X)
    assert machine.view == 2
    late = started(3)
    learn(late, 0, X)
    learn(late, 1, X)
    assert votes(learn(late, 1, N, BORN.id)) == [(F, 1, BORN.id)], "an old view too"


def test_S12_a_finalization_of_any_view_commits_when_the_block_is_here_and_valid() -> None:
    machine = started(3)
    effects = learn(machine, 6, N, BORN.id) + learn(machine, 1, F, BORN.id)
    (fetch,) = of_kind(effects, FetchBody)
    assert isinstance(fetch, FetchBody)
    assert member(3) not in fetch.holders
    assert of_kind(machine.handle(BodyReceived(BORN)), CheckBlock)
    (decide,) = machine.handle(BlockChecked(BORN.id, True))
    assert isinstance(decide, Decide)
    assert decide.certificate.subject.view == 1


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((3, F, BORN.id), (3, N, RIVAL.id)),
        ((3, F, BORN.id), (5, N, RIVAL.id)),
        ((3, F, BORN.id), (4, F, RIVAL.id)),
        ((3, F, BORN.id), (3, X, ZERO_HASH)),
        ((3, N, BORN.id), (3, N, RIVAL.id)),
    ],
)
def test_S12_certificates_that_only_more_than_f_liars_can_make_halt_whichever_comes_first(
    first: tuple[int, VoteKind, Hash32], second: tuple[int, VoteKind, Hash32]
) -> None:
    for one, other in ((first, second), (second, first)):
        machine = started(3)
        assert not of_kind(learn(machine, *one), Halt)
        assert of_kind(learn(machine, *other), Halt), f"{one}, then {other}"
        assert machine.handle(ResendDue()) == []


def test_S12_a_certificate_for_a_block_that_is_invalid_here_halts() -> None:
    machine = started(3)
    machine.handle(ProposalReceived(member(0), proposal(0, BORN)))
    machine.handle(BlockChecked(BORN.id, False))
    effects = learn(machine, 0, N, BORN.id)
    assert of_kind(effects, Halt)
    assert not sent(effects)
    assert machine.handle(WorkArrived()) == []


def test_S13_the_undecided_send_their_proof_votes_and_proposal_again() -> None:
    machine = started(2)
    learn(machine, 0, N, BORN.id)
    learn(machine, 1, X)
    assert not of_kind(machine.handle(WorkArrived()), BuildBlock), "it proposed the notarized block again"
    machine.handle(TimerExpired(2))
    effects = machine.handle(ResendDue())
    shown = [each.certificate.subject for each in sent(effects) if isinstance(each, CertificateMessage)]
    assert [(each.kind, each.view) for each in shown] == [(N, 0), (X, 1)]
    assert [each for each in sent(effects) if isinstance(each, Proposal)]
    assert votes(effects) == [(N, 2, BORN.id), (X, 2, ZERO_HASH), (F, 0, BORN.id)]
    assert of_kind(effects, FetchBody)


def test_S13_the_decided_tell_who_repeats_itself_and_stay_silent_in_the_good_case() -> None:
    machine = started(1)
    propose_to(machine, proposal(0, BORN))
    learn(machine, 0, N, BORN.id)
    assert of_kind(learn(machine, 0, F, BORN.id), Decide)
    assert machine.decided is not None
    answer = Send(member(2), Decided(machine.decided))
    assert hear(machine, 2, 0, F, BORN.id) == [], "a vote that was on its way"
    assert hear(machine, 2, 0, F, BORN.id) == [answer]
    assert hear(machine, 3, 0, X) == [Send(member(3), Decided(machine.decided))]
    assert learn(machine, 0, F, BORN.id) == learn(machine, 0, F, BORN.id) == [], "two decided members would never end"


def test_S14_only_what_no_correct_member_signs_is_evidence() -> None:
    machine = started(1)
    legal = [(N, BORN.id), (X, ZERO_HASH)]
    for kind, block_id in legal:
        assert not of_kind(hear(machine, 2, 0, kind, block_id), Report)
    assert not of_kind(hear(machine, 3, 0, N, BORN.id), Report)
    assert not of_kind(hear(machine, 3, 0, F, RIVAL.id), Report)
    assert of_kind(hear(machine, 2, 0, N, RIVAL.id), Report)
    assert of_kind(hear(machine, 3, 0, X), Report)
    assert not of_kind(hear(machine, 3, 0, F, BORN.id), Report), "once a member"
    machine.handle(ProposalReceived(member(0), proposal(0, BORN)))
    assert of_kind(machine.handle(ProposalReceived(member(0), proposal(0, RIVAL))), Report)


def test_S14_a_vote_hidden_in_a_certificate_is_evidence_too() -> None:
    machine = started(1)
    hear(machine, 3, 0, F, BORN.id)
    assert of_kind(learn(machine, 0, X), Report)


def test_S15_a_re_proposal_changes_nothing_in_the_block() -> None:
    machine = started(1)
    propose_to(machine, proposal(0, BORN))
    learn(machine, 0, N, BORN.id)
    again = proposal(2, None, BORN.id, certificate(FOUR, 0, N, BORN.id), certificate(FOUR, 1, X))
    machine.handle(ProposalReceived(member(2), again))
    (decide,) = of_kind(learn(machine, 2, F, BORN.id), Decide)
    assert isinstance(decide, Decide)
    assert decide.block == BORN
    assert (decide.block.header.author, decide.block.header.view) == (member(0), 0)
