"""`hanse ledger export`, `import` and `verify`: a whole chain in a file, taken in, and executed again."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.bundles import read_genesis_file
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.ledger_stores import block_source, explained, scratch, whole_store
from node.cli.output import print_fields, print_json, progress
from node.cli.verbs import Verb, node_options
from node.cli.which_node import read_config

if TYPE_CHECKING:
    from ledger.genesis import Genesis
    from node.chain_file import ChainFile

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command(
    cls=Verb,
    name="export",
    examples=(
        "hanse ledger export -o chain.hanse -c ./alice",
        "hanse ledger export --from 1001 -o newer.hanse -c ./alice",
    ),
)
@click.option("-o", "--output", type=FILE, required=True, metavar="FILE", help="Write the chain here.")
@click.option("--from", "first", type=click.IntRange(1), default=1, show_default=True, metavar="HEIGHT")
@click.option("--to", "last", type=click.IntRange(1), metavar="HEIGHT", help="Default: the head.")
@node_options
def export_chain(output: Path, first: int, last: int | None, config_path: str, as_json: bool) -> None:
    """Write blocks with their certificates to FILE, which anybody can verify or import.

    Asks the node when it runs, reads its ledger when it is stopped.
    """
    from node.chain_file import ChainFileHead, write_chain_file

    config = read_config(config_path)
    genesis = read_genesis_file(config.genesis.file)
    with block_source(config, config_path) as (height, blocks):
        end = height if last is None else last
        if not first <= end <= height:
            raise CliError(Exit.NOT_FOUND, f"blocks {first} to {end}: the head is at {height}")
        with progress("exporting", end - first + 1, as_json) as bar:

            def counted() -> Iterator[bytes]:
                for block in blocks(first, end):
                    yield block
                    bar.advance(1)

            try:
                size = write_chain_file(output, ChainFileHead(genesis, first, end), counted())
            except FileExistsError:
                raise CliError(Exit.CONFIGURATION, f"{output}: there is a file already; it is left as it is") from None
    shown = {"file": str(output), "first": first, "last": end, "bytes": size, "chain_id": genesis.chain_id.hex()}
    if as_json:
        print_json(shown)
    else:
        click.echo(
            f"{output}: blocks {first} to {end}, {size} bytes; `hanse ledger verify {output}` executes them again"
        )


@click.command(
    cls=Verb,
    name="import",
    examples=("hanse ledger import chain.hanse -c ./eve", "hanse ledger import newer.hanse -c ./eve"),
)
@click.argument("path", type=FILE, metavar="FILE")
@node_options
def import_chain(path: Path, config_path: str, as_json: bool) -> None:
    """Take the blocks of FILE into the ledger of a stopped node, each checked as if it came from a peer.

    The ledger may be empty or shorter; what it has already must be the same. An interrupted import goes on.
    """
    from ledger.chain import Chain
    from node.ledger_check import SeldomSynced, execute

    file = _open_file(path)
    config = read_config(config_path)
    genesis = read_genesis_file(config.genesis.file)
    _same_chain(file, genesis, "the node's genesis file")
    with whole_store(config, create=True) as opened:
        store = SeldomSynced(opened)
        with explained(str(config.node.data_dir)):
            chain = Chain(store, genesis)
        if file.head.first > chain.height + 1:
            raise CliError(
                Exit.REFUSED, f"{path} begins at height {file.head.first}, the ledger here ends at {chain.height}"
            )
        with progress("importing", max(0, file.head.last - chain.height), as_json) as bar:
            with explained(str(path)):
                appended = execute(chain, file.blocks(), lambda height: bar.advance(1))
        height = chain.height
        store.close()
    if as_json:
        print_json({"file": str(path), "imported": appended, "height": height})
    else:
        click.echo(f"{appended} blocks imported, the ledger is at height {height}")


@click.command(
    cls=Verb,
    name="verify",
    examples=(
        "hanse ledger verify -c ./alice                                 the ledger of this stopped node",
        "hanse ledger verify chain.hanse --genesis genesis.json         an exported one",
    ),
)
@click.argument("path", required=False, type=FILE, metavar="[FILE]")
@click.option(
    "--genesis",
    "genesis_path",
    type=FILE,
    metavar="FILE",
    help="The league's first block. Default: for a node its own, for an export the one in it.",
)
@node_options
def verify_chain(path: Path | None, genesis_path: Path | None, config_path: str, as_json: bool) -> None:
    """Execute a whole chain again, from the genesis: signatures, certificates, rules, state roots, committees.

    Of a node's ledger every row is compared as well. Exit code 7 names the first height that is wrong, 10 means
    that FILE is damaged.
    """
    if path is None:
        _verify_store(genesis_path, config_path, as_json)
    else:
        _verify_file(path, genesis_path, as_json)


def _verify_store(genesis_path: Path | None, config_path: str, as_json: bool) -> None:
    from node.ledger_check import check_store

    config = read_config(config_path)
    genesis = read_genesis_file(genesis_path or config.genesis.file)
    with whole_store(config, create=False) as store, scratch() as again:
        with progress("executing", None, as_json) as bar, explained(str(config.node.data_dir)):
            found = check_store(store, genesis, again, lambda height: bar.say(f"height {height}"))
    shown = {
        "height": found.height,
        "head": found.head_id.hex(),
        "state_root": found.state_root.hex(),
        "entries": found.entries,
        "blocks_executed": found.executed,
    }
    if as_json:
        print_json({"verified": True, **shown})
        return
    if found.executed:
        click.echo(f"All {found.executed} blocks, executed again, give this ledger, row by row.")
    else:
        click.echo("Old blocks are not kept here: headers, committees and the whole state were checked, no block.")
    print_fields(shown)


def _verify_file(path: Path, genesis_path: Path | None, as_json: bool) -> None:
    from ledger.chain import Chain
    from node.ledger_check import execute

    file = _open_file(path)
    if genesis_path is not None:
        _same_chain(file, read_genesis_file(genesis_path), str(genesis_path))
    if file.head.first != 1:
        raise CliError(
            Exit.REFUSED,
            f"{path} begins at height {file.head.first}: import it on top of the ledger that it goes on from, and"
            " verify that",
        )
    with scratch() as again:
        chain = Chain(again, file.head.genesis)
        with progress("executing", file.head.last, as_json) as bar, explained(str(path)):
            execute(chain, file.blocks(), lambda height: bar.advance(1))
        shown = {
            "chain_id": chain.chain_id.hex(),
            "height": chain.height,
            "head": chain.head_id.hex(),
            "state_root": chain.state_root.hex(),
        }
    if as_json:
        print_json({"verified": True, "genesis_given": genesis_path is not None, **shown})
        return
    click.echo(f"All {shown['height']} blocks hold.")
    if genesis_path is None:
        click.echo("The genesis is the file's own: compare the chain id with the one that you know.")
    print_fields({name.replace("_", " "): value for name, value in shown.items()})


def _open_file(path: Path) -> "ChainFile":
    """The export, its digest checked. Raises CliError."""
    from node.chain_file import ChainFile, InvalidChainFile

    try:
        file = ChainFile(path)
        file.check_digest()
    except InvalidChainFile as error:
        raise CliError(Exit.MALFORMED, str(error)) from None
    except OSError as error:
        raise CliError(Exit.CONFIGURATION, f"{path}: {error.strerror}") from None
    return file


def _same_chain(file: "ChainFile", genesis: "Genesis", of: str) -> None:
    if file.head.genesis.chain_id != genesis.chain_id:
        came, want = file.head.genesis.chain_id.hex()[:16], genesis.chain_id.hex()[:16]
        raise CliError(Exit.NOT_VERIFIED, f"{file.path} is of chain {came}, {of} gives {want}")
