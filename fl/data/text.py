"""The source "text": a window of characters, and the character that follows it. Plays are divided by speaker.

The alphabet is declared, not collected: a factory's rare characters are its own business, and every model needs the
same codes. The default is the 65 characters of Shakespeare's plays as they are commonly compiled.
"""

import gzip
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from string import ascii_letters
from typing import IO, Annotated

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.tables import Split, Table
from fl.settings import Choice, Text, Whole

SHAKESPEARE = "".join(sorted("\n !$&',-.3:;?" + ascii_letters))
# The works of Shakespeare are 5 MB; past this the windows would not fit a trainer's memory either.
CHARACTERS_MAX = 64 * 1024 * 1024
CODES_MAX = 1_000_000_000
NO_CODE = -1


@dataclass(frozen=True, slots=True)
class TextSettings:
    form: Annotated[
        str, Choice(("play", "plain"), 'a play ("NAME:" begins a speech after a blank line) or one text')
    ] = "play"
    window: Annotated[int, Whole(1, 4096, "characters before the one to be named")] = 80
    step: Annotated[int, Whole(1, 4096, "characters from one window to the next")] = 20
    speaker_chars: Annotated[int, Whole(1, 2**31, "speakers with fewer characters are left out")] = 400
    train_percent: Annotated[int, Whole(10, 90, "share of what each speaker says, from the start, to train on")] = 80
    alphabet: Annotated[str, Text(4096, "every character that may occur, in the order of their codes")] = SHAKESPEARE


def load(settings: TextSettings, path: Path | None) -> Split:
    """int64 codes [n, window], the label is the code that follows; groups are the speakers by name.

    The file is UTF-8, plain, .gz or .xz. Raises DataError when it is not, for a character outside the alphabet (with
    its line), and when no speaker says enough for a window of both training and test.
    """
    assert path is not None
    if len(set(settings.alphabet)) != len(settings.alphabet) or len(settings.alphabet) < 2:
        raise DataError(f"alphabet has {len(settings.alphabet)} characters, want at least 2, each of them once")
    text = _read(path)
    codes_of = _codes(text, settings.alphabet, path)
    parts: dict[str, list[NDArray[np.int64]]] = {"train": [], "test": []}
    kept = []
    for speaker, spoken in sorted(_speeches(text, codes_of, settings).items()):
        cut = len(spoken) * settings.train_percent // 100
        if len(spoken) < settings.speaker_chars or min(cut, len(spoken) - cut) <= settings.window:
            continue
        kept.append(speaker)
        parts["train"].append(spoken[:cut])
        parts["test"].append(spoken[cut:])
    if not kept:
        raise DataError.of_file(path, f"nobody says enough for windows of {settings.window} to train and to test on")
    return Split(
        train=_table(parts["train"], tuple(kept), settings, path),
        test=_table(parts["test"], tuple(kept), settings, path),
    )


def _read(path: Path) -> str:
    opener: Callable[..., IO[bytes]] = {".gz": gzip.open, ".xz": lzma.open}.get(path.suffix, open)  # type: ignore[assignment]
    try:
        with opener(path, "rb") as file:
            data = file.read(CHARACTERS_MAX + 1)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError.of_file(path, f"cannot be read: {error}") from None
    if len(data) > CHARACTERS_MAX:
        raise DataError.of_file(path, f"is larger than {CHARACTERS_MAX} bytes")
    try:
        return data.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError.of_file(path, f"byte {error.start} is not UTF-8") from None


def _codes(text: str, alphabet: str, path: Path) -> NDArray[np.int64]:
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    lookup = np.full(max(int(points.max(initial=0)), max(map(ord, alphabet))) + 1, NO_CODE, dtype=np.int64)
    lookup[[ord(character) for character in alphabet]] = np.arange(len(alphabet))
    codes: NDArray[np.int64] = lookup[points]
    strange = np.flatnonzero(codes == NO_CODE)
    if len(strange):
        at = int(strange[0])
        line = text.count("\n", 0, at) + 1
        raise DataError.of_file(path, f"line {line}: {text[at]!r} is not in the alphabet of {len(alphabet)} characters")
    return codes


def _speeches(text: str, codes: NDArray[np.int64], settings: TextSettings) -> dict[str, NDArray[np.int64]]:
    """What everybody says, as codes, speeches joined in order; a text that is no play has one speaker."""
    if settings.form == "plain":
        return {"text": codes}
    said: dict[str, list[NDArray[np.int64]]] = {}
    at = 0
    for block in text.split("\n\n"):
        name, colon, _ = block.partition(":\n")
        if colon and name and "\n" not in name:
            # With the line feed after the last line, so that two speeches do not run into each other.
            said.setdefault(name, []).append(codes[at + len(name) + len(colon) : at + len(block) + 1])
        at += len(block) + 2
    return {name: np.concatenate(speeches) for name, speeches in said.items()}


def _table(spoken: list[NDArray[np.int64]], speakers: tuple[str, ...], settings: TextSettings, path: Path) -> Table:
    cuts = [np.lib.stride_tricks.sliding_window_view(codes, settings.window + 1)[:: settings.step] for codes in spoken]
    values = sum(cut.size for cut in cuts)
    if values > CODES_MAX:
        raise DataError.of_file(
            path, f"makes {values} codes, want at most {CODES_MAX}: a larger step, a smaller window"
        )
    windows = np.concatenate(cuts)
    groups = np.repeat(np.arange(len(speakers), dtype=np.int64), [len(cut) for cut in cuts])
    features = np.ascontiguousarray(windows[:, :-1])
    labels, alphabet = np.ascontiguousarray(windows[:, -1]), tuple(settings.alphabet)
    # Windows closer than they are long have characters in common.
    return Table(features, labels, alphabet, groups, speakers, "speaker", overlap=settings.step <= settings.window)
