"""`hanse ledger`: what everybody agreed on, read and proven; transfers."""

import time
from typing import Any

import click

from node.cli.ledger_files import export_chain, import_chain, verify_chain
from node.cli.output import cell_text, percent, print_fields, print_json, print_table, short_hash
from node.cli.prove import prove as prove_group
from node.cli.sending import say_sent, sending_options
from node.cli.verbs import VerbGroup, node_options
from node.cli.vote_again import vote_again
from node.cli.which_node import ask, send


@click.group(
    cls=VerbGroup,
    examples=(
        "hanse ledger blocks -c ./alice",
        "hanse ledger account bob -c ./alice",
        "hanse ledger prove balance bob -o balance.json -c ./alice",
        "hanse ledger export -o chain.hanse -c ./alice",
    ),
)
def ledger() -> None:
    """What the league agreed on. Everything here can be proven to somebody who trusts no single node."""


for verb in (prove_group, export_chain, import_chain, verify_chain, vote_again):
    ledger.add_command(verb)


@ledger.command(examples=("hanse ledger blocks -c ./alice", "hanse ledger blocks --start 120 --limit 50 -c ./alice"))
@click.option("--start", type=click.IntRange(0), metavar="HEIGHT", help="The newest block to show. Default: the head.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="Blocks to show.")
@node_options
def blocks(start: int | None, limit: int, config_path: str, as_json: bool) -> None:
    """Print blocks, newest first."""
    answer = ask(config_path, "blocks", start=start, limit=limit)
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            block["height"],
            moment(block["time"]),
            short_hash(block["id"]),
            block["author_name"] or short_hash(block["author"]),
            block["view"],
            block["transactions"],
            block["bytes"],
        )
        for block in answer["blocks"]
    ]
    print_table("Blocks", ("height", "time", "block", "leader", "view", "transactions", "bytes"), rows)


@ledger.command(examples=("hanse ledger block -c ./alice", "hanse ledger block 12 -c ./alice"))
@click.argument("which", required=False, metavar="[HEIGHT|ID]")
@node_options
def block(which: str | None, config_path: str, as_json: bool) -> None:
    """Print a block and its transactions: the head, or the one of that height or id."""
    where = _height_or_id(which)
    answer = ask(config_path, "block", **where)
    if as_json:
        print_json(answer)
        return
    found = answer["block"]
    header = {**found["header"], "time": moment(found["header"]["time"])}
    counts = {
        "leader": found["author_name"] or "-",
        "bytes": found["bytes"],
        "signatures": len(found["certificate"]["signatures"]),
    }
    print_fields({name.replace("_", " "): value for name, value in {**header, **counts}.items()})
    rows = [
        (tx["body"]["kind"], tx["sender_name"] or short_hash(tx["sender"]), tx["nonce"], tx["id"])
        for tx in found["transactions"]
    ]
    print_table("Transactions", ("kind", "sender", "nonce", "id"), rows)


def _height_or_id(which: str | None) -> dict[str, Any]:
    if which is None:
        return {}
    if which.isascii() and which.isdigit() and len(which) < 20:
        return {"height": int(which)}
    return {"id": which}


@ledger.command(examples=("hanse ledger tx ID -c ./alice", "hanse ledger tx ID --prove --json -c ./alice"))
@click.argument("transaction", metavar="ID")
@click.option("--prove", is_flag=True, help="With the proof that a holder of the member list checks.")
@node_options
def tx(transaction: str, prove: bool, config_path: str, as_json: bool) -> None:
    """Print a transaction: where it became final, who sent it, what it says."""
    answer = ask(config_path, "tx", id=transaction, prove=prove or None)
    if as_json:
        print_json(answer)
        return
    found = answer["transaction"]
    print_fields({"status": answer["status"], "height": answer.get("height"), "sender": found["sender"]})
    print_fields({name.replace("_", " "): _flat(value) for name, value in found["body"].items()})
    if prove and "proof" in answer:
        print_fields({name: _flat(answer["proof"][name]) for name in ("index", "size", "path")})


@ledger.command(examples=("hanse ledger account -c ./alice", "hanse ledger account bob -c ./alice"))
@click.argument("org", required=False, metavar="[WHO]")
@node_options
def account(org: str | None, config_path: str, as_json: bool) -> None:
    """Print the tokens of an organisation, this one by default, and how many transactions it has sent."""
    _print_answer(ask(config_path, "account", org=org), as_json)


@ledger.command(examples=("hanse ledger state account/me -c ./alice", "hanse ledger state league --prove --json"))
@click.argument("key", metavar="KEY")
@click.option("--prove", is_flag=True, help="With the proof under the state root of the head.")
@node_options
def state(key: str, prove: bool, config_path: str, as_json: bool) -> None:
    """Print an entry of the state. KEY: league, election, account/WHO, member/WHO, anchor/WHO/PERIOD, request/ID,
    receipt/ID/ROUND/ATTEMPT, or the key's bytes in hex."""
    answer = ask(config_path, "state.get", key=key, prove=prove or None)
    if as_json:
        print_json(answer)
        return
    print_fields({"key": answer["key"], "present": answer["present"], "value": answer["value"]})
    if answer["entry"]:
        print_fields({name.replace("_", " "): _flat(value) for name, value in answer["entry"].items()})
    if prove:
        print_fields({"state root": answer["proof"]["state_root"], "siblings": len(answer["proof"]["siblings"])})


@ledger.command(examples=("hanse ledger committee -c ./alice", "hanse ledger committee --height 40 -c ./alice"))
@click.option("--height", type=click.IntRange(0), help="Default: the height that is being agreed on.")
@node_options
def committee(height: int | None, config_path: str, as_json: bool) -> None:
    """Print who votes, how many votes decide, and in which order they lead."""
    answer = ask(config_path, "committee", height=height)
    if as_json:
        print_json(answer)
        return
    print_fields({name: answer[name] for name in ("height", "quorum", "faults")})
    order = {org: at + 1 for at, org in enumerate(answer["leaders"] or [])}
    seats = sorted(answer["committee"], key=lambda seat: order.get(seat["org"], 0))
    rows = [(seat["name"] or "", short_hash(seat["org"]), order.get(seat["org"])) for seat in seats]
    print_table("Committee", ("name", "key", "leads as"), rows)


@ledger.command(examples=("hanse ledger ranking -c ./alice",))
@node_options
def ranking(config_path: str, as_json: bool) -> None:
    """Print the members by reputation, with what made it."""
    answer = ask(config_path, "ranking")
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            row["rank"],
            row["name"],
            percent(row["reputation"]),
            row["rounds_delivered"],
            row["rounds_missed"],
            row["tokens_earned"],
            row["seat"],
            row["led_this_epoch"],
            row["skipped"],
        )
        for row in answer["ranking"]
    ]
    columns = ("rank", "name", "reputation", "delivered", "missed", "earned", "seat", "led", "skipped")
    print_table(f"Epoch {answer['epoch']}", columns, rows)


@ledger.command(
    examples=(
        "hanse ledger transfer bob 500 -c ./alice",
        'hanse ledger transfer 12D3KooW... 1 --memo "thanks" --no-wait',
    )
)
@click.argument("to", metavar="WHO")
@click.argument("amount", type=click.IntRange(1, 2**53 - 1), metavar="TOKENS")
@click.option("--memo", default="", help="At most 256 bytes, on the ledger for everybody to read.")
@node_options
@sending_options
def transfer(to: str, amount: int, memo: str, config_path: str, as_json: bool, wait: bool, timeout_s: float) -> None:
    """Give tokens to another member."""
    body = {"kind": "transfer", "to": to, "amount": amount, "memo": memo}
    say_sent(f"{amount} tokens to {to}", send(config_path, body, wait, timeout_s, as_json), as_json)


@ledger.command(examples=("hanse ledger pending -c ./alice",))
@node_options
def pending(config_path: str, as_json: bool) -> None:
    """Print the transactions that wait for a block."""
    answer = ask(config_path, "pending_txs", limit=100)
    if as_json:
        print_json(answer)
        return
    rows = [(tx["body"]["kind"], short_hash(tx["sender"]), tx["nonce"], tx["id"]) for tx in answer["transactions"]]
    print_table(f"{answer['count']} pending", ("kind", "sender", "nonce", "id"), rows)


def moment(milliseconds: int) -> str:
    """A block's time, for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(milliseconds / 1000))


def _flat(value: object) -> str:
    """Lists and objects on one line."""
    if isinstance(value, list):
        return f"{len(value)}: " + ", ".join(map(_flat, value)) if value else "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}={_flat(each)}" for name, each in value.items())
    return cell_text(value)


def _print_answer(answer: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        print_fields({name.replace("_", " "): _flat(value) for name, value in answer.items() if name != "head"})
