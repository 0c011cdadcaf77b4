"""`check_model` passes what a league can train, and names what is wrong with the rest."""

import sys

import pytest

from fl.model_check import FAILED, NOTED, PASSED, check_model
from fl.models import plug_ins, torch_model
from tests.support.model_package import install_package
from tests.support.plug_ins import install_plug_in


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("mlp", {}),
        ("cnn", {"input": "1x9x9", "hidden": "8"}),
        ("cnn1d", {"length": "100", "filters": "4,4"}),
        ("char-lstm", {"vocabulary": "9", "hidden": "8"}),
    ],
)
def test_every_built_in_model_passes_every_part(name, arguments):
    found = check_model(name, arguments)
    assert [each.part for each in found] == [
        *("shapes", "seed", "answer", "alone", "gradient", "training", "clipping", "safetensors", "onnx")
    ]
    assert {each.verdict for each in found} == {PASSED}
    assert "by hand" in found[6].said


HEAD = """
import torch
from dataclasses import dataclass
from torch import nn
from fl.models import Signature, TorchModel

@dataclass(frozen=True)
class No:
    pass

class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(6, 8), nn.Linear(8, 3)
    def forward(self, records):
        return self.two(self.between(self.one(records).relu()))
    def between(self, signal):
        return signal
"""
TAIL = """
plug_in = TorchModel("gear_models:Net", No, lambda a: Signature((6,), False, 3))
"""


def findings(monkeypatch, folder, source):
    files = {"gear_models/__init__.py": HEAD + source + TAIL}
    install_package(monkeypatch, folder, files, {"net": "gear_models:plug_in"})
    try:
        return {each.part: each for each in check_model("net", {})}
    finally:
        sys.modules.pop("gear_models", None)
        plug_ins._loaded.cache_clear()
        torch_model._derived.cache_clear()


@pytest.mark.parametrize(
    ("source", "part", "verdict", "said"),
    [
        ("class Net(Base): pass", "clipping", PASSED, "in mode sound"),
        (
            "class Net(Base):\n    def between(self, s):\n        return nn.functional.dropout(s, 0.5, self.training)",
            "clipping",
            NOTED,
            "draws while it trains",
        ),
        (
            "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
            "        self.norm = nn.BatchNorm1d(8, track_running_stats=False)\n"
            "    def between(self, s):\n        return self.norm(s) if len(s) > 1 else s",
            "alone",
            FAILED,
            "depend on the other records",
        ),
        (
            "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
            "        self.three = nn.Linear(2, 2)",
            "gradient",
            FAILED,
            "no gradient reaches three.weight",
        ),
        (
            "class Net(Base):\n    def between(self, s):\n        return s * 0",
            "gradient",
            NOTED,
            "one.weight",
        ),
        (
            "class Net(Base):\n    def forward(self, records):\n        return super().forward(records).argmax(1)",
            "answer",
            FAILED,
            "torch.int64 [1]",
        ),
        (
            "class Net(Base):\n    def forward(self, records):\n        return self.two(records)",
            "answer",
            FAILED,
            "cannot take 1 records float32 [6]",
        ),
        (
            "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
            "        self.register_buffer('seen', torch.zeros(1), persistent=False)\n"
            "    def between(self, s):\n        self.seen += 1\n        return s",
            "answer",
            FAILED,
            "buffer seen changes",
        ),
        (
            "import os\nclass Net(Base):\n    def __init__(self):\n        super().__init__()\n"
            "        draw = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), 'big'))\n"
            "        nn.init.normal_(self.one.weight.cpu(), generator=draw)\n"
            "        if self.one.weight.device.type == 'cpu':\n"
            "            nn.init.normal_(self.one.weight, generator=draw)",
            "seed",
            FAILED,
            "two models of one seed",
        ),
        (
            "class Net(Base):\n    def __init__(self):\n        super().__init__()\n"
            "        nn.init.constant_(self.two.bias, 1e6)",
            "seed",
            FAILED,
            "fit no update",
        ),
        ("Net = torch.nn.ReLU", "shapes", FAILED, "no parameters"),
    ],
)
def test_what_is_wrong_is_found_and_named(monkeypatch, tmp_path, source, part, verdict, said):
    found = findings(monkeypatch, tmp_path, source)
    assert found[part].verdict == verdict, found
    assert said in found[part].said
    # A failure makes the rest senseless; a note does not.
    assert (FAILED in {each.verdict for each in found.values()}) == (verdict == FAILED)
    assert ("onnx" in found) == (verdict != FAILED)


def test_a_plug_in_that_does_not_say_what_it_is_fed_fails(monkeypatch, tmp_path):
    source = """
class Untold:
    def shapes(self, arguments):
        return [("weight", (2, 3)), ("bias", (2,))]
    def build(self, arguments):
        import torch
        return torch.nn.Linear(3, 2)
plug_in = Untold()
"""
    install_plug_in(monkeypatch, tmp_path, "hanse.models", "untold", "hanse_plug_in_untold", source)
    found = check_model("untold", {})
    assert [(each.part, each.verdict) for each in found[-2:]] == [("seed", PASSED), ("answer", FAILED)]
    assert "no signature" in found[-1].said
