"""Data sets over a real socket: on from where it was cut, from the next place, only as pinned, or not at all."""

import fcntl
import gzip
import hashlib
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.data import cifar_batches, registry
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.data_sets import catalogue, cifar10, download, fetching
from node.data_sets.fetching import fetch, is_there
from node.data_sets.remote import (
    DataSet,
    FetchError,
    NoNetwork,
    NoRoom,
    RemoteFile,
    Unavailable,
    WrongBytes,
)
from tests.support.file_server import (
    FileServer,
    cut_after,
    failing,
    file_server,
    instead,
    of_another_place,
    redirect_to,
    stalling_after,
    without_length,
    without_ranges,
)

ROOT = Path(__file__).parents[2]
CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server(digits=CONTENT) as served:
        yield served


def digits(*places: str, **pins: Any) -> DataSet:
    file = replace(RemoteFile("digits", tuple(f"{place}/digits" for place in places), len(CONTENT), SHA256), **pins)
    return DataSet("digits", "", "", "", (file,))


def nobody() -> str:
    """A place of this machine at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def fetched(data_set: DataSet, folder: Path, **options: Any) -> bytes:
    assert fetch(data_set, folder, pause=lambda _: None, **options)
    assert sorted(path.name for path in folder.iterdir()) == [file.name for file in data_set.files]
    return (folder / "digits").read_bytes()


def test_a_file_is_fetched_once_and_known_again(server: FileServer, tmp_path: Path):
    gained: list[int] = []
    assert fetched(digits(server.url), tmp_path / "a" / "b", told=gained.append) == CONTENT
    assert sum(gained) == len(CONTENT)
    assert not fetch(digits(server.url), tmp_path / "a" / "b")
    assert len(server.asked) == 1


def test_a_connection_that_is_cut_goes_on_where_it_was(server: FileServer, tmp_path: Path):
    server.days = [cut_after(1000), cut_after(0), cut_after(2000)]
    gained: list[int] = []
    assert fetched(digits(server.url), tmp_path, told=gained.append) == CONTENT
    assert [first for _, first in server.asked] == [0, 1000, 1000, 3000]
    assert (sum(gained), min(gained) > 0) == (len(CONTENT), True)


def test_a_fetch_that_was_interrupted_goes_on_at_the_next_call(server: FileServer, tmp_path: Path):
    (tmp_path / ".digits.part").write_bytes(CONTENT[:5000])
    assert fetched(digits(server.url), tmp_path) == CONTENT
    assert server.asked == [("/digits", 5000)]


def test_a_fetch_that_was_killed_goes_on_at_the_next_call(tmp_path: Path):
    """The real program, and a kill that it cannot prepare for, twice."""
    name, each = "train-images-idx3-ubyte.gz", 100_000
    part, enough = tmp_path / f".{name}.part", threading.Event()
    kept = 0  # what the last killed one had written: the end of what came may have been on its way to the disk
    with file_server(**{name: bytes(catalogue.DATA_SETS["mnist"].files[0].bytes or 0)}) as server:
        for _ in range(2):
            server.days = [stalling_after(each, enough)]
            program = [sys.executable, "-m", "node.cli.main", "data", "fetch", "mnist"]
            running = subprocess.Popen([*program, "--to", str(tmp_path), "--mirror", server.url], cwd=ROOT)
            while not (part.exists() and part.stat().st_size > kept):
                with suppress(subprocess.TimeoutExpired):
                    pytest.fail(f"ended by itself: {running.wait(0.1)}")
            running.kill()
            running.wait()
            assert server.asked[-1] == (f"/{name}", kept)
            kept = part.stat().st_size
        enough.set()
    assert kept <= 2 * each


def test_a_server_that_knows_no_ranges_begins_anew(server: FileServer, tmp_path: Path):
    (tmp_path / ".digits.part").write_bytes(CONTENT[:5000])
    server.days = [without_ranges]
    assert fetched(digits(server.url), tmp_path) == CONTENT


def test_a_beginning_of_something_else_is_thrown_away(server: FileServer, tmp_path: Path):
    for beginning in (b"x" * 5000, b"x" * len(CONTENT), b"x" * (len(CONTENT) + 1)):
        (tmp_path / ".digits.part").write_bytes(beginning)
        assert fetched(digits(server.url), tmp_path) == CONTENT
        (tmp_path / "digits").unlink()


def test_a_whole_file_that_is_another_is_replaced(server: FileServer, tmp_path: Path):
    (tmp_path / "digits").write_bytes(CONTENT[:-1] + b"x")
    assert fetched(digits(server.url), tmp_path) == CONTENT


def test_a_place_may_send_elsewhere(server: FileServer, tmp_path: Path):
    with file_server(digits=CONTENT) as other:
        server.days = [redirect_to(f"{other.url}/digits")]
        assert fetched(digits(server.url), tmp_path) == CONTENT
        assert other.asked == [("/digits", 0)]


def test_a_busy_place_is_asked_again(server: FileServer, tmp_path: Path):
    pauses: list[float] = []
    server.days = [failing(503), failing(429)]
    assert fetch(digits(server.url), tmp_path, pause=pauses.append)
    assert pauses == [download.PAUSE_S] * 2


def test_a_place_that_sends_to_another_protocol_is_given_up(server: FileServer, tmp_path: Path):
    server.days = [redirect_to("ftp://127.0.0.1/digits")]
    with pytest.raises(Unavailable, match="ftp"):
        fetch(digits(server.url), tmp_path)


def test_a_place_that_sends_in_circles_is_given_up(server: FileServer, tmp_path: Path):
    server.days = [redirect_to(f"{server.url}/digits")] * 20
    with pytest.raises(Unavailable, match=r"[Rr]edirects"):
        fetch(digits(server.url), tmp_path)


@pytest.mark.parametrize(
    "bad", [failing(404), failing(500), instead(CONTENT[1:] + b"x"), instead(b"<html>log in</html>"), instead(b"")]
)
def test_what_one_place_does_not_give_the_next_one_does(tmp_path: Path, bad: Any):
    with file_server(digits=CONTENT) as first, file_server(digits=CONTENT) as second:
        first.days = [bad] * 9
        assert fetched(digits(nobody(), first.url, second.url), tmp_path) == CONTENT
        assert len(second.asked) == 1


def test_a_mirror_of_ones_own_is_asked_first(server: FileServer, tmp_path: Path):
    assert fetched(digits(nobody()), tmp_path, mirror=f"{server.url}/") == CONTENT


def test_other_bytes_are_never_taken_for_the_file(server: FileServer, tmp_path: Path):
    other = CONTENT[:-1] + b"x"
    server.days = [instead(other)]
    with pytest.raises(WrongBytes) as refused:
        fetch(digits(server.url), tmp_path)
    assert hashlib.sha256(other).hexdigest() in str(refused.value)
    assert SHA256 in str(refused.value)
    assert [path.name for path in tmp_path.iterdir() if path.stat().st_size] == []


@pytest.mark.parametrize(
    ("day", "said"),
    [
        (failing(403), "answers 403 Forbidden"),
        (instead(CONTENT + b"x"), f"has {len(CONTENT) + 1} bytes, want {len(CONTENT)}"),
        (of_another_place, r"answers with the range 'bytes 1-.*, want 10-"),
    ],
)
def test_a_file_that_nobody_gives_names_every_place(server: FileServer, tmp_path: Path, day: Any, said: str):
    (tmp_path / ".digits.part").write_bytes(CONTENT[:10])
    server.days = [day]
    away = nobody()
    with pytest.raises(Unavailable, match=said) as refused:
        fetch(digits(away, server.url), tmp_path)
    assert f"{away}/digits: does not answer" in str(refused.value)


def test_a_connection_that_is_always_cut_is_given_up(server: FileServer, tmp_path: Path):
    pauses: list[float] = []
    server.days = [cut_after(0)] * 9
    with pytest.raises(Unavailable, match="gave up after 3 tries, 0 bytes have come"):
        fetch(digits(server.url), tmp_path, pause=pauses.append)
    assert len(pauses) == download.STUCK_MAX - 1
    server.days, server.asked = [cut_after(1)] * 99, []
    with pytest.raises(Unavailable, match=f"gave up after {download.CUTS_MAX} tries"):
        fetch(digits(server.url), tmp_path, pause=pauses.append)
    assert len(server.asked) == download.CUTS_MAX


def test_without_a_network_that_is_what_is_said(tmp_path: Path):
    with pytest.raises(NoNetwork, match="no network, or nobody there"):
        fetch(digits(nobody(), nobody()), tmp_path)


def test_a_disk_without_room_is_said_before_the_first_byte(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(NoRoom, match=f"has room for 1000 bytes, want {len(CONTENT)} for digits"):
        fetch(digits(server.url), tmp_path)
    assert server.asked == []
    # What is there already needs no room.
    (tmp_path / ".digits.part").write_bytes(CONTENT[:-1000])
    assert fetched(digits(server.url), tmp_path) == CONTENT


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_disk_that_fills_up_keeps_what_has_come(server: FileServer, tmp_path: Path):
    (tmp_path / ".digits.part").symlink_to("/dev/full")
    with pytest.raises(NoRoom, match="No space left"):
        fetch(digits(server.url), tmp_path)


def test_a_length_that_is_not_pinned_is_bounded(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    unpinned = digits(server.url, bytes=None, sha256="")
    server.days = [without_length]
    assert fetched(unpinned, tmp_path / "a") == CONTENT
    # One that is whole and has not got its name yet: the server has no more of it.
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / ".digits.part").write_bytes(CONTENT)
    assert fetched(unpinned, tmp_path / "b") == CONTENT
    monkeypatch.setattr(download, "BYTES_MAX", 100_000)
    server.days = [without_length]
    with pytest.raises(Unavailable, match="sends more than 100000 bytes"):
        fetch(unpinned, tmp_path / "c")


def test_two_fetches_do_not_write_one_file(server: FileServer, tmp_path: Path):
    with (tmp_path / fetching.LOCK).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(FetchError, match="another fetch is at work there"):
            fetch(digits(server.url), tmp_path)
    assert fetched(digits(server.url), tmp_path) == CONTENT


# --- what is made of the files that arrive


def batches(entries: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.type = len(content), kind
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


# A batch of the real ones has 10,000 records: 184 MB in all tell no more than these.
RECORDS, MOSAIC = 20, 2


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cifar_batches, "RECORDS", RECORDS)
    monkeypatch.setattr(cifar_batches, "TILES", MOSAIC)
    for module in (cifar_batches, cifar10):
        monkeypatch.setattr(module, "BATCH_BYTES", RECORDS * 3073)


def batch(seed: int) -> bytes:
    rows = np.full((RECORDS, 3073), seed, dtype=np.uint8)
    rows[:, 0] = np.arange(RECORDS) % 10
    return rows.tobytes()


def cifar(server: FileServer) -> DataSet:
    archive = server.files["/cifar-10-binary.tar.gz"]
    sha256 = hashlib.sha256(archive).hexdigest()
    file = RemoteFile(cifar10.ARCHIVE, (f"{server.url}/{cifar10.ARCHIVE}",), len(archive), sha256)
    return replace(catalogue.DATA_SETS["cifar10"], files=(file,))


@pytest.fixture
def archive() -> bytes:
    inside = {f"cifar-10-batches-bin/{name}": batch(at + 1) for at, name in enumerate(cifar10.NAMES)}
    # None of these may land anywhere.
    odd = {"../escaped.bin": b"x", "/tmp/escaped.bin": b"x", "cifar-10-batches-bin/readme.html": b"x"}
    return batches({**odd, **inside})


@pytest.mark.usefixtures("small")
def test_cifar10_is_unpacked_into_what_its_source_reads(server: FileServer, tmp_path: Path, archive: bytes):
    server.files["/cifar-10-binary.tar.gz"] = archive
    folder = tmp_path / "cifar10"
    server.days = [cut_after(len(archive) // 2)]
    assert fetch(cifar(server), folder, pause=lambda _: None)
    assert sorted(path.name for path in folder.iterdir()) == sorted([*cifar10.NAMES, fetching.MADE])
    assert [path.name for path in tmp_path.iterdir()] == ["cifar10"]
    split = registry.load("cifar10", {"mosaics": "11"}, folder)
    assert (len(split.train), len(split.test)) == (22, 20)
    assert split.train.features[0].tolist() == np.ones((3, 32, 32)).tolist()
    assert (split.train.features[21, 0, 0, 0], split.test.features[0, 0, 0, 0]) == (2, 6)
    assert split.train.labels[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    # It is known again, and one changed byte shows.
    assert not fetch(cifar(server), folder)
    with (folder / "data_batch_3.bin").open("r+b") as file:
        file.seek(5)
        file.write(b"\xff")
    assert not is_there(cifar(server), folder)
    assert fetch(cifar(server), folder)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"cifar-10-batches-bin/data_batch_1.bin": b"short"}, "data_batch_1.bin is 5 bytes long"),
        ({"cifar-10-batches-bin/readme": b""}, "lacks data_batch_1.bin"),
        ({f"many/{number}": b"" for number in range(99)}, "more than 64 entries"),
    ],
)
def test_an_archive_that_holds_something_else_is_refused(
    server: FileServer, tmp_path: Path, entries: dict[str, bytes], said: str
):
    server.files["/cifar-10-binary.tar.gz"] = batches(entries)
    with pytest.raises(WrongBytes, match=said):
        fetch(cifar(server), tmp_path)
    assert not (tmp_path / fetching.MADE).exists()


def test_an_archive_that_is_none_or_hides_a_link_is_refused(server: FileServer, tmp_path: Path):
    server.files["/cifar-10-binary.tar.gz"] = gzip.compress(b"no archive")
    with pytest.raises(WrongBytes, match="cannot be unpacked"):
        fetch(cifar(server), tmp_path / "a")
    link = batches({"cifar-10-batches-bin/data_batch_1.bin": b""}, kind=tarfile.SYMTYPE)
    server.files["/cifar-10-binary.tar.gz"] = link
    with pytest.raises(WrongBytes, match=r"data_batch_1\.bin is 0 bytes long, want a file"):
        fetch(cifar(server), tmp_path / "b")


# --- the verb


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch, server: FileServer, tmp_path: Path) -> DataSet:
    """A catalogue of one, and the folder in which people call."""
    monkeypatch.chdir(tmp_path)
    known = replace(digits(server.url), source="text", terms="ours", origin="here")
    monkeypatch.setattr(catalogue, "DATA_SETS", {"digits": known})
    return known


def test_the_verb_fetches_into_a_folder_of_that_name(plain: DataSet, capsys: pytest.CaptureFixture[str]):
    assert run(["data", "fetch", "digits"]) == Exit.OK
    said = capsys.readouterr().out
    assert Path("digits/digits").read_bytes() == CONTENT
    assert "digits: fetched, as pinned: digits" in said
    assert "hanse data check text --path digits" in said
    assert run(["data", "fetch", "digits", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {
        "name": "digits", "folder": "digits", "fetched": False, "source": "text", "path": "digits"
    }  # fmt: skip


def test_the_verb_ends_in_a_code_of_its_own_for_every_fault(
    plain: DataSet, server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(fetching.time, "sleep", lambda _: None)
    server.days = [failing(404)]
    assert run(["data", "fetch", "digits"]) == Exit.REFUSED
    server.days = [instead(b"x" * len(CONTENT))]
    assert run(["data", "fetch", "digits"]) == Exit.NOT_VERIFIED
    assert run(["data", "fetch", "numbers"]) == Exit.USAGE
    assert run(["data", "fetch", "digits", "--mirror", "ftp://x"]) == Exit.USAGE
    monkeypatch.setattr(catalogue, "DATA_SETS", {"digits": digits(nobody())})
    assert run(["data", "fetch", "digits", "--json"]) == Exit.UNREACHABLE
    said = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert said["error"]["code"] == "unreachable"
    assert "no network, or nobody there" in said["error"]["message"]
    assert run(["data", "fetch", "digits", "--mirror", server.url]) == Exit.OK
    monkeypatch.setattr(fetching.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(0, 0, 0))  # type: ignore[attr-defined]
    assert run(["data", "fetch", "digits", "--to", "other"]) == Exit.DISK_FULL


def test_a_folder_that_cannot_be_made_is_a_fault_of_this_machine(plain: DataSet):
    Path("taken").write_text("a file")
    assert run(["data", "fetch", "digits", "--to", "taken/digits"]) == Exit.CONFIGURATION
    assert os.listdir() == ["taken"]


def test_the_list_names_every_data_set(capsys: pytest.CaptureFixture[str]):
    assert run(["data", "fetch", "--json"]) == Exit.OK
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == ["mnist", "fashion-mnist", "cifar10", "shakespeare", "cwru"]
    assert all(each["source"] in registry.names() and each["bytes"] > 10**6 for each in listed)
    for data_set in catalogue.DATA_SETS.values():
        for file in data_set.files:
            assert file.urls
            pinned = file.bytes is not None and len(bytes.fromhex(file.sha256)) == 32
            assert pinned or data_set.make is not None
    assert cifar10.UNPACKED_BYTES == 6 * cifar_batches.BATCH_BYTES == 184_380_000
