"""The key file: what it is, what it refuses, and that it never turns into another identity."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.types import OrgId
from node.disk import publish_file
from node.identity import (
    KeyFileError,
    WrongPassphrase,
    change_passphrase,
    create_key,
    key_from_text,
    load_key,
    peer_id,
    read_passphrase_file,
    short_name,
    stored_key,
)
from node.pkcs8 import InvalidKeyBytes, key_pem, seed_from_pem

# RFC 8410 section 10.3, the private key of the examples.
RFC8410_PEM = b"""-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
"""
RFC8410_SEED = bytes.fromhex("d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842")
RFC8410_PUBLIC = bytes.fromhex("19bf44096984cdfe8541bac167dc3b96c85086aa30b6b6cb0c5c38ad703166e1")


@pytest.mark.parametrize("passphrase", [None, "geheim", "päss wörd"])
def test_a_key_comes_back_as_it_was_made(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path, passphrase)
    assert load_key(path, passphrase) == made
    assert stored_key(path) == made.org
    assert path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.iterdir()) == [path], "nothing half-written is left beside it"


def test_a_key_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path)
    with pytest.raises(KeyFileError, match="there is a key already"):
        create_key(path)
    assert load_key(path) == made
    assert sorted(tmp_path.iterdir()) == [path]


def test_a_key_needs_its_passphrase_and_no_other(tmp_path: Path) -> None:
    locked, plain = tmp_path / "locked.pem", tmp_path / "plain.pem"
    create_key(locked, "geheim")
    create_key(plain)
    with pytest.raises(WrongPassphrase, match="no passphrase was given"):
        load_key(locked)
    with pytest.raises(WrongPassphrase, match="is not the one of this key"):
        load_key(locked, "Geheim")
    with pytest.raises(WrongPassphrase, match="is not encrypted"):
        load_key(plain, "geheim")


@pytest.mark.parametrize("passphrase", ["", "two\nlines", "x" * 2000])
def test_a_passphrase_that_could_not_be_typed_again_is_refused(tmp_path: Path, passphrase: str) -> None:
    with pytest.raises(KeyFileError, match="one line of 1 to"):
        create_key(tmp_path / "key.pem", passphrase)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_key_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_key(path)


def test_what_is_no_key_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="there is no key file"):
        load_key(tmp_path / "away.pem")
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="is no plain file"):
        load_key(folder)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo, 0o600)
    with pytest.raises(KeyFileError, match="is no plain file"):
        load_key(fifo)
    publish_file(tmp_path / "long", b"x" * 100_000, mode=0o600)
    with pytest.raises(KeyFileError, match="this is no key file"):
        load_key(tmp_path / "long")
    rsa = subprocess.run(["openssl", "genpkey", "-algorithm", "X25519"], capture_output=True, check=True).stdout
    publish_file(tmp_path / "x25519", rsa, mode=0o600)
    with pytest.raises(KeyFileError, match="want an Ed25519 key"):
        load_key(tmp_path / "x25519")


def test_no_damage_to_a_plain_file_gives_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path)
    intact = path.read_bytes()
    for at in range(len(intact)):
        path.write_bytes(intact[:at] + bytes([intact[at] ^ 1]) + intact[at + 1 :])
        try:
            assert load_key(path) == made, f"byte {at} changed the key"
        except KeyFileError:
            continue


def test_damage_in_the_encrypted_seed_is_found_out(tmp_path: Path) -> None:
    # CBC alone would let it pass: the wrong seed is as good a seed as any.
    path = tmp_path / "key.pem"
    create_key(path, "geheim")
    lines = path.read_bytes().splitlines(keepends=True)
    sealed = lines[4]
    lines[4] = (b"B" if sealed[:1] == b"A" else b"A") + sealed[1:]
    path.write_bytes(b"".join(lines))
    with pytest.raises((KeyFileError, WrongPassphrase)):
        load_key(path, "geheim")


def test_every_prefix_of_a_key_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    create_key(path)
    whole = path.read_bytes().rstrip()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(KeyFileError):
            load_key(path)


def test_the_passphrase_can_be_changed_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path, "old")
    with pytest.raises(WrongPassphrase):
        change_passphrase(path, "other", "new")
    assert load_key(path, "old") == made
    assert change_passphrase(path, "old", "new") == made
    assert load_key(path, "new") == made
    change_passphrase(path, "new", None)
    assert load_key(path) == made
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path, "old")
    code = (
        "import resource, signal, sys; from pathlib import Path; from node.identity import *;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10));"
        "change_passphrase(Path(sys.argv[1]), 'old', 'new')"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
    assert ended.returncode != 0
    assert "the old file stands" in ended.stderr
    assert load_key(path, "old") == made
    assert sorted(tmp_path.iterdir()) == [path]


def test_pem_of_the_rfc_is_read_and_written() -> None:
    assert seed_from_pem(RFC8410_PEM, None) == RFC8410_SEED
    assert key_pem(RFC8410_SEED, None) == RFC8410_PEM
    with pytest.raises(InvalidKeyBytes):
        seed_from_pem(b"", None)


def test_openssl_reads_what_is_written_and_writes_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    made = create_key(path, "geheim")
    command = ["openssl", "pkey", "-in", str(path), "-passin", "pass:geheim", "-outform", "DER", "-pubout"]
    public = subprocess.run(command, capture_output=True, check=True).stdout
    assert public[-32:] == made.org
    theirs = tmp_path / "theirs.pem"
    command = ["openssl", "pkcs8", "-topk8", "-in", str(path), "-passin", "pass:geheim", "-scrypt"]
    command += ["-passout", "pass:other", "-out", str(theirs)]
    subprocess.run(command, check=True)
    theirs.chmod(0o600)
    assert load_key(theirs, "other") == made
    assert stored_key(theirs) is None


def test_a_passphrase_file_is_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    publish_file(path, "päss wörd\nnot this\n".encode(), mode=0o600)
    assert read_passphrase_file(path) == "päss wörd"
    path.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        read_passphrase_file(path)
    path.chmod(0o600)
    path.write_bytes(b"\n")
    with pytest.raises(KeyFileError, match="first line is empty"):
        read_passphrase_file(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(KeyFileError, match="not UTF-8"):
        read_passphrase_file(path)


def test_peer_ids_are_those_of_libp2p() -> None:
    # In another process: libp2p patches what it is imported into, and takes a second.
    code = (
        "import sys; from libp2p.crypto.ed25519 import Ed25519PublicKey as K; from libp2p.peer.id import ID;"
        "print(*[ID.from_pubkey(K.from_bytes(bytes.fromhex(each))) for each in sys.argv[1:]])"
    )
    keys = [RFC8410_PUBLIC, bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")]
    ended = subprocess.run([sys.executable, "-c", code, *[key.hex() for key in keys]], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split() == [peer_id(OrgId(key)) for key in keys]


@given(st.binary(min_size=32, max_size=32))
def test_a_peer_id_names_its_organisation(raw: bytes) -> None:
    org = OrgId(raw)
    text = peer_id(org)
    assert text.startswith("12D3Koo")
    assert key_from_text(text) == key_from_text(raw.hex()) == org
    assert text.endswith(short_name(org))


@pytest.mark.parametrize("text", ["", "alice", "12D3KooW", "Qm" + "a" * 44, "0" * 63, "g" * 64, "12D3KooW" + "0" * 44])
def test_what_names_no_organisation_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="want a peer id"):
        key_from_text(text)
