"""`hanse simulate run`, or `hanse simulate` alone: a federation, or one a seed, or four to see what an attack does."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json
from node.cli.simulate_options import run_options, said_by
from node.cli.simulate_progress import watching
from node.cli.simulate_report import as_json as ended_as_json
from node.cli.simulate_report import print_report
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from node.federations.all_runs import EndedRun
    from node.federations.settings import RunSettings


@click.command(
    cls=Verb,
    examples=(
        "hanse simulate --data bearings --clients 6 --out ./bearings --plots",
        'hanse simulate --data mnist --path ./mnist --split "class(2)" --strategy dlmu --seeds 3',
        "hanse simulate --data mnist --path ./mnist --clients 1000 --per-round 0.05 --workers 4 --out ./thousand",
        "hanse simulate --data mnist --path ./mnist --attack sign-flip --attackers 3 --rule trimmed-mean",
        "hanse simulate --data mnist --path ./mnist --privacy sound --privacy-set epsilon=8 --json",
        "hanse simulate --data own --path ./press.toml --clients 5 --write-file > press-run.toml",
        "hanse simulate press-run.toml --rounds 50 --out ./press",
        "hanse simulate --resume ./press                     go on where it was stopped",
    ),
)
@click.argument("run_file", required=False, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--path", type=click.Path(exists=True, path_type=Path), metavar="PATH", help="Where the data set lies, if in files."
)
@run_options
@click.option(
    "--request",
    "request_path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A request file: its model, strategy, aggregation, privacy, training and rounds.",
)
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), metavar="DIR", help="Where result files go.")
@click.option(
    "--resume",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Go on with the run in DIR, to the bits it would have come to without a break.",
)
@click.option("--write-file", is_flag=True, help="Run nothing: print a run file with all this and every default.")
@click.option("--json-lines", is_flag=True, help="Print a JSON object a round, and one at the end.")
@json_option
def run(as_json: bool, json_lines: bool, write_file: bool, **options: Any) -> int:
    """Train a federation, in the code that nodes run: the round of a client, the sums of a committee.

    RUN_FILE says what is run (TOML, --write-file prints one); options go before it, what neither says suits the data.
    With --attack four runs: the usual rule, unchecked, and --rule with all checks of updates, each without the attack
    and with it. Attackers know the updates of all others, which a league does not show them in time.

    Ctrl-C finishes the round, writes a checkpoint into --out and ends with exit code 130; --resume goes on. Twice, it
    ends at once, and --resume goes on from the last checkpoint.
    """
    settings = _settings(options)
    if write_file:
        from node.federations.run_template import run_template

        click.echo(run_template(settings), nl=False)
        return Exit.OK
    ended = _carried_out(settings, as_json, json_lines, options["resume"] is not None)
    if json_lines:
        click.echo(json.dumps({"event": "end", **ended_as_json(ended)}, ensure_ascii=False))
    elif as_json:
        print_json(ended_as_json(ended))
    else:
        print_report(ended)
        if settings.results.folder is not None:
            click.echo(f"Files: {settings.results.folder}")
    return Exit.OK


def _settings(options: dict[str, Any]) -> "RunSettings":
    """What file, request and options say together."""
    from node.federations.layers import file_layer, request_layer, settled
    from node.federations.result_files import SETTINGS_FILE
    from node.federations.settings import RunFileError
    from node.request_file import load_request

    layers = []
    resume: Path | None = options["resume"]
    try:
        if resume is not None:
            layers.append(file_layer(resume / SETTINGS_FILE))
        if options["request_path"] is not None:
            layers.append(request_layer(load_request(options["request_path"])))
        if options["run_file"] is not None:
            layers.append(file_layer(options["run_file"]))
    except RunFileError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    try:
        said, more = said_by(options)
        settings = settled(*layers, said, more=more)
    except RunFileError as error:
        raise CliError(Exit.USAGE, str(error)) from None
    if resume is None:
        return settings
    if options["out"] is not None:
        raise CliError(Exit.USAGE, f"--resume {resume} goes on in that folder, want no --out beside it")
    return replace(settings, results=replace(settings.results, folder=resume))


def _carried_out(settings: "RunSettings", as_json: bool, json_lines: bool, resume: bool) -> "list[EndedRun]":
    """Every run, one after the other, and their pictures."""
    from fl.aggregate import AggregateError
    from fl.data.errors import DataError
    from fl.models.errors import ModelError
    from fl.privacy.terms import PrivacyRefused
    from fl.simulate.attacks import AttackError
    from fl.simulate.terms import SimulationError
    from fl.strategies.base import StrategyError
    from node.federations.all_runs import check_free, keep_settings, run_all
    from node.federations.carry_out import Interrupted
    from node.federations.pictures import draw_runs, runs_under
    from node.federations.planned_runs import check_named, planned_runs
    from node.federations.result_files import RunFolderError
    from node.federations.stopping import stop_on_signals
    from node.plots.drawing import PlotsMissing, check_drawable

    folder, plots = settings.results.folder, settings.results.plots
    if plots and folder is None:
        raise CliError(Exit.USAGE, "--plots without --out DIR: where the pictures are to go")
    try:
        check_named(settings)
        plan = planned_runs(settings)
        if plots:
            check_drawable()
        if folder is not None and not resume:
            check_free(folder)
        if folder is not None and len(plan) > 1:
            keep_settings(folder, settings)
        with (
            watching(as_json, json_lines, len(plan)) as watcher,
            stop_on_signals(lambda: click.echo("\nfinishing this round; once more: end at once", err=True)) as stop,
        ):
            ended = list(run_all(plan, folder, watcher, stop))
        if plots and folder is not None:
            draw_runs(runs_under([folder]), folder)
    except (AggregateError, AttackError, ModelError, PrivacyRefused, StrategyError) as error:
        raise CliError(Exit.USAGE, str(error)) from None
    except (DataError, SimulationError, RunFolderError, PlotsMissing) as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    except Interrupted as stopped:
        how = f"go on with: hanse simulate --resume {folder}" if folder is not None else "without --out nothing is kept"
        raise CliError(Exit.INTERRUPTED, f"{stopped}; {how}") from None
    return ended
