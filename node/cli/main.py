"""The entry point of `hanse`: the table of verbs, and the one place where exceptions become exit codes."""

import os
import sys
from collections.abc import Sequence

import click

from node.cli.exit_codes import Exit
from node.cli.faults import as_cli_error, report, wants_json
from node.cli.verbs import LazyGroup

VERBS: dict[str, tuple[str, str]] = {
    "init": ("node.cli.init:init", "Make a node's folder: key, identity, configuration, data directory."),
    "start": ("node.cli.start:start", "Run the node in this folder."),
    "stop": ("node.cli.start:stop", "Stop a running node and wait until it is gone."),
    "status": ("node.cli.status:status", "How a node and its league stand."),
    "peers": ("node.cli.status:peers", "Who is connected."),
    "disk": ("node.cli.disk:disk", "What a node takes of the disk, and what it keeps of the ledger."),
    "devnet": ("node.cli.devnet:devnet", "A whole league on this machine, from founding to the trained model."),
    "simulate": (
        "node.cli.simulate:simulate",
        "Federations on this machine: strategies, attacks, noise; results, pictures.",
    ),
    "reproduce": ("node.cli.reproduce:reproduce", "The papers' tables and figures, beside what they printed."),
    "data": ("node.cli.data:data", "Records to train on: check, show, divide; fetch the data sets of papers."),
    "request": ("node.cli.request:request", "Publish data requests and follow them."),
    "join": ("node.cli.join:join", "Ask to be let into a league, or offer data to a request."),
    "leave": ("node.cli.leave:leave", "Leave the league."),
    "members": ("node.cli.members:members", "Who is in the league, who wants in, who has to go."),
    "vote": ("node.cli.vote:vote", "What is put to the members, and saying yes."),
    "league": ("node.cli.league:league", "Parameters and protocol of the league, and changing them by vote."),
    "anchor": ("node.cli.anchor:anchor", "Roots over this organisation's records, and proofs under them."),
    "dispute": ("node.cli.dispute:dispute", "Find out whether records were changed, and prove it."),
    "verify": ("node.cli.verify:verify", "Check a proof offline: no node, no network, nobody to believe."),
    "ledger": ("node.cli.ledger:ledger", "Blocks, transactions, accounts, proofs; transfers."),
    "dp": ("node.cli.dp:dp", "Differential privacy: what noise costs, what was spent, what a claim is worth."),
    "model": ("node.cli.model:model", "Trained models: list, look, export."),
    "keys": ("node.cli.keys:keys", "The node's key and the organisation's identity: show, encrypt, replace."),
    "genesis": ("node.cli.genesis:genesis", "The first block of a league."),
    "config": ("node.cli.config:config", "Check, show and write configurations."),
    "help": ("node.cli.help_topics:help_topics", "Explain a topic: exit-codes, models, strategies, ..."),
}


@click.group(
    cls=LazyGroup,
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    examples=(
        "hanse devnet --factories 5                      a whole league on this machine",
        'hanse init ./alice --name "Alice Bearings"      the folder of a node',
        "hanse start -c ./alice                          run it",
        "hanse request watch ID -c ./alice               follow a training",
    ),
)
@click.version_option(package_name="hanse", prog_name="hanse")
def cli() -> None:
    """Federated learning between organisations that do not trust each other, with no one in the middle.

    Every verb takes --help and ends in a meaningful exit code: `hanse help exit-codes`.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and leave with its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Whatever processes we start import nothing that lies in the folder where somebody happens to be.
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.exit(int(run(given)))


def run(arguments: list[str]) -> int:
    """Run a command line; the exit code."""
    if arguments and arguments[-1] == "--json" and len(arguments) == 1:
        arguments = ["--help"]
    try:
        code = cli.main(arguments, prog_name="hanse", standalone_mode=False)
        return code if isinstance(code, int) else Exit.OK
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except SystemExit:
        # No verb leaves so. click does when stdout breaks: `hanse ledger blocks | head`, the reader has enough.
        return Exit.OK
    except click.exceptions.NoArgsIsHelpError as asked:
        click.echo(asked.format_message())
        return Exit.USAGE
    except BaseException as error:
        fault = as_cli_error(error)
        if fault.code is Exit.INTERNAL and os.environ.get("HANSE_DEBUG"):
            raise
        report(fault, wants_json(arguments))
        return fault.code


if __name__ == "__main__":
    main()
