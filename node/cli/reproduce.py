"""`hanse reproduce`: run an experiment of the papers and write its table, plots and what they show."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, print_table
from node.cli.verbs import Verb, json_option

SEEDS_MAX = 100
SEED_DIGITS_MAX = 16
# Of what an experiment tells, these lines are worth a place in a log.
LOGGED = ("done", "in all")


def _seeds(_context: click.Context, option: click.Parameter, given: str | None) -> tuple[int, ...] | None:
    """ "3" is the seeds 1, 2 and 3; "5,7" are those two."""
    if given is None:
        return None
    words = given.split(",")
    if not all(word.strip().isdecimal() and len(word) <= SEED_DIGITS_MAX for word in words):
        raise click.BadParameter(f"{given[:60]!r}, want how many, or seeds parted by commas", param=option)
    numbers = tuple(int(word) for word in words)
    if len(numbers) == 1:
        # One too many is enough to be refused.
        numbers = tuple(range(1, min(numbers[0], SEEDS_MAX + 1) + 1))
    if not 1 <= len(numbers) <= SEEDS_MAX or len(set(numbers)) < len(numbers) or max(numbers) >= 2**32:
        raise click.BadParameter(f"{given[:60]!r}, want 1 to {SEEDS_MAX} different seeds below 2^32", param=option)
    return numbers


@click.command(
    cls=Verb,
    examples=(
        "hanse reproduce                                               what there is",
        "hanse reproduce bearing                                       some minutes, ./reproduced/bearing-quick",
        "hanse reproduce dlmu-cifar --data ./cifar10 --workers 2",
        "hanse reproduce dpsgd-tables --data ./data --scale full --device cuda --out ./tables",
        "hanse reproduce communication --seeds 1 --json",
    ),
)
@click.argument("name", required=False, metavar="[NAME]")
@click.option(
    "--scale",
    type=click.Choice(("quick", "full")),
    default="quick",
    show_default=True,
    help="quick: smaller data and models, minutes on two cores. full: the paper's setting; a GPU is advised.",
)
@click.option(
    "--data",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="The data set's folder or file, or a folder that has it under its own name.",
)
@click.option("--seeds", callback=_seeds, metavar="K|A,B,...", help="How many, or which. Default: the experiment's.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where results lie. Default: ./reproduced/NAME-SCALE. Runs that are there are not run again.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    default=1,
    show_default=True,
    help="Processes that share the runs; runs that take times go one by one.",
)
@click.option(
    "--device",
    type=click.Choice(("auto", "cpu", "cuda")),
    default="auto",
    show_default=True,
    help="What trains. auto: a GPU where one is.",
)
@json_option
def reproduce(
    name: str | None,
    scale: str,
    data: Path | None,
    seeds: tuple[int, ...] | None,
    out: Path | None,
    workers: int,
    device: str,
    as_json: bool,
) -> None:
    """Run an experiment of the papers and set what comes out beside what they printed. Without NAME: list them.

    Writes report.md with a table (mean and sample deviation over seeds), plots as PNG and SVG, the same figures as
    table.json, table.csv and table.parquet, and one paragraph that is computed from them. Interrupted, it goes on at
    the runs that are missing when the same command is given again.
    """
    from node.reproduce.catalogue import EXPERIMENTS, experiment
    from node.reproduce.experiment import Asked, CannotReproduce

    if name is None:
        _list(EXPERIMENTS, as_json)
        return
    from fl.data.errors import DataError
    from fl.models.errors import ModelError
    from fl.privacy.terms import PrivacyRefused
    from fl.simulate.terms import SimulationError
    from fl.strategies.base import StrategyError
    from node.devnet.league import LeagueFailed
    from node.devnet.sigterm import ended_by_sigterm
    from node.reproduce.reproducing import reproduce_experiment

    folder = out if out is not None else Path("reproduced") / f"{name}-{scale}"
    try:
        chosen = experiment(name).at(scale)
        asked = Asked(scale, seeds or tuple(range(1, chosen.seeds_usual + 1)), data, device)
        with ended_by_sigterm(), _progress(as_json) as tell:
            done = reproduce_experiment(chosen, asked, folder, workers, tell)
    except (CannotReproduce, DataError) as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    except (ModelError, PrivacyRefused, SimulationError, StrategyError) as error:
        raise CliError(Exit.USAGE, str(error)) from None
    except LeagueFailed as error:
        raise CliError(Exit.TIMED_OUT, str(error)) from None
    except KeyboardInterrupt:
        raise CliError(Exit.INTERRUPTED, f"interrupted; what was done is in {folder}, give the same command") from None
    if as_json:
        print_json(done.as_json())
        return
    for table in done.report.tables:
        print_table(table.title, table.columns, table.rows)
    click.echo(f"{done.report.verdict}\n")
    for path in done.written:
        click.echo(path)
    if done.not_drawn:
        click.echo(f"no plots: {done.not_drawn}", err=True)


def _list(experiments: dict[str, tuple[str, str]], as_json: bool) -> None:
    if as_json:
        print_json({name: summary for name, (_, summary) in experiments.items()})
        return
    width = max(map(len, experiments))
    for name, (_, summary) in experiments.items():
        click.echo(f"hanse reproduce {name:<{width}}  {summary}")


def _progress(as_json: bool) -> AbstractContextManager[Callable[[str], object]]:
    """A line that moves on a terminal; a line for each finished run where a log is kept; nothing for programs."""
    if as_json:
        return nullcontext(lambda _: None)
    if not sys.stderr.isatty():
        return nullcontext(lambda text: click.echo(text, err=True) if text.endswith(LOGGED) else None)
    from node.cli.progress_line import progress_line

    return progress_line()
