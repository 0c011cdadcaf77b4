"""CIFAR-10 out of its binary archive: six files of labels and pixels. The other archive holds pickles and is not read.

Only the files that are known, of the length that is known, are taken out: no name in the archive becomes a path.
"""

import tarfile
import zlib
from contextlib import suppress
from pathlib import Path

from fl.data.cifar_batches import BATCH_BYTES, BATCHES
from node.data_sets.remote import WrongBytes
from node.disk import publish_file

ARCHIVE = "cifar-10-binary.tar.gz"
FOLDER_IN_IT = "cifar-10-batches-bin"
NAMES = tuple(name for names in BATCHES.values() for name in names)
UNPACKED_BYTES = len(NAMES) * BATCH_BYTES
# The archive has eight entries besides its folder.
ENTRIES_MAX = 64


def unpack(folder: Path, arrived: Path) -> tuple[str, ...]:
    """The six files, in `folder`. Raises WrongBytes for an archive that lacks one, or has it in another length."""
    archive = arrived / ARCHIVE
    missing = set(NAMES)
    try:
        with tarfile.open(archive, "r|gz") as entries:
            for count, entry in enumerate(entries):
                if count >= ENTRIES_MAX:
                    raise WrongBytes(f"{archive}: more than {ENTRIES_MAX} entries, want {len(NAMES)} batches")
                name = entry.name.removeprefix("./").removeprefix(f"{FOLDER_IN_IT}/")
                if name in missing:
                    publish_file(folder / name, _content(archive, entries, entry))
                    missing.discard(name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise WrongBytes(f"{archive} cannot be unpacked: {error}") from None
    if missing:
        for name in NAMES:
            with suppress(OSError):
                (folder / name).unlink()
        raise WrongBytes(f"{archive} lacks {', '.join(sorted(missing))}")
    return NAMES


def _content(archive: Path, entries: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    if not entry.isreg() or entry.size != BATCH_BYTES:
        raise WrongBytes(f"{archive}: {entry.name} is {entry.size} bytes long, want a file of {BATCH_BYTES}")
    opened = entries.extractfile(entry)
    content = b"" if opened is None else opened.read(BATCH_BYTES)
    if len(content) != BATCH_BYTES:
        raise WrongBytes(f"{archive}: {entry.name} is cut short")
    return content
