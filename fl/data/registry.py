"""Data sources by name: what there is, what each can be told, and a factory's records from it. numpy only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Protocol

from fl.data import (
    bearing_simulator,
    cifar_batches,
    cifar_mosaics,
    cwru,
    idx_images,
    ims,
    tabular,
    tabular_growing,
    text,
)
from fl.data.errors import DataError
from fl.data.growing import GrowingSource
from fl.data.own.block import Block, read_block
from fl.data.subset import SUBSET_NAMES, SubsetSettings, take_subset
from fl.data.tables import Split, Table
from fl.settings import SHOWN_CHARS_MAX, SettingNote, parse_settings, setting_notes

PLUG_IN_GROUP = "hanse.datasets"
OWN = "own"


class SourcePlugIn(Protocol):
    """What an entry point of the group `hanse.datasets` must name. Optional: `summary: str`.

    The settings of subset.py are taken out before `load` sees the rest. It raises DataError for what it cannot use.
    """

    def load(self, settings: Mapping[str, str], path: Path | None) -> Split: ...


@dataclass(frozen=True, slots=True)
class Source:
    """A built-in source. `path` says what it is read from, "" for nothing.

    `pooled_test` is None where the test records of `load` are the same for every factory; `grow` where
    what is read never changes.
    """

    summary: str
    path: str
    settings: type
    load: Callable[[Any, Path | None], Split]
    pooled_test: Callable[[Any, Path | None], Table] | None = None
    grow: Callable[[Any, Path], GrowingSource] | None = None


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """None: all that is to be said stands in the block."""


def _block(path: Path | None) -> Block:
    assert path is not None
    return read_block(path)


BUILT_IN: Mapping[str, Source] = {
    "bearing-simulator": Source(
        summary="simulated vibration of damaged bearings; factories differ; needs no file",
        path="",
        settings=bearing_simulator.BearingSimulatorSettings,
        load=bearing_simulator.load,
        pooled_test=bearing_simulator.pooled_test,
    ),
    "cwru": Source(
        summary="bearing faults recorded at four motor loads; a load is a factory",
        path="the folder with cwru_12k_load0hp.npz to cwru_12k_load3hp.npz",
        settings=cwru.CwruSettings,
        load=cwru.load,
        pooled_test=cwru.pooled_test,
    ),
    "ims": Source(
        summary="eight channels of healthy bearings, for anomaly detection and anchoring",
        path="the .npz file with the array mV [snapshots, samples, 8]",
        settings=ims.ImsSettings,
        load=ims.load,
    ),
    "mnist": Source(
        summary="handwritten digits, 28x28",
        path="the folder with the four idx files",
        settings=idx_images.IdxImagesSettings,
        load=idx_images.load_mnist,
    ),
    "fashion-mnist": Source(
        summary="pictures of clothes, 28x28",
        path="the folder with the four idx files",
        settings=idx_images.IdxImagesSettings,
        load=idx_images.load_fashion_mnist,
    ),
    "cifar10": Source(
        summary="colour pictures of ten things, 32x32: its binary batches, or WebP mosaics (these need pillow)",
        path="the folder with data_batch_1.bin, ..., test_batch.bin, or train_00.webp, ..., labels.npz",
        settings=cifar_mosaics.CifarSettings,
        load=cifar_batches.load,
    ),
    "text": Source(
        summary="characters and the one that follows; plays by speaker",
        path="a text file in UTF-8, plain, .gz or .xz",
        settings=text.TextSettings,
        load=text.load,
    ),
    "table": Source(
        summary="a table of one's own, described by a schema in TOML; it may grow",
        path="a .csv, .txt, .tsv, .parquet or .npz file",
        settings=tabular.TabularSettings,
        load=tabular.load,
        grow=tabular_growing.grow,
    ),
    OWN: Source(
        summary="data of one's own, described by one block of TOML: csv, parquet, npz, arrays, images, sql",
        path="the TOML file of the block, or one that has it as [data.block]",
        settings=OwnSettings,
        load=lambda _, path: _block(path).load(),
        grow=lambda _, path: _block(path).growing(),
    ),
}


@dataclass(frozen=True, slots=True)
class SourceNote:
    """What a person is told about a source; `path` is empty when it reads no file.

    Of a plug-in the common settings are listed only: its own are its business.
    """

    name: str
    summary: str
    path: str
    settings: tuple[SettingNote, ...]


def _plug_ins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=PLUG_IN_GROUP) if point.name not in BUILT_IN}


def names() -> tuple[str, ...]:
    """Every source that can be loaded here, the built-in ones first, plug-ins by name after them."""
    return (*BUILT_IN, *sorted(_plug_ins()))


def describe(source: str) -> SourceNote:
    """A summary of the source and of its settings. Raises DataError when there is no such source."""
    if source not in BUILT_IN:
        summary = str(getattr(_plug_in(source), "summary", "plug-in"))
        return SourceNote(source, summary, "", setting_notes(SubsetSettings))
    found = BUILT_IN[source]
    return SourceNote(
        source, found.summary, found.path, (*setting_notes(found.settings), *setting_notes(SubsetSettings))
    )


def load(source: str, settings: Mapping[str, str], path: Path | None) -> Split:
    """A factory's training and test records.

    Raises DataError for an unknown source or setting, a path that is missing or not wanted, and data that is not as
    declared; the text names the file, the column and the reason.
    """
    own, subset = _apart(source, settings)
    if source not in BUILT_IN:
        split = _plug_in(source).load(own, path)
        if not isinstance(split, Split):
            raise DataError(f"source {source!r}: the plug-in gave a {type(split).__name__}, want a Split")
        return take_subset(split, subset)
    _check_path(source, path)
    return take_subset(BUILT_IN[source].load(_parsed(source, own), path), subset)


def growing(source: str, settings: Mapping[str, str], path: Path | None) -> GrowingSource:
    """A source whose file grows at its end. Raises DataError for one that does not, and as `load` does.

    One factory's own table is taken whole: which part of it a partition gives would change with every new record.
    """
    found = BUILT_IN.get(source)
    if found is None or found.grow is None:
        able = ", ".join(name for name, known in BUILT_IN.items() if known.grow is not None)
        raise DataError(f"source {source[:SHOWN_CHARS_MAX]!r} does not grow; those that do: {able}")
    _check_path(source, path)
    assert path is not None
    parting = sorted(settings.keys() & SUBSET_NAMES)
    if parting:
        raise DataError(f"source {source!r} has the setting {parting[0]!r}, which a table that grows cannot have")
    return found.grow(_parsed(source, settings), path)


def pooled_test(source: str, settings: Mapping[str, str], path: Path | None) -> Table:
    """The test records of all factories together, on which a common model is judged. Raises DataError as `load` does.

    Only sources that are factories by nature (the simulator, the motor loads) have more of them than `load` gives.
    """
    found = BUILT_IN.get(source)
    if found is None or found.pooled_test is None:
        return load(source, settings, path).test
    own, _ = _apart(source, settings)
    _check_path(source, path)
    return found.pooled_test(_parsed(source, own), path)


def _apart(source: str, settings: Mapping[str, str]) -> tuple[dict[str, str], SubsetSettings]:
    common = {name: value for name, value in settings.items() if name in SUBSET_NAMES}
    own = {name: value for name, value in settings.items() if name not in SUBSET_NAMES}
    return own, parse_settings(SubsetSettings, f"source {source[:SHOWN_CHARS_MAX]!r}", common, DataError)


def _parsed(source: str, own: Mapping[str, str]) -> Any:
    return parse_settings(BUILT_IN[source].settings, f"source {source!r}", own, DataError)


def _check_path(source: str, path: Path | None) -> None:
    wanted = BUILT_IN[source].path
    if path is None and wanted:
        raise DataError(f"source {source!r} needs a path: {wanted}")
    if path is not None and not wanted:
        raise DataError(f"source {source!r} reads no file, came the path {path}")
    if path is not None and not path.exists():
        raise DataError.of_file(path, f"does not exist, want {wanted}")


def _plug_in(source: str) -> SourcePlugIn:
    point = _plug_ins().get(source)
    if point is None:
        raise DataError(f"no source is called {source[:SHOWN_CHARS_MAX]!r}; known: {', '.join(names())}")
    try:
        found = point.load()
    except Exception as error:
        raise DataError(f"source {source!r}: the plug-in {point.value} does not load: {error!r}") from error
    if not callable(getattr(found, "load", None)):
        raise DataError(f"source {source!r}: the plug-in {point.value} has no load")
    plug: SourcePlugIn = found
    return plug
