"""What an identity signs on another machine: the file shows all that is signed, and can be used for nothing else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ledger.keys import KeyPair
from ledger.statements import LeaveLeague, RegisterMember, RotateKey, prove_key
from ledger.types import Hash32
from node.statement_file import NONCES_AHEAD, Statement, StatementFileError, read_statement, write_statement

IDENTITY, NODE, EVE = (KeyPair.from_seed(letter * 32) for letter in (b"i", b"n", b"e"))
CHAIN = Hash32(bytes([7]) * 32)
ROTATION = RotateKey(NODE.public, prove_key(NODE, CHAIN, IDENTITY.org))


def statement(body: object = ROTATION) -> Statement:
    return Statement("north sea", CHAIN, IDENTITY.org, 5, body)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "body",
    [
        ROTATION,
        LeaveLeague(EVE.org),
        RegisterMember("Erin & Söhne", ("/ip4/10.0.0.5/tcp/1",), NODE.public, prove_key(NODE, CHAIN, IDENTITY.org), 2),
    ],
)
def test_a_statement_comes_back_from_its_file_unsigned_and_signed(tmp_path: Path, body: object) -> None:
    for name, wanted in (("ask", statement(body)), ("signed", statement(body).sign(IDENTITY))):
        write_statement(tmp_path / name, wanted)
        assert read_statement(tmp_path / name) == wanted
    signed = read_statement(tmp_path / "signed").transaction(5)
    signed.check_signature(CHAIN)
    assert (signed.sender, signed.nonce, signed.body) == (IDENTITY.org, 5, body)


def test_what_can_take_effect_once_is_signed_for_the_nonces_that_the_node_uses_up_meanwhile() -> None:
    signed = statement().sign(IDENTITY)
    for nonce in (5, 6, 5 + NONCES_AHEAD - 1):
        signed.transaction(nonce).check_signature(CHAIN)
    for nonce in (4, 5 + NONCES_AHEAD):
        with pytest.raises(StatementFileError, match="write it anew"):
            signed.transaction(nonce)
    # Leaving could happen again after a return: it is signed for one nonce.
    with pytest.raises(StatementFileError, match="write it anew"):
        statement(LeaveLeague(EVE.org)).sign(IDENTITY).transaction(6)


def test_only_the_identity_signs_and_what_is_not_signed_is_not_handed_in() -> None:
    with pytest.raises(StatementFileError, match="want the identity"):
        statement().sign(EVE)
    with pytest.raises(StatementFileError, match="not signed"):
        statement().transaction(5)


@pytest.mark.parametrize("change", [{"body": LeaveLeague(EVE.org)}, {"chain_id": Hash32(bytes(32))}, {"nonce": 4}])
def test_a_signed_statement_that_was_changed_is_found_out(change: dict[str, object]) -> None:
    forged = replace(statement().sign(IDENTITY), **change)
    with pytest.raises(StatementFileError, match="not signed by its sender"):
        forged.transaction(5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("body", {"kind": "transfer"}),
        ("body", 7),
        ("nonce", -1.5),
        ("signer", "00"),
        ("chain_id", "zz" * 32),
        ("signatures", "00"),
        ("signatures", [3]),
        ("league", None),
        ("more", 1),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "ask.json"
    write_statement(path, statement())
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(StatementFileError, match=r"ask\.json"):
        read_statement(path)


def test_bytes_that_are_no_statement_are_refused(tmp_path: Path) -> None:
    for content in (b"", b"[]", b"\xff\xfe", b"[" * 50_000, b" " * 100_000):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises(StatementFileError):
            read_statement(tmp_path / "x")


def test_a_file_that_is_there_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "ask.json").write_text("mine")
    with pytest.raises(StatementFileError, match="left as it is"):
        write_statement(tmp_path / "ask.json", statement())
    assert (tmp_path / "ask.json").read_text() == "mine"
