"""`hanse members`: who is in the league, who asks to be let in, and letting them in."""

import click

from node.cli.output import percent, print_fields, print_json, print_table
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask, send


@click.group(
    cls=VerbGroup,
    examples=("hanse members list -c ./alice", "hanse members approve 12D3KooW... -c ./alice"),
)
def members() -> None:
    """The members of the league and the candidates. More than two thirds of the members let a candidate in."""


@members.command(name="list", examples=("hanse members list -c ./alice",))
@node_options
def list_members(config_path: str, as_json: bool) -> None:
    """Print all members with their tokens and reputation, and the candidates with their approvals."""
    answer = ask(config_path, "members")
    if as_json:
        print_json(answer)
        return
    rows = [
        (member["name"], member["peer_id"], member["balance"], percent(member["reputation"]), member["joined_height"])
        for member in answer["members"]
    ]
    print_table(f"{answer['count']} members", ("name", "peer id", "tokens", "reputation", "since height"), rows)
    if answer["candidates"]:
        waiting = [(c["name"], c["peer_id"], len(c["approvals"]), c["expires_height"]) for c in answer["candidates"]]
        print_table("Candidates", ("name", "peer id", "approvals", "until height"), waiting)


@members.command(examples=("hanse members show bob -c ./alice", "hanse members show 12D3KooW... -c ./alice"))
@click.argument("org", metavar="WHO")
@node_options
def show(org: str, config_path: str, as_json: bool) -> None:
    """Print one member or candidate. WHO: a peer id, a public key in hex, or a name when it is the only one."""
    answer = ask(config_path, "member", org=org)
    if as_json:
        print_json(answer)
        return
    found = {**answer["member"], "status": answer["status"]}
    if "reputation" in found:
        found["reputation"] = percent(found["reputation"])
    for name in ("addresses", "approvals"):
        if name in found:
            found[name] = " ".join(found[name]) or "none"
    print_fields({name.replace("_", " "): value for name, value in found.items()})


@members.command(examples=("hanse members approve 12D3KooW... -c ./alice",))
@click.argument("candidate", metavar="WHO")
@node_options
@sending_options
def approve(candidate: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Say yes to a candidate, as this organisation. It is in when more than two thirds of the members said so."""
    body = {"kind": "approve_member", "candidate": candidate}
    say_sent(f"Approved {candidate}", send(config_path, body, wait, timeout_s, as_json), as_json)
