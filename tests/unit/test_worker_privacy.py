"""The training process in mode sound: it does what was charged, and tells of the test records what it was let to."""

from dataclasses import replace

import numpy as np
import pytest

from ledger.transactions import Setting
from node.collector import layout_of
from node.record_store import RecordStore
from node.worker import Worker
from node.worker_protocol import InitialModel, JobFailed, ModelForm, ModelMade, RoundTrained, TrainRound
from tests.net.test_training_process import FORM, terms
from tests.support.factory_records import HOUR_MS, filled_store, new_records, table

SOUND = terms(privacy="sound", privacy_settings=(Setting("epsilon", "8"),), strategy="fedavg", noise="1.5")


@pytest.fixture
def trained(tmp_path):
    """Call it with changed terms: the last answer of a worker that was given the job."""
    store, _ = filled_store(tmp_path / "records.sqlite")
    answers = []
    worker = Worker(answers.append)
    worker.do(InitialModel(FORM, 5))
    assert isinstance(answers[-1], ModelMade)
    base = answers[-1].model

    def train(**changes):
        worker.do(TrainRound(replace(SOUND, **changes), str(store.path), (1, 2, 3), base, None))
        return answers[-1]

    yield train
    store.close()


def test_so_many_steps_as_were_charged_and_never_the_same_noise_twice(trained):
    first, second = trained(), trained()
    assert isinstance(first, RoundTrained)
    # 39 records in batches of 16: three steps a pass, three passes.
    assert (first.steps, first.records, first.weight) == (9, 39, 39)
    assert first.update != second.update, "the noise of a round that is repeated must be fresh"
    assert first.guarantee.startswith("(epsilon, delta)")


def test_noise_that_nobody_was_charged_for_is_not_made_up(trained):
    refused = trained(noise="0")
    assert isinstance(refused, JobFailed)
    assert (refused.code, "before it is charged" in refused.reason) == ("privacy", True)
    assert isinstance(trained(noise="0.2"), JobFailed)


def test_of_the_test_records_is_told_what_was_allowed(trained):
    silent, exact = trained(), trained(accuracy="exact")
    assert (silent.told_accuracy, silent.told_records) == (0, 0)
    assert (exact.told_accuracy, exact.told_records) == (exact.start.accuracy, 40)
    noisy = [trained(accuracy="noisy", query_noise="8.0") for _ in range(6)]
    assert {each.told_records for each in noisy} == {40}
    assert len({each.told_accuracy for each in noisy}) > 1
    assert all(0 <= each.told_accuracy <= 1_000_000 for each in noisy)
    assert isinstance(trained(accuracy="noisy", query_noise="0"), JobFailed)
    # This factory's own people see how it went all the same.
    assert silent.start == exact.start
    assert len(silent.losses) == 3


@pytest.mark.parametrize("labels", [(0,), (0, 1, 2)])
def test_whether_a_model_fits_is_told_from_what_is_declared_and_not_from_the_records(tmp_path, labels):
    """A requester asks for too few classes: whether there is a record of the others must not be the answer."""
    store = RecordStore(tmp_path / "records.sqlite")
    rows = table(39)
    rows = replace(rows, labels=np.resize(np.array(labels), len(rows)))
    store.declare(layout_of(rows))
    store.add_period(1, new_records(rows), 0, HOUR_MS)
    few = ModelForm("mlp", (Setting("layers", "8,4,2"),), FORM.scale_bits, FORM.limit)
    answers = []
    worker = Worker(answers.append)
    worker.do(InitialModel(few, 5))
    worker.do(TrainRound(replace(SOUND, form=few), str(store.path), (1,), answers[-1].model, None))
    store.close()
    assert answers[-1] == JobFailed("data", "the model tells 2 classes apart, the records here have 4")


def test_a_round_is_sampled_at_the_rate_that_was_charged_for(trained):
    """More units were charged for than are still there: they are drawn and add nothing, and no other is drawn more."""
    more = trained(units=64)
    assert isinstance(more, RoundTrained)
    # 64 units in batches of 16, three passes.
    assert (more.steps, more.records) == (12, 39)
    fewer = trained(units=38)
    assert (fewer.code, "charged for were 38" in fewer.reason) == ("data", True)
