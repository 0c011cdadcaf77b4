"""What a node counts about itself, for Prometheus: a registry of its own and the calls the daemon makes.

Names follow Prometheus: `hanse_` first, the unit last, `_total` on counters. What is read off the node at the moment of
a scrape (balances, queues, disks) is set by `rpc/scrape.py`.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

# From one loopback round trip to a height that lost several leaders.
_FINALITY_S = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2, 5, 10, 30)
_FSYNC_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1)
_LAG_S = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1, 5)
_TRAINING_S = (0.5, 1, 2, 5, 10, 30, 60, 300, 1800)
_BLOCK_BYTES = (1024, 4096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304)
_BLOCK_TRANSACTIONS = (1, 4, 16, 64, 256, 1024, 4096)
_VIEWS = (1, 2, 3, 4, 6, 8, 16, 32)


class Metrics:
    """Every metric of one node. Labels that name organisations are 16 hex digits of the id: members are bounded."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)

        def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
            return Gauge(f"hanse_{name}", text, labels, registry=registry)

        def counter(name: str, text: str, labels: tuple[str, ...] = ()) -> Counter:
            return Counter(f"hanse_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"hanse_{name}", text, registry=registry, buckets=buckets)

        self.height = gauge("height", "Height of the last final block")
        self.view = gauge("view", "View of the height being agreed on")
        self.synced = gauge("synced", "1 when this node is at the head of the league")
        self.views_per_height = histogram("views_per_height", "Views a height took; 1 is a leader that did it", _VIEWS)
        self.finality = histogram("finality_seconds", "From a block's birth to its finality here", _FINALITY_S)
        self.submit_to_final = histogram(
            "submit_to_final_seconds", "From a transaction entering through this node to its finality", _FINALITY_S
        )
        self.block_bytes = histogram("block_bytes", "Bytes of final blocks", _BLOCK_BYTES)
        self.block_transactions = histogram("block_transactions", "Transactions of final blocks", _BLOCK_TRANSACTIONS)
        self.transactions = counter("transactions_total", "Final transactions", ("kind",))
        self.missed_views = counter("missed_views_total", "Views that failed under a leader", ("leader",))
        self.evidence = counter("evidence_total", "Proofs of equivocation that became final")
        self.fsync = histogram("journal_fsync_seconds", "A synced append to the vote journal", _FSYNC_S)
        self.loop_lag = histogram("loop_lag_seconds", "How late the event loop woke this node", _LAG_S)

        self.pending = gauge("pending_transactions", "Transactions that wait for a block")
        self.peers = gauge("peers_connected", "Members connected now")
        self.peer_bytes = gauge("peer_bytes", "Bytes since the connection to a member began", ("peer", "direction"))
        self.peer_dropped = gauge(
            "peer_messages_dropped", "Messages that a slow or absent member did not get", ("peer",)
        )

        self.peer_score = gauge("peer_score", "Points for what no correct program sends; they fade", ("peer",))
        self.peer_refused = gauge(
            "peer_refused_seconds", "How long a member's connections are still refused", ("peer",)
        )
        self.peer_held = gauge("peer_held_seconds", "How long a member's messages wait for what it took", ("peer",))

        self.rounds = counter("rounds_total", "Closed rounds seen on the ledger, by outcome", ("outcome",))
        self.training = histogram("training_seconds", "One local round in the worker", _TRAINING_S)
        self.training_failures = counter("training_failures_total", "Local rounds that failed", ("code",))
        self.open_requests = gauge("requests_open", "Requests that are not over")

        self.balance = gauge("balance_tokens", "Tokens of this organisation")
        self.reputation = gauge("reputation_ratio", "Reputation of this organisation, 0 to 1")
        self.blob_bytes = gauge("blob_bytes", "Bytes of model blobs held")
        self.disk_used = gauge("data_bytes", "Bytes of the data directory's file system that are in use")
        self.disk_part = gauge("disk_part_bytes", "Bytes that the data folder takes, by what they are for", ("part",))
        self.disk_free = gauge("disk_free_bytes", "Bytes free for this user where the data directory lies")
        self.rpc_connections = gauge("rpc_connections", "Open connections of the local interface")

    def block_final(self, *, height: int, views: int, size: int, kinds: dict[str, int], finality_s: float) -> None:
        """A block became final here. `kinds`: transactions by kind name; `finality_s`: since its birth."""
        self.height.set(height)
        self.views_per_height.observe(views)
        self.block_bytes.observe(size)
        self.block_transactions.observe(sum(kinds.values()))
        self.finality.observe(max(finality_s, 0.0))
        for kind, count in kinds.items():
            self.transactions.labels(kind).inc(count)

    def view_missed(self, leader: bytes) -> None:
        """A final block showed that a view of its height failed under this leader."""
        self.missed_views.labels(leader.hex()[:16]).inc()

    @contextmanager
    def timed(self, histogram: Histogram) -> Iterator[None]:
        """Observe how long the block inside took, whatever its end."""
        began = time.perf_counter()
        try:
            yield
        finally:
            histogram.observe(time.perf_counter() - began)

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
