"""`hanse members`: who is in the league, who asks to be let in, who was; and what members decide about each other."""

from typing import Any

import click

from node.cli.motions import open_ballot
from node.cli.output import percent, print_fields, print_json, print_table
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.which_node import ask, send


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse members list -c ./alice",
        "hanse members approve eve -c ./alice",
        "hanse members expel mallory --reason 'sells our models' -c ./alice",
    ),
)
def members() -> None:
    """The members of the league, the candidates, and who was a member.

    More than two thirds of those who vote let a candidate in, expel a member, change its roles. Each says yes for
    itself: `approve` for a candidate, `hanse vote support` for a ballot that another has opened.
    """


@members.command(name="list", examples=("hanse members list -c ./alice",))
@node_options
def list_members(config_path: str, as_json: bool) -> None:
    """Print all members with their roles, tokens and reputation, the candidates with their approvals, who was one."""
    answer = ask(config_path, "members")
    if as_json:
        print_json(answer)
        return
    rows = [
        (each["name"], each["peer_id"], _roles(each), each["balance"], percent(each["reputation"]), _place(each))
        for each in answer["members"]
    ]
    columns = ("name", "peer id", "roles", "tokens", "reputation", "place")
    print_table(f"{answer['count']} members", columns, rows)
    if answer["candidates"]:
        waiting = [
            (c["name"], c["peer_id"], _roles(c), len(c["approvals"]), c["expires_height"]) for c in answer["candidates"]
        ]
        print_table("Candidates", ("name", "peer id", "roles", "approvals", "until height"), waiting)
    if answer["former"]:
        gone = [(each["name"], each["org"], each["cause"], each["left_height"]) for each in answer["former"]]
        print_table("Former members", ("name", "organisation", "how", "at height"), gone, shorten=("organisation",))


def _roles(member: dict[str, Any]) -> str:
    return ", ".join(member["roles"])


def _place(member: dict[str, Any]) -> str:
    if member["jailed"]:
        return f"jailed until epoch {member['jailed_until_epoch']}"
    return "seated" if member["seated"] else "-"


@members.command(examples=("hanse members show bob -c ./alice", "hanse members show 12D3KooW... -c ./alice"))
@click.argument("org", metavar="WHO")
@node_options
def show(org: str, config_path: str, as_json: bool) -> None:
    """Print a member, candidate or former member. WHO: peer id, public key in hex, or a name that only one bears."""
    answer = ask(config_path, "member", org=org)
    if as_json:
        print_json(answer)
        return
    found = {**answer["member"], "status": answer["status"]}
    if "reputation" in found:
        found["reputation"] = percent(found["reputation"])
    for name in ("addresses", "approvals", "roles"):
        if name in found:
            found[name] = " ".join(found[name]) or "none"
    print_fields({name.replace("_", " "): value for name, value in found.items()})


@members.command(examples=("hanse members approve eve -c ./alice", "hanse members approve 12D3KooW... -c ./alice"))
@click.argument("candidate", metavar="WHO")
@node_options
@sending_options
def approve(candidate: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Say yes to a candidate, as this organisation. It is in when more than two thirds of those who vote said so."""
    body = {"kind": "approve_member", "candidate": candidate}
    say_sent(f"Approved {candidate}", send(config_path, body, wait, timeout_s, as_json), as_json)


@members.command(examples=("hanse members expel mallory --reason 'sells our models' -c ./alice",))
@click.argument("org", metavar="WHO")
@click.option("--reason", required=True, help="A few words for the ledger, which keeps them for good.")
@node_options
@sending_options
def expel(org: str, reason: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Put it to the vote that a member has to go. It has no voice in that; its account and its record stay."""
    motion = {"kind": "expel", "org": org, "reason": reason}
    open_ballot(config_path, motion, f"that {org} is expelled", wait, timeout_s, as_json)


@members.command(
    examples=(
        "hanse members roles bob requester,provider -c ./alice",
        "hanse members roles bob observer -c ./alice",
    )
)
@click.argument("org", metavar="WHO")
@click.argument("roles", metavar="ROLES")
@node_options
@sending_options
def roles(org: str, roles: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Put it to the vote which roles a member has: requester, provider, both with a comma, or observer.

    A requester publishes data requests, a provider anchors records and trains. An observer follows, audits and
    transfers; it holds no seat and has no vote.
    """
    motion = {"kind": "change_roles", "org": org, "roles": roles_from(roles)}
    open_ballot(config_path, motion, f"that {org} is {roles.replace(',', ' and ')}", wait, timeout_s, as_json)


@members.command(examples=("hanse members pardon bob -c ./alice",))
@click.argument("org", metavar="WHO")
@node_options
@sending_options
def pardon(org: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Put it to the vote that a jailed organisation may be seated again before its time."""
    open_ballot(config_path, {"kind": "pardon", "org": org}, f"that {org} is pardoned", wait, timeout_s, as_json)


def roles_from(text: str) -> int:
    """The sum of roles that words with commas name. Raises UsageError."""
    from ledger.roles import roles_of

    try:
        return roles_of(text.split(","))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
