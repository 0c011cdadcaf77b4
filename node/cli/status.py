"""`hanse status` and `hanse peers`: how a running node and its connections stand."""

from typing import Any

import click

from node.cli.exit_codes import Exit
from node.cli.output import percent, print_fields, print_json, print_table, short_hash
from node.cli.verbs import Verb, node_options
from node.cli.which_node import ask


@click.command(cls=Verb, examples=("hanse status -c ./alice", "hanse status -c ./alice --json | jq .consensus"))
@node_options
def status(config_path: str, as_json: bool) -> None:
    """Print who the node is, where its ledger stands, and whether it can do its work (the reasons, if not)."""
    answer = ask(config_path, "status")
    if as_json:
        print_json(answer)
        return
    print_fields(_status_lines(answer, config_path))


def _status_lines(answer: dict[str, Any], config_path: str) -> dict[str, object]:
    node, league, consensus = answer["node"], answer["league"], answer["consensus"]
    leader = consensus["leader_name"] or short_hash(consensus["leader"] or "-")
    lines: dict[str, object] = {
        "node": f"{node['name'] or 'no member yet'} ({node['peer_id']})",
        "place": _place(node),
        "league": f"{league['name']} ({short_hash(league['chain_id'])}), {league['members']} members,"
        f" protocol {league['protocol']}",
        "ready": "yes" if answer["ready"] else f"no: {'; '.join(answer['reasons'])}",
        "height": answer["head"]["height"],
        "block": answer["head"]["id"],
        "state root": answer["state_root"],
        "agreeing on": f"height {consensus['height']}, view {consensus['view']}, led by {leader}",
    }
    if not consensus["synced"]:
        lines["catching up to"] = _way_up(consensus["syncing_to"], ask(config_path, "sync")["joining"])
    elif node["seated"] and not consensus["votes"]:
        lines["votes"] = "not yet: its vote journal was lost, and it might contradict itself at this height"
    if league["warnings"]:
        lines["warning"] = tuple(league["warnings"])
    if answer["ballots"]:
        lines["waits for our voice"] = tuple(
            f"{each['text']} (hanse vote support {short_hash(each['id'])})" for each in answer["ballots"]
        )
    peers = answer["peers"]
    lines |= _record_lines(answer["records"])
    return {
        **lines,
        "peers": f"{peers['connected']} of {peers['known']} connected",
        "balance": answer["balance"],
        "reputation": percent(answer["reputation"]),
        "pending": answer["pending"],
        "open requests": answer["requests_open"],
        "process": f"{node['pid']}, up {node['uptime_s']:.0f} s, version {node['version']}",
    }


def _place(node: dict[str, Any]) -> str:
    """Member or not, what it takes part in, and what keeps it from taking part."""
    if not node["member"]:
        return str(node["why"] or node["standing"])
    words = [", ".join(node["roles"])]
    if node["jailed_until_epoch"]:
        words.append(f"jailed until epoch {node['jailed_until_epoch']}")
    else:
        words.append("seated" if node["seated"] else "no seat in this epoch")
    if node["rotation_begun"]:
        words.append("a new key waits for the ledger")
    return "; ".join([*words, *([node["why"]] if node["why"] else [])])


def _way_up(height: int, joining: dict[str, Any] | None) -> str:
    """The height of the others, and how far a snapshot is that leads there."""
    if joining is None:
        return str(height)
    return f"{height}, by a snapshot: {joining['stage']}, {joining['chunks_in']} of {joining['chunks']} chunks"


def _record_lines(records: dict[str, Any] | None) -> dict[str, object]:
    if records is None:
        return {}
    waiting = f", {records['open']} in a period that is not over" if records["open"] else ""
    lines: dict[str, object] = {
        "records": f"{records['collected']} collected{waiting}; {records['anchored']} anchored in {records['periods']}"
        f" periods, the last is {records['last_period']}; {records['tested']} to test on"
    }
    return lines | ({"records problem": records["problem"]} if records["problem"] else {})


@click.command(cls=Verb, examples=("hanse peers -c ./alice", "hanse peers -c ./alice --json"))
@node_options
def peers(config_path: str, as_json: bool) -> int:
    """Print every member this node knows how to reach: connected or not, where, and what went wrong last.

    `conduct` stands there when a member sent what no correct program sends, or more than its share.
    """
    answer = ask(config_path, "peers")
    if as_json:
        print_json(answer)
        return Exit.OK
    rows: list[list[object]] = []
    for peer in sorted(answer["peers"], key=lambda peer: (peer["name"] or "", peer["peer_id"])):
        trip = peer.get("round_trip_s")
        rows.append(
            [
                peer["name"] or "",
                peer["peer_id"][-8:],
                peer["connected"],
                peer["address"],
                "-" if trip is None else f"{trip * 1000:.1f} ms",
                _size(peer["bytes_in"]),
                _size(peer["bytes_out"]),
                _conduct(peer),
                peer["last_error"] if not peer["connected"] else None,
            ]
        )
    columns = ["name", "peer", "connected", "address", "trip", "in", "out", "conduct", "last error"]
    # An empty column would only break the addresses in a narrow terminal.
    shown = [at for at in range(len(columns)) if at < len(columns) - 2 or any(row[at] for row in rows)]
    print_table("Peers", [columns[at] for at in shown], [[row[at] for at in shown] for row in rows])
    return Exit.OK


def _conduct(peer: dict[str, Any]) -> str | None:
    """What a member's faults led to, the worst of it; None when there is nothing to say."""
    if peer["banned_s"] > 0:
        return f"refused for {peer['banned_s']:.0f} s"
    if peer["paused"]:
        return f"requests refused, score {peer['score']:.0f}"
    if peer["held_s"] > 0:
        return f"held back for {peer['held_s']:.0f} s"
    return f"score {peer['score']:.0f}" if peer["score"] >= 1 else None


def _size(bytes_moved: int) -> str:
    return f"{bytes_moved / 1_000_000:.1f} MB" if bytes_moved >= 1_000_000 else f"{bytes_moved / 1000:.0f} kB"
