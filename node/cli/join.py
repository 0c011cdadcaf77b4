"""`hanse join`: into a league, or with one's data into a request."""

import time
from pathlib import Path
from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_json, progress
from node.cli.request_ids import whole_id
from node.cli.sending import say_sent, sending_options
from node.cli.statements import Prepared, Signing, say_with_identity, signing_options
from node.cli.verbs import VerbGroup, node_options, timeout_option
from node.cli.which_node import ask, finality, node_client, read_config

# Approvals are made by people; the node itself asks every few seconds.
ASK_EVERY_S = 0.5
# A node that was just started needs seconds until its network is up and a bootstrap peer has answered.
REACH_S = 15.0


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse join league -c ./eve                  ask the members to let this organisation in, or in again",
        "hanse join request ID -c ./eve              offer this organisation's records to a request",
    ),
)
def join() -> None:
    """Two ways of joining: a league (once), and a request (each time one wants to train and be paid)."""


@join.command(
    examples=(
        "hanse join league -c ./eve",
        "hanse join league --role provider --address /dns4/eve.example/tcp/4001 -c ./eve",
        "hanse join league --identity /media/stick/eve.pem --wait -c ./eve",
    )
)
@click.option("--name", help="The name members will see. Default: [node] name of the configuration.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="MULTIADDR",
    help="Where members reach this node. Default: [network] announce, else listen.",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice(["requester", "provider", "observer"]),
    help="What to take part in. Default: requester and provider. An observer has no vote.",
)
@click.option("--wait", is_flag=True, help="Wait until this organisation is a member.")
@timeout_option(3600, "With --wait: leave with exit code 8 after this.")
@node_options
@signing_options
def league(
    name: str | None,
    addresses: tuple[str, ...],
    roles: tuple[str, ...],
    wait: bool,
    timeout_s: float,
    config_path: str,
    as_json: bool,
    identity: Path | None,
    identity_passphrase_file: Path | None,
    offline: Path | None,
    submit: Path | None,
) -> None:
    """Ask to be let in. Needs a bootstrap peer in the configuration and the league's genesis file.

    The identity signs it. More than two thirds of the members who vote must then approve: `hanse members approve` on
    their side. `hanse status` says when this node is a member. Who was a member comes back with its old record.
    """
    from ledger.roles import roles_of

    body = _registration(config_path, name, addresses)
    try:
        body["roles"] = roles_of(roles or ("requester", "provider"))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    signing = Signing(identity, identity_passphrase_file, offline, submit)
    answer = _ask_to_be_let_in(config_path, body, signing, wait, timeout_s, as_json)
    if answer is None:
        return
    if wait:
        _wait_for_membership(config_path, timeout_s, as_json)
        answer = {**answer, "member": True}
    if as_json:
        print_json(answer)
    elif wait:
        click.echo("This organisation is a member.")
    else:
        click.echo(f"Asked to be let in, transaction {answer['id']}. Members approve with\n")
        click.echo(f"  hanse members approve {body['name']}")


def _registration(config_path: str, name: str | None, addresses: tuple[str, ...]) -> dict[str, Any]:
    """Name and addresses. Raises CliError when nobody could be asked, or nobody could reach this node."""
    from node.config_check import dialable

    config = read_config(config_path)
    # Who was a member finds the others in its ledger.
    if not config.network.bootstrap and ask(config_path, "status")["node"]["standing"] not in ("left", "expelled"):
        raise CliError(
            Exit.CONFIGURATION,
            f"{config.path}: [network] bootstrap is empty, want a member to ask, with /p2p/<peer id>",
        )
    reached = addresses or config.network.announce or dialable(config.network.listen)
    if not reached:
        raise CliError(
            Exit.CONFIGURATION,
            f"{config.path}: [network] listen names no place that others can dial; set announce, or give --address",
        )
    return {"kind": "register_member", "name": name or config.node.name, "addresses": list(reached)}


def _ask_to_be_let_in(
    config_path: str, body: dict[str, Any], signing: Signing, wait: bool, timeout_s: float, as_json: bool
) -> dict[str, Any] | None:
    """What became of the registration. With `wait`, one that was sent before is as good as a new one."""
    from node.rpc.errors import RpcError

    def registration(prepared: Prepared) -> dict[str, Any]:
        apart = prepared["key"] != prepared["org"]
        return {**body, "key": prepared["key"], "proof": prepared["proof"]} if apart else body

    until = time.monotonic() + min(timeout_s, REACH_S)
    while True:
        try:
            # An outsider is shown no blocks before it is let in, so there is no finality for it to wait for.
            return say_with_identity(
                config_path, registration, signing, draw=False, wait=False, timeout_s=timeout_s, as_json=as_json
            )
        except RpcError as refused:
            rule = refused.details.get("rule")
            if wait and rule in ("member", "candidate"):
                return {"status": rule}
            starting = refused.kind.word == "unavailable" or rule in ("unreachable", "starting")
            if not starting or time.monotonic() > until:
                raise
        time.sleep(ASK_EVERY_S)


def _wait_for_membership(config_path: str, timeout_s: float, as_json: bool) -> None:
    until = time.monotonic() + timeout_s
    with progress("waiting for the members' approval", None, as_json), node_client(config_path) as client:
        # Its own ledger shows it when it has caught up.
        while not client.call("status")["node"]["member"]:
            if time.monotonic() > until:
                raise CliError(Exit.TIMED_OUT, f"not let in within {timeout_s:g} s; the members may still approve")
            time.sleep(ASK_EVERY_S)


@join.command(examples=("hanse join request ID -c ./eve", "hanse join request ID --records 500 -c ./eve"))
@click.argument("request_id", metavar="ID")
@click.option("--records", type=click.IntRange(1, 2**53 - 1), help="Records to offer. Default: all anchored ones.")
@click.option("--data-type", metavar="TYPE", help="Default: the type the request asks for.")
@click.option(
    "--attribute", "attributes", multiple=True, metavar="NAME=VALUE", help="Said about the data, on the ledger."
)
@node_options
@sending_options
def request(
    request_id: str,
    records: int | None,
    data_type: str | None,
    attributes: tuple[str, ...],
    config_path: str,
    as_json: bool,
    wait: bool,
    timeout_s: float,
) -> None:
    """Offer this organisation's records to a request. Only anchored records count, and are paid."""
    named = dict(_pair(text) for text in attributes)
    with progress("offering", None, as_json):
        answer = ask(
            config_path,
            "request.join",
            request=whole_id(config_path, request_id),
            record_count=records,
            data_type=data_type,
            attributes=named or None,
            **finality(wait, timeout_s),
        )
    say_sent(f"Offered {answer['record_count']} records", answer, as_json)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise CliError(Exit.USAGE, f"--attribute {text!r}, want NAME=VALUE")
    return name, value
