"""The daemon's configuration: one TOML file, read once, refused whole when anything in it is unknown or contradicts.

Each setting can be overridden by a variable HANSE_<SECTION>_<KEY>. Relative paths count from the folder of the file.
The settings themselves are in `config_sections.py`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from node.config_check import contradictions
from node.config_sections import (
    ConsensusConfig,
    DataConfig,
    GenesisConfig,
    KeyConfig,
    MetricsConfig,
    NetworkConfig,
    NodeConfig,
    PrivacyConfig,
    RpcConfig,
    StorageConfig,
    SyncConfig,
    TrainingConfig,
)
from node.toml_rules import Rule, TextTable, parse_toml, read_section, read_toml, refuse_unknown, rules_of, shown

SECTIONS: dict[str, type] = {
    "node": NodeConfig,
    "key": KeyConfig,
    "genesis": GenesisConfig,
    "network": NetworkConfig,
    "rpc": RpcConfig,
    "consensus": ConsensusConfig,
    "data": DataConfig,
    "training": TrainingConfig,
    "privacy": PrivacyConfig,
    "storage": StorageConfig,
    "sync": SyncConfig,
    "metrics": MetricsConfig,
}
ENVIRONMENT_PREFIX = "HANSE_"


class ConfigError(Exception):
    """A configuration that cannot be run. The text names the file, `[section] key`, what came and what is wanted."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting's value comes from: "default", "file", or the variable that overrides it."""

    section: str
    key: str
    source: str


@dataclass(frozen=True, slots=True)
class Config:
    """All sections, every path absolute. `path` is the file it was read from."""

    path: Path
    node: NodeConfig
    key: KeyConfig
    genesis: GenesisConfig
    network: NetworkConfig
    rpc: RpcConfig
    consensus: ConsensusConfig
    data: DataConfig
    training: TrainingConfig
    privacy: PrivacyConfig
    storage: StorageConfig
    sync: SyncConfig
    metrics: MetricsConfig
    origins: tuple[Origin, ...] = ()


def load_config(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read, override from `environment` (default: this process's) and check. Raises ConfigError."""
    return _build(path, read_toml(path, ConfigError), os.environ if environment is None else environment)


def parse_config(text: str, path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """The same for text that would stand in `path`, with no environment unless given."""
    return _build(path, parse_toml(text.encode(), str(path), ConfigError), environment or {})


def _build(path: Path, tables: dict[str, Any], environment: Mapping[str, str]) -> Config:
    path = path.absolute()
    refuse_unknown(tables, SECTIONS, f"{path}:", ConfigError)
    overrides = _overrides(environment)
    sections: dict[str, Any] = {}
    origins: list[Origin] = []
    for name, kind in SECTIONS.items():
        table = tables.get(name, {})
        over = {key: value for (section, key), (_, value) in overrides.items() if section == name}
        if isinstance(table, Mapping):
            for key in rules_of(kind):
                source = overrides[name, key][0] if key in over else "file" if key in table else "default"
                origins.append(Origin(name, key, source))
            table = {**table, **over}
        sections[name] = read_section(kind, table, path.parent, f"{path}: [{name}]", ConfigError)
    config = _with_default_paths(Config(path, **sections, origins=tuple(origins)))
    for problem in contradictions(config):
        raise ConfigError(f"{path}: {problem}")
    return config


def _overrides(environment: Mapping[str, str]) -> dict[tuple[str, str], tuple[str, object]]:
    """(section, key) → (variable, value). A variable of a section that names no setting is a slip, and refused."""
    found: dict[tuple[str, str], tuple[str, object]] = {}
    for variable in sorted(environment):
        section, _, key = variable.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        if not variable.startswith(ENVIRONMENT_PREFIX) or section not in SECTIONS or not key:
            continue
        rules = rules_of(SECTIONS[section])
        refuse_unknown({key: None}, rules, f"environment {variable}: [{section}]", ConfigError)
        try:
            value = rules[key].from_text(environment[variable])
        except (ValueError, ArithmeticError, KeyError):
            raise ConfigError(
                f"environment {variable} is {shown(environment[variable])}, want {rules[key].wanted()}"
                f" ([{section}] {key}: {rules[key].meaning})"
            ) from None
        found[section, key] = (variable, value)
    return found


def _with_default_paths(config: Config) -> Config:
    """Fill in the paths whose default depends on the data folder."""
    unset = {(origin.section, origin.key) for origin in config.origins if origin.source == "default"}
    folder = config.path.parent

    def placed(section: str, key: str, value: Path | None, default: Path) -> Path:
        if (section, key) in unset:
            return default
        if value is None:
            raise ConfigError(f"{config.path}: [{section}] {key} is '', want a path")
        return value

    data_dir = placed("node", "data_dir", config.node.data_dir, folder)
    return replace(
        config,
        node=replace(config.node, data_dir=data_dir),
        key=replace(
            config.key,
            file=placed("key", "file", config.key.file, data_dir / "key.pem"),
            identity=placed("key", "identity", config.key.identity, data_dir / "identity.pub"),
        ),
        genesis=replace(config.genesis, file=placed("genesis", "file", config.genesis.file, data_dir / "genesis.json")),
        # The block is read where it stands, with the data themselves.
        data=replace(config.data, path=config.path) if config.data.block and config.data.path is None else config.data,
        rpc=replace(
            config.rpc,
            socket=placed("rpc", "socket", config.rpc.socket, data_dir / "rpc.sock"),
            cookie_file=placed("rpc", "cookie_file", config.rpc.cookie_file, data_dir / ".cookie"),
        ),
    )


def config_values(config: Config) -> dict[str, dict[str, object]]:
    """Every setting by section and key, as JSON can hold it."""
    values: dict[str, dict[str, object]] = {}
    for name, kind in SECTIONS.items():
        section = getattr(config, name)
        values[name] = {key: _plain(rule, getattr(section, key)) for key, rule in rules_of(kind).items()}
    return values


def _plain(rule: Rule, value: Any) -> object:
    if isinstance(rule, TextTable):
        return dict(value)
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


assert set(SECTIONS) == {field.name for field in fields(Config)} - {"path", "origins"}
