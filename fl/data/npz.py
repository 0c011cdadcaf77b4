"""Arrays out of an .npz file, never unpickled; what is wrong is told with the file and the array. numpy only."""

from collections.abc import Iterator
from contextlib import contextmanager
from lzma import LZMAError
from pathlib import Path
from struct import error as StructError
from tokenize import TokenError
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError

# What numpy and zipfile raise for files that are damaged, encrypted, packed in a way they do not know, or say that they
# hold more than fits into memory.
DAMAGED = (
    ValueError,
    OSError,
    EOFError,
    MemoryError,
    OverflowError,
    SyntaxError,
    RuntimeError,
    TokenError,
    BadZipFile,
    ZlibError,
    LZMAError,
    StructError,
)


class NpzFile:
    """An open .npz file."""

    def __init__(self, path: Path, arrays: "np.lib.npyio.NpzFile") -> None:
        self.path = path
        self._arrays = arrays

    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays.files)

    def array(self, name: str, dimensions: int | None, kinds: str) -> NDArray[np.generic]:
        """The array called `name`. `kinds` are numpy's letters of the types allowed ("iu": whole numbers), `dimensions`
        how many it has; None: any number.

        Raises DataError when it is missing, has other dimensions or another type, or is damaged.
        """
        if name not in self._arrays.files:
            raise DataError.of_file(self.path, f"missing; the file has {', '.join(self._arrays.files[:12])}", name)
        try:
            found: NDArray[np.generic] = self._arrays[name]
        except DAMAGED as error:
            raise DataError.of_file(self.path, f"cannot be read: {error}", name) from None
        if found.ndim != (found.ndim if dimensions is None else dimensions) or found.dtype.kind not in kinds:
            wanted = f"one of the kinds {kinds!r}" + ("" if dimensions is None else f" with {dimensions}")
            raise DataError.of_file(self.path, f"is {found.dtype} with {found.ndim} dimensions, want {wanted}", name)
        return found


@contextmanager
def open_npz(path: Path) -> Iterator[NpzFile]:
    """The .npz file at `path`. Raises DataError when it is none."""
    try:
        arrays = np.load(path, allow_pickle=False)
    except DAMAGED as error:
        raise DataError.of_file(path, f"is no readable .npz file: {error}") from None
    if not isinstance(arrays, np.lib.npyio.NpzFile):
        raise DataError.of_file(path, "holds a single array, want an .npz file")
    with arrays:
        yield NpzFile(path, arrays)
