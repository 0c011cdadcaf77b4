"""Faults planted in what drives a replica: each takes away one thing that keeps a node honest, awake or whole.

A mutant comes with weather in which it matters. `tests/sim/test_node_mutants.py` wants each of them noticed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from consensus.effects import RESEND_TIMER, STATUS_TIMER, Effect, Persist, SetTimer
from consensus.readiness import Readiness
from ledger.chain import Chain
from node import journal_file, vote_memory
from node.journal_file import Group, JournalFile
from node.network.blob_store import PartialBlob
from node.replica import ReplicaDriver
from node.simulation.disk import SimFiles
from node.simulation.faults import Faults, Lie

Plant = Callable[[pytest.MonkeyPatch], None]

STORMY = {"loss": 0.2, "delay_ms": (1, 400), "until_ms": 20_000}
POWER_FAILS = Faults(**STORMY, crash_every_ms=1_000, down_ms=(10, 300), power=1.0, cut_short=0.05)
KILLED_THEN_OFF = Faults(**STORMY, crash_every_ms=500, down_ms=(10, 200), power=0.5, cut_short=0.2)
JOURNALS_GO = Faults(**STORMY, crash_every_ms=800, down_ms=(10, 200), journal_lost=0.9)
WRITES_FAIL = Faults(**STORMY, crash_every_ms=1_500, down_ms=(10, 300), failing_call=0.15)


def lying(lie: Lie) -> Faults:
    return Faults(loss=0.1, delay_ms=(1, 200), partition_every_ms=3_000, until_ms=15_000, lies=(lie,))


# Members that come back have some blocks to fetch, of whoever has them.
FETCHING = Faults(
    loss=0.1,
    delay_ms=(1, 200),
    crash_every_ms=2_000,
    down_ms=(3_000, 6_000),
    until_ms=15_000,
    lies=(Lie.FORGED_BLOCKS,),
)


def votes_not_synced(patch: pytest.MonkeyPatch) -> None:
    def append(self: Any, height: int, records: Any) -> None:
        group = Group(height, tuple(records))
        self._file.append(journal_file._frame(group))
        self._groups.append(group)

    patch.setattr(JournalFile, "append", append)


def votes_said_first(patch: pytest.MonkeyPatch) -> None:
    carry_out = ReplicaDriver._carry_out

    def out_of_order(self: Any, effects: Sequence[Effect]) -> None:
        carry_out(self, sorted(effects, key=lambda effect: isinstance(effect, Persist)))

    patch.setattr(ReplicaDriver, "_carry_out", out_of_order)


def blocks_not_synced(patch: pytest.MonkeyPatch) -> None:
    append = Chain.append
    patch.setattr(Chain, "append", lambda self, final, **options: append(self, final, **{**options, "sync": False}))


def lost_journal_not_heeded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(vote_memory, "recall_vote_from", lambda *_: 0)


def what_was_read_not_synced(patch: pytest.MonkeyPatch) -> None:
    init = JournalFile.__init__

    def without_sync(self: Any, *arguments: Any, **options: Any) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr("node.simulation.disk._SimAppendFile.sync", lambda self: None)
            init(self, *arguments, **options)

    patch.setattr(JournalFile, "__init__", without_sync)


def rename_not_synced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SimFiles, "sync_folder", lambda self, folder: None)


def going_on_after_a_failed_write(patch: pytest.MonkeyPatch) -> None:
    """Whose call met the error takes it, and a client's call is not the node's end."""

    def do(self: Any, step: Callable[[], Sequence[Effect]]) -> Sequence[Effect]:
        effects = step()
        self._carry_out(effects)
        return effects

    patch.setattr(ReplicaDriver, "_do", do)


def certificates_believed(patch: pytest.MonkeyPatch) -> None:
    for name in ("ledger.chain.check_certificate", "consensus.votes.check_certificate"):
        patch.setattr(name, lambda *_: None, raising=False)


def blobs_believed(patch: pytest.MonkeyPatch) -> None:
    def publish(self: Any) -> None:
        self._store.publish_partial(self._path, self._digest, self.arrived)

    patch.setattr(PartialBlob, "publish", publish)


def aggregates_believed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Readiness, "_is_ready", lambda *_: True)


def nothing_said_again(patch: pytest.MonkeyPatch) -> None:
    carry_out = ReplicaDriver._carry_out

    def without_resends(self: Any, effects: Sequence[Effect]) -> None:
        timer = (RESEND_TIMER, STATUS_TIMER)
        carry_out(self, [each for each in effects if not (isinstance(each, SetTimer) and each.name in timer)])

    patch.setattr(ReplicaDriver, "_carry_out", without_resends)


@dataclass(frozen=True, slots=True)
class Mutant:
    """`first`: of the seeds that are tried one after the other; those before it were seen to notice nothing."""

    plant: Plant
    faults: Faults
    noticed_as: str
    seeds: int = 24
    first: int = 0


MUTANTS = [
    Mutant(votes_not_synced, POWER_FAILS, "contradicts"),
    Mutant(votes_said_first, POWER_FAILS, "contradicts"),
    Mutant(blocks_not_synced, POWER_FAILS, "said that height"),
    Mutant(lost_journal_not_heeded, JOURNALS_GO, "contradicts"),
    Mutant(what_was_read_not_synced, KILLED_THEN_OFF, "contradicts"),
    Mutant(rename_not_synced, POWER_FAILS, "contradicts"),
    Mutant(going_on_after_a_failed_write, WRITES_FAIL, "contradicts", first=4),
    Mutant(certificates_believed, FETCHING, "S10"),
    Mutant(blobs_believed, lying(Lie.WRONG_BYTES), ""),
    Mutant(aggregates_believed, lying(Lie.FALSE_AGGREGATE), "S17", first=7),
    Mutant(nothing_said_again, Faults(loss=0.4, until_ms=8_000), "not settled", first=4),
]
