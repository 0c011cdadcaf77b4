"""The kind "images": pictures in folders, one folder a class.

    kind = "images"
    path = "parts"                    # parts/good/0001.png, parts/scratched/0001.png, ...
    test_path = "parts-test"          # optional: a folder to test on, instead of test_percent of every class
    classes = ["good", "scratched"]   # the names of the folders, in the order of the model's answers
    labels = { "bent" = "scratched", ... }   # optional: the folders, each with its class; then there may be no other
    size = [64, 64]                   # height and width that every picture has
    colour = "grey"                   # or "rgb"
    resize = false                    # true: pictures of another size are made this one; false: they are refused
    convert = false                   # true: colour is made grey, grey is made colour, what shines through is black
    group = "camera"                  # optional: parts/good/<camera>/0001.png; group:camera can be the unit of privacy
    overlap = false                   # true: some pictures show the same thing, as cuts of one photograph do

A class may lack its folder (this factory has none of it), a folder that is no class is refused. Pictures go by name.
With split = "last" the last of every class are tested on, with "random", the usual, random ones of all. Needs pillow.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl.data.entries import choice, flag, mapping, optional_text, text, wholes, words
from fl.data.errors import DataError
from fl.data.growing import Division, GrowingSource
from fl.data.own.contents import Contents, Found, Survey, beside, grows_not
from fl.data.own.picture_files import PixelForm, read_picture
from fl.data.tables import PIXEL_MAX, Split, Table
from fl.data.tabular import divided

SIDE_MAX = 4096
CLASSES_MAX = 4096
# Of one folder; 16 GiB of pixels: beyond this a data set wants a source of its own.
PICTURES_MAX = 10_000_000
PIXELS_MAX = 2**34
SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm", ".gif"})
NAMES_SHOWN = 8


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file and its class, a place in the block's classes; `group`: the folder between the two, "" for none."""

    path: Path
    label: int
    group: str


@dataclass(frozen=True, slots=True)
class PictureFolder:
    path: Path
    test_path: Path | None
    classes: tuple[str, ...]
    labels: Mapping[str, str]
    form: PixelForm
    group: str | None
    overlap: bool

    def load(self, division: Division) -> Split:
        train = self._table(self.path)
        if self.test_path is not None:
            return beside(train, self._table(self.test_path), self.path)
        if division.split == "random":
            return divided(train, division, self.path)
        # By class: of all pictures the last would be those of the last classes.
        tested = np.zeros(len(train), dtype=bool)
        for label in np.unique(train.labels):
            rows = np.flatnonzero(train.labels == label)
            tested[rows] = division.tested(len(rows), begun_with=len(rows))
        if not tested.any():
            raise DataError.of_file(self.path, f"{len(train)} pictures, want enough to train and to test on")
        return Split(train.take(np.flatnonzero(~tested)), train.take(np.flatnonzero(tested)))

    def survey(self, division: Division) -> Survey:
        split = self.load(division)
        pixels = [part.features for part in (split.train, split.test)]
        low, high = min(int(part.min()) for part in pixels), max(int(part.max()) for part in pixels)
        return Survey(split, (Found("pixels", f"pixels of 0 to {PIXEL_MAX}", float(low), float(high)),))

    def growing(self, division: Division) -> GrowingSource:
        raise grows_not("images", "new pictures go into another data directory")

    def _table(self, folder: Path) -> Table:
        pictures = list(self._pictures(folder))
        if not pictures:
            raise DataError.of_file(
                folder, f"has no picture in the folders {', '.join(list(self._places)[:NAMES_SHOWN])}"
            )
        needed = len(pictures) * self.form.bytes
        if needed > PIXELS_MAX:
            raise DataError.of_file(folder, f"{len(pictures)} pictures make {needed} bytes, want at most {PIXELS_MAX}")
        features = np.empty((len(pictures), *self.form.shape), dtype=np.uint8)
        for at, picture in enumerate(pictures):
            features[at] = read_picture(picture.path, self.form)
        labels = np.array([picture.label for picture in pictures], dtype=np.int64)
        groups: NDArray[np.int64] | None = None
        names: tuple[str, ...] = ()
        if self.group is not None:
            names = tuple(sorted({picture.group for picture in pictures}))
            place_of = {name: place for place, name in enumerate(names)}
            groups = np.array([place_of[picture.group] for picture in pictures], dtype=np.int64)
        return Table(features, labels, self.classes, groups, names, self.group or "", self.overlap)

    def _pictures(self, folder: Path) -> Iterator[_Picture]:
        """Folder by folder, by name within each."""
        count = 0
        places = self._places
        for name, entry in _sorted(folder):
            if name not in places:
                wanted = ", ".join(list(places)[:NAMES_SHOWN]) + (", ..." if len(places) > NAMES_SHOWN else "")
                raise DataError.of_file(entry, f"is in the folder of classes, want only the folders {wanted}")
            for path, group in self._files(entry):
                count += 1
                if count > PICTURES_MAX:
                    raise DataError.of_file(folder, f"has more than {PICTURES_MAX} pictures")
                yield _Picture(path, places[name], group)

    @property
    def _places(self) -> dict[str, int]:
        """The folders that may be there, and the place of each one's class."""
        return {name: self.classes.index(sent_to) for name, sent_to in (self.labels or _same(self.classes)).items()}

    def _files(self, folder: Path) -> Iterator[tuple[Path, str]]:
        for name, entry in _sorted(folder):
            if self.group is None:
                yield _picture_file(entry), ""
            elif not entry.is_dir():
                raise DataError.of_file(entry, f"lies beside the folders of {self.group!r}, want it in one of them")
            else:
                yield from ((_picture_file(path), name) for _, path in _sorted(entry))


@dataclass(frozen=True, slots=True)
class PicturesKind:
    keys: frozenset[str] = frozenset(
        {"path", "test_path", "classes", "labels", "size", "colour", "resize", "convert", "group", "overlap"}
    )
    summary: str = "pictures in folders, one folder a class; needs pillow"

    def parse(self, table: Mapping[str, Any], folder: Path, where: str) -> Contents:
        path, test = text(table, "path", where, "a folder"), optional_text(table, "test_path", where, "a folder")
        height, width = wholes(table.get("size"), "size (height, width)", (2, 2), 1, SIDE_MAX, where)
        classes = words(table.get("classes"), "classes", CLASSES_MAX, where)
        return PictureFolder(
            path=folder / path,
            test_path=None if test is None else folder / test,
            classes=classes,
            labels=mapping(table, "labels", classes, CLASSES_MAX, where),
            form=PixelForm(
                height=height,
                width=width,
                grey=choice(table, "colour", ("grey", "rgb"), where) == "grey",
                resize=flag(table, "resize", where),
                convert=flag(table, "convert", where),
            ),
            group=optional_text(table, "group", where, "what the folders in a class's folder are"),
            overlap=flag(table, "overlap", where),
        )


PICTURES = PicturesKind()


def _same(classes: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in classes}


def _sorted(folder: Path) -> list[tuple[str, Path]]:
    """What lies in a folder, by name; what an operating system leaves there (.DS_Store, Thumbs.db) is passed over."""
    try:
        entries = [(entry.name, entry) for entry in folder.iterdir()]
    except OSError as error:
        raise DataError.of_file(folder, f"cannot be read as a folder: {error.strerror}") from None
    return sorted(each for each in entries if not each[0].startswith(".") and each[0].lower() != "thumbs.db")


def _picture_file(path: Path) -> Path:
    if path.is_dir():
        raise DataError.of_file(path, 'is a folder among pictures, want only files (group = "..." names such folders)')
    if path.suffix.lower() not in SUFFIXES:
        raise DataError.of_file(path, f"is no picture by its name, want one of {', '.join(sorted(SUFFIXES))}")
    return path
