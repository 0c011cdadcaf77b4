"""Following a request: a picture of it, redrawn whenever the node says that something happened."""

import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from node.cli.exit_codes import Exit
from node.cli.faults import CliError
from node.cli.output import judged, percent, short_hash, so_far
from node.cli.which_node import node_client

if TYPE_CHECKING:
    from rich.console import RenderableType

    from node.rpc.client import RpcClient

TOPICS = ("block", "round", "request", "training")
# Also without an event: a node that was restarted says nothing about what it missed.
LOOK_AGAIN_S = 2.0
# A node that restarts is back within seconds; a longer silence is an error.
AWAY_S = 30.0


def watch_request(config_path: str, request_id: str, timeout_s: float, as_json: bool) -> None:
    """Follow until it is over. Raises CliError: timed out, or the request ended without a model."""
    until = time.monotonic() + timeout_s
    with node_client(config_path) as client, _changes(config_path) as changed, _screen(as_json) as show:
        while True:
            picture = _picture(client, request_id)
            show(picture)
            if picture["over"]:
                break
            left = until - time.monotonic()
            if left <= 0:
                raise CliError(Exit.TIMED_OUT, f"request {short_hash(request_id)} is {picture['stage']} still")
            changed.wait(min(left, LOOK_AGAIN_S))
            changed.clear()
    if picture["stage"] != "done":
        raise CliError(Exit.REFUSED, f"request {short_hash(request_id)} {picture['stage']}: {picture['outcome']}")


def _picture(client: "RpcClient", request_id: str) -> dict[str, Any]:
    """What is shown of a request. Waits for a node that is away for a moment."""
    from node.rpc.client import NodeUnreachable

    until = time.monotonic() + AWAY_S
    while True:
        try:
            answer = client.call("request.get", request=request_id)
            consensus = client.call("consensus")["consensus"]
            break
        except NodeUnreachable:
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
    found, current = answer["request"], answer["round"]
    fates = {part["org"]: part["fate"] for part in current["participants"]} if current else {}
    return {
        "id": found["id"],
        "title": found["terms"]["title"],
        "stage": found["stage"],
        "outcome": found["outcome"],
        "over": found["over"],
        "round": found["round"],
        "attempt": found["attempt"],
        "rounds_max": found["terms"]["rounds_max"],
        "accuracy": found["accuracy"],
        "judged_round": found["judged_round"],
        "target_accuracy": found["terms"]["target_accuracy"],
        "paid": found["paid"],
        "escrow": found["escrow"],
        "height": answer["head"]["height"],
        "leader": consensus["leader_name"] or consensus["leader"],
        "providers": [
            {"name": each["name"] or each["org"], "records": each["record_count"], "fate": fates.get(each["org"])}
            for each in found["providers"]
        ],
    }


@contextmanager
def _changes(config_path: str) -> Iterator[threading.Event]:
    """An event that is set whenever the node says that something happened."""
    from node.rpc.client import InvalidAnswer, NodeUnreachable
    from node.rpc.errors import RpcError

    changed = threading.Event()

    def listen() -> None:
        try:
            with node_client(config_path) as client, client.events(*TOPICS) as events:
                for _ in events:
                    changed.set()
        except (NodeUnreachable, InvalidAnswer, RpcError):
            # Without events the picture is redrawn every LOOK_AGAIN_S; the calls there say what is wrong.
            return

    # A daemon thread: it may wait in a read for ever, and has nothing to lose.
    threading.Thread(target=listen, daemon=True).start()
    yield changed


@contextmanager
def _screen(as_json: bool) -> Iterator[Any]:
    """A function that shows a picture: redrawn in place at a terminal, else a line for each change."""
    if as_json or not sys.stdout.isatty():
        last: list[dict[str, Any]] = []

        def write(picture: dict[str, Any]) -> None:
            if last and last[0] == picture:
                return
            if as_json:
                click.echo(json.dumps(picture, ensure_ascii=False))
            elif not last or _line(last[0]) != _line(picture):
                click.echo(_line(picture))
            last[:] = [picture]

        yield write
        return
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        yield lambda picture: live.update(_drawn(picture), refresh=True)


def _line(picture: dict[str, Any]) -> str:
    return (
        f"{picture['stage']:<12} round {picture['round']}/{picture['rounds_max']}"
        f"  accuracy {judged(picture['accuracy'])}  leader {picture['leader'] or '-'}  height {picture['height']}"
    )


def _drawn(picture: dict[str, Any]) -> "RenderableType":
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 2))
    target = picture["target_accuracy"]
    accuracy = judged(picture["accuracy"]) + (f" of {percent(target)} wanted" if target else "")
    for name, value in (
        ("request", f"{picture['title']} ({short_hash(picture['id'])})"),
        ("stage", picture["stage"] + (f": {picture['outcome']}" if picture["outcome"] else "")),
        ("round", f"{picture['round']} of {picture['rounds_max']}"),
        ("accuracy", f"{accuracy} (model of round {picture['judged_round']})"),
        ("leader", f"{picture['leader'] or '-'}, height {picture['height']}"),
        ("paid", f"{picture['paid']}, in escrow {picture['escrow']}"),
    ):
        head.add_row(Text(name, style="dim"), Text(str(value)))
    parts = Table(box=None, pad_edge=False)
    for column in ("provider", "records", "this round"):
        parts.add_column(column)
    for each in picture["providers"]:
        parts.add_row(Text(each["name"]), Text(str(each["records"])), Text(so_far(each["fate"])))
    bar = ProgressBar(total=picture["rounds_max"], completed=picture["round"], width=40)
    return Group(head, bar, Text(""), parts)
