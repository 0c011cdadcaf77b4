"""`hanse init`: the folder of a node, ready to be started or to found a league; its key, and its identity."""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json
from node.cli.passphrases import ask_passphrase, given_passphrase, passphrase_options
from node.cli.verbs import Verb, json_option
from node.cli.which_node import CONFIG_FILE

if TYPE_CHECKING:
    from ledger.types import OrgId


@click.command(
    cls=Verb,
    examples=(
        'hanse init ./alice --name "Alice Bearings"',
        "hanse init ./alice --name Alice --passphrase --data bearing-simulator --offer all",
        "hanse init ./alice --name Alice --identity /media/stick/alice.pem --identity-passphrase",
        "hanse init ./eve --name Eve --genesis genesis.json --bootstrap /ip4/10.0.0.5/tcp/4001/p2p/12D3KooW...",
    ),
)
@click.argument("folder", type=click.Path(path_type=Path), metavar="DIR")
@click.option("--name", required=True, metavar="NAME", help="The organisation's name, as others will see it.")
@click.option("--listen", multiple=True, metavar="MULTIADDR", help="Where to listen. Default: /ip4/0.0.0.0/tcp/4001.")
@click.option("--announce", multiple=True, metavar="MULTIADDR", help="Where others reach this node, if elsewhere.")
@click.option("--bootstrap", multiple=True, metavar="MULTIADDR", help="A member to begin with, with /p2p/<peer id>.")
@click.option("--rpc", metavar="HOST:PORT", help="Where programs of this machine call. Default: 127.0.0.1:4002.")
@click.option(
    "--genesis", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The league's first block."
)
@click.option("--data", "source", metavar="SOURCE", help="Where records come from: `hanse help sources`.")
@click.option("--data-path", type=click.Path(path_type=Path), metavar="PATH", help="File or folder of the source.")
@click.option("--data-setting", multiple=True, metavar="NAME=VALUE", help="A setting of the source.")
@click.option("--offer", metavar="ask|all|TYPES", help="Join requests by itself: all, or data types with commas.")
@click.option(
    "--identity",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where the identity is written, or the one that is there already (its public part will do)."
    " Default: identity.pem in DIR.",
)
@click.option("--single-key", is_flag=True, help="No identity apart: the node's key is the organisation, for life.")
@click.option("--identity-passphrase", "ask_identity", is_flag=True, help="Ask for a passphrase of the identity.")
@click.option(
    "--identity-passphrase-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Encrypt the identity under the first line of this file (mode 0600).",
)
@click.option("--passphrase", "ask", is_flag=True, help="Ask for a passphrase and encrypt the node's key under it.")
@passphrase_options
@json_option
def init(folder: Path, as_json: bool, **options: Any) -> None:
    """Make the folder of a node: its key, the organisation's identity, its configuration and its data directory.

    The key signs while the node runs, and can be replaced. The identity is the organisation for life: it joins, leaves
    and replaces keys. Move it off this machine when init is done. Nothing that exists is written over. Without a
    passphrase a key is protected by its file mode (0600) alone.
    """
    from node.cold_identity import write_public
    from node.config import parse_config
    from node.config_template import config_template
    from node.disk import publish_file
    from node.identity import create_key, peer_id, stored_key
    from node.journal_file import JournalFile

    config_path = folder / CONFIG_FILE
    if config_path.exists():
        raise CliError(Exit.CONFIGURATION, f"{config_path}: there is a node already; it is left as it is")
    passphrase, identity_passphrase = _new_passphrase(options), _identity_passphrase(options)
    text = config_template(_settings(options))
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    # Refused before anything is written: a half-made folder would be in the way of the next try.
    config = parse_config(text, config_path)
    genesis = _checked_genesis(options["genesis"])
    key_path = config.key.file
    # A key without a configuration is what an init leaves that was interrupted: it is this node's key.
    if key_path.exists():
        key = stored_key(key_path)
    else:
        key = create_key(key_path, passphrase).public
        # A new key has never voted; without this the node would ask the others first, lest it contradict itself.
        JournalFile(folder / "journal").close()
    if key is None:
        raise CliError(Exit.CONFIGURATION, f"{key_path}: is there already and is not a key that hanse made")
    org = (
        None
        if options["single_key"]
        else _identity(options["identity"] or folder / "identity.pem", identity_passphrase)
    )
    if org is not None:
        write_public(config.key.identity, org)
    if genesis is not None:
        shutil.copyfile(genesis, config.genesis.file)
    publish_file(config_path, text.encode(), replace=False)
    shown = {"folder": str(folder.absolute()), "peer_id": peer_id(key), "org": (org or key).hex()}
    if org is not None:
        shown["identity"] = str((options["identity"] or folder / "identity.pem").absolute())
    _say(folder, shown, genesis is not None, passphrase is not None, as_json)


def _identity(path: Path, passphrase: str | None) -> "OrgId":
    """The identity at `path`, drawn when nothing is there yet."""
    from ledger.types import OrgId
    from node.cold_identity import read_public
    from node.identity import create_key

    if path.exists():
        return read_public(path)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return OrgId(create_key(path, passphrase).public)


def _identity_passphrase(options: dict[str, Any]) -> str | None:
    from node.identity import read_passphrase_file

    file, ask = options["identity_passphrase_file"], options["ask_identity"]
    if options["single_key"] and (file or ask or options["identity"]):
        raise CliError(Exit.USAGE, "--single-key has no identity apart; leave the options of the identity out")
    if file and ask:
        raise CliError(Exit.USAGE, "--identity-passphrase asks at the terminal; give it, or a file")
    if ask:
        return ask_passphrase("New passphrase of the identity", twice=True)
    return read_passphrase_file(file) if file else None


def _new_passphrase(options: dict[str, Any]) -> str | None:
    if options["ask"]:
        if options["passphrase_file"] or options["passphrase_fd"] is not None:
            raise CliError(Exit.USAGE, "--passphrase asks at the terminal; give it, or a file, or a descriptor")
        return ask_passphrase("New passphrase", twice=True)
    return given_passphrase(options["passphrase_file"], options["passphrase_fd"])


def _settings(options: dict[str, Any]) -> dict[str, dict[str, object]]:
    """The settings that the options say, by section and key."""
    settings: dict[str, dict[str, object]] = {"node": {"name": options["name"]}}
    if options["passphrase_file"]:
        settings["key"] = {"passphrase_file": options["passphrase_file"].absolute()}
    addresses = {key: list(options[key]) for key in ("listen", "announce", "bootstrap") if options[key]}
    settings["network"] = dict(addresses)
    if options["rpc"]:
        settings["rpc"] = {"listen": options["rpc"]}
    if options["source"]:
        settings["data"] = {"source": options["source"]}
        if options["data_path"]:
            settings["data"]["path"] = options["data_path"].absolute()
        if options["data_setting"]:
            settings["data"]["settings"] = dict(_pair(text) for text in options["data_setting"])
    elif options["data_path"] or options["data_setting"]:
        raise CliError(Exit.USAGE, "--data-path and --data-setting need --data SOURCE")
    if options["offer"]:
        words = options["offer"]
        settings["training"] = {"offer": words if words in ("ask", "all") else words.split(",")}
    return settings


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(Exit.USAGE, f"--data-setting {text!r}, want NAME=VALUE")
    return name, value


def _checked_genesis(path: Path | None) -> Path | None:
    if path is not None:
        from ledger.genesis import genesis_from_json

        genesis_from_json(path.read_text())
    return path


def _say(folder: Path, shown: dict[str, str], has_genesis: bool, encrypted: bool, as_json: bool) -> None:
    if as_json:
        print_json({**shown, "genesis": has_genesis, "encrypted": encrypted})
        return
    click.echo(f"{folder} is ready.\n\nPeer id   {shown['peer_id']}")
    if "identity" in shown:
        click.echo(f"Identity  {shown['org']}")
    click.echo("\nNext")
    if has_genesis:
        click.echo(f"  hanse start -c {folder}                 run the node")
        click.echo(f"  hanse join league -c {folder}           ask the members to let it in, unless it is a founder")
    else:
        click.echo(f"  hanse genesis member -c {folder} --balance 1000000")
        click.echo("                                  the line that founders exchange; one of them then runs")
        click.echo("  hanse genesis create --name LEAGUE --member ... -o genesis.json")
        click.echo(f"                                  and everybody puts genesis.json into the folder ({folder})")
    if not encrypted:
        click.echo("\nThe key is not encrypted: `hanse keys passphrase` changes that.")
    if "identity" in shown:
        click.echo(
            f"\nMove {shown['identity']} off this machine, to where no network is, and keep a copy. The node never"
            "\nneeds it; without it nobody can replace a stolen key, and with it anybody is this organisation."
        )
