"""Models by name: their shapes are told without torch and are true, their weights depend on the seed alone."""

import subprocess
import sys

import pytest
import torch

from fl.models import ModelError, build, describe, names, parameter_count, parameter_shapes, signature
from tests.support.plug_ins import install_plug_in

CASES = [
    ("mlp", {}),
    ("mlp", {"layers": "3,2"}),
    ("mlp", {"layers": "784, 200, 10"}),
    ("cnn", {}),
    ("cnn", {"input": "3x32x32"}),
    ("cnn", {"input": "2x17x5", "channels": "3,4,5", "hidden": "7", "classes": "3"}),
    ("cnn1d", {}),
    ("cnn1d", {"channels": "2", "length": "100", "filters": "4", "classes": "2"}),
    ("char-lstm", {}),
    ("char-lstm", {"vocabulary": "9", "layers": "3", "hidden": "5", "embedding": "2"}),
]


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_declared_shapes_are_those_of_torch(name, arguments):
    model = build(name, arguments, seed=1)
    actual = tuple((label, tuple(value.shape)) for label, value in model.named_parameters())
    assert parameter_shapes(name, arguments) == actual
    assert parameter_count(name, arguments) == sum(value.numel() for value in model.parameters())
    assert model.state_dict().keys() == {label for label, _ in actual}


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_a_model_takes_what_its_signature_says_and_learns_from_it(name, arguments):
    told = signature(name, arguments)
    shape = (6, *(side or 11 for side in told.input_shape))
    draw = torch.Generator().manual_seed(5)
    records = torch.randint(told.classes, shape, generator=draw) if told.codes else torch.randn(shape, generator=draw)
    labels = torch.randint(told.classes, (6,), generator=draw)
    model = build(name, arguments, seed=2)
    logits = model(records)
    assert logits.shape == (6, told.classes)
    torch.nn.functional.cross_entropy(logits, labels).backward()
    # A layer that nothing flows through would look like a model and never train.
    assert all(value.grad.abs().sum() > 0 for value in model.parameters())


def test_the_paper_sizes():
    assert parameter_count("mlp", {}) == 8 * 150 + 150 + 150 * 150 + 150 + 150 * 4 + 4
    assert parameter_count("cnn", {}) == 52_266
    assert parameter_count("cnn", {"input": "3x32x32"}) == 68_026


def test_an_lstm_can_answer_after_every_position_and_its_last_is_the_last():
    codes = torch.arange(7)[None] % 5
    every = build("char-lstm", {"vocabulary": "5", "predict": "all"}, seed=3)(codes)
    last = build("char-lstm", {"vocabulary": "5"}, seed=3)(codes)
    assert every.shape == (1, 5, 7)
    assert torch.allclose(every[:, :, -1], last, atol=1e-6)


@pytest.mark.parametrize("name", names())
def test_weights_depend_on_the_seed_alone_and_the_callers_randomness_stays(name):
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = build(name, {}, seed=7)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    again, other = build(name, {}, seed=7), build(name, {}, seed=8)
    for label, value in first.named_parameters():
        assert torch.equal(value, again.get_parameter(label))
    assert not all(torch.equal(value, other.get_parameter(label)) for label, value in first.named_parameters())


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("resnet", {}, "no model is called 'resnet'; known: char-lstm, cnn, cnn1d, mlp"),
        ("mlp", {"layer": "8,4"}, "model 'mlp' has no setting layer; it has layers"),
        ("mlp", {"layers": "8"}, "layers is '8', want 2 to 16 whole numbers"),
        ("mlp", {"layers": "8,-1,4"}, "layers"),
        ("mlp", {"layers": "60000,60000"}, "would have 3600060000 parameters, want 1..24000000"),
        ("cnn", {"input": "28x28"}, "input is '28x28', want 3 whole numbers"),
        ("cnn1d", {"length": "10"}, "length"),
        ("char-lstm", {"predict": "first"}, "one of last, all"),
        ("char-lstm", {"hidden": "4096", "layers": "8"}, "parameters"),
    ],
)
def test_what_cannot_be_built_is_refused_before_anything_is_allocated(name, arguments, said):
    for ask in (parameter_shapes, parameter_count, lambda *a: build(*a, seed=0)):
        with pytest.raises(ModelError) as refused:
            ask(name, arguments)
        assert said in str(refused.value)


@pytest.mark.parametrize("seed", [-1, 2**63])
def test_a_seed_out_of_range_is_refused(seed):
    with pytest.raises(ModelError, match="seed"):
        build("mlp", {}, seed)


def test_every_model_describes_itself():
    for name in names():
        note = describe(name)
        assert note.summary
        defaults = {argument.name: argument.default for argument in note.arguments}
        assert parameter_shapes(name, defaults) == parameter_shapes(name, {})


def test_a_node_reads_models_and_data_without_importing_torch():
    program = (
        "import sys, fl.models, fl.data.registry, fl.partition\n"
        "assert fl.models.parameter_count('mlp', {}) == 24604\n"
        "fl.data.registry.load('bearing-simulator', {'train_records': '5', 'test_records': '5'}, None)\n"
        "print(sorted({'torch', 'PIL', 'pyarrow'} & set(sys.modules)))\n"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


PLUG_IN = """
class Linear:
    summary = "one layer"
    def shapes(self, arguments):
        return [("weight", [2, int(arguments["inputs"])]), ("bias", [2])]
    def build(self, arguments):
        import torch
        return {built}
plug_in = Linear()
"""


def plug_in(monkeypatch, folder, built):
    module = f"hanse_plug_in_{abs(hash(built))}"
    install_plug_in(monkeypatch, folder, "hanse.models", "one-layer", module, PLUG_IN.format(built=built))


def test_a_plug_in_is_found_by_name_and_built_from_the_seed(monkeypatch, tmp_path):
    plug_in(monkeypatch, tmp_path, "torch.nn.Linear(int(arguments['inputs']), 2)")
    assert names()[-1] == "one-layer"
    assert describe("one-layer").summary == "one layer"
    assert parameter_count("one-layer", {"inputs": "3"}) == 8
    one, two = build("one-layer", {"inputs": "3"}, 4), build("one-layer", {"inputs": "3"}, 4)
    assert torch.equal(one.weight, two.weight)


@pytest.mark.parametrize(
    ("built", "said"),
    [
        ("torch.nn.Linear(4, 2)", "not those it declares"),
        ("torch.nn.Linear(3, 2, dtype=torch.float64)", "float32"),
        ("'a model'", "want a torch.nn.Module"),
        (
            "type('M', (torch.nn.Linear,), {})(3, 2).register_buffer('mean', torch.zeros(1)) or 0",
            "torch.nn.Module",
        ),
    ],
)
def test_a_plug_in_that_breaks_its_word_is_refused(monkeypatch, tmp_path, built, said):
    plug_in(monkeypatch, tmp_path, built)
    with pytest.raises(ModelError, match=said):
        build("one-layer", {"inputs": "3"}, 4)


def test_state_that_no_update_carries_is_refused(monkeypatch, tmp_path):
    source = """
class Norm:
    def shapes(self, arguments):
        return (("weight", (3,)), ("bias", (3,)))
    def build(self, arguments):
        import torch
        return torch.nn.BatchNorm1d(3)
plug_in = Norm()
"""
    install_plug_in(monkeypatch, tmp_path, "hanse.models", "norm", "hanse_plug_in_norm", source)
    with pytest.raises(ModelError, match="beside its parameters"):
        build("norm", {}, 0)


def test_a_plug_in_that_does_not_load_is_refused_by_name(monkeypatch, tmp_path):
    install_plug_in(monkeypatch, tmp_path, "hanse.models", "broken", "hanse_plug_in_broken", "import no_such_thing")
    with pytest.raises(ModelError, match="no_such_thing"):
        parameter_count("broken", {})
