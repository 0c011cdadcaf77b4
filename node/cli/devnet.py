"""`hanse devnet`: a whole league of processes on one machine. The work is done by node/devnet.py."""

from pathlib import Path
from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.verbs import Verb, json_option, timeout_option


@click.command(
    cls=Verb,
    examples=(
        "hanse devnet --factories 5                                   simulated bearings, DLMU",
        "hanse devnet --factories 4 --data ./cwru --rounds 30         four motor loads, one factory each",
        "hanse devnet --factories 5 --data ./mnist --split class2     two digits a factory",
        "hanse devnet --privacy sound --epsilon 3                     more noise, at a price that it prints",
        "hanse devnet --directory ./league --keep                     leave the folders and look around",
    ),
)
@click.option(
    "--factories", type=click.IntRange(1, 64), default=5, show_default=True, help="Factories, a process each."
)
@click.option(
    "--data",
    metavar="PATH|SOURCE",
    default="bearing-simulator",
    show_default=True,
    help="A folder of data, the TOML file of a block (docs/data.md), or a source (`hanse help sources`).",
)
@click.option(
    "--split", metavar="HOW", help="iid, class2 (K classes each), dirichlet0.5, site. Default: the source's own."
)
@click.option("--rounds", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Rounds at most.")
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Local epochs a round. Default: the request's.")
@click.option("--target", type=click.FloatRange(0, 1), help="Accuracy at which training ends; 0: run all rounds.")
@click.option("--strategy", metavar="NAME", help="`hanse help strategies`. Default: the request's.")
@click.option(
    "--privacy",
    type=click.Choice(("sound", "none")),
    help="Noise every update within --epsilon, or none at all. Default: sound, or what FILE says.",
)
@click.option(
    "--epsilon",
    type=click.FloatRange(0.01, 1000),
    help="What each factory spends at most on its records in all rounds. Default: 8.",
)
@click.option(
    "--request",
    "request_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A request file to start from: `hanse request publish --template`.",
)
@click.option(
    "--directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where the league lives."
)
@click.option("--keep", is_flag=True, help="Leave the folders of all nodes when the league has ended.")
@timeout_option(900, "The league must be done after this.")
@json_option
def devnet(as_json: bool, timeout_s: float, request_path: Path | None, **options: Any) -> int:
    """Found a league of FACTORIES nodes on this machine, publish a request, train, pay, and check everything.

    Ends with a table of members, the accuracy against a centralised model and against the same rounds without noise,
    and what was charged to each factory's records. Exit code 0 only if the request ended well, all nodes hold the same
    block and state, and no charge is larger than agreed or smaller than its noise makes it.
    """
    if options["keep"] and options["directory"] is None:
        raise CliError(Exit.USAGE, "--keep needs --directory DIR: where the folders are to stay")
    from node.devnet import run_devnet

    return run_devnet(as_json=as_json, timeout_s=timeout_s, request_path=request_path, **options)
