"""Anything that parses, from one member, in any order: the replica goes on, and agrees with the others afterwards."""

import random
from dataclasses import fields, is_dataclass, replace
from enum import IntEnum
from typing import Any

import pytest

from consensus.effects import CATCHUP_TIMER, RESEND_TIMER, STATUS_TIMER, VIEW_TIMER, Halt
from consensus.messages import (
    Blocks,
    BlocksRequest,
    Body,
    BodyRequest,
    CertificateMessage,
    Decided,
    Message,
    Proposal,
    Status,
    Transactions,
    VoteMessage,
    encode_message,
    parse_message,
)
from ledger.codec import digest
from ledger.errors import InvalidBytes
from ledger.types import AMOUNT_MAX
from tests.support.table import Table, final_blocks, pay

ODD_NUMBERS = (0, 1, 2, 3, 4, 5, 7, 63, 64, 1_023, 1_024, 1_025, 2**31, 2**32, 2**52, AMOUNT_MAX - 1, AMOUNT_MAX)


def samples(table: Table) -> list[Message]:
    """What was really said, one of each kind and more."""
    finals = final_blocks(table)
    said = [each for seat in table.seats.values() for each in seat.sent(object)]
    asked = [
        Status(3, bytes(32), 0, 1),
        BlocksRequest(1, 64),
        BodyRequest(1, finals[0].block.id),
        Body(finals[-1].block),
        Decided(finals[-1]),
        Blocks(finals),
        CertificateMessage(finals[-1].certificate),
        Transactions(finals[-1].block.transactions),
    ]
    return [*said, *asked]


def spoiled(value: Any, rng: random.Random) -> Any:
    """One field somewhere in it is another, of the same type."""
    if isinstance(value, IntEnum):
        return rng.choice(list(type(value)))
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((*ODD_NUMBERS, value + 1, max(0, value - 1)))
    if isinstance(value, bytes):
        return rng.choice((bytes(len(value)), digest("test", rng.randbytes(4))[: len(value)].ljust(len(value), b"\1")))
    if isinstance(value, str):
        return rng.choice(("", "\x1b[2J", "x" * 64, "\u202e"))
    if isinstance(value, tuple):
        if not value or rng.random() < 0.3:
            return rng.choice((value[:-1], value + value[:1]))
        at = rng.randrange(len(value))
        return (*value[:at], spoiled(value[at], rng), *value[at + 1 :])
    if is_dataclass(value) and fields(value):
        name = rng.choice([field.name for field in fields(value)])
        return replace(value, **{name: spoiled(getattr(value, name), rng)})  # type: ignore[type-var]
    return value


def moved_on(message: Message, height: int, view: int) -> Message:
    """The same message of the height in work, where it would do most harm."""
    match message:
        case Proposal(subject=subject):
            return replace(message, subject=replace(subject, height=height, view=view))
        case VoteMessage(vote):
            return VoteMessage(replace(vote, subject=replace(vote.subject, height=height, view=view)))
        case CertificateMessage(certificate):
            subject = replace(certificate.subject, height=height, view=view)
            return CertificateMessage(replace(certificate, subject=subject))
    return message


@pytest.mark.parametrize("seed", range(6))
def test_one_member_that_says_anything_stops_nobody(seed: int):
    rng = random.Random(seed)
    table = Table()
    mallory = table.keys[seed % 4]
    others = [key for key in table.keys if key is not mallory]
    for key in table.keys:
        pay(table, key)
    known = samples(table)
    for step in range(1_200):
        message = rng.choice(known)
        for _ in range(rng.randrange(4)):
            message = spoiled(message, rng)
        chain = table.seat(others[0]).replica.chain
        if rng.random() < 0.5:
            message = moved_on(message, chain.height + rng.randrange(3), rng.randrange(3))
        try:
            message = parse_message(encode_message(message))
        except InvalidBytes:
            continue  # it would not come this far
        table.hand(mallory, rng.choice(others), message)
        if step % 100 == 0:
            pay(table, rng.choice(others))
        if step % 37 == 0:
            table.ring(rng.choice((STATUS_TIMER, RESEND_TIMER, CATCHUP_TIMER)), others, after_ms=700)
    table.deliver()
    for key in others:
        assert not table.seat(key).all(Halt), f"seed {seed}"
    before = [table.seat(key).replica.chain.height for key in others]
    pay(table, others[0])
    for _ in range(8):
        table.ring(VIEW_TIMER, after_ms=5_000)
        table.ring(RESEND_TIMER, after_ms=700)
        table.ring(STATUS_TIMER, after_ms=2_000)
        table.ring(CATCHUP_TIMER, after_ms=1_000)
    after = [table.seat(key).replica.chain for key in others]
    assert min(chain.height for chain in after) > min(before), f"seed {seed}: {before}"
    assert len({chain.final_block(min(before)).block.id for chain in after}) == 1  # type: ignore[union-attr]
