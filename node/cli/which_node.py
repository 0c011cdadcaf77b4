"""Which node a verb means: the configuration at --config, and a client of the node that runs there."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from node.config import Config
    from node.rpc.client import RpcClient

CONFIG_FILE = "config.toml"


def config_file(given: str) -> Path:
    """The configuration file that --config names: itself, or config.toml in that folder."""
    path = Path(given).expanduser()
    return path / CONFIG_FILE if path.is_dir() else path


def read_config(given: str) -> "Config":
    """The configuration that --config names. Raises ConfigError."""
    from node.config import ConfigError, load_config

    path = config_file(given)
    if not path.exists():
        raise ConfigError(f"{path}: there is no configuration; `hanse init DIR` makes one, -c PATH names another")
    return load_config(path)


def node_client(given: str) -> "RpcClient":
    """A client of the node at --config. Connects when it is used."""
    from node.rpc.client import RpcClient

    return RpcClient(read_config(given).node.data_dir)
