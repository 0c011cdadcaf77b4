"""An ONNX file answers what the model answers, here as run by onnxruntime, or it is not written."""

import json
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from fl import onnx_export
from fl.evaluate import set_parameters
from fl.export import ExportError, export_model, read_model
from fl.fixed_point import encode
from fl.models import Signature, build, parameter_shapes, signature
from fl.onnx_export import checked_onnx, onnx_of

CASES = [
    ("mlp", {"layers": "8,20,4"}),
    ("cnn", {"input": "3x17x12", "channels": "3,4", "hidden": "7", "classes": "3"}),
    ("cnn1d", {"channels": "2", "length": "100", "filters": "4,4", "classes": "2"}),
    ("char-lstm", {"vocabulary": "9", "hidden": "12"}),
    ("char-lstm", {"vocabulary": "9", "hidden": "12", "layers": "2", "predict": "all"}),
]


def exported(name, arguments, /, seed=5, **about):
    """A safetensors file with weights that no initialisation would draw: training made them, as it were."""
    shapes = parameter_shapes(name, arguments)
    count = sum(value.numel() for value in build(name, arguments, seed).parameters())
    vector = np.random.default_rng(seed).normal(0, 0.3, count).astype(np.float32)
    told = {"model": name, "arguments": json.dumps(arguments), "digest": "ab12", "round": "7", **about}
    return export_model(encode(vector), 20, shapes, told)


@pytest.mark.parametrize(("name", "arguments"), CASES)
def test_every_built_in_model_runs_elsewhere_with_batches_and_lengths_of_any_size(name, arguments):
    file = read_model(exported(name, arguments))
    session = onnxruntime.InferenceSession(onnx_of(file), providers=["CPUExecutionProvider"])
    model, form = build(name, arguments, 0).eval(), signature(name, arguments)
    set_parameters(model, file.vector)
    for batch, length in ((1, 3), (7, 31)):
        shape = (batch, *(side or length for side in form.input_shape))
        records = torch.randint(form.classes, shape) if form.codes else 3 * torch.randn(shape)
        (logits,) = session.run(["logits"], {"records": records.numpy()})
        want = model(records).detach().numpy()
        np.testing.assert_allclose(logits, want, atol=1e-5 * max(1, np.abs(want).max()))


def test_the_file_says_where_it_is_from_and_what_it_is_fed():
    data = onnx_of(read_model(exported("mlp", {"layers": "3,2"})), {"classes": '["ok", "worn"]'})
    model = onnx.load_from_string(data)
    onnx.checker.check_model(model, full_check=True)
    told = {each.key: each.value for each in model.metadata_props}
    assert (told["digest"], told["round"], told["model"]) == ("ab12", "7", "mlp")
    assert json.loads(told["arguments"]) == {"layers": "3,2"}
    assert json.loads(told["input"]) == ["records", "float32", ["batch", 3]]
    assert (told["answers"], told["classes"]) == ("2", '["ok", "worn"]')
    assert told["checked"].startswith(f"onnxruntime {onnxruntime.__version__}, 8 batches")
    (fed,) = model.graph.input
    assert [side.dim_param or side.dim_value for side in fed.type.tensor_type.shape.dim] == ["batch", 3]


class Dropping(nn.Sequential):
    """In training it draws; what is exported must not."""

    def __init__(self):
        super().__init__(nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3))


class Attending(nn.Module):
    """Its fast path has no ONNX, so tracing fails and the code is read."""

    def __init__(self):
        super().__init__()
        self.codes = nn.Embedding(9, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.answer = nn.Linear(8, 9)

    def forward(self, codes):
        return self.answer(self.layer(self.codes(codes)).mean(1))


@pytest.mark.parametrize(
    ("model", "form"), [(Dropping(), Signature((4,), False, 3)), (Attending(), Signature((None,), True, 9))]
)
def test_networks_of_third_parties_are_written_too(model, form):
    assert checked_onnx(model, form, {}).difference < 1e-5
    assert model.training


class Deciding(nn.Module):
    """A traced file would keep the branch of the example only."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, records):
        return self.layer(records) if float(records.sum()) > 0 else -self.layer(records)


def test_a_file_that_would_answer_something_else_is_not_written():
    with pytest.raises(ExportError, match=r"traced: .* answers differ by .* want at most 0.0001; read: torch cannot"):
        checked_onnx(Deciding(), Signature((4,), False, 3), {})


@pytest.mark.parametrize("damage", ["weight", "sign", "output"])
def test_the_check_finds_a_file_that_torch_wrote_wrongly(monkeypatch, damage):
    """As if both exporters had a bug: the file is changed between them and the check."""

    def wrongly(model, form):
        file = onnx.load_from_string(onnx_export_traced(model, form))
        if damage == "output":
            file.graph.output[0].name = file.graph.node[-1].output[0] = "answers"
        else:
            weights = onnx.numpy_helper.to_array(file.graph.initializer[0]).copy()
            weights.flat[0] = weights.flat[0] + 1e-2 if damage == "weight" else -weights.flat[0]
            name = file.graph.initializer[0].name
            file.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, name))
        return file.SerializeToString()

    onnx_export_traced = onnx_export._traced
    monkeypatch.setattr(onnx_export, "_traced", wrongly)
    monkeypatch.setattr(onnx_export, "_read", wrongly)
    with pytest.raises(ExportError, match="no ONNX file answers what the model answers"):
        onnx_of(read_model(exported("mlp", {"layers": "3,2"})))


@pytest.mark.parametrize(
    ("got", "said"),
    [
        (np.full((2, 3), np.nan, np.float32), "differ by nan"),
        (np.zeros((2, 3), np.float64), "float64"),
        (np.zeros((2, 2), np.float32), r"\[2, 2\]"),
        (np.full((2, 3), 2e-4, np.float32), "differ by 2.0e-04"),
    ],
)
def test_what_counts_as_the_same_answer(got, said):
    want = np.zeros((2, 3), np.float32)
    with pytest.raises(ExportError, match=said):
        onnx_export._apart(got, want, "here")
    assert onnx_export._apart(np.full((2, 3), 9e-5, np.float32), want, "here") == pytest.approx(9e-5)
    # Of logits of a thousand the last digits say nothing.
    assert onnx_export._apart(np.float32([[1000.05]]), np.float32([[1000.0]]), "here") < 1e-4


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": "resnet"}, "no model is called 'resnet'"),
        ({"arguments": '{"layers": "3,4"}'}, "tensors are not those of model 'mlp'"),
        ({"arguments": "layers"}, "does not say which model"),
    ],
)
def test_a_file_of_a_model_that_cannot_be_had_is_refused(changes, said):
    with pytest.raises(ExportError, match=said):
        onnx_of(read_model(exported("mlp", {"layers": "3,2"}, **changes)))


def test_without_the_extra_the_answer_is_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"pip install 'hanse\[onnx\]'"):
        onnx_of(read_model(exported("mlp", {"layers": "3,2"})))
