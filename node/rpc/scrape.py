"""Reads off a node, at the moment Prometheus asks, what nobody counts along the way."""

import os

from ledger.entries import OPEN_REQUESTS, Account, OpenRequests, Standing, account_key, standing_key
from ledger.types import MICRO
from node.metrics import Metrics
from node.rpc.node import Node


def scrape(node: Node, metrics: Metrics) -> bytes:
    """The page, with the gauges of this moment."""
    services, chain = node.services, node.chain
    status = services.consensus_status()
    metrics.height.set(chain.height)
    metrics.view.set(status.view)
    metrics.synced.set(status.synced)
    metrics.pending.set(sum(1 for _ in services.pending))
    account = chain.read(Account, account_key(node.org))
    standing = chain.read(Standing, standing_key(node.org))
    requests = chain.read(OpenRequests, OPEN_REQUESTS)
    metrics.balance.set(account.balance if account else 0)
    metrics.reputation.set(standing.reputation / MICRO if standing else 0)
    metrics.open_requests.set(len(requests.ids) if requests else 0)
    disk = os.statvfs(node.settings.data_dir)
    metrics.disk_free.set(disk.f_bavail * disk.f_frsize)
    metrics.disk_used.set((disk.f_blocks - disk.f_bfree) * disk.f_frsize)
    if services.keeping is not None:
        for part, taken in services.keeping.disk.use.parts.items():
            metrics.disk_part.labels(part).set(taken)
    peers = services.transport.peers() if services.transport else []
    metrics.peers.set(sum(peer.connected for peer in peers))
    # A member that left must not stay on the page with its last figures.
    by_peer = (metrics.peer_bytes, metrics.peer_dropped, metrics.peer_score, metrics.peer_refused, metrics.peer_held)
    for each in by_peer:
        each.clear()
    for peer in peers:
        name = peer.org.hex()[:16]
        metrics.peer_bytes.labels(name, "in").set(peer.bytes_in)
        metrics.peer_bytes.labels(name, "out").set(peer.bytes_out)
        metrics.peer_dropped.labels(name).set(peer.messages_dropped)
        metrics.peer_score.labels(name).set(peer.score)
        metrics.peer_refused.labels(name).set(peer.banned_s)
        metrics.peer_held.labels(name).set(peer.held_s)
    return metrics.page()
