"""A data request in a league of four, brought to any stage: the beginning of most stories about requests."""

from ledger.entries import Fate, Stage
from ledger.keys import KeyPair
from ledger.parameters import LeagueParameters
from ledger.transactions import (
    CancelRequest,
)
from tests.support.league import League, terms


class Story:
    """A league of four: alice has published a request, the other three have anchored 100 records each and joined.

    `limits`: parameters of the league, `changes`: of the terms."""

    def __init__(
        self, *, joined: bool = True, records: int = 100, limits: dict[str, int] | None = None, **changes: object
    ) -> None:
        self.league = League(4, **(limits or {}))
        self.alice, self.bob, self.carol, self.dave = self.league.keys
        self.providers = [self.bob, self.carol, self.dave]
        self.league.anchor(self.league.keys, records)
        self.id = self.league.publish(self.alice, terms(**changes))
        if joined:
            self.league.join(self.id, self.providers, records)

    @property
    def stage(self) -> Stage:
        return self.league.request(self.id).stage

    def to(self, stage: Stage) -> "Story":
        """Move on until the request stands there."""
        league = self.league
        if stage is Stage.CANCELLED:
            league.say((self.alice, CancelRequest(self.id)))
        elif stage is Stage.FAILED:
            for _ in range(2 * LeagueParameters().void_rounds_max):
                league.commit(after_ms=200_000)
        elif stage is Stage.ATTESTING:
            league.announce(self.id, self.providers)
        elif stage is Stage.AGGREGATING:
            league.announce(self.id, self.providers)
            league.attest(self.id, self.providers)
        elif stage is Stage.DONE:
            for _ in range(3):
                league.whole_round(self.id, self.providers)
        assert self.stage is stage
        return self

    def fates(self) -> dict[bytes, Fate]:
        return {part.org: part.fate for part in self.league.round(self.id).participants}

    def fate(self, key: KeyPair) -> Fate:
        return self.fates()[key.org]
