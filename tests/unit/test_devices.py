"""Where a model is trained and tested. No GPU is needed: every tensor that is made says where, and a default device
that holds no data makes those stand out that do not."""

import numpy as np
import pytest
import torch

from fl.batches import as_records
from fl.devices import DeviceError, device_of, own_random_state
from fl.evaluate import evaluate
from fl.fixed_point import decode
from fl.models.registry import build
from fl.privacy.secure_random import SecureRandom
from fl.round import RoundJob, initial_model, run_round, served_model
from fl.round_setup import setup_of
from fl.simulate.terms import SimulationError
from fl.vectors import VectorMismatch, flatten_in_place
from tests.support.federations import federation
from tests.support.learning import separable

SOUND = {"privacy": "sound", "privacy_settings": {"epsilon": "8"}, "noise": 1.0}
GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")


def made(model, arguments, shape, mode, device=None, empty_default=False):
    """One round, what is served after it and a test of it, all as bytes."""
    features, labels = separable(3, records=40, inputs=int(np.prod(shape)))
    table = features.reshape(-1, *shape), labels
    job = RoundJob(model, 3, 8, 0.05, 0.5, 0, 1, arguments=arguments, allow_no_guarantee=True, **mode)
    base, setup = initial_model(model, arguments, 1), setup_of(job, device)
    with torch.device("meta" if empty_default else "cpu"):
        outcome = run_round(job, table, None, base, None, random=SecureRandom(5), setup=setup)
        served = served_model(job, base, outcome.state, table, setup)
        tested = evaluate(setup.network, as_records(*table), decode(outcome.update_q))
    return outcome.update_q.tobytes(), served.vector.tobytes(), tested.confusion.tolist()


@pytest.mark.parametrize("mode", [{}, SOUND, {"privacy": "paper"}], ids=str)
@pytest.mark.parametrize(
    ("model", "arguments", "shape"), [("mlp", {"layers": "8,6,4"}, (8,)), ("cnn", {}, (1, 28, 28))]
)
def test_every_tensor_of_a_round_says_where_it_is(model, arguments, shape, mode):
    plain = made(model, arguments, shape, mode)
    assert made(model, arguments, shape, mode, empty_default=True) == plain


def test_one_setup_serves_many_rounds_and_leaves_no_trace_in_them():
    features, labels = separable(3, records=40)
    job = RoundJob("mlp", 2, 8, 0.05, 0.5, 0, 1, arguments={"layers": "8,6,4"})
    base, setup = initial_model("mlp", job.arguments, 1), setup_of(job)
    alone = run_round(job, (features, labels), None, base, None)
    run_round(job, (-features, labels), None, base, None, setup=setup)
    again = run_round(job, (features, labels), None, base, None, setup=setup)
    assert again.update_q.tobytes() == alone.update_q.tobytes()
    assert again.state == alone.state


def test_a_device_is_chosen_by_what_is_here(monkeypatch):
    assert device_of("cpu").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [device_of(wish).type for wish in ("auto", "cpu", "cuda")] == ["cuda", "cpu", "cuda"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto").type == "cpu"
    with pytest.raises(DeviceError, match=r"device cuda: torch .* want auto or cpu"):
        device_of("cuda")
    with pytest.raises(DeviceError, match="device is 'tpu', want one of auto, cpu, cuda"):
        device_of("tpu")
    with pytest.raises(SimulationError, match="want auto or cpu"):
        federation(2, device="cuda")


def test_what_a_model_draws_is_drawn_from_the_seed_and_leaves_no_trace():
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    with own_random_state(torch.device("cpu"), 7):
        drawn = torch.rand(3)
    assert torch.rand(3).tolist() == wanted.tolist()
    with own_random_state(torch.device("cpu"), 7):
        assert torch.rand(3).tolist() == drawn.tolist()


@GPU
@pytest.mark.parametrize("mode", [{}, SOUND, {"privacy": "paper"}], ids=str)
@pytest.mark.parametrize(
    ("model", "arguments", "shape"), [("mlp", {"layers": "8,6,4"}, (8,)), ("cnn", {}, (1, 28, 28))]
)
def test_a_gpu_comes_to_nearly_what_the_cpu_comes_to(model, arguments, shape, mode):
    here, there = (made(model, arguments, shape, mode, torch.device(device)) for device in ("cpu", "cuda"))
    assert made(model, arguments, shape, mode, torch.device("cuda")) == there
    apart = np.frombuffer(here[0], np.int32).astype(float) - np.frombuffer(there[0], np.int32)
    assert np.abs(apart).max() < 2**20 * 1e-4


@GPU
def test_a_federation_is_trained_on_a_gpu():
    course = federation(3, device="auto").run()
    assert course.accuracy > 0.8


def test_a_model_lies_where_it_was_set_up():
    assert setup_of(RoundJob("mlp", 1, 8, 0.1, 0.0, 0, 1)).device.type == "cpu"


def test_a_model_that_lies_flat_is_not_moved_again_and_one_that_was_changed_is():
    model = build("mlp", {"layers": "8,6,4"}, 0)
    first = flatten_in_place(model)
    first.gradients.fill_(3.0)
    again = flatten_in_place(model)
    assert again.values is first.values
    assert again.gradients.count_nonzero() == 0
    next(model.parameters()).data = torch.ones(6, 8)
    moved = flatten_in_place(model)
    assert moved.values is not first.values
    assert moved.values[:48].tolist() == [1.0] * 48
    next(model.parameters()).grad = None
    assert flatten_in_place(model).values is not moved.values
    model.register_buffer("means", torch.zeros(2))
    with pytest.raises(VectorMismatch, match="keeps means beside its parameters"):
        flatten_in_place(model)
