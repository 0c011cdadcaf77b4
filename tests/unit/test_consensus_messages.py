"""Messages between replicas: bytes that come back equal, bounds that hold, damage that is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from consensus.messages import (
    BLOCKS_PER_MESSAGE_MAX,
    MESSAGE_BYTES_MAX,
    TRANSACTIONS_MESSAGE_BYTES_MAX,
    TRANSACTIONS_PER_MESSAGE_MAX,
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
    fit_blocks,
    fit_transactions,
    parse_message,
)
from ledger.blocks import Block, FinalBlock
from ledger.certificates import VoteKind
from ledger.errors import InvalidBytes
from ledger.transactions import Transaction, Transfer
from ledger.types import BLOCK_BYTES_MAX, COMMITTEE_MAX
from tests.support.abstract_votes import HEIGHT, block, certificate, member, members, sign, subject, vote

FOUR = members(4)
BORN = block(FOUR)
NOTARIZED = certificate(FOUR, 0, VoteKind.NOTARIZE, BORN.id)
SAID = subject(FOUR, 0, VoteKind.PROPOSE, BORN.id)
FINAL = FinalBlock(BORN, certificate(FOUR, 0, VoteKind.FINALIZE, BORN.id))
TRANSFER = Transaction(member(1), 0, Transfer(member(2), 5, "for the bearings"), bytes(64))
EXAMPLES: list[Message] = [
    Proposal(SAID, sign(member(0), SAID).signature, BORN, ()),
    Proposal(SAID, sign(member(0), SAID).signature, None, (NOTARIZED,)),
    VoteMessage(vote(FOUR, 1, 0, VoteKind.NULLIFY)),
    CertificateMessage(NOTARIZED),
    BodyRequest(HEIGHT, BORN.id),
    Body(BORN),
    Decided(FINAL),
    Status(7, BORN.id, 2, 1),
    BlocksRequest(3, 64),
    Blocks((FINAL, FINAL)),
    Transactions((TRANSFER,)),
]


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_comes_back_equal_and_not_when_cut_or_lengthened(message: Message) -> None:
    data = encode_message(message)
    assert parse_message(data) == message
    for damaged in [data[:cut] for cut in range(0, len(data), 7)] + [data + b"\x00"]:
        with pytest.raises(InvalidBytes):
            parse_message(damaged)


@given(some.sampled_from(EXAMPLES), some.data())
@settings(max_examples=300, deadline=None)
def test_a_changed_byte_gives_another_message_or_a_refusal_never_another_fault(
    message: Message, data: some.DataObject
) -> None:
    raw = bytearray(encode_message(message))
    raw[data.draw(some.integers(0, len(raw) - 1))] ^= data.draw(some.integers(1, 255))
    try:
        read = parse_message(bytes(raw))
    except InvalidBytes:
        return
    assert read != message
    assert encode_message(read) == bytes(raw)


def test_too_long_a_frame_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(InvalidBytes, match=str(MESSAGE_BYTES_MAX)):
        parse_message(bytes(MESSAGE_BYTES_MAX + 1))
    with pytest.raises(InvalidBytes):
        encode_message(BlocksRequest(0, BLOCKS_PER_MESSAGE_MAX + 1))


def test_a_block_at_its_limit_fits_with_the_largest_certificate() -> None:
    largest = certificate(members(COMMITTEE_MAX), 0, VoteKind.FINALIZE, BORN.id, by=tuple(range(COMMITTEE_MAX)))
    envelope = len(encode_message(Decided(FinalBlock(BORN, largest)))) - len(BORN.encoded)
    assert BLOCK_BYTES_MAX + envelope <= MESSAGE_BYTES_MAX


def test_blocks_fill_a_frame_and_no_more() -> None:
    assert len(fit_blocks([FINAL] * 100).blocks) == BLOCKS_PER_MESSAGE_MAX
    many = tuple(Transaction(member(1), nonce, TRANSFER.body, bytes(64)) for nonce in range(4096))
    large = FinalBlock(Block(BORN.header, (), many), FINAL.certificate)
    fitted = fit_blocks([large] * 30)
    assert 1 < len(fitted.blocks) < 30
    assert len(encode_message(fitted)) <= MESSAGE_BYTES_MAX
    assert fit_blocks([]).blocks == ()


def test_transactions_are_split_in_order() -> None:
    many = [Transaction(member(1), nonce, Transfer(member(2), 5, "m" * 250), bytes(64)) for nonce in range(5_000)]
    messages = fit_transactions(many)
    assert [each for message in messages for each in message.transactions] == many
    for message in messages:
        assert len(message.transactions) <= TRANSACTIONS_PER_MESSAGE_MAX
        assert len(encode_message(message)) <= TRANSACTIONS_MESSAGE_BYTES_MAX + 4096
