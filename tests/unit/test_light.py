"""The light client believes the headers of the one chain, from wherever it starts, and no others."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ledger.blocks import FinalHeader
from ledger.certificates import Certificate, Committee, Signed, Subject, VoteKind, cast, certify
from ledger.errors import InvalidProof
from ledger.keys import KeyPair
from ledger.light import (
    NO_SKIPPING,
    Trusted,
    Way,
    advance,
    follow,
    link_back,
    overlap_suffices,
    trust_genesis,
    trust_header,
)
from ledger.light_path import ancestors_between, path_between, trusted_at
from tests.support.league import League
from tests.support.proven_league import ProvenLeague

SUBJECT = Subject(1, bytes(32), 0, VoteKind.FINALIZE, bytes(32))


@pytest.fixture(scope="module")
def lived() -> ProvenLeague:
    """Some thirty heights with three changes of the committee, and one of a key in it."""
    made = ProvenLeague()
    made.anchor()
    made.change_committee(1)
    made.rotate()
    made.change_committee(2)
    made.idle(4)
    return made


@pytest.fixture(scope="module")
def headers(lived: ProvenLeague) -> list[FinalHeader]:
    """Every header of the chain, from height 1 on."""
    chain = lived.league.chain
    found = [chain.final_header(height) for height in range(1, chain.height + 1)]
    assert len({header.committee.hash for header in found}) > 3
    return found


def signed_by(keys: list[KeyPair], final: FinalHeader, **changes: object) -> FinalHeader:
    """A header with some fields changed, and a certificate of these keys, as a committee of its own if need be."""
    committee = Committee(tuple(sorted(key.org for key in keys)))
    header = replace(final.header, committee=committee.hash, **changes)
    subject = Subject(header.height, committee.hash, header.view, VoteKind.FINALIZE, header.id)
    return FinalHeader(header, certify([cast(key, header.chain_id, subject) for key in keys]), committee)


def starts(lived: ProvenLeague, headers: list[FinalHeader]) -> list[Trusted]:
    return [trust_genesis(lived.league.genesis), *map(trust_header, headers)]


def test_S18_a_path_leads_from_every_height_to_every_later_one(lived, headers):
    chain = lived.league.chain
    for start in range(0, chain.height + 1, 3):
        for target in range(max(1, start), chain.height + 1, 2):
            for skip in (NO_SKIPPING, 10, 100_000):
                path = path_between(chain, start, target, skip)
                reached = follow(trusted_at(chain, start), path, skip)
                assert (reached.height, reached.block) == (target, headers[target - 1].header.id)


def test_S18_from_any_trusted_header_only_canonical_headers_are_believed(lived, headers):
    """Whoever is believed at a height, by whatever way, is the block that the chain has there."""
    for trusted in starts(lived, headers):
        for final in headers:
            try:
                reached = advance(trusted, final)
            except InvalidProof:
                continue
            assert reached.block == headers[reached.height - 1].header.id
            # What was one seat of a third short of it, and what came before, is not believed.
            assert reached.way is Way.GIVEN or final.header.height > trusted.height


@pytest.mark.parametrize(
    "changes",
    [{"state_root": bytes(32)}, {"next_committee": bytes(32)}, {"time": 2**52}, {"parent": bytes(32)}],
    ids=lambda changes: next(iter(changes)),
)
def test_S18_f_liars_of_every_committee_forge_no_header(lived, headers, changes):
    """f members of the committee in office, and of the trusted one, with as many keys of their own as they like."""
    own = [lived.league.stranger(f"mallory {number}") for number in range(12)]
    seats = headers[0].committee
    liars = [lived.league.key(org) for org in seats.members[: seats.faults]]
    assert liars
    for trusted in starts(lived, headers)[::5]:
        for final in headers[::4]:
            for keys in (liars, [*liars, *own], own):
                with pytest.raises(InvalidProof):
                    advance(trusted, signed_by(keys, final, **changes))


def test_a_quorum_of_its_own_is_needed_beside_the_third(lived, headers):
    trusted, final = trust_header(headers[0]), headers[-1]
    assert advance(trusted, final).way is Way.SKIPPED
    short = replace(final.certificate, signatures=final.certificate.signatures[1:])
    with pytest.raises(InvalidProof, match="votes, want"):
        advance(trusted, replace(final, certificate=short))


def test_more_than_a_third_of_the_trusted_committee_is_needed(lived, headers):
    """With seven seats three of them vouch for strangers, two do not."""
    trusted, final = trust_header(headers[0]), headers[-1]
    strangers = [lived.league.stranger(f"new {number}") for number in range(12)]
    insiders = [lived.league.key(org) for org in trusted.committee.members]
    assert len(insiders) == 7
    assert advance(trusted, signed_by([*insiders[:3], *strangers], final)).way is Way.SKIPPED
    with pytest.raises(InvalidProof, match="a third or less"):
        advance(trusted, signed_by([*insiders[:2], *strangers], final))


def test_a_third_is_more_than_f_in_committees_of_every_size(headers):
    for size in range(1, 32):
        seats = tuple(bytes([number]) * 32 for number in range(1, size + 1))
        trusted = replace(trust_header(headers[0]), committee=Committee(seats))

        def suffices(count: int, trusted=trusted, seats=seats) -> bool:
            signed = tuple(Signed(key, bytes(64)) for key in (*seats[:count], bytes(32)))
            return overlap_suffices(trusted, replace(headers[-1], certificate=Certificate(SUBJECT, signed)))

        # Whatever number suffices, one of them is correct.
        enough = next(count for count in range(size + 1) if suffices(count))
        assert trusted.committee.faults < enough <= trusted.committee.quorum


def test_a_false_witness_spoils_a_certificate_that_has_enough(lived, headers):
    """ASA: with only enough signatures checked, the rest could be anybody's."""
    final = headers[-1]
    *good, last = final.certificate.signatures
    forged = replace(last, signature=bytes(64))
    with pytest.raises(InvalidProof, match="does not verify"):
        trust_header(replace(final, certificate=replace(final.certificate, signatures=(*good, forged))))
    twice = replace(final.certificate, signatures=(good[0], *good, last))
    with pytest.raises(InvalidProof, match="ascending and distinct"):
        trust_header(replace(final, certificate=twice))


def test_the_next_height_is_a_child_of_the_trusted_one_by_the_committee_it_names(lived, headers):
    for before, after in pairwise(headers):
        assert advance(trust_header(before), after).way is Way.NEXT
        for fields in ({"parent": bytes(32)}, {"committee": bytes(32)}):
            with pytest.raises(InvalidProof):
                advance(trust_header(before), replace(after, header=replace(after.header, **fields)))
    handover = next(at for at, each in enumerate(headers) if each.header.next_committee != each.header.committee)
    insiders = [lived.league.key(org) for org in headers[handover].committee.members]
    with pytest.raises(InvalidProof, match="was to follow"):
        # The old committee does not vote once more, though all of it signs.
        advance(trust_header(headers[handover]), signed_by(insiders, headers[handover + 1]))


def test_nothing_is_skipped_when_that_is_asked_for_and_nothing_too_far(lived, headers):
    trusted, final = trust_genesis(lived.league.genesis), headers[-1]
    assert advance(trusted, final).way is Way.SKIPPED
    with pytest.raises(InvalidProof, match="nothing may be skipped"):
        advance(trusted, final, NO_SKIPPING)
    with pytest.raises(InvalidProof, match="at most 5 may be"):
        advance(trusted, final, 5)
    chain = lived.league.chain
    one_by_one = path_between(chain, 0, chain.height, NO_SKIPPING)
    committees = [each.committee.hash for each in one_by_one]
    assert len(committees) == len(set(committees)) > 3, "each committee once"
    assert len(path_between(chain, 0, chain.height)) < len(one_by_one)


def test_earlier_heights_time_that_stands_and_other_chains_are_refused(lived, headers):
    trusted = trust_header(headers[4])
    for final in (*headers[:4], signed_by(lived.league.keys[:5], headers[4], state_root=bytes(32))):
        with pytest.raises(InvalidProof, match="above the trusted height"):
            advance(trusted, final)
    insiders = [lived.league.key(org) for org in trusted.committee.members]
    with pytest.raises(InvalidProof, match="of time"):
        advance(trusted, signed_by(insiders, headers[8], time=trusted.time))
    other = League(4, balance=5)
    other.say()
    with pytest.raises(InvalidProof, match="of chain"):
        advance(trusted, other.chain.final_header(1))
    assert advance(trusted, headers[4]) is trusted


def test_earlier_headers_follow_by_their_ids(lived, headers):
    chain = lived.league.chain
    trusted = trust_header(headers[9])
    ancestors = ancestors_between(chain, 10, 3)
    assert link_back(trusted, ancestors) == headers[2].header
    for broken in (
        ancestors[1:],
        ancestors[::-1],
        (*ancestors[:2], *ancestors[3:]),
        (*ancestors[:-1], replace(ancestors[-1], state_root=bytes(32))),
        (),
    ):
        with pytest.raises(InvalidProof):
            link_back(trusted, broken)
    with pytest.raises(InvalidProof):
        link_back(trust_genesis(lived.league.genesis), ancestors)
    with pytest.raises(InvalidProof):
        ancestors_between(chain, 3, 3)


def test_a_committee_that_names_somebody_twice_is_none(lived, headers):
    final, keys = headers[-1], lived.league.keys[:5]
    members = tuple(sorted(key.org for key in keys))
    committee = Committee((members[0], *members))
    header = replace(final.header, committee=committee.hash)
    subject = Subject(header.height, committee.hash, header.view, VoteKind.FINALIZE, header.id)
    forged = FinalHeader(header, certify([cast(key, header.chain_id, subject) for key in keys]), committee)
    with pytest.raises(InvalidProof, match="ascending and distinct"):
        trust_header(forged)
