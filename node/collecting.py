"""The task that brings this factory's records in: its source at every start, a file that grows again and again.

What is new and what a rewritten past is: `growth.py`; what becomes of closed periods: `anchoring.py`. A source that
cannot be read now, or a disk that is full, is told and tried again: the node has its other work, its records are safe.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
import trio

from node.collector import PeriodRule, ingest
from node.config_sections import DataConfig
from node.growth import DIVISION, Growth
from node.record_errors import RecordStoreError
from node.record_store import RecordStore
from node.replica import now_ms

if TYPE_CHECKING:
    from fl.data.growing import GrowingSource

log = structlog.get_logger(__name__)

# A period that could not be closed when it was due is tried again after this, not at once.
PAUSE_LEAST_S = 1.0

Notify = Callable[[str, Mapping[str, Any]], None]
Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True, slots=True)
class Collected:
    """Records in the store: `collected` to train on, `open` of them in periods not closed yet; `tested` to test on.

    `problem`: why nothing new is taken in now; None when all is well.
    """

    collected: int = 0
    open: int = 0
    tested: int = 0
    problem: str | None = None


class Collecting:
    """`begin` once, then `run`. `closed` is called when periods may have been closed; `standing` may always be read.

    `anchored_through`: the last period that the ledger holds of ours now. `clock`: ms since 1970.
    """

    def __init__(
        self,
        store: RecordStore,
        data: DataConfig,
        anchored_through: Callable[[], int],
        closed: Callable[[], None],
        notify: Notify,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self.standing = Collected()
        self.follows = False
        self._store = store
        self._data = data
        self._rule = PeriodRule(records=data.period_records, milliseconds=data.period_seconds * 1000)
        self._anchored_through = anchored_through
        self._closed = closed
        self._notify = notify
        self._clock = clock
        self._growth = Growth(store, self._rule)
        self._source: GrowingSource | None = None
        self._looked_at: Stamp | None = None
        self._due_ms: int | None = None

    async def begin(self) -> None:
        """Take in what the source has now.

        Raises DataError for a source that cannot be used, RecordStoreError for records that are not those stored, as
        long as there is nothing to go on with.
        """
        await trio.to_thread.run_sync(self._open)
        if self._source is None:
            await trio.to_thread.run_sync(self._ingest, self._anchored_through())
            self._closed()
            return
        problem = await self.look()
        if problem is not None and not self.standing.collected:
            raise problem

    async def run(self) -> None:
        """Look at the source every so often, and close periods when they are over. Until cancelled."""
        while True:
            await trio.sleep(self._pause_s())
            await self.look()

    async def look(self) -> Exception | None:
        """One look at a source that grows; what was wrong with it, if anything."""
        before = self.standing
        problem = await trio.to_thread.run_sync(self._look, self._anchored_through())
        if self.standing.problem != before.problem:
            self._tell(self.standing.problem)
        if self.standing != before:
            log.info("records_collected", collected=self.standing.collected, waiting=self.standing.open)
            self._closed()
        return problem

    def _open(self) -> None:
        from fl.data.registry import growing

        data = self._data
        # A table that was followed once is one whose store can only be followed.
        if data.follow_seconds or self._store.note(DIVISION) is not None:
            self._source = growing(data.source, dict(data.settings), data.path)
            self.follows = bool(data.follow_seconds)

    def _ingest(self, after_period: int) -> None:
        from fl.data.registry import load

        data = self._data
        split = load(data.source, dict(data.settings), data.path)
        # A store that has periods numbers on from its own: it may be ahead of the ledger.
        after = 0 if self._store.last_closed() else after_period
        new = ingest(self._store, split, self._rule, self._clock(), after_period=after)
        self.standing = self._count(None)
        log.info("records_collected", new=new, collected=self.standing.collected)

    def _look(self, after_period: int) -> Exception | None:
        from fl.data.errors import DataError

        problem: Exception | None = None
        try:
            self._take_in(after_period)
        except (DataError, RecordStoreError) as error:
            problem = error
        try:
            # Also when the source cannot be read: what was collected is anchored in its time.
            self._growth.close_due(self._clock())
            self._due_ms = self._growth.next_due_ms()
            self.standing = self._count(problem)
        except RecordStoreError as error:
            problem = problem or error
            last = self.standing
            self.standing = Collected(last.collected, last.open, last.tested, str(problem))
        return problem

    def _take_in(self, after_period: int) -> None:
        assert self._source is not None
        # Before it is read: what is written meanwhile shows at the next look.
        stamp = tuple(_stamp(file) for file in self._source.files)
        # A source without files (a database elsewhere) is asked each time.
        if stamp and stamp == self._looked_at:
            return
        # Forgotten first, so that a look that fails is made again.
        self._looked_at = None
        seen = self._source.read(self._growth.known)
        if seen is not None:
            self._growth.take_in(seen, self._clock(), after_period)
        self._looked_at = stamp

    def _count(self, problem: Exception | None) -> Collected:
        waiting = sum(map(self._store.open_records, self._store.open_periods()))
        closed = sum(closed.record_count for closed in self._store.closed_periods())
        return Collected(closed + waiting, waiting, self._store.test_count(), None if problem is None else str(problem))

    def _pause_s(self) -> float:
        pause_s: float = self._data.follow_seconds if self.follows else float("inf")
        if self._due_ms is not None:
            pause_s = min(pause_s, (self._due_ms - self._clock()) / 1000)
        return max(PAUSE_LEAST_S, pause_s)

    def _tell(self, problem: str | None) -> None:
        """Once a problem, and once when it is over."""
        if problem is None:
            log.warning("records_collected_again", path=str(self._data.path))
            return
        log.error("records_not_collected", reason=problem)
        self._notify("anchor", {"event": "trouble", "reason": problem})


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What tells that a file has changed, without reading it; None when it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
