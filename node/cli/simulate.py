"""`hanse simulate`: a federation in one process, with and without an attack, with and without a rule against it."""

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, print_table
from node.cli.verbs import Verb, json_option

if TYPE_CHECKING:
    from fl.simulate.comparing import Run
    from fl.simulate.federation import Terms

NAMES = ("cwru", "mnist", "bearings")


def _pairs(_context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> dict[str, str]:
    """NAME=VALUE, as often as wanted."""
    if any("=" not in each for each in given):
        raise click.BadParameter(f"{', '.join(given)}: want NAME=VALUE", param=option)
    return dict(each.split("=", 1) for each in given)


@click.command(
    cls=Verb,
    examples=(
        "hanse simulate --data bearings --clients 6 --attack noise --attackers 1",
        "hanse simulate --data mnist --path ./mnist --attack sign-flip --attackers 3 --rule trimmed-mean",
        "hanse simulate --data cwru --path ./cwru --clients 8 --attack free-rider --attackers 2 --rule mean",
        'hanse simulate --data mnist --path ./mnist --split "class(2)" --rule multi-krum --rule-set share=0.2',
        "hanse simulate --data mnist --path ./mnist --privacy sound --privacy-set epsilon=8 --json",
    ),
)
@click.option("--data", type=click.Choice(NAMES), required=True, help="What is trained on.")
@click.option(
    "--path", type=click.Path(exists=True, path_type=Path), metavar="PATH", help="Where the data set lies, if in files."
)
@click.option("--clients", type=click.IntRange(1, 1024), default=10, show_default=True, help="Factories.")
@click.option(
    "--split", metavar="HOW", help='iid, "class(2)", "dirichlet(0.5)", site. Default: iid; site for bearings.'
)
@click.option("--attack", metavar="NAME", help="What attackers do: `hanse help attacks`. Default: nobody attacks.")
@click.option("--strength", metavar="NUMBER", default="0", help="Of the attack. Default: its own.")
@click.option("--attackers", type=click.IntRange(0), metavar="K", help="The last K clients. Default: a third of all.")
@click.option("--rule", default="mean", show_default=True, metavar="NAME", help="`hanse help rules`.")
@click.option("--rule-set", "rule_settings", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="For the rule.")
@click.option("--strategy", metavar="NAME", help="fedavg, dlmu or a plug-in. Default: fedavg.")
@click.option("--privacy", default="none", show_default=True, metavar="MODE", help="none, paper or sound.")
@click.option(
    "--privacy-set", "privacy_settings", multiple=True, callback=_pairs, metavar="NAME=VALUE", help="For the mode."
)
@click.option("--rounds", type=click.IntRange(1, 10_000), help="Default: what suits the data.")
@click.option("--epochs", type=click.IntRange(1, 10_000), help="Local epochs a round. Default: what suits the data.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Of everything drawn.")
@json_option
def simulate(as_json: bool, **options: Any) -> None:
    """Train the same federation with the plain mean, unchecked, and with --rule and all checks of updates; each without
    the attack and with it. Prints accuracies on the common test (mean of the last three rounds) and who was rejected.

    Clients run the round that nodes run, and the sums are those that a committee computes. Attackers know the updates
    of all others, which a league does not show them in time: what is seen is the worse case.
    """
    from fl.aggregate import AggregateError
    from fl.data.errors import DataError
    from fl.models.errors import ModelError
    from fl.privacy.terms import PrivacyRefused
    from fl.simulate.attacks import AttackError
    from fl.strategies.base import StrategyError

    try:
        sizes, runs = _simulated(as_json, **options)
    except (AggregateError, AttackError, ModelError, PrivacyRefused, StrategyError) as error:
        raise CliError(Exit.USAGE, str(error)) from None
    except DataError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    if as_json:
        print_json(_as_json(options, sizes, runs))
    else:
        _print(options, sizes, runs)


def _simulated(
    as_json: bool,
    data: str,
    path: Path | None,
    clients: int,
    split: str | None,
    attack: str | None,
    strength: str,
    attackers: int | None,
    seed: int,
    privacy: str,
    **changes: Any,
) -> tuple[list[int], "list[Run]"]:
    """Records of each client, and all that was run."""
    from fl.aggregate import check_rule
    from fl.privacy.modes import privacy_mode
    from fl.privacy.terms import PrivacyRefused
    from fl.simulate import attacks
    from fl.simulate.comparing import compare_rules
    from fl.simulate.scenarios import clients_of, scenario, with_terms

    chosen = scenario(data)
    check_rule(changes["rule"], changes["rule_settings"])
    mode = privacy_mode(privacy, allow_no_guarantee=True)
    mode.check(changes["privacy_settings"])
    if mode.masked_only:
        raise PrivacyRefused(f"privacy mode {privacy} is for masked updates, and the simulator masks none")
    how = attacks.attack(attack, strength) if attack is not None else None
    cheating = clients // 3 if attackers is None else attackers
    if how is None and attackers:
        raise attacks.AttackError(f"--attackers {attackers} without --attack: want the name of one")
    if how is not None and not 1 <= cheating < clients:
        raise attacks.AttackError(f"{cheating} attackers of {clients} clients, want 1 to {clients - 1}")
    splits, test = clients_of(chosen, path, clients, split, seed)
    terms: Terms = with_terms(chosen, privacy=privacy, **changes)
    places = range(clients - cheating, clients) if how is not None else ()
    with _progress(as_json) as tell:
        runs = compare_rules(
            terms,
            splits,
            test,
            seed,
            how,
            places,
            lambda title, result: tell(f"{title}: round {result.number} of {terms.rounds}, {result.accuracy:.3f}"),
        )
    return [len(each.train) for each in splits], runs


def _progress(as_json: bool) -> AbstractContextManager[Callable[[str], object]]:
    """A line that moves, on a terminal; nothing where a program reads."""
    if as_json or not sys.stderr.isatty():
        return nullcontext(lambda _: None)
    from node.cli.progress_line import progress_line

    return progress_line()


def _as_json(options: dict[str, Any], sizes: list[int], runs: "list[Run]") -> dict[str, Any]:
    asked = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    return {
        "asked": asked,
        "records": sizes,
        "runs": [
            {
                "rule": run.rule,
                "inspected": run.inspected,
                "attack": run.attack,
                "attackers": list(run.attackers),
                "accuracy": round(run.course.accuracy, 6),
                "attackers_rejected": run.rejected(attackers=True)[0],
                "honest_rejected": run.rejected(attackers=False)[0],
                "rejections": {str(client): dict(reasons) for client, reasons in run.rejections.items()},
                "rounds": [
                    {"accuracy": _rounded(each.accuracy), "loss": _rounded(each.loss)} for each in run.course.rounds
                ],
            }
            for run in runs
        ],
    }


def _rounded(figure: float | None) -> float | None:
    return None if figure is None else round(figure, 6)


def _print(options: dict[str, Any], sizes: list[int], runs: "list[Run]") -> None:
    span = f"{min(sizes)}" if min(sizes) == max(sizes) else f"{min(sizes)} to {max(sizes)}"
    title = f"{options['data']}: {len(sizes)} clients with {span} records each"
    print_table(
        title,
        ("aggregation", "attack", "accuracy %", "attackers rejected", "honest rejected"),
        [
            (
                f"{run.rule}, checked" if run.inspected else f"{run.rule}, unchecked",
                run.attack or "none",
                f"{100 * run.course.accuracy:.1f}",
                _share(*run.rejected(attackers=True)),
                _share(*run.rejected(attackers=False)),
            )
            for run in runs
        ],
    )
    rows = [
        (client, "yes" if client in run.attackers else "no", count, reason)
        for run in runs[-1:]
        for client, reasons in run.rejections.items()
        for reason, count in reasons.items()
    ]
    if rows:
        print_table("Rejected in the last of them", ("client", "attacker", "rounds", "reason"), rows)


def _share(count: int, of: int) -> str:
    return f"{count} of {of}" if of else "-"
