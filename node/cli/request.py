"""`hanse request`: publish a data request, look at requests, cancel one. Following one is in `watch.py`."""

from pathlib import Path
from typing import Any

import click

from node.cli.advise import advise
from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.model_packages import unpinned_hint
from node.cli.output import judged, percent, print_fields, print_json, print_table, progress, short_hash, so_far
from node.cli.request_ids import whole_id
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options, timeout_option
from node.cli.watch import watch_request
from node.cli.which_node import ask, finality


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse request publish --template > bearing.toml",
        "hanse request advise --labels factories.toml",
        "hanse request publish bearing.toml -c ./alice",
        "hanse request watch ID -c ./alice",
    ),
)
def request() -> None:
    """Data requests: somebody asks for a model, others train it with their data and are paid for it.

    Records never leave their owner; what travels are model updates. ID is the request's id, or its first digits.
    """


@request.command(
    examples=(
        "hanse request publish --template > bearing.toml        a file with every term explained",
        "hanse request publish bearing.toml --check             read it, publish nothing",
        "hanse request publish bearing.toml -c ./alice",
    )
)
@click.argument("path", required=False, type=click.Path(path_type=Path), metavar="[FILE]")
@click.option("--template", is_flag=True, help="Print a request file to edit, and do nothing else.")
@click.option("--check", is_flag=True, help="Only read FILE strictly, as the node would.")
@node_options
@sending_options
def publish(
    path: Path | None,
    template: bool,
    check: bool,
    config_path: str,
    as_json: bool,
    wait: bool,
    timeout_s: float,
) -> None:
    """Publish the request in FILE (TOML). Its budget leaves this organisation's balance; what is not earned returns."""
    from node.request_file import check_known, load_request
    from node.request_template import request_template

    if template:
        if path is not None:
            raise CliError(Exit.USAGE, "--template prints a file to edit; it reads none")
        click.echo(request_template(), nl=False)
        return
    if path is None:
        raise CliError(Exit.USAGE, "which request? Give a FILE, or --template for one to edit")
    draft = load_request(path)
    hint = None if as_json else unpinned_hint(draft.model, dict(draft.model_arguments))
    if hint is not None:
        click.echo(f"hanse: {hint}", err=True)
    if check:
        check_known(draft)
        if as_json:
            print_json({"file": str(path), "request": draft.as_json()})
        else:
            click.echo(f"{path}: good; {draft.title!r}, model {draft.model}, strategy {draft.strategy}")
        return
    with progress("making the initial model and publishing", None, as_json):
        answer = ask(config_path, "request.publish", request=draft.as_json(), **finality(wait, timeout_s))
    say_sent(f"Request {answer['request']}", answer, as_json)


@request.command(name="list", examples=("hanse request list -c ./alice", "hanse request list --open -c ./alice --json"))
@click.option("--open", "only_open", is_flag=True, help="Only those that are not over.")
@node_options
def list_requests(only_open: bool, config_path: str, as_json: bool) -> None:
    """Print the requests of the league, newest first."""
    answer = ask(config_path, "request.list", open=only_open or None)
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            found["id"],
            found["title"],
            found["requester_name"] or short_hash(found["requester"]),
            found["stage"],
            f"{found['round']}/{found['rounds_max']}",
            found["providers"],
            judged(found["accuracy"]),
        )
        for found in answer["requests"]
    ]
    columns = ("id", "title", "requester", "stage", "round", "providers", "accuracy")
    print_table("Requests", columns, rows, shorten=("id",))


@request.command(examples=("hanse request get ID -c ./alice",))
@click.argument("request_id", metavar="ID")
@node_options
def get(request_id: str, config_path: str, as_json: bool) -> None:
    """Print a request: its terms, its providers, the round in work."""
    answer = ask(config_path, "request.get", request=whole_id(config_path, request_id))
    if as_json:
        print_json(answer)
        return
    found = answer["request"]
    terms = {**found["terms"], **_protection(found["protection"])}
    print_fields({**_about(found), **{name.replace("_", " "): _said(value) for name, value in terms.items()}})
    rows = [
        (each["name"] or short_hash(each["org"]), each["data_type"], each["record_count"], each["joined_height"])
        for each in found["providers"]
    ]
    print_table("Providers", ("name", "data", "records", "since height"), rows)
    if answer["round"]:
        names = {each["org"]: each["name"] for each in found["providers"]}
        parts = [
            (names.get(part["org"]) or short_hash(part["org"]), so_far(part["fate"]), part["weight"], part["reason"])
            for part in answer["round"]["participants"]
        ]
        title = f"Round {answer['round']['number']}, attempt {answer['round']['attempt']}"
        print_table(title, ("provider", "fate", "records", "reason"), parts)
    _print_protection(found)


def _protection(found: dict[str, Any] | None) -> dict[str, object]:
    if found is None:
        return {"protection": "none: every update can be seen and copied"}
    masked = "masked: only their sum is ever seen" if found["masked"] else "sealed until announcements are closed"
    window = {"exchange_window": found["exchange_window"]} if found["masked"] else {}
    return {"aggregation_settings": found["aggregation_settings"], "updates": masked, **window}


def _print_protection(found: dict[str, Any]) -> None:
    """What was charged for the request, how far an exchange of masks has got, and who was put out."""
    charges = [
        (each["name"] or short_hash(each["org"]), each["charge"]["unit"], each["rounds"], *_spent(each["charge"]))
        for each in found["charges"]
    ]
    if charges:
        print_table("Charged, as each provider says", ("provider", "unit", "rounds", "epsilon", "delta"), charges)
    if found["masking"]:
        rows = [(each["name"] or short_hash(each["org"]), *_exchanged(each)) for each in found["masking"]["members"]]
        print_table(f"Masks, threshold {found['masking']['threshold'] or '-'}", ("provider", "has", "masks"), rows)
    for each in found["excluded"]:
        click.echo(f"put out in round {each['round']}: {each['name'] or short_hash(each['org'])}, {each['reason']}")
    if found["waited_for"]:
        names = [each["name"] or short_hash(each["org"]) for each in found["waited_for"]]
        click.echo(f"waiting for: {', '.join(names)}")


def _spent(charge: dict[str, Any]) -> tuple[str, str]:
    return f"{charge['epsilon_micro'] / 1e6:.3f}", f"{charge['delta_pico'] / 1e12:.2g}"


def _exchanged(member: dict[str, Any]) -> tuple[str, str]:
    words = [("revealed", "revealed"), ("answered", "answered"), ("accepted", "accepted"), ("dealt", "dealt shares")]
    has = next((said for name, said in words if member[name]), "offered keys")
    if member["complaints"] and not member["answered"]:
        has += f", {len(member['complaints'])} complain"
    return has, "count" if member["counted"] else "-"


def _about(found: dict[str, Any]) -> dict[str, object]:
    return {
        "id": found["id"],
        "requester": found["requester_name"] or found["requester"],
        "stage": found["stage"] + (f": {found['outcome']}" if found["outcome"] else ""),
        "round": found["round"],
        "accuracy": f"{judged(found['accuracy'])} (of the model of round {found['judged_round']})",
        "paid": found["paid"],
        "escrow": found["escrow"],
    }


def _said(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{name}={each}" for name, each in value.items()) or "none"
    return "none" if value == [] else value


@request.command(examples=("hanse request receipts ID -c ./alice", "hanse request receipts ID --json -c ./alice"))
@click.argument("request_id", metavar="ID")
@node_options
def receipts(request_id: str, config_path: str, as_json: bool) -> None:
    """Print the receipt of every closed round: who was invited, what each did, what it counted for and was paid.

    Round 3.1 is the second attempt of round 3: the first one brought too few updates.
    """
    request_id = whole_id(config_path, request_id)
    answer = ask(config_path, "receipts", request=request_id)
    if as_json:
        print_json(answer)
        return
    providers = ask(config_path, "request.get", request=request_id)["request"]["providers"]
    names = {each["org"]: each["name"] for each in providers}
    rows = [
        (
            f"{receipt['round']}.{receipt['attempt']}" if receipt["attempt"] else receipt["round"],
            receipt["height"],
            names.get(line["org"]) or short_hash(line["org"]),
            line["fate"],
            line["weight"],
            percent(line["quality"]),
            line["paid"],
            line["reason"],
        )
        for receipt in answer["receipts"]
        for line in receipt["lines"]
    ]
    columns = ("round", "height", "provider", "fate", "records", "quality", "paid", "reason")
    print_table(f"{answer['count']} closed rounds", columns, rows)


@request.command(examples=("hanse request cancel ID -c ./alice",))
@click.argument("request_id", metavar="ID")
@node_options
@sending_options
def cancel(request_id: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """End a request of this organisation; what no round has earned returns to its balance.

    A round of which updates are announced is settled and paid first, and no other begins.
    """
    request_id = whole_id(config_path, request_id)
    with progress("cancelling", None, as_json):
        answer = ask(config_path, "request.cancel", request=request_id, **finality(wait, timeout_s))
    say_sent(f"Cancelled {short_hash(request_id)}", answer, as_json)


@request.command(
    examples=("hanse request watch ID -c ./alice", "hanse request watch ID --json -c ./alice | jq .accuracy")
)
@click.argument("request_id", metavar="ID")
@node_options
@timeout_option(86_400, "Leave with exit code 8 after this.")
def watch(request_id: str, config_path: str, as_json: bool, timeout_s: float) -> None:
    """Follow a request until it is over: round, accuracy, leader, height and what each provider does.

    With --json one line for every change. Exit code 0 when the request ends with a model, 5 when it fails or is
    cancelled.
    """
    watch_request(config_path, whole_id(config_path, request_id), timeout_s, as_json)


request.add_command(advise)
