"""`hanse request advise`: settings for a request, from what providers tell of the classes of their records."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table
from node.cli.request_ids import whole_id
from node.cli.verbs import Verb, node_options
from node.cli.which_node import ask

if TYPE_CHECKING:
    from fl.advice import Advice
    from fl.label_mix import Differences, FactoryMix

MODES = ("sound", "none", "paper", "distributed")
# The newest requests of a league that are looked through.
REQUESTS_MAX = 100


@click.command(
    cls=Verb,
    examples=(
        "hanse request advise ID -c ./alice                     of the providers of a request",
        "hanse request advise --data-type cwru -c ./alice       of all that offered such data lately",
        "hanse request advise --labels factories.toml           of what a file says, without a node",
        "hanse request advise --labels factories.toml --request bearing.toml --json",
    ),
)
@click.argument("request_id", required=False, metavar="[ID]")
@click.option(
    "--labels",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="TOML with a [[factory]] for each: name, records, classes = { NAME = COUNT }.",
)
@click.option("--data-type", metavar="TYPE", help="Only offers of this type of data. Default: all.")
@click.option(
    "--request",
    "draft",
    type=click.Path(exists=True, path_type=Path),
    metavar="FILE",
    help="Takes the mode of privacy, and whether updates are masked, from it.",
)
@click.option("--privacy", type=click.Choice(MODES), help="Mode of the request. Default: of --request, else sound.")
@node_options
def advise(
    request_id: str | None,
    labels: Path | None,
    data_type: str | None,
    draft: Path | None,
    privacy: str | None,
    config_path: str,
    as_json: bool,
) -> None:
    """Suggest a strategy and settings, each with the reason: how far factories differ, and what was measured there.

    Providers tell the shares of their classes only if their owners let them ([privacy] disclose_labels). Prints lines
    to paste into a request file; nothing is published.
    """
    from fl.advice import advise as advice_for
    from fl.label_mix import LabelMixError, differences
    from node.labels_file import LabelsFileError, read_labels

    if labels is not None and (request_id or data_type):
        raise CliError(Exit.USAGE, "--labels says all there is: want it without ID and --data-type")
    silent: list[str] = []
    try:
        if labels is not None:
            mixes = read_labels(labels)
        else:
            mixes, silent = _disclosed(config_path, request_id, data_type)
        found = differences(mixes)
    except LabelsFileError as error:
        raise CliError(Exit.CONFIGURATION, str(error)) from None
    except LabelMixError as error:
        quiet = f"; {len(silent)} tell nothing of their classes: {', '.join(silent[:8])}" if silent else ""
        raise CliError(Exit.NOT_FOUND, f"{error}{quiet}") from None
    mode, masked = _asked(draft)
    mode = privacy or mode
    advice = advice_for(found, mode, masked)
    if as_json:
        print_json(_as_json(found, advice, mode, silent))
    else:
        _print(mixes, found, advice, mode, silent)


def _disclosed(config_path: str, request_id: str | None, data_type: str | None) -> "tuple[list[FactoryMix], list[str]]":
    """By organisation the newest that it told, and the names of those that told nothing."""
    from fl.label_mix import FactoryMix, LabelMixError, parsed_shares
    from node.label_disclosure import ATTRIBUTE

    if request_id is not None:
        ids = [whole_id(config_path, request_id)]
    else:
        ids = [each["id"] for each in ask(config_path, "request.list", limit=REQUESTS_MAX)["requests"]]
    told: dict[str, FactoryMix] = {}
    silent: dict[str, str] = {}
    for each in ids:
        for provider in ask(config_path, "request.get", request=each)["request"]["providers"]:
            org, name = provider["org"], provider["name"] or provider["org"][:16]
            if org in told or data_type not in (None, provider["data_type"]):
                continue
            try:
                shares = parsed_shares(provider["attributes"].get(ATTRIBUTE, ""))
            except LabelMixError:
                silent[org] = name
                continue
            weights = {str(label): float(share) for label, share in shares.items()}
            told[org] = FactoryMix(name, provider["record_count"], weights)
    return list(told.values()), [name for org, name in silent.items() if org not in told]


def _asked(draft: Path | None) -> tuple[str, bool]:
    """The mode of privacy, and whether updates are masked."""
    if draft is None:
        return "sound", False
    from node.request_file import load_request

    read = load_request(draft)
    return read.privacy, read.masked


def _toml(advice: "Advice") -> str:
    """Sections and lines, to paste into a request file."""
    lines: list[str] = []
    section = ""
    for each in advice.settings:
        if each.section != section:
            section = each.section
            lines += ([""] if lines else []) + [f"[{section}]"]
        lines += [f"# {each.reason}", f"{each.name} = {each.value}"]
    return "\n".join(lines)


def _as_json(found: "Differences", advice: "Advice", mode: str, silent: list[str]) -> dict[str, Any]:
    return {
        "factories": found.factories,
        "records": found.records,
        "distance": round(found.distance, 4),
        "farthest": {"name": found.farthest[0], "distance": round(found.farthest[1], 4)},
        "classes": found.classes,
        "classes_held": round(found.held, 2),
        "held_by_one": dict(found.alone),
        "kind": advice.kind,
        "privacy": mode,
        "settings": [
            {"section": each.section, "name": each.name, "value": each.value, "reason": each.reason}
            for each in advice.settings
        ],
        "warnings": list(advice.warnings),
        "tells_nothing": silent,
        "toml": _toml(advice),
    }


def _print(mixes: "list[FactoryMix]", found: "Differences", advice: "Advice", mode: str, silent: list[str]) -> None:
    rows = [
        (mix.name, mix.records, " ".join(f"{label}:{100 * mix.share(label):.0f}" for label in mix.weights))
        for mix in mixes
    ]
    print_table("Who has what, percent by class", ("factory", "records", "classes"), rows)
    print_fields(
        {
            "factories": f"{advice.kind}: {100 * found.distance:.0f} % of a factory's records would have to be of other"
            f" classes to be like all, {100 * found.farthest[1]:.0f} % at {found.farthest[0]}",
            "classes": f"{found.classes} in all, {found.held:.1f} at a factory",
            "privacy": mode,
        }
    )
    if silent:
        click.echo(f"telling nothing of their classes: {', '.join(silent)}")
    for warning in advice.warnings:
        click.echo(f"note: {warning}")
    click.echo(f"\n{_toml(advice)}")
