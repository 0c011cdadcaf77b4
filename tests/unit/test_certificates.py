"""Quorums for every size of committee, and every way in which votes may fail to make a certificate."""

from dataclasses import replace

import pytest

from ledger.certificates import (
    Certificate,
    Committee,
    Equivocation,
    Signed,
    Subject,
    VoteKind,
    cast,
    certify,
    check_certificate,
    check_equivocation,
    contradicts,
)
from ledger.codec import digest
from ledger.errors import InvalidCertificate
from ledger.keys import KeyPair
from ledger.types import COMMITTEE_MAX, ZERO_HASH
from tests.support.league import certificate, founders, key_of

CHAIN = digest("test", b"chain")
BLOCK, OTHER_BLOCK = digest("test", b"block"), digest("test", b"other")
KEYS = founders(7)
COMMITTEE = Committee(tuple(key.org for key in KEYS))


def subject(kind: VoteKind = VoteKind.FINALIZE, block: bytes = BLOCK, view: int = 0, height: int = 5) -> Subject:
    return Subject(height, COMMITTEE.hash, view, kind, block)


def refused(damaged: Certificate, committee: Committee = COMMITTEE, chain_id=CHAIN) -> str:
    with pytest.raises(InvalidCertificate) as caught:
        check_certificate(chain_id, committee, damaged)
    return str(caught.value)


@pytest.mark.parametrize("members", range(1, COMMITTEE_MAX + 1))
def test_a_quorum_is_n_minus_f_and_two_of_them_share_a_correct_member(members: int):
    committee = Committee(tuple(key.org for key in founders(members)))
    assert committee.faults == (members - 1) // 3
    assert committee.quorum == members - committee.faults
    # Two quorums meet in more than f members; 2f + 1 would not do for 5 and 6.
    assert 2 * committee.quorum - members > committee.faults
    # And the correct members alone are one.
    assert members - committee.faults >= committee.quorum


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 6, 7, 10, 31])
def test_a_quorum_certifies_and_one_vote_less_does_not(members: int):
    keys = founders(members)
    committee = Committee(tuple(key.org for key in keys))
    about = Subject(5, committee.hash, 0, VoteKind.FINALIZE, BLOCK)
    check_certificate(CHAIN, committee, certificate(CHAIN, committee, keys, about))
    check_certificate(CHAIN, committee, certificate(CHAIN, committee, keys, about, votes=members))
    if committee.quorum > 1:
        with pytest.raises(InvalidCertificate, match=f"want {committee.quorum} of {members}"):
            check_certificate(CHAIN, committee, certificate(CHAIN, committee, keys, about, committee.quorum - 1))


def test_the_same_vote_twice_counts_once():
    good = certificate(CHAIN, COMMITTEE, KEYS, subject())
    twice = replace(good, signatures=(good.signatures[0], *good.signatures[:-1]))
    assert "distinct" in refused(twice)


def test_voters_stand_in_one_order_only():
    good = certificate(CHAIN, COMMITTEE, KEYS, subject())
    assert "ascending" in refused(replace(good, signatures=good.signatures[::-1]))


def test_a_stranger_has_no_vote():
    votes = [cast(key, CHAIN, subject()) for key in [*KEYS[:4], key_of("stranger")]]
    assert "no seat" in refused(certify(votes))


def test_every_signature_is_checked_and_not_just_enough_of_them():
    everybody = certificate(CHAIN, COMMITTEE, KEYS, subject(), votes=7)
    for at in range(7):
        forged = [*everybody.signatures]
        forged[at] = Signed(forged[at].voter, bytes(64))
        assert forged[at].voter.hex()[:16] in refused(replace(everybody, signatures=tuple(forged)))


def test_a_vote_for_another_chain_height_view_or_block_does_not_count():
    good = certificate(CHAIN, COMMITTEE, KEYS, subject())
    assert "verify" in refused(good, chain_id=digest("test", b"fork"))
    for other in (subject(height=6), subject(view=1), subject(block=OTHER_BLOCK), subject(VoteKind.NOTARIZE)):
        assert "verify" in refused(replace(good, subject=other))


def test_a_certificate_names_the_committee_that_may_vote():
    smaller = Committee(COMMITTEE.members[:4])
    assert "another committee" in refused(certificate(CHAIN, COMMITTEE, KEYS, subject()), smaller)


@pytest.mark.parametrize(
    ("kind", "block", "why"),
    [
        (VoteKind.PROPOSE, BLOCK, "no vote"),
        (VoteKind.NULLIFY, BLOCK, "NULLIFY"),
        (VoteKind.FINALIZE, ZERO_HASH, "FINALIZE"),
        (VoteKind.NOTARIZE, ZERO_HASH, "NOTARIZE"),
    ],
)
def test_a_quorum_cannot_certify_what_makes_no_sense(kind: VoteKind, block: bytes, why: str):
    assert why in refused(certificate(CHAIN, COMMITTEE, KEYS, subject(kind, block)))


def evidence(first: Subject, second: Subject, signer: KeyPair = KEYS[0], other: KeyPair = KEYS[0]) -> Equivocation:
    return Equivocation(cast(signer, CHAIN, first), cast(other, CHAIN, second))


N, X, F, P = VoteKind.NOTARIZE, VoteKind.NULLIFY, VoteKind.FINALIZE, VoteKind.PROPOSE


@pytest.mark.parametrize(
    ("first", "second", "guilty"),
    [
        (subject(N), subject(N, OTHER_BLOCK), True),
        (subject(F), subject(F, OTHER_BLOCK), True),
        (subject(P), subject(P, OTHER_BLOCK), True),
        (subject(X, ZERO_HASH), subject(F), True),
        (subject(F), subject(X, ZERO_HASH), True),
        (subject(N), subject(N), False),
        (subject(X, ZERO_HASH), subject(X, ZERO_HASH), False),
        (subject(N), subject(X, ZERO_HASH), False),  # it notarized, then the timer ran out
        (subject(N), subject(F, OTHER_BLOCK), False),  # it notarized one and saw the other notarized
        (subject(N), subject(P, OTHER_BLOCK), False),
        (subject(N), subject(N, OTHER_BLOCK, view=1), False),
        (subject(N), subject(N, OTHER_BLOCK, height=6), False),
    ],
)
def test_only_what_no_correct_member_signs_is_evidence(first: Subject, second: Subject, guilty: bool):
    found = evidence(first, second)
    assert contradicts(found.first, found.second) is guilty
    if guilty:
        assert check_equivocation(CHAIN, found) == KEYS[0].org
    else:
        with pytest.raises(InvalidCertificate, match="contradict"):
            check_equivocation(CHAIN, found)


def test_two_members_do_not_contradict_each_other():
    with pytest.raises(InvalidCertificate):
        check_equivocation(CHAIN, evidence(subject(N), subject(N, OTHER_BLOCK), other=KEYS[1]))


@pytest.mark.parametrize("forged", ["first", "second"])
def test_nobody_is_convicted_by_a_forged_vote(forged: str):
    good = evidence(subject(N), subject(N, OTHER_BLOCK))
    damaged = replace(good, **{forged: replace(getattr(good, forged), signature=bytes(64))})
    with pytest.raises(InvalidCertificate, match="not signed"):
        check_equivocation(CHAIN, damaged)


def test_votes_of_another_chain_are_no_evidence_here():
    with pytest.raises(InvalidCertificate, match="not signed"):
        check_equivocation(digest("test", b"fork"), evidence(subject(N), subject(N, OTHER_BLOCK)))
