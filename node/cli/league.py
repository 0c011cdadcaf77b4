"""`hanse league`: what the league has set for itself, and putting changes to the vote."""

from typing import Any

import click

from node.cli.motions import open_ballot
from node.cli.output import print_fields, print_json
from node.cli.sending import sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse league parameters -c ./alice",
        "hanse league change reward_min=2 seats_max=7 --at 12000 -c ./alice",
        "hanse league upgrade --version 3 --at 20000 -c ./alice",
    ),
)
def league() -> None:
    """The rules that members have agreed to, and how they change: by a ballot, from a stated height on."""


@league.command(examples=("hanse league parameters -c ./alice", "hanse league parameters -c ./alice --json"))
@node_options
def parameters(config_path: str, as_json: bool) -> None:
    """Print the parameters in force, the protocol, and what changes at which height."""
    answer = ask(config_path, "parameters")
    if as_json:
        print_json(answer)
        return
    protocol, now = answer["protocol"], answer["parameters"]
    print_fields(now)
    lines: dict[str, object] = {"protocol": f"{protocol['version']}, since height {protocol['since_height']}"}
    if protocol["scheduled"]:
        following = protocol["scheduled"]
        lines["upgrade"] = f"protocol {following['version']} from height {following['from_height']} on"
    for change in answer["scheduled"]:
        new = {name: value for name, value in change["parameters"].items() if value != now[name]}
        said = ", ".join(f"{name} {value}" for name, value in new.items()) or "as they are"
        lines[f"from height {change['from_height']}"] = said
    click.echo()
    print_fields(lines)


@league.command(
    examples=(
        "hanse league change reward_min=2 --at 12000 -c ./alice",
        "hanse league change seats_max=7 ballot_expiry_heights=5000 --at 12000 -c ./alice",
    )
)
@click.argument("changes", nargs=-1, required=True, metavar="NAME=VALUE...")
@click.option("--at", "from_height", type=click.IntRange(1), required=True, metavar="HEIGHT", help="In force from.")
@node_options
@sending_options
def change(
    changes: tuple[str, ...], from_height: int, config_path: str, as_json: bool, wait: bool, timeout_s: float
) -> None:
    """Put new parameters to the vote; those that are not named stay. `hanse league parameters` lists them.

    Requests that are published before keep the terms they were published under.
    """
    answer = ask(config_path, "parameters")
    # What is decided already and waits for its height is what this builds on.
    last = answer["scheduled"][-1]["parameters"] if answer["scheduled"] else answer["parameters"]
    motion = {
        "kind": "change_parameters",
        "parameters": {**last, **_changes(changes, last)},
        "from_height": from_height,
    }
    what = f"{', '.join(changes)} from height {from_height} on"
    open_ballot(config_path, motion, what, wait, timeout_s, as_json)


def _changes(texts: tuple[str, ...], known: dict[str, Any]) -> dict[str, int]:
    """Raises UsageError for what is no parameter or no number."""
    found: dict[str, int] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        digits = value.replace("_", "")
        if not equals or not digits.isascii() or not digits.isdigit():
            raise click.UsageError(f"{text!r}, want NAME=VALUE with a whole number")
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise click.UsageError(f"there is no parameter {name!r}; {hint}")
        if name in found:
            raise click.UsageError(f"{name} is given twice")
        found[name] = int(digits)
    return found


@league.command(examples=("hanse league upgrade --version 3 --at 20000 -c ./alice",))
@click.option("--version", type=click.IntRange(2, 2**16), required=True, help="The next version of the protocol.")
@click.option("--at", "from_height", type=click.IntRange(1), required=True, metavar="HEIGHT", help="In force from.")
@node_options
@sending_options
def upgrade(version: int, from_height: int, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Put the next version of the protocol to the vote.

    A node whose program does not know that version stops before the height, with exit code 9 and nothing lost.
    """
    motion = {"kind": "activate_protocol", "version": version, "from_height": from_height}
    what = f"protocol {version} from height {from_height} on"
    open_ballot(config_path, motion, what, wait, timeout_s, as_json)
