"""Gathers the effects of one event and puts them in the order that rule 3 of Simplex asks for."""

from consensus.events import Broadcast, Decide, Effect, FetchBody, Halt, Persist, Report, Send
from consensus.journal import JournalRecord


class Outbox:
    """One synced write an event, however many votes it caused: an fsync costs more than all the rest."""

    def __init__(self) -> None:
        self.halted = False
        self._now: list[Effect] = []
        self._records: list[JournalRecord] = []
        self._sends: list[Effect] = []
        self._last: list[Effect] = []

    def now(self, effect: Effect) -> None:
        """Needs nothing on disk: timers, work for the driver, reports."""
        self._now.append(effect)

    def persist(self, record: JournalRecord) -> None:
        self._records.append(record)

    def send(self, effect: Broadcast | Send | FetchBody) -> None:
        """Leaves after the records of this event are synced."""
        self._sends.append(effect)

    def last(self, effect: Decide) -> None:
        """After the sends: others should not wait for our commit."""
        self._last.append(effect)

    def halt(self, reason: str) -> None:
        """Nothing leaves any more, but proof against others is kept."""
        self.halted = True
        self._now = [effect for effect in self._now if isinstance(effect, Report)]
        self._records, self._sends, self._last = [], [], [Halt(reason)]

    def drain(self) -> list[Effect]:
        persist: list[Effect] = [Persist(tuple(self._records))] if self._records else []
        effects = [*self._now, *persist, *self._sends, *self._last]
        self._now, self._records, self._sends, self._last = [], [], [], []
        return effects
