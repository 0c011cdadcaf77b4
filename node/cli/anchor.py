"""`hanse anchor`: what is on the ledger of an organisation's records, and proofs of single records."""

import click

from node.cli.ledger import moment
from node.cli.output import print_fields, print_json, print_table
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse anchor list -c ./alice",
        "hanse anchor prove 3 17 -c ./alice --json > record.json",
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
    print_table(title, ("period", "records", "begins", "ends", "height", "root"), rows)
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
