"""`hanse anchor`: what is on the ledger of an organisation's records, and proofs of single records."""

import json
from pathlib import Path
from typing import Any

import click

from node.cli.bundles import bundle_option, print_proof, subject, write_bundle_file
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.ledger import moment
from node.cli.output import print_fields, print_json, print_table, progress
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse anchor list -c ./alice",
        "hanse anchor prove 3 17 -o record.json -c ./alice",
        "hanse anchor verify 3 -c ./alice",
    ),
)
def anchor() -> None:
    """Records are grouped into periods; the root over each period's records is on the ledger.

    So nobody can change a record later unseen, its owner included, and nobody else ever sees the record.
    """


@anchor.command(name="list", examples=("hanse anchor list -c ./alice", "hanse anchor list --org bob -c ./alice"))
@click.option("--org", metavar="WHO", help="Whose. Default: this organisation.")
@click.option("--start", type=click.IntRange(0), metavar="PERIOD", help="The first period to show.")
@click.option("--limit", type=click.IntRange(1, 100), default=100, show_default=True, help="Periods to show.")
@node_options
def list_anchors(org: str | None, start: int | None, limit: int, config_path: str, as_json: bool) -> None:
    """Print the anchored periods of an organisation."""
    answer = ask(config_path, "anchor.list", org=org, start=start, limit=limit)
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            each["period"],
            each["record_count"],
            moment(each["begins"]),
            moment(each["ends"]),
            each["height"],
            each["root"],
        )
        for each in answer["anchors"]
    ]
    totals = answer["totals"]
    title = f"{answer['name'] or answer['org']}: {totals['records']} records in {totals['periods']} periods"
    print_table(title, ("period", "records", "begins", "ends", "height", "root"), rows, shorten=("root",))
    if answer["next"] is not None:
        click.echo(f"more: --start {answer['next']}")


@anchor.command(examples=("hanse anchor get 3 -c ./alice", "hanse anchor get 3 --org bob -c ./alice"))
@click.argument("period", type=click.IntRange(0), metavar="PERIOD")
@click.option("--org", metavar="WHO", help="Whose. Default: this organisation.")
@node_options
def get(period: int, org: str | None, config_path: str, as_json: bool) -> None:
    """Print one anchored period."""
    answer = ask(config_path, "anchor.get", period=period, org=org)
    if as_json:
        print_json(answer)
        return
    found = answer["anchor"]
    times = {"begins": moment(found["begins"]), "ends": moment(found["ends"])}
    print_fields({name.replace("_", " "): value for name, value in {**found, **times}.items()})


@anchor.command(examples=("hanse anchor prove 3 17 -c ./alice", "hanse anchor prove 3 17 -o record.json -c ./alice"))
@click.argument("period", type=click.IntRange(0), metavar="PERIOD")
@click.argument("index", type=click.IntRange(0), metavar="INDEX")
@bundle_option
@node_options
def prove(period: int, index: int, output: Path | None, config_path: str, as_json: bool) -> None:
    """Prove to anybody with the genesis file that a record of this organisation is as it was anchored.

    The bundle contains the record itself: it is shown to whoever gets the file. Exit code 7 when it was changed.
    """
    from ledger.bundles import bundle_from_json

    with progress("reading the records", None, as_json):
        answer = ask(config_path, "anchor.prove", period=period, index=index)
    if output is not None:
        write_bundle_file(output, answer["bundle"])
    if as_json:
        print_json(answer)
        return
    click.echo(f"Record {index} of period {period} is as it was anchored.")
    print_proof(bundle_from_json(json.dumps(answer["bundle"])))
    if output is not None:
        click.echo(f"{output}: the bundle; `hanse dispute verify` checks it anywhere")


@anchor.command(examples=("hanse anchor verify 3 -c ./alice", "hanse anchor verify --all -c ./alice"))
@click.argument("period", required=False, type=click.IntRange(0), metavar="[PERIOD]")
@click.option("--all", "every", is_flag=True, help="All periods of this organisation.")
@node_options
def verify(period: int | None, every: bool, config_path: str, as_json: bool) -> int:
    """Compare all records this organisation holds of a period with its anchor. Exit code 7 when one was changed."""
    if (period is None) != every:
        raise CliError(Exit.USAGE, "which period? Give a PERIOD, or --all")
    periods = _all_periods(config_path) if every else [period]
    found: list[dict[str, Any]] = []
    with progress("reading the records", len(periods), as_json) as bar:
        for each in periods:
            found.append(ask(config_path, "anchor.verify", period=each))
            bar.advance(1)
    changed = [each for each in found if not each["untouched"]]
    if as_json:
        print_json({"periods": found} if every else found[0])
    else:
        _say_verified(found, changed)
    return Exit.NOT_VERIFIED if changed else Exit.OK


def _say_verified(found: list[dict[str, Any]], changed: list[dict[str, Any]]) -> None:
    records = sum(each["record_count"] for each in found)
    for each in changed:
        for fault in each["faults"] or [{"finding": each["finding"], "index": 0}]:
            click.echo(subject(fault["finding"], each["period"], fault["index"]))
        if each["fault_count"] > len(each["faults"]):
            click.echo(f"period {each['period']}: {each['fault_count']} records in all")
    if not changed:
        click.echo(f"{records} records in {len(found)} periods are as they were anchored.")


def _all_periods(config_path: str) -> list[int]:
    periods: list[int] = []
    start: int | None = 0
    while start is not None:
        answer = ask(config_path, "anchor.list", start=start)
        periods += [each["period"] for each in answer["anchors"]]
        start = answer["next"]
    return periods
