"""Models that a package brings: the one of docs/models.md, told without torch, pinned, and refused with a reason."""

import json
import math
import subprocess
import sys
import tomllib
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from fl.export import export_model, read_model
from fl.models import ModelError, Signature, TorchModel, build, describe, parameter_shapes, signature
from fl.models.fitness import shapes_of
from fl.models.plug_ins import pin
from fl.models.torch_model import description, read_description
from fl.onnx_export import onnx_of
from fl.round import RoundJob, initial_model, run_round
from fl.settings import Whole
from ledger.transactions import Setting
from node.training_terms import TermsRefused, check_terms, short_reason
from tests.support.model_package import install_package, page_files
from tests.support.open_requests import TERMS

SHAPES = (
    ("filters.weight", (16, 3, 9)),
    ("filters.bias", (16,)),
    ("norm.weight", (16,)),
    ("norm.bias", (16,)),
    ("answer.weight", (5, 16)),
    ("answer.bias", (5,)),
)
FULL = {"channels": "3", "width": "16", "classes": "5"}


@pytest.fixture(autouse=True)
def fresh_package(monkeypatch):
    """Every test its own gear_models: neither the package nor what was read of it stays."""
    from fl.models import plug_ins, torch_model

    yield
    for name in [each for each in sys.modules if each.split(".")[0] == "gear_models"]:
        del sys.modules[name]
    for kept in (plug_ins._loaded, torch_model._description, torch_model._derived):
        kept.cache_clear()


def gear_models(monkeypatch, folder, described=True, **more):
    files = page_files()
    if described:
        files["gear_models/shapes.json"] = description([(FULL, SHAPES)])
    install_package(monkeypatch, folder, files, {"gear-net": "gear_models:plug_in"}, **more)
    return folder


def test_the_package_of_the_page_takes_forty_lines():
    files = page_files()
    assert sorted(files) == ["gear_models/__init__.py", "gear_models/net.py", "pyproject.toml"]
    lines = [line for text in files.values() for line in text.splitlines() if line.strip()]
    assert len(lines) <= 40


def test_the_package_of_the_page_brings_its_shapes_along():
    """setuptools leaves out what is no Python file unless it is told."""
    built = tomllib.loads(page_files()["pyproject.toml"])
    assert built["tool"]["setuptools"]["package-data"] == {"gear_models": ["shapes.json"]}


def test_the_package_of_the_page_is_a_model(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path)
    assert parameter_shapes("gear-net", {"channels": "3"}) == SHAPES
    assert signature("gear-net", {}) == Signature((3, 256), False, 5)
    note = describe("gear-net")
    assert [each.name for each in note.arguments] == ["channels", "width", "classes"]
    model = build("gear-net", {"classes": "5"}, seed=4)
    assert model(torch.zeros(2, 3, 256)).shape == (2, 5)
    assert torch.equal(model.answer.weight, build("gear-net", {}, seed=4).answer.weight)


def test_a_node_knows_the_shapes_without_torch_where_they_are_described(tmp_path, monkeypatch):
    gear_models(monkeypatch, tmp_path)
    program = (
        "import sys; from fl.models import ModelError, parameter_shapes\n"
        "known = parameter_shapes('gear-net', {})\n"
        "try: told = parameter_shapes('gear-net', {'width': '32'})\n"
        "except ModelError as error: told = str(error)\n"
        "import json; print(json.dumps([known, told, 'torch' in sys.modules]))"
    )
    path = {"PYTHONPATH": str(tmp_path), "PATH": ""}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=path)
    known, told, torch_there = json.loads(ran.stdout)
    assert [(name, tuple(shape)) for name, shape in known] == list(SHAPES)
    assert "width=32" in told
    assert "hanse model describe" in told
    assert not torch_there


def test_where_torch_is_the_shapes_are_read_off_the_module(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path, described=False, recorded=False)
    monkeypatch.setattr("gear_models.plug_in", TorchModel(**of_page(described="")), raising=True)
    assert parameter_shapes("gear-net", {"width": "8", "classes": "2"})[-1] == ("answer.bias", (2,))


def of_page(**changes):
    import gear_models

    kept = {name: getattr(gear_models.plug_in, name) for name in ("module", "arguments", "takes", "summary")}
    return {**kept, **changes}


def test_sizes_by_formula_are_held_to_the_network(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path, described=False)
    wrong = TorchModel(**of_page(sizes=lambda a: [("answer.weight", (a.classes, a.width))]))
    monkeypatch.setattr("gear_models.plug_in", wrong)
    with pytest.raises(ModelError, match="not those it declares"):
        build("gear-net", {}, 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"channels": "0"}, "whole number in 1..64"),
        ({"depth": "3"}, "no setting depth; it has channels, width, classes"),
        ({"width": "5"}, "its plug-in's build failed: ValueError"),  # GroupNorm(4, 5)
    ],
)
def test_wrong_arguments_are_refused(monkeypatch, tmp_path, arguments, said):
    gear_models(monkeypatch, tmp_path, described=False)
    monkeypatch.setattr("gear_models.plug_in", TorchModel(**of_page(sizes=lambda a: SHAPES)))
    with pytest.raises(ModelError, match=r"model 'gear-net'") as refused:
        build("gear-net", arguments, 0)
    assert said in str(refused.value)


def test_a_pin_is_of_the_installed_files_and_another_one_is_refused(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path / "a")
    here = pin("gear-net")
    assert here.startswith("1.0-")
    assert parameter_shapes("gear-net", {"pin": here}) == SHAPES
    assert build("gear-net", {"pin": here}, 1)
    other = here[:-1] + ("0" if here[-1] != "0" else "1")
    with pytest.raises(ModelError) as refused:
        parameter_shapes("gear-net", {"pin": other})
    assert here in str(refused.value)
    # What fits into a provider's word on the ledger says what is wrong.
    assert "pinned 1.0-" in str(refused.value).encode()[:64].decode()


def test_the_same_version_with_other_files_has_another_pin(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path / "a")
    first = pin("gear-net")
    with monkeypatch.context() as changed:
        files = page_files()
        files["gear_models/net.py"] += "\n# changed\n"
        files["gear_models/shapes.json"] = description([(FULL, SHAPES)])
        install_package(changed, tmp_path / "b", files, {"gear-net": "gear_models:plug_in"})
        assert pin("gear-net") != first
    assert pin("gear-net") == first


def test_what_pip_noted_no_digests_of_cannot_be_pinned(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path, recorded=False)
    with pytest.raises(ModelError, match="editable"):
        pin("gear-net")
    with pytest.raises(ModelError, match=r"pinned 1\.0-ab, but"):
        parameter_shapes("gear-net", {"pin": "1.0-ab"})


def test_a_provider_with_another_package_declines_and_says_so(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path)
    count = sum(math.prod(shape) for _, shape in SHAPES)

    def terms(**arguments):
        told = tuple(Setting(name, text) for name, text in sorted(arguments.items()))
        return replace(TERMS, model="gear-net", model_arguments=told, parameters=count)

    check_terms(terms(pin=pin("gear-net")), allow_no_guarantee=True)
    check_terms(terms(channels="3"), allow_no_guarantee=True)
    with pytest.raises(TermsRefused) as refused:
        check_terms(terms(pin="0.9-" + "ab" * 16), allow_no_guarantee=True)
    assert short_reason(str(refused.value)).startswith("'gear-net' here is 1.0-")
    assert "pinned 0.9-abab" in short_reason(str(refused.value))


def test_a_brought_model_is_trained_by_a_round_and_leaves_as_onnx(monkeypatch, tmp_path):
    gear_models(monkeypatch, tmp_path)
    draw = np.random.default_rng(3)
    table = draw.normal(size=(30, 3, 256)).astype(np.float32), draw.integers(0, 5, 30)
    job = RoundJob("gear-net", epochs=2, batch=8, lr=0.05, momentum=0.8, round_number=0, seed=1)
    base = initial_model("gear-net", {}, seed=4)
    outcome = run_round(job, table, table, base, None)
    assert outcome.metrics.update.loss < outcome.metrics.start.loss
    about = {"model": "gear-net", "arguments": "{}"}
    file = read_model(export_model(outcome.update_q, 20, SHAPES, about))
    session = onnxruntime.InferenceSession(onnx_of(file), providers=["CPUExecutionProvider"])
    (logits,) = session.run(["logits"], {"records": table[0]})
    assert np.mean(logits.argmax(1) == table[1]) == pytest.approx(outcome.metrics.update.accuracy)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(3, 3)
        self.two = nn.Linear(3, 3)
        self.two.weight = self.one.weight


class Counting(nn.Linear):
    def __init__(self):
        super().__init__(3, 2)
        self.register_buffer("seen", torch.zeros(1))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3)), r"1.num_batches_tracked \(BatchNorm1d\).*GroupNorm"),
        (nn.InstanceNorm1d(3, affine=True, track_running_stats=True), "track_running_stats=False"),
        (Counting(), r"seen \(Counting\).*persistent=False"),
        (Tied(), r"two.weight is the same parameter as one.weight.*functional.linear"),
        (nn.Linear(3, 2).half(), "torch.float16, want float32"),
        (nn.LazyLinear(2), "lazy"),
        (nn.ReLU(), "no parameters"),
        ("a model", "want a torch.nn.Module"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, nn.Module) else None,
)
def test_what_no_update_could_carry_is_refused_with_what_to_do(model, said):
    with pytest.raises(ModelError, match=said):
        shapes_of("mine", model)


@dataclass(frozen=True)
class Pinned:
    pin: Annotated[int, Whole(0, 1, "taken")] = 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"module": "gear_models.net.GearNet"}, "want 'package.module:Class'"),
        ({"described": "shapes.json"}, "want 'package:file'"),
        ({"arguments": Pinned}, "'pin'"),
    ],
)
def test_a_plug_in_that_cannot_be_meant_is_refused_where_it_is_made(changes, said):
    usual = {"module": "torch.nn:Linear", "arguments": Pinned, "takes": lambda a: Signature((1,), False, 1)}
    with pytest.raises(ModelError, match=said):
        TorchModel(**usual | changes)


@pytest.mark.parametrize("text", ["", "[]", '{"format": "other"}', '{"format": "hanse-shapes-1", "models": [1]}'])
def test_a_damaged_description_is_refused_by_name(text):
    with pytest.raises(ModelError, match=r"gear_models:shapes\.json"):
        read_description(text, "gear_models:shapes.json")


def test_a_description_comes_back():
    variants = [(FULL, SHAPES), ({}, (("weight", ()),))]
    assert read_description(description(variants), "here") == variants
