"""`hanse start` as a test build that trains as it has to and sends the global model back: a step of nothing.

Run as `python -m tests.support.free_rider start -c FOLDER`. All else is the daemon as it is released.
"""

from collections.abc import Sequence

from ledger.entries import Round, round_key
from ledger.transactions import Protection
from node import provider_rounds
from node.devnet.league import DevNode
from node.rounds import RoundId
from node.sealed import seal
from node.worker_protocol import RoundTrained
from node.workshop import Workshop


async def _as_it_came(
    shop: Workshop, round_id: RoundId, protection: Protection | None, trained: RoundTrained, periods: Sequence[int]
) -> bytes:
    current = shop.ledger.chain.read(Round, round_key(round_id.request))
    assert current is not None
    return seal(bytes(shop.blobs.view(current.base_model)), shop.me)


def start(node: DevNode) -> None:
    """Start a stopped node as this build."""
    node.start(("tests.support.free_rider", "start", "-c"))


if __name__ == "__main__":
    provider_rounds._as_it_leaves = _as_it_came
    from node.cli.main import main

    main()
