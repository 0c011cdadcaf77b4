"""`hanse simulate plot`: the pictures of runs, drawn again or side by side."""

from pathlib import Path

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json
from node.cli.verbs import Verb, json_option


@click.command(
    cls=Verb,
    examples=(
        "hanse simulate plot ./bearings                          draw the pictures of a run again",
        "hanse simulate plot ./dlmu ./fedavg --to ./pictures     both in each picture, seeds as a band",
    ),
)
@click.argument("folders", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Default: the folder.")
@json_option
def plot(as_json: bool, folders: tuple[Path, ...], to: Path | None) -> int:
    """Draw runs from their FOLDERS, PNG and SVG: accuracy, loss, divergence, beta, bytes and epsilon over rounds, and
    the classes of every client. Runs that differ by their seed only are one line, with a band of one standard
    deviation.
    """
    from node.federations.pictures import draw_runs, runs_under
    from node.federations.result_files import RunFolderError
    from node.plots.drawing import PlotsMissing

    if to is None and len(folders) > 1:
        raise CliError(Exit.USAGE, f"{len(folders)} folders in one picture: want --to DIR, where it is to go")
    try:
        written = draw_runs(runs_under(folders), to or folders[0])
    except (RunFolderError, PlotsMissing) as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    if as_json:
        print_json({"files": [str(path) for path in written]})
    else:
        for path in written:
            click.echo(str(path))
    return Exit.OK
