"""Whether a node can do its work now, and if not, why: for /readyz, `health` and whoever starts a league."""

import os
from dataclasses import dataclass

from node.rpc.node import Node


@dataclass(frozen=True, slots=True)
class Readiness:
    """`checks`: what was looked at, True when in order. `reasons`: one sentence for each that is not."""

    checks: dict[str, bool]
    reasons: tuple[str, ...]

    @property
    def ready(self) -> bool:
        return not self.reasons


def readiness(node: Node) -> Readiness:
    services = node.services
    status = services.consensus_status()
    names = ("member", "synced", "network", "quorum", "disk")
    problems: dict[str, str | None] = dict.fromkeys(names)
    if not node.services.inside:
        problems["member"] = node.membership.why or None
    if not status.synced:
        goal = f" of {status.syncing_to}" if status.syncing_to is not None else ""
        problems["synced"] = f"catching up: at height {node.chain.height}{goal}"
    if services.transport is None:
        problems["network"] = "the network is starting"
    connected = {peer.org for peer in services.transport.peers() if peer.connected} if services.transport else set()
    committee = node.chain.committee()
    reached = [member for member in committee.members if member == services.key.public or member in connected]
    if len(reached) < committee.quorum:
        problems["quorum"] = (
            f"{len(reached)} of {len(committee.members)} committee members reached, want {committee.quorum}"
        )
    disk = os.statvfs(node.settings.data_dir)
    free = disk.f_bavail * disk.f_frsize
    wanted = node.settings.disk_free_bytes_min
    if free < wanted:
        problems["disk"] = f"{free // 2**20} MB free in {node.settings.data_dir}, want {wanted // 2**20}"
    elif services.keeping is not None:
        problems["disk"] = services.keeping.disk.refusal
    reasons = tuple(problem for problem in problems.values() if problem)
    return Readiness({name: problem is None for name, problem in problems.items()}, reasons)
