"""What verbs that put a transaction on the ledger have in common: waiting for finality, and saying what came of it."""

from collections.abc import Callable
from typing import Any

import click

from node.cli.output import print_json
from node.cli.verbs import timeout_option


def sending_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--wait/--no-wait and --timeout."""
    function = timeout_option(30, "How long to wait for a final block.")(function)
    return click.option(
        "--wait/--no-wait", default=True, help="Wait until the transaction is final (default), or come back at once."
    )(function)


def say_sent(what: str, answer: dict[str, Any], as_json: bool) -> None:
    """One line: what was done, in which block, under which transaction id."""
    if as_json:
        print_json(answer)
    elif answer["status"] == "final":
        click.echo(f"{what}: final in block {answer['height']}, transaction {answer['id']}")
    else:
        click.echo(f"{what}: on its way, transaction {answer['id']}")
