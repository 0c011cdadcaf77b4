"""`hanse keys`: the node's key and the organisation's identity: shown, made, encrypted anew, replaced."""

import time
from contextlib import suppress
from pathlib import Path

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json
from node.cli.passphrases import ask_passphrase, given_passphrase, identity_options, open_identity, passphrase_options
from node.cli.statements import Prepared, Signing, say_with_identity, signing_options
from node.cli.verbs import VerbGroup, config_option, json_option, node_options, timeout_option
from node.cli.which_node import node_client, read_config

LOOK_EVERY_S = 0.2


@click.group(cls=VerbGroup, examples=("hanse keys show -c ./alice", "hanse keys rotate -c ./alice"))
def keys() -> None:
    """The node's key signs what the organisation says and is its address in the network. The identity replaces it.

    There is no way back from a lost identity or its forgotten passphrase. Keep a copy of the file offline.
    """


@keys.command(examples=("hanse keys show -c ./alice", "hanse keys show -c ./alice --json"))
@config_option
@json_option
@passphrase_options
def show(config_path: str, as_json: bool, passphrase_file: Path | None, passphrase_fd: int | None) -> None:
    """Print organisation, node key and peer id. Needs no passphrase, and checks the key when one is given."""
    from node.cold_identity import own_org
    from node.identity import load_key, peer_id, short_name, stored_key
    from node.key_ring import next_file

    config = read_config(config_path)
    path = config.key.file
    passphrase = given_passphrase(passphrase_file, passphrase_fd)
    key = load_key(path, passphrase).public if passphrase is not None else stored_key(path) or load_key(path).public
    encrypted = b"ENCRYPTED PRIVATE KEY" in path.read_bytes()
    org = own_org(config.key.identity, key)
    shown = {"org": org.hex(), "key": key.hex(), "peer_id": peer_id(key), "short": short_name(key), "file": str(path)}
    apart = {"identity_apart": config.key.identity.exists(), "rotation_begun": next_file(path).exists()}
    if as_json:
        print_json({**shown, "encrypted": encrypted, **apart})
    else:
        print_fields(
            {**shown, "encrypted": encrypted, **{name.replace("_", " "): each for name, each in apart.items()}}
        )


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
    shown = {"peer_id": peer_id(key.public), "key": key.public.hex(), "file": str(path.absolute())}
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
    from node.identity import WrongPassphrase, change_passphrase, read_passphrase_file
    from node.key_ring import next_file

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
    following = next_file(path)
    if following.exists():
        # First the one that waits: what is interrupted here can be done again, for this takes either passphrase.
        with suppress(WrongPassphrase):
            change_passphrase(following, old, new_one)
    change_passphrase(path, old, new_one)
    if as_json:
        print_json({"file": str(path), "encrypted": new_one is not None})
    else:
        click.echo(f"{path} is {'encrypted under the new passphrase' if new_one else 'no longer encrypted'}.")
    if config.key.passphrase_file and config.key.passphrase_file != new_passphrase_file:
        click.echo(f"{config.path}: [key] passphrase_file names {config.key.passphrase_file}: put it right.", err=True)


@keys.command(
    examples=(
        "hanse keys rotate -c ./alice",
        "hanse keys rotate -c ./alice --identity /media/stick/alice.pem",
        "hanse keys rotate -c ./alice --offline rotate.json        then `hanse keys sign` elsewhere, then",
        "hanse keys rotate -c ./alice --submit signed.json",
    )
)
@node_options
@signing_options
@timeout_option(60, "How long to wait until the node has gone on under the new key.")
def rotate(
    config_path: str,
    as_json: bool,
    identity: Path | None,
    identity_passphrase_file: Path | None,
    offline: Path | None,
    submit: Path | None,
    timeout_s: float,
) -> None:
    """Replace the node's key by a new one; the organisation stays who it is.

    The running node draws the new key beside the old one, and goes on under it by itself as soon as the rotation is
    final. From the next block on the whole league refuses the old key. On a new machine, whose key the league does not
    know, this makes the node there the organisation's: so a stolen or lost node is replaced.
    """
    signing = Signing(identity, identity_passphrase_file, offline, submit)
    answer = say_with_identity(
        config_path, _rotation, signing, draw=True, wait=False, timeout_s=timeout_s, as_json=as_json
    )
    if answer is None:
        return
    key = _wait_for_key(config_path, timeout_s, as_json)
    if as_json:
        print_json({**answer, **key})
    else:
        click.echo(f"The node signs with {key['key']} now, peer id {key['peer_id']}.")


def _rotation(prepared: Prepared) -> dict[str, str]:
    return {"kind": "rotate_key", "new_key": prepared["key"], "proof": prepared["proof"]}


def _wait_for_key(config_path: str, timeout_s: float, as_json: bool) -> dict[str, str]:
    """Until the league knows the node by the key that it signs with, and no other waits to follow."""
    from node.cli.output import progress

    until = time.monotonic() + timeout_s
    with progress("waiting until the node has its new key", None, as_json), node_client(config_path) as client:
        while True:
            node = client.call("status")["node"]
            if node["in_league"] and not node["rotation_begun"]:
                return {"key": node["key"], "peer_id": node["peer_id"]}
            if time.monotonic() > until:
                raise CliError(Exit.TIMED_OUT, f"not final within {timeout_s:g} s; it may still become so")
            time.sleep(LOOK_EVERY_S)


@keys.command(
    examples=(
        "hanse keys sign rotate.json --identity alice.pem -o signed.json",
        "hanse keys sign rotate.json --identity alice.pem -o signed.json --identity-passphrase-file ./secret",
    )
)
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@identity_options
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is what is meant.")
@json_option
def sign(
    path: Path, identity: Path | None, identity_passphrase_file: Path | None, output: Path, yes: bool, as_json: bool
) -> None:
    """Sign with the identity what a node's machine has written to FILE. Needs no node and no network."""
    from node.rpc.views import to_json
    from node.statement_file import read_statement, write_statement

    if identity is None:
        raise CliError(Exit.USAGE, "--identity is missing: the key file of the organisation's identity")
    statement = read_statement(path)
    body = to_json(statement.body)
    if not as_json:
        lines = {"league": f"{statement.league} ({statement.chain_id.hex()})", "organisation": statement.signer.hex()}
        print_fields({**lines, **{name: str(value) for name, value in body.items()}, "nonce": statement.nonce})
    if not yes and not click.confirm("Sign this?", err=True):
        raise CliError(Exit.INTERRUPTED, "not signed")
    signed = statement.sign(open_identity(identity, identity_passphrase_file))
    write_statement(output, signed)
    if as_json:
        print_json(
            {
                "file": str(output.absolute()),
                "nonces": [signed.nonce, signed.nonce + len(signed.signatures) - 1],
                "body": body,
            }
        )
    else:
        click.echo(f"{output} is signed; bring it back to the node's machine.")
