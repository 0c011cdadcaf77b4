"""Which node a verb means: the configuration at --config, and calls of the node that runs there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from node.cli.output import progress

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


def ask(given: str, method: str, **parameters: Any) -> Any:
    """One call of the node at --config; parameters that are None are left out."""
    with node_client(given) as client:
        return client.call(method, **{name: value for name, value in parameters.items() if value is not None})


def send(given: str, body: dict[str, Any], wait: bool, timeout_s: float, as_json: bool) -> dict[str, Any]:
    """Have the node sign a transaction and hand it in; with `wait` until it is final."""
    with progress("waiting for a final block" if wait else "sending", None, as_json):
        answer: dict[str, Any] = ask(given, "send", body=body, **finality(wait, timeout_s))
    return answer


def finality(wait: bool, timeout_s: float) -> dict[str, Any]:
    """The parameters of methods that hand in a transaction. The node counts whole seconds."""
    return {"mode": "final", "timeout_s": max(1, round(timeout_s))} if wait else {"mode": "async"}
