"""Where a passphrase may come from: the terminal, a file, a file descriptor. Never an argument or the environment,
which every process of the machine can read."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError

if TYPE_CHECKING:
    from ledger.keys import KeyPair
    from node.config import Config
    from node.key_ring import KeyRing

# What `read_passphrase_file` takes as well.
PASSPHRASE_BYTES_MAX = 1024


def passphrase_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--passphrase-file and --passphrase-fd."""
    function = click.option(
        "--passphrase-fd",
        type=click.IntRange(0, 65_535),
        metavar="NUMBER",
        help="Read the passphrase from this open file descriptor, up to its first line end.",
    )(function)
    return click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Read the passphrase from the first line of this file (mode 0600).",
    )(function)


def given_passphrase(file: Path | None, descriptor: int | None) -> str | None:
    """The passphrase from a file or a descriptor, None when neither is named. Raises CliError, KeyFileError."""
    if file is not None and descriptor is not None:
        raise CliError(Exit.USAGE, "--passphrase-file and --passphrase-fd are both given, want one")
    if file is not None:
        from node.identity import read_passphrase_file

        return read_passphrase_file(file)
    if descriptor is None:
        return None
    try:
        with os.fdopen(descriptor, "rb") as source:
            line = source.readline(PASSPHRASE_BYTES_MAX)
        text = line.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CliError(Exit.CONFIGURATION, f"--passphrase-fd {descriptor}: no passphrase there: {error}") from None
    if not text:
        raise CliError(Exit.CONFIGURATION, f"--passphrase-fd {descriptor}: the passphrase is empty")
    return text


def ask_passphrase(prompt: str, twice: bool = False) -> str:
    """From the terminal, unseen; `twice` for a new one. Raises CliError when nobody is there to ask."""
    if not sys.stdin.isatty():
        raise CliError(
            Exit.CONFIGURATION,
            f"{prompt}: there is no terminal to ask at; want --passphrase-file, --passphrase-fd or [key]"
            " passphrase_file",
        )
    answer: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
    return answer


def unlock(config: "Config", file: Path | None, descriptor: int | None) -> "KeyRing":
    """The node's keys: by the passphrase given here, else by the one its configuration names, else by asking."""
    from node.identity import WrongPassphrase, read_passphrase_file
    from node.key_ring import KeyRing

    passphrase = given_passphrase(file, descriptor)
    if passphrase is None and config.key.passphrase_file is not None:
        passphrase = read_passphrase_file(config.key.passphrase_file)
    if passphrase is not None:
        return KeyRing(config.key.file, passphrase)
    try:
        return KeyRing(config.key.file)
    except WrongPassphrase:
        return KeyRing(config.key.file, ask_passphrase(f"Passphrase of {config.key.file}"))


def identity_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--identity and --identity-passphrase-file: the key file of the organisation's identity."""
    function = click.option(
        "--identity-passphrase-file",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="Read the identity's passphrase from the first line of this file (mode 0600). Default: ask.",
    )(function)
    return click.option(
        "--identity",
        type=click.Path(path_type=Path),
        metavar="PATH",
        help="The key file of the organisation's identity. Default: identity.pem in the node's folder.",
    )(function)


def open_identity(path: Path, passphrase_file: Path | None) -> "KeyPair":
    """The identity in a key file: by the passphrase in `passphrase_file`, else by asking when it needs one."""
    from node.identity import WrongPassphrase, load_key, read_passphrase_file

    if passphrase_file is not None:
        return load_key(path, read_passphrase_file(passphrase_file))
    try:
        return load_key(path)
    except WrongPassphrase:
        return load_key(path, ask_passphrase(f"Passphrase of the identity {path}"))
