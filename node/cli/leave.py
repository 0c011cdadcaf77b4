"""`hanse leave`: out of the league, in good order."""

from pathlib import Path
from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json
from node.cli.sending import sending_options
from node.cli.statements import Prepared, Signing, say_with_identity, signing_options
from node.cli.verbs import Verb, node_options
from node.cli.which_node import ask, send


@click.command(
    cls=Verb,
    examples=(
        "hanse leave -c ./alice                        the tokens stay, for the day it comes back",
        "hanse leave --to bob --yes -c ./alice         the tokens go to bob",
        "hanse leave --identity alice.pem -c ./new     when the node and its key are lost",
    ),
)
@click.option("--to", "beneficiary", metavar="WHO", help="A member that gets this organisation's tokens.")
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@node_options
@sending_options
@signing_options
def leave(
    beneficiary: str | None,
    yes: bool,
    config_path: str,
    as_json: bool,
    wait: bool,
    timeout_s: float,
    identity: Path | None,
    identity_passphrase_file: Path | None,
    offline: Path | None,
    submit: Path | None,
) -> None:
    """Leave the league. Its record stays, and counts again should it come back with `hanse join league`.

    Own requests must be over or cancelled first; what this organisation has delivered to others' is still paid into its
    account. The node then takes no part any more: its local interface goes on answering, from a ledger that stands
    still, until `hanse stop`.
    """
    status = ask(config_path, "status")
    signing = Signing(identity, identity_passphrase_file, offline, submit)
    if not submit:
        _confirm(status, beneficiary, yes)
    to = "me" if beneficiary is None else beneficiary
    if identity or offline or submit:
        answer = say_with_identity(
            config_path,
            lambda prepared: _leaving(config_path, prepared, beneficiary),
            signing,
            draw=False,
            wait=wait and status["node"]["in_league"],
            timeout_s=timeout_s,
            as_json=as_json,
        )
    else:
        answer = send(config_path, {"kind": "leave_league", "beneficiary": to}, wait, timeout_s, as_json)
    if answer is None:
        return
    if as_json:
        print_json(answer)
    elif answer["status"] == "final":
        click.echo(f"This organisation left the league in block {answer['height']}. `hanse stop` ends the node;")
        click.echo("`hanse join league` asks to be let in again.")
    else:
        click.echo(f"Leaving is on its way, transaction {answer['id']}")


def _confirm(status: dict[str, Any], beneficiary: str | None, yes: bool) -> None:
    if yes:
        return
    to = f"go to {beneficiary}" if beneficiary else "stay in its account"
    league, balance = status["league"]["name"], status["balance"]
    if not click.confirm(f"Leave the league {league}? The {balance} tokens {to}.", err=True):
        raise CliError(Exit.INTERRUPTED, "not left")


def _leaving(config_path: str, prepared: Prepared, beneficiary: str | None) -> dict[str, str]:
    to = prepared["org"] if beneficiary is None else ask(config_path, "member", org=beneficiary)["member"]["org"]
    return {"kind": "leave_league", "beneficiary": to}
