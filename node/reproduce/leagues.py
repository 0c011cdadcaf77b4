"""Real leagues for measurements: a process a node on this machine, as `hanse devnet` has them, and what one does.

Factories hold simulated bearings; the first node is a customer without records, who publishes requests.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from node.devnet.league import DevLeague, DevNode, NodePlan
from node.request_file import parse_request

OVER = ("done", "failed", "cancelled")
# A league on a busy machine: beyond it something is wrong.
START_S, ROUND_S = 120.0, 120.0

_REQUEST = """
title = "A measurement"
data_type = "bearing-simulator"

[model]
name = "mlp"
arguments = {{ layers = "8,150,150,4" }}

[strategy]
name = "fedavg"

[privacy]
mode = "none"

[training]
epochs = {epochs}
batch = 32
learning_rate = 0.005
momentum = 0.0

[payment]
price = 1
budget = 1_000_000

[rounds]
rounds_max = {rounds}
providers_min = {providers}
providers_max = {providers}
join_window_s = 60
round_deadline_s = 60
attest_window_s = 20
"""


@dataclass(frozen=True, slots=True)
class LedgerRound:
    """Block times, ms: of the last announced update of a round, and of the block that holds its model and payments."""

    announced_ms: int
    paid_ms: int


@dataclass(frozen=True, slots=True)
class Trained:
    """A request from its publication to its end. `ledger_bytes`: all blocks it took; `sent_bytes`: what all nodes sent
    to each other meanwhile."""

    rounds: tuple[LedgerRound, ...]
    ledger_bytes: int
    sent_bytes: int
    blob_bytes: int


@contextmanager
def bearing_league(factories: int, records: int) -> Iterator[DevLeague]:
    """A customer and so many factories, up, connected, all records anchored. Raises LeagueFailed."""
    settings = {"train_records": str(records), "test_records": "100", "factories": str(factories)}
    plans = [
        NodePlan("customer"),
        *(
            NodePlan(f"factory-{at + 1}", "bearing-simulator", None, {**settings, "factory": str(at)}, records)
            for at in range(factories)
        ),
    ]
    with tempfile.TemporaryDirectory(prefix="hanse-reproduce-") as folder, DevLeague(Path(folder), plans) as league:
        league.start(START_S)
        league.wait_until(
            lambda: all(_anchored(node) >= records for node in league.nodes[1:]), "all records are anchored", START_S
        )
        league.wait_until(league.is_agreed, "all nodes are at one height", START_S)
        yield league


def train(league: DevLeague, rounds: int, epochs: int) -> Trained:
    """Publish a request for all factories and wait for its end. Raises LeagueFailed."""
    customer = league.nodes[0]
    text = _REQUEST.format(epochs=epochs, rounds=rounds, providers=len(league.nodes) - 1)
    before = bytes_sent(league.nodes)
    published = customer.call("request.publish", request=parse_request(text, "a measurement").as_json(), mode="final")
    request = published["request"]

    def over() -> bool:
        return str(customer.call("request.get", request=request)["request"]["stage"]).lower() in OVER

    league.wait_until(over, "the request is over", START_S + ROUND_S * rounds)
    final = customer.call("request.get", request=request)["request"]
    if final["model_round"] != rounds:
        from node.devnet.league import LeagueFailed

        raise LeagueFailed(f"{final['model_round']} rounds of {rounds}: {final['outcome']}")
    sent = bytes_sent(league.nodes) - before
    first = int(customer.call("tx", id=request)["height"])
    blocks = list(_blocks(customer, first))
    told = [dict(each) for block in blocks for each in announcements(block)]
    return Trained(
        tuple(ledger_rounds(customer, request, blocks)),
        sum(int(block["bytes"]) for block in blocks),
        sent,
        max((int(each["blob_bytes"]) for each in told), default=0),
    )


def final_seconds(league: DevLeague, sender: DevNode, body: dict[str, Any]) -> float:
    """From handing in a transaction to its finality at the node that took it, the league idle before."""
    league.wait_until(league.is_agreed, "all nodes are at one height", START_S)
    began = time.perf_counter()
    sender.call("send", body=body, mode="final")
    return time.perf_counter() - began


def ledger_rounds(node: DevNode, request: str, blocks: list[dict[str, Any]]) -> Iterator[LedgerRound]:
    """Every round of the request, in order."""
    receipts = node.call("receipts", request=request)["receipts"]
    paid_at = {int(receipt["round"]): int(receipt["height"]) for receipt in receipts}
    times = {int(block["header"]["height"]): int(block["header"]["time"]) for block in blocks}
    announced: dict[int, int] = {}
    for block in blocks:
        for body in announcements(block):
            announced[int(body["round"])] = int(block["header"]["time"])
    for number in sorted(paid_at):
        if number in announced:
            yield LedgerRound(announced[number], times[paid_at[number]])


def announcements(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The bodies of the updates that a block announces."""
    for transaction in block["transactions"]:
        body = transaction["body"]
        if body["kind"] == "announce_update":
            yield body
        elif body["kind"] == "announce_protected":
            yield body["update"]


def bytes_sent(nodes: list[DevNode]) -> int:
    """What all nodes have sent to each other since their connections began, as their links count it."""
    return sum(int(peer["bytes_out"]) for node in nodes for peer in node.call("peers")["peers"])


def _blocks(node: DevNode, first: int) -> Iterator[dict[str, Any]]:
    head = int(node.call("status")["head"]["height"])
    for height in count(first):
        if height > head:
            return
        yield node.call("block", height=height)["block"]


def _anchored(node: DevNode) -> int:
    totals = node.call("anchor.list", org="me")["totals"]
    return int(totals["records"]) if totals else 0
