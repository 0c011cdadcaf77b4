"""`hanse keys`: show, make and re-encrypt this organisation's key."""

from pathlib import Path

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json
from node.cli.passphrases import ask_passphrase, given_passphrase, passphrase_options
from node.cli.verbs import VerbGroup, config_option, json_option
from node.cli.which_node import read_config


@click.group(cls=VerbGroup, examples=("hanse keys show -c ./alice", "hanse keys passphrase -c ./alice"))
def keys() -> None:
    """This organisation's key: it signs what the organisation says, and it is its address in the network.

    There is no way back from a lost key or a forgotten passphrase. Keep a copy of the file offline.
    """


@keys.command(examples=("hanse keys show -c ./alice", "hanse keys show -c ./alice --json"))
@config_option
@json_option
@passphrase_options
def show(config_path: str, as_json: bool, passphrase_file: Path | None, passphrase_fd: int | None) -> None:
    """Print the peer id and the public key. Needs no passphrase, and checks the key when one is given."""
    from node.identity import load_key, peer_id, short_name, stored_key

    path = read_config(config_path).key.file
    passphrase = given_passphrase(passphrase_file, passphrase_fd)
    key = load_key(path, passphrase).public if passphrase is not None else stored_key(path) or load_key(path).public
    encrypted = b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    shown = {"peer_id": peer_id(key), "org": key.hex(), "short": short_name(key), "file": str(path)}
    if as_json:
        print_json({**shown, "encrypted": encrypted})
    else:
        print_fields({**shown, "encrypted": encrypted})


@keys.command(examples=("hanse keys new ./alice.pem", "hanse keys new ./alice.pem --passphrase-file ./secret"))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase and encrypt the key under it.")
@passphrase_options
@json_option
def new(path: Path, ask: bool, passphrase_file: Path | None, passphrase_fd: int | None, as_json: bool) -> None:
    """Draw a new key and write it to FILE, mode 0600. Never writes over a file."""
    from node.identity import create_key, peer_id

    passphrase = given_passphrase(passphrase_file, passphrase_fd)
    if ask and passphrase is not None:
        raise CliError(Exit.USAGE, "--passphrase asks at the terminal; give it, or a file, or a descriptor")
    key = create_key(path, ask_passphrase("New passphrase", twice=True) if ask else passphrase)
    shown = {"peer_id": peer_id(key.public), "org": key.public.hex(), "file": str(path.absolute())}
    if as_json:
        print_json(shown)
    else:
        print_fields(shown)


@keys.command(
    examples=(
        "hanse keys passphrase -c ./alice",
        "hanse keys passphrase -c ./alice --remove",
        "hanse keys passphrase -c ./alice --passphrase-file ./old --new-passphrase-file ./new",
    )
)
@config_option
@json_option
@passphrase_options
@click.option(
    "--new-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="The new one is this file's first line.",
)
@click.option("--remove", is_flag=True, help="Leave the key unencrypted, protected by its file mode alone.")
def passphrase(
    config_path: str,
    as_json: bool,
    passphrase_file: Path | None,
    passphrase_fd: int | None,
    new_passphrase_file: Path | None,
    remove: bool,
) -> None:
    """Encrypt the key under a new passphrase. At any moment the file holds the old form or the new one."""
    from node.identity import change_passphrase, read_passphrase_file

    config = read_config(config_path)
    path = config.key.file
    if remove and new_passphrase_file:
        raise CliError(Exit.USAGE, "--remove and --new-passphrase-file are both given, want one")
    encrypted = path.is_file() and b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    old = given_passphrase(passphrase_file, passphrase_fd)
    if old is None and encrypted:
        in_config = config.key.passphrase_file
        old = read_passphrase_file(in_config) if in_config else ask_passphrase(f"Present passphrase of {path}")
    new_one = None
    if new_passphrase_file:
        new_one = read_passphrase_file(new_passphrase_file)
    elif not remove:
        new_one = ask_passphrase("New passphrase", twice=True)
    change_passphrase(path, old, new_one)
    if as_json:
        print_json({"file": str(path), "encrypted": new_one is not None})
    else:
        click.echo(f"{path} is {'encrypted under the new passphrase' if new_one else 'no longer encrypted'}.")
    if config.key.passphrase_file and config.key.passphrase_file != new_passphrase_file:
        click.echo(f"{config.path}: [key] passphrase_file names {config.key.passphrase_file}: put it right.", err=True)
