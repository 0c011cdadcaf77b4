"""`hanse data fetch`: a data set from where it comes from, as pinned, into a folder that the sources read."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, print_table, progress
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from node.data_sets.remote import DataSet

MIB = 2**20


@click.command(
    cls=Verb,
    examples=(
        "hanse data fetch                                 which data sets there are",
        "hanse data fetch mnist                           into ./mnist",
        "hanse data fetch cifar10 --to /data/cifar10",
        "hanse data fetch mnist --mirror http://files.plant.example/mnist",
    ),
)
@click.argument("name", required=False)
@click.option(
    "--to", "folder", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Default: ./NAME."
)
@click.option(
    "--mirror", metavar="URL", help="A place of one's own that has the files by their names; asked before all others."
)
@json_option
def fetch(name: str | None, folder: Path | None, mirror: str | None, as_json: bool) -> None:
    """Download a data set from its origin, or a mirror of it. Every byte is checked against a SHA-256 that stands in
    Hanse, wherever it came from. An interrupted download goes on where it was. Without NAME: list the data sets.

    Exit codes: 4 there is no network, 5 nobody gives the file, 7 what came is not what was pinned, 11 the disk is full.
    """
    from node.data_sets.catalogue import DATA_SETS

    if name is None:
        _list(as_json)
        return
    if name not in DATA_SETS:
        raise CliError(Exit.USAGE, f"there is no data set {name[:80]!r} to fetch, want one of {', '.join(DATA_SETS)}")
    if mirror is not None and not mirror.startswith(("http://", "https://")):
        raise CliError(Exit.USAGE, f"--mirror {mirror[:80]!r}, want http://... or https://...")
    data_set, folder = DATA_SETS[name], folder or Path(name)
    fetched = _fetch(data_set, folder, mirror, as_json)
    source, path = data_set.source or data_set.name, folder / data_set.reads
    if as_json:
        print_json({"name": name, "folder": str(folder), "fetched": fetched, "source": source, "path": str(path)})
        return
    click.echo(f"{name}: {'fetched, as pinned' if fetched else 'there already, as pinned'}: {folder}")
    click.echo(f"Terms: {data_set.terms}. From {data_set.origin}")
    click.echo(f"Look: hanse data check {source} --path {path}")


def _fetch(data_set: "DataSet", folder: Path, mirror: str | None, as_json: bool) -> bool:
    from node.data_sets.fetching import fetch as fetch_into
    from node.data_sets.remote import FetchError, NoNetwork, NoRoom, WrongBytes

    codes = {NoNetwork: Exit.UNREACHABLE, WrongBytes: Exit.NOT_VERIFIED, NoRoom: Exit.DISK_FULL}
    try:
        with progress(f"{data_set.name}, {data_set.bytes / MIB:.0f} MiB", data_set.bytes, as_json) as bar:
            return fetch_into(data_set, folder, bar.advance, mirror)
    except FetchError as error:
        raise CliError(codes.get(type(error), Exit.REFUSED), str(error)) from None


def _list(as_json: bool) -> None:
    from node.data_sets.catalogue import DATA_SETS

    if as_json:
        print_json(
            [
                {
                    "name": each.name,
                    "summary": each.summary,
                    "bytes": each.bytes,
                    "source": each.source or each.name,
                    "origin": each.origin,
                    "terms": each.terms,
                }
                for each in DATA_SETS.values()
            ]
        )
        return
    rows = [(each.name, f"{each.bytes / MIB:.1f}", each.summary, each.terms) for each in DATA_SETS.values()]
    print_table("data sets to fetch", ("name", "MiB", "what", "terms"), rows)
