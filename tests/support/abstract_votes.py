"""Members, blocks and signatures for tests of one height, cheap enough to run thousands of them.

A signature is a keyed hash that only this process can make: `sign` for a member, `is_signed` for everybody. Blocks are
real ones with empty bodies; whether one is valid is the test's word.
"""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b

from consensus.events import HeightSetup, Timing
from consensus.journal import JournalRecord
from consensus.machine import HeightMachine
from ledger.blocks import Block, Header, nullified_root, transactions_root
from ledger.certificates import Certificate, Committee, Subject, Vote, VoteKind, certify
from ledger.keys import KeyPair
from ledger.protocols import NEWEST
from ledger.types import ZERO_HASH, Hash32, NodeKey, OrgId

HEIGHT = 5
CHAIN = Hash32(b"chain".ljust(32, b"."))
PARENT = Hash32(b"parent".ljust(32, b"."))
TIMING = Timing(base_ms=3400, step_ms=500, resend_ms=1000, grace_ms=0)
_SECRET = b"only these two functions know it"


def member(number: int) -> NodeKey:
    return NodeKey(bytes([number + 1]) * 32)


def key_of(key: NodeKey) -> KeyPair:
    """A key that cannot really sign: machines under test get `sign` instead."""
    return KeyPair(bytes(32), OrgId(key))


def members(count: int) -> Committee:
    return Committee(tuple(member(number) for number in range(count)))


def _mark(key: bytes, subject: Subject) -> bytes:
    """The same in every process: signatures are part of what a block's id covers, and a seed must replay."""
    numbers = b"%d/%d/%d" % (subject.height, subject.view, subject.kind)
    return blake2b(key + subject.committee + subject.block + numbers, key=_SECRET, digest_size=64).digest()


def sign(org: NodeKey, subject: Subject) -> Vote:
    return Vote(subject, org, _mark(org, subject))


def is_signed(vote: Vote) -> bool:
    return vote.signature == _mark(vote.voter, vote.subject)


def subject(committee: Committee, view: int, kind: VoteKind, block: Hash32 = ZERO_HASH) -> Subject:
    return Subject(HEIGHT, committee.hash, view, kind, block)


def vote(committee: Committee, number: int, view: int, kind: VoteKind, block: Hash32 = ZERO_HASH) -> Vote:
    """What member `number` says of a view."""
    return sign(member(number), subject(committee, view, kind, block))


def certificate(
    committee: Committee, view: int, kind: VoteKind, block: Hash32 = ZERO_HASH, by: tuple[int, ...] | None = None
) -> Certificate:
    """Of the first q members, or of those named."""
    voters = range(committee.quorum) if by is None else by
    return certify([vote(committee, number, view, kind, block) for number in voters])


def block(
    committee: Committee,
    view: int = 0,
    nullified: tuple[Certificate, ...] = (),
    author: NodeKey | None = None,
    salt: int = 0,
) -> Block:
    """A fresh block of a view; blocks of other `salt` differ."""
    leader = committee.members[view % len(committee.members)]
    header = Header(
        version=NEWEST,
        chain_id=CHAIN,
        height=HEIGHT,
        view=view,
        time=1_000 + salt,
        parent=PARENT,
        author=author or leader,
        transactions_root=transactions_root(()),
        nullified_root=nullified_root(nullified),
        state_root=ZERO_HASH,
        committee=committee.hash,
        next_committee=committee.hash,
    )
    return Block(header, nullified, ())


def setup_of(committee: Committee, org: NodeKey, timing: Timing = TIMING, may_vote: bool = True) -> HeightSetup:
    return HeightSetup(
        CHAIN, HEIGHT, committee, tuple(map(NodeKey, committee.members)), PARENT, key_of(org), timing, may_vote
    )


def machine_of(
    committee: Committee,
    org: NodeKey,
    records: tuple[JournalRecord, ...] = (),
    *,
    timing: Timing = TIMING,
    may_vote: bool = True,
    kind: Callable[..., HeightMachine] = HeightMachine,
) -> HeightMachine:
    """A member's machine with abstract signatures. `kind`: the class, or a mutant of it."""
    setup = setup_of(committee, org, timing, may_vote)
    return kind(setup, records, verify=is_signed, sign=partial(sign, org))
