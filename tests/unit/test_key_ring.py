"""The key files of a node through a rotation, and every point at which a crash may cut it off."""

import os
from pathlib import Path

import pytest

from consensus.journal import OwnVote
from ledger.certificates import Subject, VoteKind, cast
from ledger.keys import KeyPair
from ledger.types import NodeKey
from node.cold_identity import keep_identity, own_org, read_public, write_public
from node.identity import KeyFileError, WrongPassphrase, change_passphrase, create_key, load_key
from node.journal_file import JournalFile
from node.key_ring import KeyRing, next_file
from node.vote_memory import JOURNAL, open_votes, recall_vote_from

PASSPHRASE = "seven horses"
# Opening an encrypted key takes a fifth of a second; where that is not the matter, keys are open.
OPEN = None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A node that has voted: its key, and its votes of height 8."""
    key = create_key(tmp_path / "key.pem", OPEN)
    journal = JournalFile(tmp_path / JOURNAL)
    vote = cast(key, bytes(32), Subject(8, bytes(32), 0, VoteKind.NOTARIZE, bytes(32)))
    journal.append(8, [OwnVote(vote)])
    journal.close()
    return tmp_path


def ring_in(folder: Path, passphrase: str | None = OPEN) -> KeyRing:
    return KeyRing(folder / "key.pem", passphrase)


def votes_in(folder: Path) -> int:
    journal, _ = open_votes(folder, 7)
    try:
        return len(journal.load(8))
    finally:
        journal.close()


def test_the_key_that_follows_is_on_disk_before_it_is_known_and_stays_the_same(folder: Path) -> None:
    ring = ring_in(folder)
    assert ring.following is None
    drawn = ring.draw()
    on_disk = load_key(folder / "key-next.pem")
    assert on_disk == drawn == ring.draw() == ring_in(folder).draw()
    assert (folder / "key-next.pem").stat().st_mode & 0o777 == 0o600
    assert drawn != ring.current == ring_in(folder).current


def test_nothing_changes_until_the_ledger_names_the_new_key(folder: Path) -> None:
    ring = ring_in(folder)
    old, drawn = ring.current, ring.draw()
    for registered in (None, old.public, NodeKey(bytes(32))):
        assert not ring.settle(registered, folder / JOURNAL)
    assert (ring.current, ring.following, votes_in(folder)) == (old, drawn, 1)


def test_a_new_key_begins_with_no_votes_and_may_vote_at_once(folder: Path) -> None:
    ring = ring_in(folder)
    drawn = ring.draw()
    assert ring.settle(drawn.public, folder / JOURNAL)
    assert (ring.current, ring.following) == (drawn, None)
    again = ring_in(folder)
    assert (again.current, again.following) == (drawn, None)
    assert not next_file(folder / "key.pem").exists()
    assert votes_in(folder) == 0
    # The journal was never missing, so no start takes it for lost.
    assert recall_vote_from(folder) == 0


class PowerCut(Exception):
    """The machine goes off before the step."""


def test_a_crash_before_any_step_of_the_switch_ends_in_a_start_with_the_right_key(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Every file operation of the switch in turn is the one that does not happen; the next start settles it."""
    import shutil

    drawn = ring_in(folder).draw()
    steps = 0
    while True:
        copy = tmp_path_factory.mktemp("cut") / "node"
        shutil.copytree(folder, copy)
        ring, left = ring_in(copy), [steps]

        def counted(real, left=left):  # type: ignore[no-untyped-def]
            def call(*arguments, **more):  # type: ignore[no-untyped-def]
                if left[0] == 0:
                    raise PowerCut
                left[0] -= 1
                return real(*arguments, **more)

            return call

        with monkeypatch.context() as patched:
            for name in ("open", "replace", "unlink", "fsync", "rename"):
                patched.setattr(os, name, counted(getattr(os, name)))
            try:
                ring.settle(drawn.public, copy / JOURNAL)
                cut = False
            except PowerCut:
                cut = True
        started = ring_in(copy)
        # Never a new key with old votes: it would take them for its own.
        assert started.current != drawn or votes_in(copy) == 0
        started.settle(drawn.public, copy / JOURNAL)
        assert (started.current, started.following, votes_in(copy)) == (drawn, None, 0), f"cut before step {steps}"
        assert recall_vote_from(copy) == 0
        if not cut:
            break
        steps += 1
    assert steps >= 6, "the switch was seen at work"


def test_the_old_key_keeps_its_votes_when_the_rotation_never_becomes_final(folder: Path) -> None:
    ring_in(folder).draw()
    started = ring_in(folder)
    assert not started.settle(started.current.public, folder / JOURNAL)
    assert votes_in(folder) == 1


def test_the_new_key_lies_under_the_passphrase_of_the_old_and_not_under_one_that_was_changed(folder: Path) -> None:
    change_passphrase(folder / "key.pem", OPEN, PASSPHRASE)
    with pytest.raises(WrongPassphrase):
        ring_in(folder)
    drawn = ring_in(folder, PASSPHRASE).draw()
    assert load_key(folder / "key-next.pem", PASSPHRASE) == drawn
    (folder / "key-next.pem").unlink()
    ring = ring_in(folder, PASSPHRASE)
    change_passphrase(folder / "key.pem", PASSPHRASE, "eight horses")
    with pytest.raises(KeyFileError, match="changed while the node runs"):
        ring.draw()
    assert not (folder / "key-next.pem").exists()


def test_the_only_key_of_an_organisation_stays_its_identity(folder: Path) -> None:
    ring, public = ring_in(folder), folder / "identity.pub"
    org = own_org(public, ring.current.public)
    assert org == ring.current.public
    keep_identity(ring.file, public, org)
    keep_identity(ring.file, public, org)
    ring.settle(ring.draw().public, folder / JOURNAL)
    kept = load_key(folder / "identity.pem")
    assert kept.public == org != ring.current.public
    assert own_org(public, ring.current.public) == org
    assert (folder / "identity.pem").stat().st_mode & 0o777 == 0o600


def test_an_identity_is_read_from_its_public_part_or_its_key_file(tmp_path: Path) -> None:
    identity = create_key(tmp_path / "identity.pem", PASSPHRASE)
    write_public(tmp_path / "identity.pub", identity.org)
    assert read_public(tmp_path / "identity.pub") == read_public(tmp_path / "identity.pem") == identity.org


@pytest.mark.parametrize(
    "content", [b"", b"Hanse identity abc\n", b"Hanse identity " + b"z" * 64, b"\xff" * 80, b"x" * 9999]
)
def test_a_damaged_public_part_stops_the_node_in_plain_words(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.pub"
    path.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"identity\.pub"):
        own_org(path, KeyPair.from_seed(bytes(32)).public)


def test_a_node_shows_the_key_that_follows_for_a_while_and_keeps_the_old_one_and_its_votes(folder: Path) -> None:
    ring = ring_in(folder)
    ring.try_the_other()
    assert ring.presented is ring.current, "there is no other"
    votes, following = votes_in(folder), ring.draw()
    ring.try_the_other()
    assert ring.presented is following
    assert ring_in(folder).presented.public == ring.current.public, "a start begins with the current one"
    ring.try_the_other()
    assert ring.presented is ring.current
    assert votes_in(folder) == votes
