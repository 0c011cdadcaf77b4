"""`hanse dispute`: was a record changed after it was anchored? Opened at its owner's node, checked anywhere."""

import json
from pathlib import Path

import click

from node.cli.bundles import (
    bundle_option,
    print_proof,
    read_bundle_file,
    read_genesis_file,
    subject,
    write_bundle_file,
)
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, progress
from node.cli.verbs import VerbGroup, config_option, json_option, node_options
from node.cli.which_node import ask, read_config


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse dispute open 3 -o bundle.json -c ./alice",
        "hanse dispute verify bundle.json --genesis genesis.json",
    ),
)
def dispute() -> None:
    """Was a record changed after its period was anchored?

    The owner's node compares its records with the root on the ledger and signs what it found, into a bundle. Anybody
    checks the bundle with the genesis file alone: no node, no network, nobody to believe.
    """


@dispute.command(
    name="open",
    examples=(
        "hanse dispute open 3 -c ./alice                        the first record that is not as anchored, if any",
        "hanse dispute open 3 --record 17 -o bundle.json -c ./alice",
    ),
)
@click.argument("period", type=click.IntRange(0), metavar="PERIOD")
@click.option("--record", "index", type=click.IntRange(0), metavar="INDEX", help="The record in question.")
@bundle_option
@node_options
def open_dispute(period: int, index: int | None, output: Path | None, config_path: str, as_json: bool) -> int:
    """Compare this organisation's records of PERIOD with their anchor; name the record and show the proof.

    Exit code 0 when it is as it was anchored, 7 when it is not.
    """
    from ledger.bundles import bundle_from_json

    with progress("reading the records", None, as_json):
        answer = ask(config_path, "dispute.open", period=period, index=index)
    if output is not None:
        write_bundle_file(output, answer["bundle"])
    finding = answer["finding"]
    if as_json:
        print_json(answer)
    else:
        resolution = answer["resolution"]
        count = resolution["fault_count"]
        sentence = subject(finding, period, answer["index"])
        click.echo(sentence[0].upper() + sentence[1:] + ".")
        if count > 1:
            named = ", ".join(str(fault["index"]) for fault in resolution["faults"])
            click.echo(f"{count} records are not as they were anchored: {named}")
        print_proof(bundle_from_json(json.dumps(answer["bundle"])))
        if output is not None:
            click.echo(f"{output}: the bundle; `hanse dispute verify` checks it anywhere")
    return Exit.OK if finding == "untouched" else Exit.NOT_VERIFIED


@dispute.command(
    examples=(
        "hanse dispute verify bundle.json --genesis genesis.json       offline",
        "hanse dispute verify bundle.json -c ./bob                     with the genesis file of this node",
    )
)
@click.argument("path", type=click.Path(path_type=Path), metavar="BUNDLE")
@click.option(
    "--genesis", "genesis_path", type=click.Path(path_type=Path), metavar="FILE", help="The league's first block."
)
@config_option
@json_option
def verify(path: Path, genesis_path: Path | None, config_path: str, as_json: bool) -> None:
    """Check a bundle from the genesis file alone, and say what it shows. Asks no node.

    Exit code 0 when everything in the bundle holds, whoever is right; 7 when something does not.
    """
    from ledger.bundles import verify_bundle

    bundle = read_bundle_file(path)
    genesis = read_genesis_file(genesis_path or read_config(config_path).genesis.file)
    checked = verify_bundle(bundle, genesis)
    if checked.finding is None:
        reasons = list(checked.reasons)
        raise CliError(Exit.NOT_VERIFIED, f"{path} does not hold: {reasons[-1]}", reasons=reasons)
    statement = bundle.statement
    finding = checked.finding.name.lower()
    if as_json:
        shown = {"accepted": True, "finding": finding, "period": statement.period, "index": statement.index}
        print_json({**shown, "org": statement.org.hex(), "reasons": list(checked.reasons)})
        return
    for reason in checked.reasons:
        click.echo(f"holds: {reason}")
    sentence = subject(finding, statement.period, statement.index)
    click.echo(sentence[0].upper() + sentence[1:] + ".")
    print_proof(bundle)
