"""What went wrong, as one line on stderr (or one JSON object with --json) and an exit code."""

import json
import sys
from typing import Any

import click

from node.cli.exit_codes import OF_RPC_WORD, Exit


class CliError(Exception):
    """A verb cannot go on. `code`: the exit code; `details` are told with --json."""

    def __init__(self, code: Exit, text: str, **details: Any) -> None:
        super().__init__(text)
        self.code = code
        self.details = details


def as_cli_error(error: BaseException) -> CliError:
    """The exit code and the line that belong to an exception. What is not known here is a fault of hanse."""
    if isinstance(error, CliError):
        return error
    if isinstance(error, click.UsageError):
        text = error.format_message()
        if error.ctx is not None:
            text = f"{text} (see `{error.ctx.command_path} --help`)"
        return CliError(Exit.USAGE, text)
    if isinstance(error, (KeyboardInterrupt, click.Abort)):
        return CliError(Exit.INTERRUPTED, "interrupted")
    if isinstance(error, click.ClickException):
        return CliError(Exit.CONFIGURATION, error.format_message())
    word = getattr(getattr(error, "kind", None), "word", None)
    if type(error).__name__ == "RpcError" and isinstance(word, str):
        details = {**getattr(error, "details", {}), "rpc": word}
        return CliError(OF_RPC_WORD.get(word, Exit.REFUSED), str(error), **details)
    if type(error).__name__ in _UNREACHABLE:
        return CliError(Exit.UNREACHABLE, str(error))
    if type(error).__name__ in _OF_THIS_MACHINE or isinstance(error, OSError):
        return CliError(Exit.CONFIGURATION, str(error))
    return CliError(Exit.INTERNAL, f"{type(error).__name__}: {error}")


# By name, so that --help never imports the parts that raise them.
_OF_THIS_MACHINE = frozenset(
    {"ConfigError", "KeyFileError", "WrongPassphrase", "RequestFileError", "StatementFileError", "InvalidGenesis"}
)
_UNREACHABLE = frozenset({"NodeUnreachable"})


def report(error: CliError, as_json: bool) -> None:
    """One line: tables and progress may have been printed, so the line says by itself what it is about."""
    if as_json:
        said = {"error": {"exit_code": int(error.code), "code": error.code.name.lower(), "message": str(error)}}
        said["error"].update(error.details)
        click.echo(json.dumps(said, ensure_ascii=False), err=True)
    else:
        click.echo(f"hanse: {' '.join(str(error).split())}", err=True)


def wants_json(arguments: list[str] | None = None) -> bool:
    """Whether --json stands on the command line, also when the rest of it could not be parsed."""
    given = sys.argv[1:] if arguments is None else arguments
    return "--json" in given[: given.index("--")] if "--" in given else "--json" in given
