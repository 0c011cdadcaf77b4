"""One file over HTTP: on from where it was cut, from one place after the other, and only with the pinned SHA-256.

Bytes gather in `.NAME.part` beside the file. It gets its name when it is whole, checked and on disk.
"""

import errno
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path

import httpx

from node.data_sets.remote import BYTES_MAX, FetchError, NoNetwork, NoRoom, RemoteFile, Unavailable, WrongBytes
from node.disk import sync_folder

# A connection that is cut is made again so often in all, and so often in a row without one more byte.
CUTS_MAX = 20
STUCK_MAX = 3
PAUSE_S = 2.0
BUSY = frozenset({429, 500, 502, 503, 504})
TIMEOUT = httpx.Timeout(60, connect=20)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")

Told = Callable[[int], object]
"""How many bytes of the file there are now."""


class _Cut(Exception):
    """The connection ended before the file did, or the place is busy: worth another try."""


class _Unanswered(FetchError):
    """One place does not answer."""


def new_client() -> httpx.Client:
    """Follows redirects, some: whoever redirects cannot give other bytes than the pinned ones."""
    return httpx.Client(follow_redirects=True, max_redirects=8, timeout=TIMEOUT, headers={"User-Agent": "hanse"})


def download(
    client: httpx.Client, file: RemoteFile, folder: Path, told: Told, pause: Callable[[float], object]
) -> Path:
    """The file in `folder`, fetched unless it is there as pinned. `pause` sleeps so many seconds.

    Raises NoNetwork, Unavailable, WrongBytes or NoRoom, naming every place that was asked and what it answered.
    """
    path, part = folder / file.name, folder / f".{file.name}.part"
    if is_whole(path, file):
        told(path.stat().st_size)
        return path
    faults: list[tuple[str, FetchError]] = []
    for url in file.urls:
        try:
            _fetch(client, url, file, part, told, pause)
        except NoRoom:
            raise
        except FetchError as fault:
            faults.append((url, fault))
            continue
        try:
            _publish(part, path)
        except OSError as error:
            raise _on_disk(path, error) from None
        return path
    said = "; ".join(f"{url}: {fault}" for url, fault in faults)
    kinds = {type(fault) for _, fault in faults}
    if kinds == {_Unanswered}:
        raise NoNetwork(f"{file.name}: no network, or nobody there: {said}")
    raise (WrongBytes if WrongBytes in kinds else Unavailable)(f"{file.name}: {said}")


def is_whole(path: Path, file: RemoteFile) -> bool:
    """Whether the file is there as it was pinned; one without pins is taken to be whole, for it got its name."""
    if not path.is_file():
        return False
    return not file.sha256 or (path.stat().st_size == file.bytes and sha256_of(path) == file.sha256)


def sha256_of(path: Path) -> str:
    with path.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def _fetch(
    client: httpx.Client, url: str, file: RemoteFile, part: Path, told: Told, pause: Callable[[float], object]
) -> None:
    """The whole file, checked, in `part`."""
    resumed = _size(part) > 0
    cuts = stuck = 0
    while file.bytes is None or _size(part) != file.bytes:
        before = _size(part)
        try:
            _stream(client, url, file, part, told)
        except _Cut as cut:
            cuts, stuck = cuts + 1, stuck + 1 if _size(part) <= before else 0
            if stuck >= STUCK_MAX or cuts >= CUTS_MAX:
                raise Unavailable(f"gave up after {cuts} tries, {_size(part)} bytes have come: {cut}") from None
            pause(PAUSE_S)
        else:
            break
    if _pinned(part, file):
        return
    came, size = sha256_of(part), _size(part)
    part.unlink()
    if resumed:
        # What was there already may have been another file's beginning.
        _fetch(client, url, file, part, told, pause)
        return
    raise WrongBytes(f"came {size} bytes with SHA-256 {came}, want {file.sha256}")


def _pinned(part: Path, file: RemoteFile) -> bool:
    return not file.sha256 or sha256_of(part) == file.sha256


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _stream(client: httpx.Client, url: str, file: RemoteFile, part: Path, told: Told) -> None:
    """What is missing in `part`, as far as it comes. Raises _Cut when it ends too soon."""
    have = _size(part)
    # As it lies there: a .gz must not be unpacked on the way.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with client.stream("GET", url, headers=headers) as answer:
            total = _agreed_length(answer, file, have)
            if total is not None and answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                if total != have:
                    part.unlink()
                    raise _Cut("what was there is longer than the file")
                return
            start = have if answer.status_code == httpx.codes.PARTIAL_CONTENT else 0
            size = _write(answer, part, start, file.bytes or BYTES_MAX, told)
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
        raise _Unanswered(f"does not answer ({_said(error)})") from None
    except (httpx.UnsupportedProtocol, httpx.TooManyRedirects, httpx.InvalidURL) as error:
        raise Unavailable(_said(error)) from None
    except httpx.TransportError as error:
        raise _Cut(_said(error)) from None
    if total is not None and size < total:
        raise _Cut(f"{size} of {total} bytes")


def _agreed_length(answer: httpx.Response, file: RemoteFile, have: int) -> int | None:
    """How long the file is, as the answer says, None when it does not. Raises Unavailable for what is no answer to the
    question, and for a file of another length than the pinned one: nobody waits for 170 MB of the wrong file."""
    ranged = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
    total: int | None = None
    if answer.status_code == httpx.codes.PARTIAL_CONTENT:
        if ranged is None or int(ranged[1]) != have:
            raise Unavailable(f"answers with the range {answer.headers.get('Content-Range', 'none')!r}, want {have}-")
        total = None if ranged[2] == "*" else int(ranged[2])
    elif answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and have:
        said = answer.headers.get("Content-Range", "").rpartition("/")[2]
        return int(said) if said.isdecimal() else 0
    elif answer.status_code in BUSY:
        raise _Cut(f"answers {answer.status_code} {answer.reason_phrase}".rstrip())
    elif answer.status_code != httpx.codes.OK:
        raise Unavailable(f"answers {answer.status_code} {answer.reason_phrase}".rstrip())
    elif answer.headers.get("Content-Length", "").isdecimal():
        total = int(answer.headers["Content-Length"])
    if total is not None and file.bytes is not None and total != file.bytes:
        raise Unavailable(f"has {total} bytes, want {file.bytes}")
    return total


def _write(answer: httpx.Response, part: Path, start: int, most: int, told: Told) -> int:
    """How long `part` is when the answer ends. Raises Unavailable when there is more than there may be."""
    size = start
    try:
        with part.open("r+b" if start else "wb") as written:
            written.seek(start)
            # As it comes: what is gathered to blocks first is lost with the connection.
            for block in answer.iter_raw():
                size += len(block)
                if size > most:
                    raise Unavailable(f"sends more than {most} bytes")
                written.write(block)
                told(size)
    except OSError as error:
        raise _on_disk(part, error) from None
    return size


def _on_disk(path: Path, error: OSError) -> FetchError:
    kind = NoRoom if error.errno in (errno.ENOSPC, errno.EDQUOT) else FetchError
    return kind(f"{path} cannot be written: {error.strerror}")


def _publish(part: Path, path: Path) -> None:
    with part.open("rb+") as written:
        os.fsync(written.fileno())
    os.replace(part, path)
    sync_folder(path.parent)


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
