"""Who carries out the rounds changes no bit of them: in one process, over several, with one that dies."""

import os
import signal
from dataclasses import replace

import numpy as np
import pytest
import ray

from fl.data.tables import Split, Table
from fl.simulate.blob_shelf import BlobShelf
from fl.simulate.engines.processes import Processes, WorkerDied
from fl.simulate.engines.ray_cluster import RayCluster
from fl.simulate.engines.shared_tables import map_tables, write_tables
from fl.simulate.federation import Federation
from fl.simulate.participation import participants
from fl.simulate.terms import SimulationError
from fl.train import Diverged
from tests.support.federations import TERMS, clouds, factories, federation

TOLD = {"strategy": "dlmu", "per_round": 4, "mixed": False}


class Felled(Processes):
    """Kills a worker in the middle of the second round: when the first answer of it is there."""

    rounds = 0

    def train(self, base, orders):
        self.rounds += 1
        for at, answer in enumerate(super().train(base, orders)):
            if at == 0 and self.rounds == 2:
                os.kill(self.process_ids[-1], signal.SIGKILL)
            yield answer


@pytest.mark.parametrize("engine", [Processes(1), Felled(2)], ids=["one worker", "two, of which one dies"])
def test_every_engine_gives_the_same_course(engine):
    inline = federation(7, **TOLD).run()
    with federation(7, more={"engine": engine}, **TOLD) as ours:
        spread = ours.run()
    assert spread.rounds == inline.rounds
    assert spread.model.tobytes() == inline.model.tobytes()
    assert spread.rounds[-1].own_accuracy is not None


def test_a_worker_imports_nothing_from_where_somebody_happens_to_be(monkeypatch, tmp_path):
    (tmp_path / "msgpack.py").write_text("raise ImportError('of the folder')")
    monkeypatch.chdir(tmp_path)
    with federation(2, rounds=1, more={"engine": Processes(1)}) as ours:
        assert len(ours.run().rounds) == 1


def test_a_ray_cluster_gives_the_same_course_and_the_same_faults():
    """On a Ray of this machine alone, which is ended with the engine that started it."""
    calm, (clients, test) = federation(7, **TOLD, rounds=2).run(), factories(7, mixed=False)
    wild = [*clients[:6], Split(replace(clients[6].train, features=clients[6].train.features * 1e20), test)]
    with federation(7, more={"engine": RayCluster(1)}, **TOLD, rounds=2) as ours:
        assert ours.run().rounds == calm.rounds
        with pytest.raises(SimulationError, match="2 workers on a Ray cluster of 1 cores"):
            federation(2, more={"engine": RayCluster(2)})
        second = RayCluster(1)
        ours._engine._actors = ray.kill(ours._engine._actors.pop()) or []
        with pytest.raises(Diverged, match="epoch 0"), Federation(TERMS, wild, test, 1, engine=second) as other:
            other.run()
    assert not ray.is_initialized()


def test_what_goes_wrong_in_a_worker_is_told_as_it_is_and_the_worker_goes_on():
    """One client diverges, wherever it is trained. A round that was given up leaves nothing for the next."""
    calm, (clients, test) = federation(6, rounds=2).run(), factories(6)
    wild = [*clients[:5], Split(replace(clients[5].train, features=clients[5].train.features * 1e20), test)]
    with pytest.raises(Diverged) as here:
        Federation(TERMS, wild, test, 1).run()
    with Federation(replace(TERMS, rounds=2), wild, test, 1, engine=Processes(1)) as ours:
        with pytest.raises(Diverged) as there:
            ours.run()
        assert str(there.value) == str(here.value)
        assert there.value.epoch == here.value.epoch
        assert there.value.__notes__ == here.value.__notes__ == ["client 5, round 1"]
    with federation(6, rounds=2, more={"engine": Processes(1)}) as ours:
        given_up = ours._engine.train(ours.blob, ours._cohort.orders(range(6), 0))
        next(given_up)
        assert ours.run().rounds == calm.rounds


class Deadly(Processes):
    """Every worker dies of its first order."""

    def train(self, base, orders):
        for process in self.process_ids:
            os.kill(process, signal.SIGKILL)
        yield from super().train(base, orders)

    def _started(self):
        worker = super()._started()
        if self._call:
            os.kill(worker.process.pid, signal.SIGKILL)
        return worker


def test_a_client_that_kills_every_worker_is_named():
    with federation(2, more={"engine": Deadly(1)}) as ours, pytest.raises(WorkerDied, match="killed by signal 9 with"):
        ours.run()


def test_a_count_of_workers_that_is_none_is_refused():
    with pytest.raises(SimulationError, match="0 worker processes, want 1 to 256"):
        Processes(0)


def test_records_are_laid_out_once_and_mapped_as_they_were(tmp_path):
    rng = np.random.default_rng(1)
    tables = [
        (rng.normal(size=(5, 3)).astype(np.float32), np.arange(5)),
        (rng.integers(0, 255, (3, 2, 7)).astype(np.uint8), np.arange(3)),
        (np.arange(12).reshape(4, 3)[:, ::2], np.arange(4)),
        (np.empty((0, 3), np.float32), np.empty(0, np.int64)),
    ]
    path = tmp_path / "tables"
    once = write_tables(path, [*tables, tables[0]])
    size = path.stat().st_size
    assert once[0] == once[-1]
    for (features, labels), (written, names) in zip(map_tables(path, once), [*tables, tables[0]], strict=True):
        assert features.dtype == written.dtype
        assert features.tolist() == written.tolist()
        assert labels.tolist() == names.tolist()
        assert not features.flags.writeable
        assert not len(features) or features.ctypes.data % features.dtype.itemsize == 0
    assert size < sum(each.nbytes for table in tables for each in table) + 8 * 64


def test_blobs_beyond_the_bound_lie_in_files_and_nowhere_at_the_end(tmp_path):
    shelf = BlobShelf(250, tmp_path)
    for client in range(5):
        shelf[client] = bytes([client]) * 100
    folder = next(tmp_path.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3", "4"]
    assert [shelf[client] for client in range(5)] == [bytes([client]) * 100 for client in range(5)]
    assert bytes(shelf.view(4)) == b"\x04" * 100
    shelf[0] = b"short"
    shelf[3] = b"brought in"
    assert sorted(path.name for path in folder.iterdir()) == ["2", "4"]
    shelf[1] = b"x" * 300
    assert [bytes(shelf.view(client)) for client in (0, 1, 3)] == [b"short", b"x" * 300, b"brought in"]
    del shelf[1], shelf[0]
    assert list(shelf) == [2, 3, 4]
    with pytest.raises(KeyError):
        shelf[0]
    shelf.close()
    assert list(tmp_path.iterdir()) == []


def test_states_that_do_not_fit_in_memory_change_nothing():
    whole = federation(6, **TOLD).run()
    with federation(6, more={"memory_bytes_max": 1000}, **TOLD) as ours:
        assert ours.run().rounds == whole.rounds
        assert len(ours._cohort.states._there) >= 5


def test_ten_times_as_many_clients_of_whom_as_many_take_part_remember_nothing_more():
    """Only who took part has a state."""
    clients, test = factories(60, records=10)
    with Federation(replace(TERMS, per_round=3, rounds=2), clients, test, 1) as ours:
        ours.run()
        seen = {client for number in range(2) for client in participants(1, number, 60, 3)}
        assert set(ours._cohort.states) == seen


def test_clients_of_one_record_and_of_a_class_without_test_records_are_carried_out():
    test = Table(clouds(99, 50, (0, 1)).features, clouds(99, 50, (0, 1)).labels, ("a", "b", "c"))
    clients = [Split(clouds(1, 1, (2,)), test), Split(clouds(2, 40, (0, 2)), test)]
    result = Federation(replace(TERMS, rounds=1), clients, test, 1).run().rounds[0]
    assert result.own[0] is None
    assert result.own_accuracy == result.own[1]
