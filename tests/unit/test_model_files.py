"""Files that `hanse model` writes: formats by name, notes of a table's schema; the package of docs/models.md in use."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from fl.export import ExportError, export_model, read_model, with_notes
from fl.fixed_point import encode
from fl.models import parameter_shapes, plug_ins, torch_model
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.model_formats import ModelFileError, format_of, write_model
from tests.support.model_package import install_package, page_files

SCHEMA = """
label = "State"
classes = ["ok", "worn"]
[[features]]
column = "rpm"
low = 1000
high = 2000
[[features]]
column = "type"
values = ["L", "H"]
"""


@pytest.fixture
def exported():
    vector = np.linspace(-1, 1, 8, dtype=np.float32)
    about = {"model": "mlp", "arguments": '{"layers": "3,2"}', "digest": "ab12"}
    return export_model(encode(vector), 20, parameter_shapes("mlp", {"layers": "3,2"}), about)


@pytest.fixture
def source(tmp_path, exported):
    path = tmp_path / "bearing.safetensors"
    path.write_bytes(exported)
    return path


@pytest.mark.parametrize(
    ("name", "asked", "form"),
    [("a.onnx", None, "onnx"), ("A.SafeTensors", None, "safetensors"), ("a.bin", "onnx", "onnx")],
)
def test_the_format_is_asked_for_or_the_name_says_it(name, asked, form):
    assert format_of(Path(name), asked) == form


def test_a_name_that_says_no_format_is_refused():
    with pytest.raises(ModelFileError, match=r"ends in \.pt, want \.safetensors or \.onnx"):
        format_of(Path("a.pt"))


def test_notes_are_added_to_a_file_and_nothing_is_said_twice(exported):
    noted = read_model(with_notes(exported, {"classes": "[]"}))
    assert noted.metadata == {**read_model(exported).metadata, "classes": "[]"}
    assert with_notes(exported, {"classes": "[]"}) == with_notes(exported, {"classes": "[]"})
    assert np.array_equal(noted.vector, read_model(exported).vector)
    for word in ("digest", "order"):
        with pytest.raises(ExportError, match=word):
            with_notes(exported, {word: "mine"})


def test_a_file_that_is_there_is_left_as_it_is(tmp_path, exported):
    target = tmp_path / "there.safetensors"
    target.write_bytes(b"mine")
    with pytest.raises(ModelFileError, match="already"):
        write_model(target, exported, "safetensors")
    assert target.read_bytes() == b"mine"


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path):
    with pytest.raises(ModelFileError, match="no safetensors file"):
        write_model(tmp_path / "a.onnx", b"weights", "onnx")
    with pytest.raises(ModelFileError, match="cannot be written"):
        write_model(tmp_path / "no" / "a.safetensors", b"weights", "safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["onnx", "safetensors"])
def test_a_file_says_how_to_feed_it_when_the_schema_is_named(tmp_path, source, form):
    schema, target = tmp_path / "machines.toml", tmp_path / f"out.{form}"
    schema.write_text(SCHEMA)
    assert run(["model", "convert", str(source), str(target), "--schema", str(schema)]) == Exit.OK
    if form == "onnx":
        told = {each.key: each.value for each in onnx.load(target).metadata_props}
    else:
        told = dict(read_model(target.read_bytes()).metadata)
    assert json.loads(told["classes"]) == ["ok", "worn"]
    assert json.loads(told["inputs"]) == [
        {"column": "rpm", "low": 1000.0, "high": 2000.0, "log": False},
        {"column": "type", "values": ["L", "H"]},
    ]
    assert told["digest"] == "ab12"
    assert run(["model", "convert", str(source), str(target)]) == Exit.CONFIGURATION


def test_the_model_of_a_simulated_run_is_written_for_other_programs(tmp_path):
    folder, target = tmp_path / "run", tmp_path / "model.onnx"
    small = ["--clients", "2", "--rounds", "1", "--epochs", "1", "--strategy", "fedavg"]
    assert run(["simulate", "--data", "bearings", *small, "--out", str(folder)]) == Exit.OK
    assert run(["model", "convert", str(folder / "model.safetensors"), str(target)]) == Exit.OK
    told = {each.key: each.value for each in onnx.load(target).metadata_props}
    ended = json.loads((folder / "run.json").read_text())["result"]
    assert (told["model"], told["digest"], told["round"]) == ("mlp", ended["model_digest"], "1")


def test_a_schema_of_another_table_is_refused(tmp_path, source, capsys):
    schema = tmp_path / "machines.toml"
    schema.write_text(SCHEMA.replace('["L", "H"]', '["L", "M", "H"]'))
    told = run(["model", "convert", str(source), str(tmp_path / "out.onnx"), "--schema", str(schema)])
    assert told == Exit.CONFIGURATION
    assert "schema has 4 inputs and 2 classes, the model takes 3 inputs and has 2" in capsys.readouterr().err


@pytest.fixture
def package(monkeypatch, tmp_path):
    """The package of the page as its author has it, before its shapes are described."""
    install_package(monkeypatch, tmp_path, page_files(), {"gear-net": "gear_models:plug_in"})
    yield tmp_path / "gear_models"
    for name in [each for each in sys.modules if each.split(".")[0] == "gear_models"]:
        del sys.modules[name]
    for kept in (plug_ins._loaded, torch_model._description, torch_model._derived):
        kept.cache_clear()


def test_the_commands_of_the_page_describe_and_check_its_package(package, capsys):
    shapes = package / "shapes.json"
    assert run(["model", "check", "gear-net", "--json"]) == Exit.CONFIGURATION
    assert "gear_models:shapes.json cannot be read" in capsys.readouterr().out
    for width in ("16", "16", "8"):
        command = ["model", "describe", "gear-net", "-a", f"width={width}", "--write", str(shapes), "--json"]
        assert run(command) == Exit.OK
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["parameters"], told["input"], told["classes"]) == (285, "float32 3 x 256", 5)
    assert told["sets of arguments"] == 2
    assert told["pin"].startswith("1.0-")
    torch_model._description.cache_clear()
    assert parameter_shapes("gear-net", {"width": "8"})[0] == ("filters.weight", (8, 3, 9))
    assert run(["model", "check", "gear-net", "-a", "channels=3", "--json"]) == Exit.OK
    checked = json.loads(capsys.readouterr().out)
    assert checked["fits"]
    assert {each["verdict"] for each in checked["findings"]} == {"passed"}
    assert len(checked["findings"]) == 10
    assert run(["model", "check", "gear-net", "-a", "width=32"]) == Exit.CONFIGURATION
    assert "node: model 'gear-net': no shapes described for channels=3, width=32" in capsys.readouterr().err
    source = package / "__init__.py"
    source.write_text("import torch\n" + source.read_text())
    assert run(["model", "check", "gear-net", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["findings"][0]["verdict"] == "noted"


REQUEST = """
title = "Gears"
data_type = "vibration"
[model]
name = "gear-net"
arguments = {{ {arguments} }}
[payment]
price = 1
budget = 1000
"""


def test_who_publishes_a_packages_model_is_told_its_pin(package, tmp_path, capsys):
    assert run(["model", "describe", "gear-net", "--write", str(package / "shapes.json")]) == Exit.OK
    capsys.readouterr()
    file = tmp_path / "gears.toml"
    file.write_text(REQUEST.format(arguments="channels = 3"))
    assert run(["request", "publish", str(file), "--check"]) == Exit.OK
    said = capsys.readouterr().err
    (pinned,) = re.findall(r'pin = "(1\.0-[0-9a-f]{32})"', said)
    file.write_text(REQUEST.format(arguments=f'channels = 3, pin = "{pinned}"'))
    assert run(["request", "publish", str(file), "--check"]) == Exit.OK
    assert capsys.readouterr().err == ""
    file.write_text(REQUEST.format(arguments=f'pin = "{pinned[:-1]}x"'))
    assert run(["request", "publish", str(file), "--check"]) == Exit.CONFIGURATION
    assert "'gear-net' here is 1.0-" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["describe", "resnet"], Exit.CONFIGURATION, "no model is called 'resnet'"),
        (["describe", "mlp", "-a", "layers"], Exit.USAGE, "want NAME=VALUE"),
        (["describe", "mlp", "-a", "layers=8,4", "-a", "layers=8,4"], Exit.USAGE, "each name once"),
        (["describe", "mlp", "--write", "x.json"], Exit.CONFIGURATION, "'mlp' comes with Hanse"),
        (["check", "mlp", "-a", "layers=8"], Exit.CONFIGURATION, "fits no league: shapes:"),
    ],
)
def test_what_cannot_be_described_or_checked_is_refused(command, code, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(["model", *command]) == code
    assert said in capsys.readouterr().err
