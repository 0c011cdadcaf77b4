"""Which data a person means: a block of one's own, what a node's configuration says, or a source by its name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fl.data import registry
from fl.data.errors import DataError
from fl.data.own.block import read_block
from fl.data.own.contents import Survey
from fl.data.tables import Split
from fl.data.tabular_schema import read_toml


@dataclass(frozen=True, slots=True)
class NamedData:
    """A source of fl.data.registry, with what it is told and where it reads."""

    source: str
    path: Path | None
    settings: Mapping[str, str]

    def load(self) -> Split:
        """Raises DataError as the registry does."""
        return registry.load(self.source, self.settings, self.path)

    def survey(self) -> Survey:
        """The same; of data of one's own with what was found before scaling."""
        if self.source == registry.OWN and self.path is not None and not self.settings:
            return read_block(self.path).survey()
        return Survey(self.load())

    def kind(self) -> str:
        """What kind of data of one's own it is; of another source its name."""
        if self.source == registry.OWN and self.path is not None:
            return read_block(self.path).kind
        return self.source


def named_data(name: str, path: Path | None, settings: Mapping[str, str]) -> NamedData:
    """`name`: a TOML file with a block, a node's configuration or its folder, or a source.

    Raises DataError for a name that is none of them, ConfigError for a configuration that cannot be run.
    """
    file = Path(name).expanduser()
    if file.is_dir() and (file / "config.toml").is_file() and name not in registry.names():
        file = file / "config.toml"
    if not file.is_file():
        if name not in registry.names():
            known = ", ".join(registry.names())
            raise DataError(f"{name[:80]!r} is no TOML file, no folder of a node and no source; sources: {known}")
        return NamedData(name, path, settings)
    if path is not None:
        raise DataError(f"{file} says where its data lie, want no path {path}")
    table = read_toml(file, "the block of the data")
    if "node" not in table:
        return NamedData(registry.OWN, file, settings)
    from node.config import load_config

    data = load_config(file).data
    if not data.source:
        raise DataError.of_file(file, "names no data: [data] source is empty")
    return NamedData(data.source, data.path, {**dict(data.settings), **settings})
