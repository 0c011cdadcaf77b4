"""`hanse genesis`: make, look at and check the first block of a league."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table
from node.cli.verbs import VerbGroup, config_option, json_option
from node.cli.which_node import read_config

if TYPE_CHECKING:
    from ledger.genesis import Genesis, GenesisMember

GENESIS_BYTES_MAX = 4 * 2**20


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse genesis member -c ./alice --balance 1000000",
        "hanse genesis create --name nordsee --member alice:12D3KooW...:/ip4/10.0.0.5/tcp/4001:1000000 -o genesis.json",
        "hanse genesis hash genesis.json",
    ),
)
def genesis() -> None:
    """The first block of a league: who founds it and with which tokens. Its hash names the league.

    Every member has the same file, byte for byte in meaning: compare `hanse genesis hash` before the first start.
    """


@genesis.command(examples=("hanse genesis member -c ./alice --balance 1000000",))
@config_option
@json_option
@click.option("--balance", type=click.IntRange(0, 2**53 - 1), required=True, help="Tokens to begin with.")
def member(config_path: str, as_json: bool, balance: int) -> None:
    """Print the line of this node that `genesis create --member` takes.

    An organisation whose identity is a key apart is named by both: IDENTITY@PEERID.
    """
    from node.cold_identity import own_org
    from node.config_check import dialable
    from node.identity import load_key, peer_id, stored_key

    config = read_config(config_path)
    if ":" in config.node.name:
        raise CliError(Exit.CONFIGURATION, f"[node] name is {config.node.name!r}, want one without a colon")
    key = stored_key(config.key.file) or load_key(config.key.file).public
    org = own_org(config.key.identity, key)
    addresses = list(config.network.announce or dialable(config.network.listen))
    if as_json:
        shown = {"name": config.node.name, "org": org.hex(), "peer_id": peer_id(key), "addresses": addresses}
        print_json({**shown, "balance": balance})
        return
    who = peer_id(key) if org == bytes(key) else f"{org.hex()}@{peer_id(key)}"
    click.echo(f"{config.node.name}:{who}:{','.join(addresses)}:{balance}")
    if not addresses:
        click.echo("no address: [network] listen names no place that others can dial; set announce", err=True)


@genesis.command(
    examples=(
        "hanse genesis create --name nordsee -o genesis.json \\",
        "  --member alice:12D3KooW...:/ip4/10.0.0.5/tcp/4001:1000000 --member bob:12D3KooW...::1000000",
    )
)
@click.option("--name", required=True, help="The league's name.")
@click.option(
    "--member",
    "members",
    multiple=True,
    required=True,
    metavar="NAME:[IDENTITY@]PEERID:ADDRESSES:BALANCE",
    help="A founder; several addresses with commas, or none. `hanse genesis member` prints it.",
)
@click.option("--time", "time_ms", type=click.IntRange(0, 2**53 - 1), help="Milliseconds since 1970. Default: now.")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@json_option
def create(name: str, members: tuple[str, ...], time_ms: int | None, output: Path, as_json: bool) -> None:
    """Write the genesis file of a new league. Never writes over a file."""
    from ledger.genesis import Genesis, check_genesis, genesis_to_json
    from ledger.parameters import LeagueParameters
    from node.disk import publish_file
    from node.membership import without_tolerance

    founders = sorted((_founder(text) for text in members), key=lambda founder: founder.org)
    moment = int(time.time() * 1000) if time_ms is None else time_ms
    made = Genesis(name, moment, tuple(founders), LeagueParameters())
    check_genesis(made)
    try:
        publish_file(output, genesis_to_json(made).encode(), replace=False)
    except FileExistsError:
        raise CliError(Exit.CONFIGURATION, f"{output}: there is a file already; it is left as it is") from None
    if as_json:
        print_json({"file": str(output.absolute()), "chain_id": made.chain_id.hex(), "founders": len(founders)})
    else:
        click.echo(f"{output}: league {name}, {len(founders)} founders, chain id {made.chain_id.hex()}")
        warning = without_tolerance(len(founders))
        if warning:
            click.echo(warning, err=True)


def _founder(text: str) -> "GenesisMember":
    """`name:peer id:addresses:balance`, `identity@peer id` for two keys; the addresses may hold colons (ip6)."""
    from ledger.genesis import GenesisMember
    from node.identity import key_from_text
    from node.network.addresses import parse_address

    name, _, rest = text.partition(":")
    peer, _, rest = rest.partition(":")
    listed, _, balance = rest.rpartition(":")
    if not name or not peer or not balance.isascii() or not balance.isdigit():
        raise CliError(Exit.USAGE, f"--member {text!r}, want NAME:[IDENTITY@]PEERID:ADDRESSES:BALANCE")
    try:
        identity, _, node = peer.rpartition("@")
        key = key_from_text(node)
        org = key_from_text(identity) if identity else key
        addresses = tuple(listed.split(",")) if listed else ()
        for each in addresses:
            address = parse_address(each)
            if address.org not in (None, key):
                raise ValueError(f"{each} names another peer")
    except ValueError as error:
        raise CliError(Exit.USAGE, f"--member {name}: {error}") from None
    return GenesisMember(org, name, addresses, int(balance), b"" if org == key else key)


@genesis.command(examples=("hanse genesis show genesis.json", "hanse genesis show genesis.json --json"))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def show(path: Path, as_json: bool) -> None:
    """Print the founders, their tokens and addresses."""
    import json

    from ledger.genesis import genesis_to_json
    from node.identity import peer_id

    read = _read(path)
    if as_json:
        print_json(json.loads(genesis_to_json(read)))
        return
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(read.time / 1000))
    print_fields({"league": read.name, "chain id": read.chain_id.hex(), "time": moment})
    from ledger.types import NodeKey

    rows = [(m.name, peer_id(NodeKey(m.node_key)), m.balance, " ".join(m.addresses)) for m in read.members]
    print_table("Founders", ("name", "peer id", "tokens", "addresses"), rows)


@genesis.command(examples=("hanse genesis check genesis.json",))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def check(path: Path, as_json: bool) -> None:
    """Say whether a league can start from this file. Exit code 3 when not."""
    read = _read(path)
    if as_json:
        print_json({"file": str(path), "chain_id": read.chain_id.hex(), "founders": len(read.members)})
    else:
        click.echo(f"{path}: good; league {read.name}, {len(read.members)} founders")


@genesis.command(name="hash", examples=("hanse genesis hash genesis.json",))
@click.argument("path", type=click.Path(path_type=Path), metavar="FILE")
@json_option
def show_hash(path: Path, as_json: bool) -> None:
    """Print the chain id alone, to compare with the other founders."""
    chain_id = _read(path).chain_id.hex()
    if as_json:
        print_json({"chain_id": chain_id})
    else:
        click.echo(chain_id)


def _read(path: Path) -> "Genesis":
    from ledger.errors import InvalidGenesis
    from ledger.genesis import genesis_from_json

    try:
        with path.open("rb") as file:
            content = file.read(GENESIS_BYTES_MAX + 1)
        if len(content) > GENESIS_BYTES_MAX:
            raise InvalidGenesis(f"over {GENESIS_BYTES_MAX} bytes, no genesis file")
        return genesis_from_json(content.decode())
    except (InvalidGenesis, UnicodeDecodeError, RecursionError) as error:
        raise CliError(Exit.CONFIGURATION, f"{path}: {error}") from None
