"""`hanse data`: look at records before anything is trained on them, and fetch the data sets that papers use."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from node.cli.data_fetch import fetch
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table
from node.cli.verbs import VerbGroup, json_option, named_values

if TYPE_CHECKING:
    from fl.data.own.contents import Found, Survey
    from fl.data.tables import Split, Table
    from node.named_data import NamedData

T = TypeVar("T")

# Of one record; a picture has thousands.
VALUES_SHOWN = 8


def data_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """WHAT, --path and --set: which data are meant."""
    settings = click.option(
        "--set", "settings", multiple=True, callback=named_values, metavar="NAME=VALUE", help="A setting of the source."
    )
    path = click.option(
        "--path", type=click.Path(path_type=Path), metavar="PATH", help="File or folder of a source that reads one."
    )
    return click.argument("what")(path(settings(json_option(function))))


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse data check press.toml                      read it all, as a training would",
        "hanse data check ./alice                         the data of a node",
        "hanse data fetch mnist                           download a data set",
    ),
)
def data() -> None:
    """Records to train on. WHAT names them: the TOML file of a block (docs/data.md), a node's folder, or a source
    (`hanse help sources`). Nothing leaves this machine, and nothing is written but by `fetch`.
    """


data.add_command(fetch)


@data.command(
    examples=(
        "hanse data check press.toml",
        "hanse data check ./alice --json",
        "hanse data check mnist --path ./mnist --set downscale=2",
    )
)
@data_options
def check(what: str, path: Path | None, settings: dict[str, str], as_json: bool) -> None:
    """Read all records as a training would, and print what there is: how many of each class, groups, and for data of
    one's own how many rows with gaps are left out, and how many numbers lie outside of the ranges that were declared.
    Exit code 3 names the first fault.
    """
    named = _named(what, path, settings)
    survey = _read(named.survey)
    split = survey.split
    if as_json:
        found = [
            {name: getattr(each, name) for name in ("name", "declared", "low", "high", "outside")}
            for each in survey.found
        ]
        print_json({**_as_json(named, split), "features": found, "left_out": survey.left_out})
        return
    _print_summary(named, split)
    counts = [(part.class_counts().tolist()) for part in (split.train, split.test)]
    rows = [(name, *each) for name, *each in zip(split.train.classes, *counts, strict=True)]
    print_table(
        "classes", ("class", "to train on", "to test on"), [row for row in rows if len(rows) < 50 or any(row[1:])]
    )
    if survey.found:
        _print_found(survey.found)
    for warning in _warnings(survey):
        click.echo(f"Note: {warning}.")


@data.command(examples=("hanse data show press.toml", "hanse data show bearing-simulator --records 3"))
@data_options
@click.option("--records", type=click.IntRange(1, 1000), default=5, show_default=True, help="So many from the start.")
def show(what: str, path: Path | None, settings: dict[str, str], as_json: bool, records: int) -> None:
    """Print the first records as a model is fed them: scaled, with the class and group of each."""
    named = _named(what, path, settings)
    split = _read(named.load)
    first = split.train.take(slice(0, records))
    groups = first.names_of_groups()
    classes = [first.classes[label] for label in first.labels.tolist()]
    if as_json:
        listed = [
            {"inputs": inputs, "class": name, "group": None if groups is None else groups[at]}
            for at, (inputs, name) in enumerate(zip(first.inputs().tolist(), classes, strict=True))
        ]
        print_json({**_as_json(named, split), "first": listed})
        return
    _print_summary(named, split)
    rows = [
        (at + 1, classes[at], groups[at] if groups is not None else "-", _shortened(first, at))
        for at in range(len(first))
    ]
    print_table("first records to train on", ("record", "class", first.grouped_by or "group", "inputs"), rows)


@data.command(
    examples=(
        'hanse data split press.toml --clients 5 --split "class(2)"',
        'hanse data split mnist --path ./mnist --clients 10 --split "dirichlet(0.5)" --seed 7',
        "hanse data split press.toml --clients 3 --split group",
    )
)
@data_options
@click.option("--clients", type=click.IntRange(1, 100_000), default=10, show_default=True, help="Factories.")
@click.option(
    "--split", "how", default="iid", show_default=True, metavar="HOW", help='iid, "class(2)", "dirichlet(0.5)", group.'
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Of what is drawn.")
def split(
    what: str, path: Path | None, settings: dict[str, str], as_json: bool, clients: int, how: str, seed: int
) -> None:
    """Print how many records of each class every client would hold: the division that `hanse simulate` makes of the
    same data with the same seed.
    """
    from fl.simulate.scenarios import Scenario, clients_of
    from fl.simulate.terms import Terms

    named = _named(what, path, settings)
    # The terms of a scenario play no part in who holds what.
    chosen = Scenario(named.source, dict(named.settings), how, Terms("mlp", 1, 1, 1, 0.1, 0.0, {}))
    parts = _read(lambda: clients_of(chosen, named.path, clients, how, seed))[0]
    counts = [part.train.class_counts().tolist() for part in parts]
    names = parts[0].train.classes
    if as_json:
        print_json({"clients": [dict(zip(names, each, strict=True)) for each in counts], "split": how, "seed": seed})
        return
    held = [at for at in range(len(names)) if any(each[at] for each in counts)]
    rows = [(client, sum(each), *(each[at] for at in held)) for client, each in enumerate(counts)]
    print_table(f"records by class, {how}", ("client", "records", *(names[at] for at in held)), rows)


def _named(what: str, path: Path | None, settings: dict[str, str]) -> "NamedData":
    from node.named_data import named_data

    return _read(lambda: named_data(what, path, settings))


def _read(reading: Callable[[], T]) -> T:
    """What `reading` gives; data that cannot be used are a fault of this machine's files."""
    from fl.data.errors import DataError

    try:
        return reading()
    except DataError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None


def _as_json(named: "NamedData", split: "Split") -> dict[str, Any]:
    train = split.train
    return {
        "source": named.source,
        "kind": named.kind(),
        "path": None if named.path is None else str(named.path),
        "record": {"shape": list(train.record_shape), "type": str(train.features.dtype)},
        "records": {"train": len(train), "test": len(split.test)},
        "classes": {
            name: {"train": trained, "test": tested}
            for name, trained, tested in zip(
                train.classes, train.class_counts().tolist(), split.test.class_counts().tolist(), strict=True
            )
        },
        "groups": {"by": train.grouped_by, "train": _groups(train)} if train.groups is not None else None,
        "overlap": train.overlap,
    }


def _groups(table: "Table") -> int:
    return 0 if table.groups is None else len(set(table.groups.tolist()))


def _print_summary(named: "NamedData", split: "Split") -> None:
    train = split.train
    values = {"float32": "numbers", "uint8": "pixels", "int64": "codes"}[str(train.features.dtype)]
    shape = " x ".join(map(str, train.record_shape))
    units = "a single record" if not train.overlap else "no single record: they overlap"
    if train.groups is not None:
        units += f", or group:{train.grouped_by} ({_groups(train)} of them)"
    print_fields(
        {
            "data": named.source if named.path is None else f"{named.path} ({named.kind()})",
            "records": f"{len(train)} to train on, {len(split.test)} to test on",
            "each": f"{shape} {values}",
            "privacy protects": units,
        }
    )
    click.echo()


def _print_found(found: "tuple[Found, ...]") -> None:
    rows = [
        (
            each.name,
            each.declared,
            "-" if each.low is None else f"{each.low:g}",
            "-" if each.high is None else f"{each.high:g}",
            each.outside,
        )
        for each in found
    ]
    print_table("features", ("feature", "declared", "least", "greatest", "outside"), rows)


def _warnings(survey: "Survey") -> list[str]:
    """What is allowed, and seldom meant."""
    split = survey.split
    trained, tested = split.train.class_counts(), split.test.class_counts()
    names = split.train.classes
    unseen = [names[at] for at in range(len(names)) if tested[at] and not trained[at]]
    said = []
    if unseen:
        said.append(f"{', '.join(unseen[:VALUES_SHOWN])}: tested on and never trained on here")
    if not any(tested[at] for at in range(len(names)) if trained[at]):
        said.append("no class that is trained on is tested on")
    said += [
        f"{each.name}: {each.outside} values lie outside of {each.declared} and are cut off there"
        for each in survey.found
        if each.outside
    ]
    if survey.left_out:
        said.append(f"{survey.left_out} rows have gaps and are left out")
    return said


def _shortened(table: "Table", at: int) -> str:
    values = table.inputs()[at].reshape(-1)
    shown = " ".join(f"{value:g}" for value in values[:VALUES_SHOWN].tolist())
    return shown if len(values) <= VALUES_SHOWN else f"{shown} ... ({len(values)} in all)"
