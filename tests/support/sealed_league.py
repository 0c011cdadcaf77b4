"""A sealed request on a chain, whose rounds are aggregated for real: three who train, and one who hands in a copy."""

from dataclasses import replace

import numpy as np

from fl.fixed_point import Bytes, pack
from ledger.aggregation import AggregationResult, AggregationTask, aggregates_due
from ledger.entries import Fate
from ledger.transactions import (
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Protection,
    PublishProtected,
    Verdict,
)
from ledger.types import Hash32
from node.aggregation import recomputed, result_of
from node.network.blob_store import blob_digest
from node.sealed import seal
from tests.support.open_requests import PARAMETERS, SCALE_BITS, TERMS, anchor, join, round_of, vector_blob
from tests.support.sealed_chain import SealedChain, key_of

HONEST = ("alder", "birch", "cedar")
COPIER = "dogwood"
NAMES = (*HONEST, COPIER)
BASE = vector_blob(0.0)


class SealedLeague:
    """`blobs`: of all that was announced or aggregated, by digest."""

    def __init__(self, rounds: int = 2, **changes: int) -> None:
        self.sealed = SealedChain("requester", *NAMES)
        self.blobs: dict[Hash32, bytes] = {blob_digest(BASE): BASE}
        terms = replace(TERMS, initial_model=blob_digest(BASE), rounds_max=rounds, providers_max=len(NAMES), **changes)
        self.request = self.sealed.say("requester", PublishProtected(terms, Protection((), False, 1))).id
        self.sealed.seal()
        for name in NAMES:
            anchor(self.sealed, name)
            join(self.sealed, name, self.request)
        self.sealed.seal()

    def void_attempt(self) -> None:
        """Only one announces, and it is held; it announces the same again in the next attempt."""
        current = round_of(self.sealed, self.request)
        place = (self.request, current.number, current.attempt)
        self._announce(HONEST[0], current.number, place)
        self.sealed.seal()
        self.sealed.seal(after_ms=100_000)
        self._attest(place)

    def play_round(self) -> AggregationTask:
        """Everybody announces, a quorum holds it all, the leader aggregates; what it was computed from."""
        current = round_of(self.sealed, self.request)
        place = (self.request, current.number, current.attempt)
        for name in NAMES:
            self._announce(name, current.number, place)
        self.sealed.seal()
        self._attest(place)
        [task] = aggregates_due(self.sealed.chain.state())
        self.sealed.seal(aggregates={task.request: self.result(task)})
        return task

    def _announce(self, name: str, number: int, place: tuple[bytes, int, int]) -> None:
        blob = seal(self._update(HONEST[0] if name == COPIER else name, number), key_of(name).org)
        update = AnnounceUpdate(*place, self._keep(blob), len(blob), 60, (1,), 0, 0)
        self.sealed.say(name, AnnounceProtected(update, ()))

    def _attest(self, place: tuple[bytes, int, int]) -> None:
        parts = round_of(self.sealed, self.request).participants
        held = tuple(Attestation(part.org, part.blob, Verdict.HELD) for part in parts if part.fate is Fate.ANNOUNCED)
        for name in ("requester", *NAMES):
            if key_of(name).org in self.sealed.chain.seated():
                self.sealed.say(name, AttestBlobs(*place, held))
        self.sealed.seal()

    def result(self, task: AggregationTask) -> AggregationResult:
        updates: list[tuple[Bytes, int]] = [(self.blobs[each.blob], each.weight) for each in task.contributions]
        previous = None if task.previous_model is None else self.blobs[task.previous_model]
        made = recomputed(task, self.blobs[task.base_model], updates, previous)
        self._keep(made.blob)
        return result_of(task, made)

    def _keep(self, blob: bytes) -> Hash32:
        self.blobs[blob_digest(blob)] = blob
        return blob_digest(blob)

    def _update(self, name: str, number: int) -> bytes:
        random = np.random.default_rng([number, NAMES.index(name)])
        return pack(random.integers(-1_000_000, 1_000_000, PARAMETERS, np.int32), SCALE_BITS)
