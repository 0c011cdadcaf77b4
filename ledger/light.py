"""A light client: which headers follow from one that is trusted, without blocks, a clock or a network. Pure.

What is trusted at first is a genesis, or a header that its holder has by another way (compare it with two members).
From there a later header is believed in one of three ways:

    next      height + 1: its parent is the trusted header, its committee the one that header names as the next.
    in office any later height: its committee is the one the trusted header names as the next. Committees change by f
              seats an epoch and may come back; what came and went in between is left out.
    skipped   any later height: more than a third of the committee that signed the trusted header signed it too, beside
              a quorum of its own committee. At least one of them is correct, as long as at most f of the trusted
              committee lie, and a correct member signs for the heights and committees of the one chain only.

Trust therefore rests on committees while, and after, they are in office: a third of the trusted committee (a quorum of
it, where nothing is skipped) that is dishonest later, or whose retired keys are stolen, could sign headers that never
were. There is no clock in a ledger, so what a skip may bridge is bounded in heights. Earlier headers follow by their
ids alone: `link_back`. Which headers to show is `light_path.py`'s business.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from ledger.blocks import FinalHeader, Header
from ledger.certificates import Committee, VoteKind, check_certificate
from ledger.codec import encode
from ledger.errors import InvalidBytes, InvalidCertificate, InvalidProof
from ledger.genesis import Genesis
from ledger.protocols import NEWEST, VERSIONS
from ledger.types import Hash32

# Months of a busy league, an hour of work for it: long enough that a proof needs a handful of headers, short enough
# that a committee whose members have long left, and may have thrown their keys away, is not asked.
SKIP_HEIGHTS_MAX = 100_000
NO_SKIPPING = 0


class Way(IntEnum):
    """How a header came to be believed."""

    GIVEN = 0
    NEXT = 1
    IN_OFFICE = 2
    SKIPPED = 3


@dataclass(frozen=True, slots=True)
class Trusted:
    """The header that is believed. `committee` signed it and `next_committee` votes on what follows.

    At height 0 `block` is the chain id, which is what the first block names as its parent, and `header` is None.
    """

    chain_id: Hash32
    height: int
    block: Hash32
    time: int
    committee: Committee
    next_committee: Hash32
    header: Header | None
    way: Way


def trust_genesis(genesis: Genesis) -> Trusted:
    """What the founders' own file says: who votes on height 1."""
    committee = genesis.committee
    return Trusted(genesis.chain_id, 0, genesis.chain_id, genesis.time, committee, committee.hash, None, Way.GIVEN)


def trust_header(final: FinalHeader) -> Trusted:
    """A header that its holder trusts for reasons of his own. Raises InvalidProof when it is not even well signed."""
    check_final_header(final)
    return _trusting(final, Way.GIVEN)


def follow(trusted: Trusted, path: Iterable[FinalHeader], skip_heights_max: int = SKIP_HEIGHTS_MAX) -> Trusted:
    """Go along `path`, header by header; what is trusted at its end. Raises InvalidProof naming the first break."""
    for final in path:
        trusted = advance(trusted, final, skip_heights_max)
    return trusted


def advance(trusted: Trusted, final: FinalHeader, skip_heights_max: int = SKIP_HEIGHTS_MAX) -> Trusted:
    """Trust `final` as well: a later header, or the very one that was trusted at first. Raises InvalidProof.

    `skip_heights_max`: how many heights a skip may bridge; NO_SKIPPING allows none.
    """
    header = final.header
    if header.chain_id != trusted.chain_id:
        raise InvalidProof(
            f"height {header.height} is of chain {header.chain_id.hex()[:16]}, want {trusted.chain_id.hex()[:16]}"
        )
    if trusted.way is Way.GIVEN and header.height == trusted.height and header.id == trusted.block:
        check_final_header(final)
        return trusted
    if header.height <= trusted.height:
        raise InvalidProof(f"a header of height {header.height}, want one above the trusted height {trusted.height}")
    if header.time <= trusted.time:
        raise InvalidProof(f"height {header.height} is of time {header.time}, want above {trusted.time}")
    check_final_header(final)
    return _trusting(final, _way(trusted, final, skip_heights_max))


def link_back(trusted: Trusted, ancestors: Iterable[Header]) -> Header:
    """The last of `ancestors`, which go down from the trusted header's parent, one height at a time.

    They need no signatures: each is named by the id in the one above. Raises InvalidProof, also when there are none.
    """
    above = trusted.header
    if above is None:
        raise InvalidProof("nothing comes before the genesis")
    found: Header | None = None
    for header in ancestors:
        if header.chain_id != trusted.chain_id or header.height != above.height - 1 or header.id != above.parent:
            raise InvalidProof(f"the header of height {header.height} is not the parent of height {above.height}")
        above = found = header
    if found is None:
        raise InvalidProof("no header before the trusted one")
    return found


def check_final_header(final: FinalHeader) -> None:
    """That a header's certificate makes it final, by the committee it names. Raises InvalidProof.

    Says nothing of whether that committee was ever in office.
    """
    header, subject = final.header, final.certificate.subject
    if header.version not in VERSIONS:
        raise InvalidProof(
            f"height {header.height} runs protocol {header.version}, this program knows up to {NEWEST}: a newer one is"
            " needed"
        )
    if final.committee.hash != header.committee:
        raise InvalidProof(f"height {header.height} names another committee than the one that is shown")
    if list(final.committee.members) != sorted(set(final.committee.members)):
        raise InvalidProof(f"the committee of height {header.height} is not ascending and distinct")
    if (subject.kind, subject.height, subject.block) != (VoteKind.FINALIZE, header.height, header.id):
        raise InvalidProof(f"the certificate is not of the block of height {header.height}")
    if subject.view < header.view:
        raise InvalidProof(f"a certificate of view {subject.view} for a block born in view {header.view}")
    try:
        encode(final)
        check_certificate(Hash32(header.chain_id), final.committee, final.certificate)
    except (InvalidCertificate, InvalidBytes) as error:
        raise InvalidProof(f"height {header.height}: {error}") from None


def overlap_suffices(trusted: Trusted, final: FinalHeader) -> bool:
    """Whether more than a third of the trusted committee is among the signers of `final`."""
    seats = set(trusted.committee.members)
    signed = sum(each.voter in seats for each in final.certificate.signatures)
    return 3 * signed > len(seats)


def _way(trusted: Trusted, final: FinalHeader, skip_heights_max: int) -> Way:
    header = final.header
    in_office = header.committee == trusted.next_committee
    if header.height == trusted.height + 1:
        if header.parent != trusted.block:
            raise InvalidProof(f"the parent of height {header.height} is another block than the trusted one")
        if not in_office:
            raise InvalidProof(f"height {header.height} is not signed by the committee that was to follow")
        return Way.NEXT
    if in_office:
        return Way.IN_OFFICE
    bridged = header.height - trusted.height
    if bridged > skip_heights_max:
        allowed = f"at most {skip_heights_max} may be skipped" if skip_heights_max else "nothing may be skipped"
        raise InvalidProof(f"{bridged} heights lie between {trusted.height} and {header.height}, {allowed}")
    if not overlap_suffices(trusted, final):
        raise InvalidProof(
            f"height {header.height} is signed by another committee, and by a third or less of the one of height"
            f" {trusted.height}"
        )
    return Way.SKIPPED


def _trusting(final: FinalHeader, way: Way) -> Trusted:
    header = final.header
    return Trusted(
        Hash32(header.chain_id),
        header.height,
        header.id,
        header.time,
        final.committee,
        Hash32(header.next_committee),
        header,
        way,
    )
