"""`hanse dp report` and `hanse dp check`: what was spent here, and what the providers of a request say they spent."""

from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import print_fields, print_json, print_table, short_hash
from node.cli.request_ids import whole_id
from node.cli.verbs import Verb, node_options
from node.cli.which_node import ask

MICRO = 10**6


@click.command(cls=Verb, examples=("hanse dp report -c ./alice", "hanse dp report -c ./alice --json | jq .left"))
@node_options
def report(config_path: str, as_json: bool) -> None:
    """Print what trainings have spent of this node's records' privacy: in all, by request, and what is left."""
    answer = ask(config_path, "privacy.budget")
    if as_json:
        print_json(answer)
        return
    limit, delta = answer["epsilon_max"] / MICRO, answer["delta"]
    records = answer["records"]
    print_fields(
        {
            "data set": f"{answer['data_type'] or 'none'}, {records} records anchored",
            "spent": f"epsilon {answer['spent'] / MICRO:.4f} of {limit:g} at delta {delta}",
            "left": f"epsilon {answer['left'] / MICRO:.4f}; all requests on these records share it, nothing comes back",
        }
    )
    if records and float(delta) * 10 * records >= 1:
        click.echo(f"note: delta {delta} is not below 1 / (10 x {records} records): lower [privacy] delta")
    for each in answer["unguarded"]:
        click.echo(
            f"note: request {short_hash(each['request'])} ({each['title']}) was trained in mode {each['mode']}: "
            "what it told of these records no number bounds"
        )
    rows = [
        (
            short_hash(each["request"]),
            each["title"] or "-",
            each["mode"],
            each["unit"],
            f"{each['noise'] / MICRO:.4f}",
            each["charges"],
            f"{each['epsilon'] / MICRO:.4f}",
            f"{each['epsilon_max'] / MICRO:g}",
            each["delta"],
        )
        for each in answer["requests"]
    ]
    if rows:
        click.echo()
        columns = ("request", "title", "mode", "unit", "noise", "rounds charged", "epsilon", "at most", "delta")
        print_table("By request (epsilons of requests do not add up: the whole is less)", columns, rows)


@click.command(cls=Verb, examples=("hanse dp check 3f2a91 -c ./alice", "hanse dp check 3f2a91 -c ./alice --json"))
@click.argument("request_id", metavar="ID")
@node_options
def check(request_id: str, config_path: str, as_json: bool) -> None:
    """Print what each provider of a request says it was charged, and compute it again from noise, rate and steps.

    Exit code 7 when what one of them announced cannot be right. That noise was added nobody outside can see.
    """
    answer = ask(config_path, "request.privacy", request=whole_id(config_path, request_id))
    faults = [each for each in answer["providers"] if each["fault"]]
    if as_json:
        print_json(answer)
    else:
        _print_charges(answer)
    if faults:
        named = "; ".join(f"{each['name'] or short_hash(each['org'])}: {each['fault']}" for each in faults)
        raise CliError(Exit.NOT_VERIFIED, named)


def _print_charges(answer: dict[str, Any]) -> None:
    rows = []
    for each in answer["providers"]:
        charge = each["charge"]
        again = "-" if each["recomputed"] is None else f"{each['recomputed'] / MICRO:.4f}"
        if charge is None:
            rows.append((each["name"] or short_hash(each["org"]), each["rounds"], "-", "-", "-", "-", "-", "-"))
            continue
        rows.append(
            (
                each["name"] or short_hash(each["org"]),
                each["rounds"],
                f"{charge['noise_micro'] / MICRO:.4f}",
                f"{charge['batch']} of {charge['units']}",
                f"{charge['epsilon_micro'] / MICRO:.4f}",
                f"{charge['delta_pico'] / 1e12:g}",
                again,
                each["fault"] or "fits",
            )
        )
    columns = ("provider", "rounds", "noise", "rate", "epsilon", "delta", "computed again", "verdict")
    print_table(f"Request {short_hash(answer['request'])}, privacy {answer['privacy']}", columns, rows)
    if not answer["complete"]:
        click.echo(
            "note: old blocks are gone here, so some announcements could not be read; another node may hold them"
        )
