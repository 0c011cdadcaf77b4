"""Putting a motion to the members: the ballot is opened by this organisation, which supports it by that."""

from typing import Any

import click

from node.cli.output import print_json, short_hash
from node.cli.which_node import ask, send


def open_ballot(
    config_path: str, motion: dict[str, Any], what: str, wait: bool, timeout_s: float, as_json: bool
) -> None:
    """Open a ballot on `motion` and say what became of it: open, or passed when no other voice was needed."""
    answer = send(config_path, {"kind": "open_ballot", "motion": motion}, wait, timeout_s, as_json)
    found = ask(config_path, "ballot", ballot=answer["id"]) if answer["status"] == "final" else None
    if as_json:
        more = {} if found is None else {"ballot_status": found["status"]}
        print_json({**answer, **more, "ballot": answer["id"]})
    elif found is None:
        click.echo(f"Proposed {what}: on its way, ballot {answer['id']}")
    else:
        click.echo(f"Proposed {what}: {outcome(found)}")
        if found["status"] == "open":
            click.echo(f"The others agree with\n\n  hanse vote support {short_hash(answer['id'])}")


def outcome(found: dict[str, Any]) -> str:
    """How a ballot stands, in a line."""
    if found["status"] == "passed":
        moot = found["decision"]["moot"]
        return f"passed in block {found['decision']['decided_height']}" + (f", and moot: {moot}" if moot else "")
    ballot = found["ballot"]
    return f"open, {ballot['voices']} of {ballot['needed']} voices, until height {ballot['expires_height']}"
