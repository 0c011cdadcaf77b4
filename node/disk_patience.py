"""Doing something on our own disk again and again while that is full or failing: there may be room in a moment."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
import trio

from node.network.blob_exchange import BlobUnavailable
from node.network.blob_store import NoSpaceForBlob
from node.rounds import RoundId
from node.training_terms import round_name
from node.workshop import RETRY_FIRST_S, Workshop

T = TypeVar("T")

log = structlog.get_logger(__name__)


async def kept(shop: Workshop, round_id: RoundId, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` comes to once the disk lets it; each new reason why not is said once. Until cancelled."""
    told = ""
    while True:
        try:
            return await work()
        except (OSError, NoSpaceForBlob, BlobUnavailable) as error:
            if str(error) != told:
                told = str(error)
                log.error("round_not_kept", round=round_name(round_id), reason=told)
                shop.tell(round_id, "failed", reason=told)
            await trio.sleep(RETRY_FIRST_S)
