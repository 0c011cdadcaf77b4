"""The options of `hanse simulate`, and what they say of a run."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.verbs import named_values

if TYPE_CHECKING:
    from node.federations.layers import Layer

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

# The option, the section and key that it sets, and how it is read; bounds are checked where a run file's are.
_VALUES: tuple[tuple[str, tuple[str, str], type, str, str], ...] = (
    ("--data", ("data", "source"), str, "NAME", "What is trained on: mnist, bearings, ... (`hanse help sources`)."),
    ("--clients", ("data", "clients"), int, "N", "Factories. Default: 10."),
    (
        "--split",
        ("data", "split"),
        str,
        "HOW",
        'iid, "class(2)", "dirichlet(0.5)", site. Default: iid; site for bearings.',
    ),
    (
        "--per-round",
        ("rounds", "per_round"),
        float,
        "N",
        "Clients drawn for a round, or below 1 their share. Default: all.",
    ),
    ("--model", ("model", "name"), str, "NAME", "`hanse help models`. Default: what suits the data."),
    ("--strategy", ("strategy", "name"), str, "NAME", "`hanse help strategies`. Default: what Hanse recommends."),
    ("--rule", ("aggregation", "rule"), str, "NAME", "`hanse help rules`. Default: the strategy's own."),
    ("--privacy", ("privacy", "mode"), str, "MODE", "none, paper or sound. Default: none."),
    ("--rounds", ("rounds", "rounds"), int, "N", "Default: what suits the data."),
    ("--epochs", ("training", "epochs"), int, "N", "Local epochs a round. Default: what suits the data."),
    ("--batch", ("training", "batch"), int, "N", "Records a step. Default: what suits the data."),
    ("--lr", ("training", "learning_rate"), float, "NUMBER", "Step length of SGD. Default: what suits the data."),
    ("--momentum", ("training", "momentum"), float, "NUMBER", "Of SGD. Default: what suits the data."),
    ("--evaluate-every", ("rounds", "evaluate_every"), int, "N", "Test after every N rounds. Default: 1."),
    ("--seed", ("run", "seed"), int, "NUMBER", "Of everything drawn. Default: 1."),
    ("--seeds", ("run", "seeds"), int, "N", "Run N seeds from --seed on: mean and spread. Default: 1."),
    ("--attack", ("attack", "name"), str, "NAME", "What attackers do: `hanse help attacks`. Default: nobody attacks."),
    ("--strength", ("attack", "strength"), float, "NUMBER", "Of the attack. Default: its own."),
    ("--attackers", ("attack", "attackers"), int, "K", "The last K clients. Default: a third of all."),
    ("--engine", ("machine", "engine"), str, "NAME", "inline, processes or ray. Default: processes with --workers."),
    ("--workers", ("machine", "workers"), int, "N", "Worker processes. Default: none, all in this one."),
    ("--device", ("machine", "device"), str, "NAME", "cpu or cuda. Default: a GPU where there is one."),
    ("--checkpoint-every", ("results", "checkpoint_every"), int, "N", "Rounds. Default: 10, and when it ends."),
)
_TABLES: tuple[tuple[str, tuple[str, str], str], ...] = (
    ("--data-set", ("data", "settings"), "For the source."),
    ("--model-set", ("model", "arguments"), "For the model."),
    ("--strategy-set", ("strategy", "settings"), "For the strategy."),
    ("--rule-set", ("aggregation", "settings"), "For the rule."),
    ("--privacy-set", ("privacy", "settings"), "For the mode."),
)
_FLAGS: tuple[tuple[str, tuple[str, str], str], ...] = (
    ("--inspected/--unchecked", ("aggregation", "inspected"), "Reject updates that are no work. Default: unchecked."),
    ("--compare/--alone", ("attack", "compare"), "With an attack: beside runs without it. Default: compare."),
    ("--plots/--no-plots", ("results", "plots"), "Draw pictures into --out at the end. Default: no."),
)


def _place(section: str, key: str) -> str:
    return f"{section}__{key}"


def _number(_context: click.Context, option: click.Parameter, given: str | None) -> Decimal | None:
    """A number as it was written: 0.05 stays exactly that."""
    try:
        return None if given is None else Decimal(given)
    except InvalidOperation:
        raise click.BadParameter(f"{given!r}, want a number", param=option) from None


def run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Every option that says something of a run; given ones arrive as `section__key`, the others as None."""
    decorators: list[_Decorator] = []
    for name, (section, key), kind, shown, text in _VALUES:
        read: dict[str, Any] = {"callback": _number} if kind is float else {"type": kind}
        decorators.append(click.option(name, _place(section, key), metavar=shown, default=None, help=text, **read))
        for table, place, what in _TABLES:
            if place[0] == section and name in ("--data", "--model", "--strategy", "--rule", "--privacy"):
                decorators.append(
                    click.option(
                        table, _place(*place), multiple=True, callback=named_values, metavar="NAME=VALUE", help=what
                    )
                )
    for name, (section, key), text in _FLAGS:
        decorators.append(click.option(name, _place(section, key), is_flag=True, default=None, help=text))
    for decorate in reversed(decorators):
        function = decorate(function)
    return function


def said_by(options: dict[str, Any]) -> "tuple[Layer, dict[tuple[str, str], dict[str, str]]]":
    """(what the options set, single settings that they put on top). Raises RunFileError.

    `path` and `out` are those options; relative paths count from the present folder.
    """
    from node.federations.layers import tables_layer

    tables: dict[str, dict[str, Any]] = {}
    more: dict[tuple[str, str], dict[str, str]] = {}
    for name, value in options.items():
        section, _, key = name.partition("__")
        if not key or value is None:
            continue
        if isinstance(value, dict):
            more[section, key] = value
        else:
            tables.setdefault(section, {})[key] = value
    for option, (section, key) in {"path": ("data", "path"), "out": ("results", "folder")}.items():
        if options.get(option) is not None:
            tables.setdefault(section, {})[key] = str(options[option])
    return tables_layer(tables, Path.cwd(), ""), more
