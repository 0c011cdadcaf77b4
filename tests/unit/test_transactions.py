"""The form of every transaction is fixed by golden bytes; a signature is good on one chain, over all of the content.

`python -m tests.unit.test_transactions` prints the vectors anew, for a change of format that is meant.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from ledger.codec import digest
from ledger.errors import InvalidBytes, InvalidTransaction
from ledger.motions import Motion
from ledger.statements import OpenBallot
from ledger.transactions import Body, Transaction, Transfer, parse_transaction, sign_transaction
from ledger.types import TRANSACTION_BYTES_MAX
from tests.support.league import key_of
from tests.support.transaction_examples import CHAIN_ID, EXAMPLES, MOTIONS, SENDER

VECTORS = Path(__file__).parents[1] / "vectors" / "transactions.json"


def signed(body: Body) -> Transaction:
    return sign_transaction(SENDER, CHAIN_ID, 5, body)


# Every kind once, and every motion that a ballot may be about.
NAMED: dict[str, Body] = {type(body).__name__: body for body in EXAMPLES}
NAMED |= {f"OpenBallot of {type(motion).__name__}": OpenBallot(motion) for motion in MOTIONS}


def golden() -> dict[str, dict[str, str]]:
    return {name: {"id": signed(body).id.hex(), "bytes": signed(body).encoded.hex()} for name, body in NAMED.items()}


def test_every_kind_has_an_example():
    assert [type(body) for body in EXAMPLES] == list(get_args(Body))
    assert [type(body).KIND for body in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))
    assert [type(motion) for motion in MOTIONS] == list(get_args(Motion))


@pytest.mark.parametrize("name", NAMED)
def test_bytes_and_id_are_what_they_were_when_the_first_league_was_founded(name: str):
    body, vector = NAMED[name], json.loads(VECTORS.read_text())[name]
    assert signed(body).encoded.hex() == vector["bytes"]
    assert signed(body).id.hex() == vector["id"]
    parsed = parse_transaction(bytes.fromhex(vector["bytes"]))
    assert parsed == signed(body)
    parsed.check_signature(CHAIN_ID)


@pytest.mark.parametrize("body", EXAMPLES, ids=lambda body: type(body).__name__)
def test_on_another_chain_it_says_nothing(body: Body):
    with pytest.raises(InvalidTransaction, match="for this chain") as caught:
        signed(body).check_signature(digest("test", b"fork"))
    assert caught.value.code == "signature"


def test_the_id_does_not_cover_the_signature():
    # Else anybody on the way could give one transfer a second id and have it tracked, or paid, twice.
    transaction = signed(EXAMPLES[0])
    assert replace(transaction, signature=bytes(64)).id == transaction.id


@pytest.mark.parametrize(
    "change", [{"nonce": 6}, {"sender": key_of("mallory").org}, {"body": Transfer(SENDER.org, 1, "")}]
)
def test_the_signature_covers_all_of_the_content(change: dict[str, object]):
    changed = replace(signed(EXAMPLES[7]), **change)  # type: ignore[arg-type]
    assert changed.id != signed(EXAMPLES[7]).id
    with pytest.raises(InvalidTransaction):
        changed.check_signature(CHAIN_ID)


def test_no_flipped_byte_is_taken_for_the_same_statement():
    encoded = signed(EXAMPLES[7]).encoded
    for at in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[at] ^= 0x01
        try:
            parsed = parse_transaction(bytes(damaged))
        except InvalidBytes:
            continue
        with pytest.raises(InvalidTransaction):
            parsed.check_signature(CHAIN_ID)


def test_a_transaction_that_is_too_long_is_not_even_read():
    with pytest.raises(InvalidTransaction, match=str(TRANSACTION_BYTES_MAX)) as caught:
        parse_transaction(b"\x91" * (TRANSACTION_BYTES_MAX + 1))
    assert caught.value.code == "size"


@pytest.mark.parametrize("change", [{"nonce": -1}, {"nonce": 2**53}, {"sender": bytes(31)}, {"signature": bytes(63)}])
def test_a_transaction_out_of_bounds_has_no_bytes(change: dict[str, object]):
    with pytest.raises(InvalidBytes):
        _ = replace(signed(EXAMPLES[0]), **change).encoded  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", [0, -5, 2**53])
def test_nobody_transfers_nothing_or_less(amount: int):
    with pytest.raises(InvalidBytes, match="amount"):
        signed(Transfer(SENDER.org, amount, ""))


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1))
