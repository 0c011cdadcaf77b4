"""`hanse join`: into a league, or with one's data into a request."""

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import progress
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask, finality, read_config, send


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse join league -c ./eve                  ask the members to let this organisation in",
        "hanse join request ID -c ./eve              offer this organisation's records to a request",
    ),
)
def join() -> None:
    """Two ways of joining: a league (once), and a request (each time one wants to train and be paid)."""


@join.command(
    examples=("hanse join league -c ./eve", "hanse join league --address /dns4/eve.example/tcp/4001 -c ./eve")
)
@click.option("--name", help="The name members will see. Default: [node] name of the configuration.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="MULTIADDR",
    help="Where members reach this node. Default: [network] announce, else listen.",
)
@node_options
@sending_options
def league(
    name: str | None, addresses: tuple[str, ...], config_path: str, as_json: bool, wait: bool, timeout_s: float
) -> None:
    """Ask to be let in. Needs a bootstrap peer in the configuration and the league's genesis file.

    The request is on the ledger once this comes back. More than two thirds of the members must then approve:
    `hanse members approve <peer id>` on their side. `hanse status` says when this node is a member.
    """
    from node.config_check import dialable

    config = read_config(config_path)
    if not config.network.bootstrap:
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
    body = {"kind": "register_member", "name": name or config.node.name, "addresses": list(reached)}
    say_sent("Asked to be let in", send(config_path, body, wait, timeout_s, as_json), as_json)


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
            request=request_id,
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
