"""What a final block means to who listens: events for subscribers, figures for Prometheus."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from ledger.blocks import FinalBlock
from ledger.chain import Chain, Outcome
from ledger.codec import decode, encode
from ledger.election import leader_order
from ledger.entries import (
    ELECTION,
    OPEN_REQUESTS,
    REQUESTS,
    Account,
    Election,
    OpenRequests,
    Receipt,
    Request,
    Standing,
    account_key,
    receipts_prefix,
    standing_key,
)
from ledger.league_entries import BALLOTS, DECISIONS, Ballot, Decision
from ledger.transactions import AnchorRecords, ReportEquivocation
from ledger.types import MICRO, OrgId
from node.events import EventHub, NodeEvent
from node.metrics import Metrics
from node.replica import now_ms
from node.rpc.views import to_json

_RECEIPTS = receipts_prefix(b"")


def tell_block(hub: EventHub, chain: Chain, final: FinalBlock, outcome: Outcome) -> None:
    """Publish what happened in a block, in order: block, transactions with what they are, entries that changed."""
    block = final.block
    header = block.header

    def whose(key: bytes) -> str:
        """The organisation that signs, or signed, with a key."""
        return (chain.org_of(key) or key).hex()

    def tell(topic: str, data: Mapping[str, Any]) -> None:
        hub.publish(NodeEvent(topic, block.height, data))

    if hub.wanted("block"):
        tell(
            "block",
            {
                "height": block.height,
                "id": block.id.hex(),
                "time": header.time,
                "author": whose(header.author),
                "view": header.view,
                "transactions": len(block.transactions),
                "state_root": header.state_root.hex(),
            },
        )
    for transaction in block.transactions:
        kind, sender = type(transaction.body).__name__, whose(transaction.sender)
        if hub.wanted("tx"):
            tell("tx", {"id": transaction.id.hex(), "kind": kind, "sender": sender, "nonce": transaction.nonce})
        if isinstance(transaction.body, AnchorRecords) and hub.wanted("anchor"):
            tell("anchor", {"org": sender, **_plain(transaction.body)})
        if isinstance(transaction.body, ReportEquivocation) and hub.wanted("evidence"):
            tell("evidence", {"org": whose(transaction.body.evidence.first.voter), "reporter": sender})
    for key, value in outcome.changes.items():
        if value is None:
            continue
        if key.startswith(REQUESTS) and hub.wanted("request"):
            request = decode(Request, value)
            tell("request", {"request": key[len(REQUESTS) :].hex(), **request_summary(request)})
        elif key.startswith(_RECEIPTS) and hub.wanted("round"):
            tell("round", _plain(decode(Receipt, value)))
        elif key.startswith(BALLOTS) and hub.wanted("ballot"):
            # Whose voice is missing in it: `ballots`.
            tell("ballot", {"ballot": key[len(BALLOTS) :].hex(), "event": "open", **_plain(decode(Ballot, value))})
        elif key.startswith(DECISIONS) and hub.wanted("ballot"):
            decided = _plain(decode(Decision, value))
            tell("ballot", {"ballot": key[len(DECISIONS) :].hex(), "event": "passed", **decided})


def request_summary(request: Request) -> dict[str, Any]:
    """What changes in a request while it runs."""
    return {
        "stage": request.stage.name.lower(),
        "round": request.round,
        "attempt": request.attempt,
        "accuracy": request.accuracy,
        "judged_round": request.judged_round,
        "model_round": request.model_round,
        "model": request.model.hex(),
        "providers": len(request.providers),
        "paid": request.paid,
        "escrow": request.escrow,
        "outcome": request.outcome,
    }


class BlockFigures:
    """Notes final blocks in the figures, one after the other."""

    def __init__(self, metrics: Metrics, chain: Chain, me: OrgId) -> None:
        self._metrics = metrics
        self._chain = chain
        self._me = me
        # Kept here and not asked of the chain, which may be many blocks ahead while a node catches up.
        self._leaders = chain.leaders()

    def count(self, final: FinalBlock, outcome: Outcome) -> None:
        """Call it for every block that becomes final here, in order."""
        for failed in final.block.nullified:
            self._metrics.view_missed(self._leaders[failed.subject.view % len(self._leaders)])
        elected = outcome.changes.get(ELECTION)
        if elected is not None:
            self._leaders = leader_order(decode(Election, elected))
        _count_block(self._metrics, self._chain, self._me, final, outcome)


def count_training(metrics: Metrics, happened: Mapping[str, Any]) -> None:
    """Note an event of the topic `training` in the figures."""
    if happened["event"] == "trained":
        metrics.training.observe(happened["seconds"])
    elif happened["event"] == "declined":
        metrics.training_failures.labels(happened["code"]).inc()


def _count_block(metrics: Metrics, chain: Chain, me: OrgId, final: FinalBlock, outcome: Outcome) -> None:
    block = final.block
    kinds = Counter(type(transaction.body).__name__ for transaction in block.transactions)
    metrics.block_final(
        height=block.height,
        views=final.certificate.subject.view + 1,
        size=len(encode(final)),
        kinds=dict(kinds),
        finality_s=(now_ms() - block.header.time) / 1000,
    )
    metrics.evidence.inc(kinds.get(ReportEquivocation.__name__, 0))
    for key, value in outcome.changes.items():
        if key.startswith(_RECEIPTS) and value is not None:
            metrics.rounds.labels("completed" if decode(Receipt, value).model else "void").inc()
    account, standing = chain.read(Account, account_key(me)), chain.read(Standing, standing_key(me))
    if account is not None:
        metrics.balance.set(account.balance)
    if standing is not None:
        metrics.reputation.set(standing.reputation / MICRO)
    open_requests = chain.read(OpenRequests, OPEN_REQUESTS)
    metrics.open_requests.set(len(open_requests.ids) if open_requests else 0)


def _plain(entry: object) -> dict[str, Any]:
    shown = to_json(entry)
    assert isinstance(shown, dict)
    return shown
