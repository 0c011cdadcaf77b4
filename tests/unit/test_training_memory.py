"""What a provider remembers of a request: there whole or not at all, and never taken for something else."""

import pytest

from ledger.transactions import AnnounceUpdate, DeclineRound
from node.training_memory import TrainingMemory, TrainingRecord
from tests.support.open_requests import announcement, vector_blob

REQUEST = bytes([5]) * 32
RECORD = TrainingRecord(REQUEST, 2, 1, b"before", b"after", announcement(REQUEST, vector_blob(1.0), 2, 1), 900_000)


@pytest.fixture
def memory(tmp_path):
    return TrainingMemory(tmp_path / "strategies")


def test_what_is_saved_is_remembered(memory):
    assert memory.load(REQUEST) is None
    memory.save(RECORD)
    assert TrainingMemory(memory.folder).load(REQUEST) == RECORD
    memory.forget(REQUEST)
    assert memory.load(REQUEST) is None
    memory.forget(REQUEST)


def test_a_round_tried_again_begins_where_it_began_the_first_time():
    assert RECORD.state_for(2) == b"before"
    assert RECORD.state_for(3) == b"after"


def test_every_damaged_byte_is_noticed_and_set_aside(memory):
    memory.save(RECORD)
    (path,) = memory.folder.iterdir()
    data = path.read_bytes()
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :])
        assert memory.load(REQUEST) is None, at
        assert not path.exists()
        assert path.with_suffix(".damaged").exists()
    path.write_bytes(data[:-1])
    assert memory.load(REQUEST) is None


def test_another_requests_file_is_not_taken(memory):
    memory.save(RECORD)
    (path,) = memory.folder.iterdir()
    other = bytes([6]) * 32
    path.rename(memory.folder / f"{other.hex()}.training")
    assert memory.load(other) is None


def test_a_decline_is_an_answer_too(memory):
    record = TrainingRecord(REQUEST, 2, 1, None, None, DeclineRound(REQUEST, 2, 1, "no"), None)
    memory.save(record)
    assert memory.load(REQUEST) == record
    assert isinstance(RECORD.answer, AnnounceUpdate)
