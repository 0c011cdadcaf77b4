"""Data of one's own by one block of TOML: columns and arrays, the block itself, and where else it may stand."""

import tomllib
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fl.data.errors import DataError
from fl.data.own.block import KINDS, parse_block, read_block
from fl.data.registry import growing, load
from node.config import ConfigError, config_values, parse_config
from node.config_template import toml_value

TABLE: dict[str, Any] = {
    "label": "State",
    "classes": ["ok", "worn"],
    "group": "Machine",
    "test_percent": 25,
    "features": [
        {"column": "Heat", "low": 0, "high": 100},
        {"column": "Grade", "values": ["L", "M"]},
    ],
}
HEAT, GRADE = [0.0, 50.0, 100.0, 150.0], ["L", "M", "M", "L"]
STATE, MACHINE = ["ok", "worn", "ok", "worn"], ["a", "a", "b", "b"]
CSV = "Heat,Grade,State,Machine\n" + "".join(
    f"{heat:g},{grade},{state},{machine}\n"
    for heat, grade, state, machine in zip(HEAT, GRADE, STATE, MACHINE, strict=True)
)
BLOCK = """
kind = "csv"
path = "press.csv"
label = "State"
classes = ["ok", "worn"]
group = "Machine"
test_percent = 25
[[features]]
column = "Heat"
low = 0
high = 100
[[features]]
column = "Grade"
values = ["L", "M"]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "press.csv").write_text(CSV)
    columns = {"Heat": HEAT, "Grade": GRADE, "State": STATE, "Machine": MACHINE}
    parquet.write_table(pyarrow.table(columns), tmp_path / "press.parquet")
    np.savez(tmp_path / "press.npz", **{name: np.array(cells) for name, cells in columns.items()})
    return tmp_path


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_the_same_block_reads_every_kind_of_table(folder: Path, kind: str):
    split = parse_block({**TABLE, "kind": kind, "path": f"press.{kind}"}, folder, "block").load()
    assert split.train.features.tolist() == [[-1, 1, -1], [0, -1, 1], [1, -1, 1]]
    assert split.test.features.tolist() == [[1, 1, -1]]
    assert split.train.labels.tolist() == [0, 1, 0]
    assert split.train.names_of_groups() == ("a", "a", "b")
    assert split.train.grouped_by == "Machine"


def test_the_kind_says_what_a_file_is_and_not_its_name(folder: Path):
    (folder / "press.csv").rename(folder / "press.export-2026")
    assert len(parse_block({**TABLE, "kind": "csv", "path": "press.export-2026"}, folder, "block").load().train) == 3
    with pytest.raises(DataError, match=r"press\.npz: cannot be read as Parquet"):
        parse_block({**TABLE, "kind": "parquet", "path": "press.npz"}, folder, "block").load()


def test_the_records_to_test_on_may_lie_in_a_file_of_their_own(folder: Path):
    (folder / "later.csv").write_text("State,Heat,Grade,Machine\nworn,20,L,c\n")
    apart = {name: value for name, value in TABLE.items() if name != "test_percent"}
    block = parse_block({**apart, "kind": "csv", "path": "press.csv", "test_path": "later.csv"}, folder, "block")
    split = block.load()
    assert (len(split.train), split.test.labels.tolist()) == (4, [1])
    assert split.test.names_of_groups() == ("c",)
    with pytest.raises(DataError, match="is tested on its own records: want no test_path"):
        block.growing()


WORN = {"ok": "fine", "worn": "spent", "gone": "spent"}


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_what_stands_in_the_data_may_be_sent_to_classes_of_other_names(folder: Path, kind: str):
    block = {**TABLE, "kind": kind, "path": f"press.{kind}", "classes": ["spent", "fine"], "labels": WORN}
    split = parse_block(block, folder, "block").load()
    assert (split.train.classes, split.train.labels.tolist()) == (("spent", "fine"), [1, 0, 1])
    with pytest.raises(DataError, match=r"column 'State': row 2 has 'worn'|line 3 has 'worn', want one of 'ok' "):
        parse_block(block | {"labels": {"ok": "fine"}}, folder, "block").load()


def test_a_survey_tells_what_lies_outside_the_declared_ranges(folder: Path):
    found = parse_block({**TABLE, "kind": "csv", "path": "press.csv"}, folder, "block").survey().found
    assert [(each.name, each.declared) for each in found] == [("Heat", "0 to 100"), ("Grade", "L, M")]
    assert (found[0].low, found[0].high, found[0].outside) == (0, 150, 1)
    assert (found[1].low, found[1].outside) == (None, 0)


# --- the block itself


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "xls"}, "kind is 'xls', want 'csv' or 'parquet'"),
        ({"kind": None}, "kind is None"),
        ({"pth": "x"}, "kind 'csv' has no pth, did you mean path?"),
        ({"path": ""}, "path is '', want a file"),
        ({"classes": ["ok", "ok"]}, "each once"),
        ({"label": "Heat"}, "the label and a feature"),
        ({"delimiter": ";;"}, "one character"),
        ({"labels": {"a": "fine"}}, "labels sends 'a' to 'fine', want one of 'ok', 'worn'"),
        ({"labels": {"a": ["ok"]}}, "labels sends 'a' to ['ok'], want one of"),
        ({"labels": ["ok"]}, "labels are ['ok'], want a table"),
        ({"test_percent": 0}, "test_percent is 0, want a whole number in 1..90"),
        ({"split": "first"}, "split is 'first'"),
        ({"seed": -1}, "seed is -1"),
        ({"test_path": "other.csv"}, "test_path says which records to test on, and so does test_percent"),
        ({"kind": "parquet", "delimiter": ";"}, "kind 'parquet' has no delimiter"),
        ({"kind": "images"}, "kind 'images' has no features"),
    ],
)
def test_a_block_that_means_nothing_is_refused_before_any_file_is_opened(tmp_path: Path, change, said: str):
    with pytest.raises(DataError) as refused:
        parse_block({**TABLE, "kind": "csv", "path": "away.csv", **change}, tmp_path, "press.toml")
    assert str(refused.value).startswith("press.toml")
    assert said in str(refused.value)


def test_data_that_are_not_there_or_not_as_described_are_named(folder: Path):
    with pytest.raises(DataError, match=r"away\.csv: does not exist, want the csv file that the block names"):
        parse_block({**TABLE, "kind": "csv", "path": "away.csv"}, folder, "block").load()
    (folder / "press.csv").write_text(CSV.replace("worn", "broken", 1))
    with pytest.raises(DataError, match=r"press\.csv, column 'State': line 3 has 'broken', want one of 'ok', 'worn'"):
        parse_block({**TABLE, "kind": "csv", "path": "press.csv"}, folder, "block").load()


def test_every_kind_says_what_it_is():
    assert sorted(KINDS) == ["arrays", "csv", "images", "npz", "parquet", "sql"]
    assert all(kind.summary and kind.keys for kind in KINDS.values())


# --- where it stands


def test_a_block_is_read_from_its_own_file_or_from_a_configuration(folder: Path):
    (folder / "press.toml").write_text(BLOCK)
    nested = BLOCK.replace("[[features]]", "[[data.block.features]]")
    (folder / "config.toml").write_text(f'[node]\nname = "A"\n[data]\nsource = "own"\n[data.block]\n{nested}')
    alone, within = (load("own", {}, folder / name) for name in ("press.toml", "config.toml"))
    assert alone.train.features.tolist() == within.train.features.tolist()
    parted = load("own", {"partition": "iid", "parts": "3", "part": "1"}, folder / "press.toml")
    assert len(parted.train) == 1
    (folder / "press.toml").write_text("kind = ")
    with pytest.raises(DataError, match=r"press\.toml: is not TOML"):
        read_block(folder / "press.toml")
    (folder / "config.toml").write_text('[data.block]\nkind = "xls"\n')
    with pytest.raises(DataError, match=r"config\.toml: \[data\.block\]: kind is 'xls'"):
        read_block(folder / "config.toml")


def test_a_table_of_a_block_grows_as_others_do(folder: Path):
    (folder / "press.toml").write_text(BLOCK)
    source = growing("own", {}, folder / "press.toml")
    assert source.files == (folder / "press.csv",)
    assert source.read().total == 4
    with (folder / "press.csv").open("a") as file:
        file.write("10,L,ok,c\n")
    seen = source.read(4)
    assert (seen.first, seen.total, seen.place(0)) == (4, 5, "line 6")


CONFIG = '[node]\nname = "Alice"\n[data]\nsource = "own"\n'
OWN = CONFIG + "[data.block]\n" + BLOCK.replace("[[features]]", "[[data.block.features]]")


def test_a_node_reads_the_block_in_its_configuration(folder: Path):
    path = folder / "config.toml"
    path.write_text(OWN)
    config = parse_config(OWN, path)
    assert config.data.path == path
    assert config_values(config)["data"]["block"]["features"][0] == {"column": "Heat", "low": 0, "high": 100}
    assert len(load(config.data.source, dict(config.data.settings), config.data.path).train) == 3
    # As `hanse config show` prints it: TOML again.
    values = config_values(parse_config(OWN.replace("low = 0", "low = 0.5"), path))["data"]
    shown = tomllib.loads(f"block = {toml_value(values['block'])}")
    assert shown["block"]["features"][0]["low"] == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (OWN.replace('"csv"', '"xls"'), r"\[data\.block\]: kind is 'xls'"),
        (OWN.replace("low = 0", "low = 0.5\nhgh = 1"), "has no hgh, did you mean high"),
        (OWN.replace('source = "own"', 'source = "cwru"'), 'block is set and source is .cwru., want source = "own"'),
        (OWN.replace('source = "own"', ""), r'block is set and \[data\] source is not, want source = "own"'),
        (OWN.replace('"own"\n', '"own"\npath = "press.toml"\n'), "want one of the two"),
        (CONFIG + "block = 3\n", r"\[data\] block is 3, want a table"),
    ],
)
def test_a_block_that_cannot_be_meant_stops_the_node(tmp_path: Path, text: str, said: str):
    with pytest.raises(ConfigError, match=said):
        parse_config(text, tmp_path / "config.toml")


# --- arrays


ARRAYS: dict[str, Any] = {"kind": "arrays", "path": "x.npz", "array": "x", "label": "y", "classes": ["0", "1"]}
NUMBERS = ARRAYS | {"values": "numbers", "low": -1, "high": 3, "test_percent": 50}


def arrays(folder: Path, **change: np.ndarray) -> None:
    made = {"x": np.arange(24, dtype=np.float64).reshape(4, 2, 3) / 8, "y": np.array([0, 1, 1, 0])}
    np.savez(folder / "x.npz", **(made | change))


def test_one_array_holds_records_of_any_shape(tmp_path: Path):
    arrays(tmp_path, machine=np.array(["a", "b", "b", "a"]))
    survey = parse_block(NUMBERS | {"group": "machine", "shape": [2, 3], "overlap": True}, tmp_path, "block").survey()
    assert survey.split.train.record_shape == (2, 3)
    assert survey.split.train.features[0].tolist() == [[-0.5, -0.4375, -0.375], [-0.3125, -0.25, -0.1875]]
    assert survey.split.train.names_of_groups() == ("a", "b")
    assert survey.split.train.overlap
    assert (survey.found[0].low, survey.found[0].high, survey.found[0].outside) == (0, 23 / 8, 0)


def test_pixels_and_codes_stay_what_they_are(tmp_path: Path):
    arrays(tmp_path, x=np.full((4, 1, 2, 2), 255, np.uint8))
    pixels = parse_block(ARRAYS | {"values": "pixels"}, tmp_path, "block").load().train.features
    assert (pixels.dtype, pixels.shape) == (np.uint8, (3, 1, 2, 2))
    arrays(tmp_path, x=np.full((4, 5), 64, np.int32))
    codes = parse_block(ARRAYS | {"values": "codes", "codes": 65}, tmp_path, "block").load().train.features
    assert (codes.dtype, codes.max()) == (np.int64, 64)


def test_labels_of_arrays_may_be_sent_to_classes(tmp_path: Path):
    arrays(tmp_path, y=np.array([7, 8, 9, 7]))
    block = NUMBERS | {"classes": ["low", "high"], "labels": {"7": "low", "8": "low", "9": "high"}}
    split = parse_block(block, tmp_path, "block").load()
    assert split.train.labels.tolist() + split.test.labels.tolist() == [0, 0, 1, 0]


def test_arrays_to_test_on_may_lie_apart(tmp_path: Path):
    arrays(tmp_path)
    np.savez(tmp_path / "t.npz", x=np.full((1, 2, 3), 9.0), y=np.array([1]))
    block = {name: value for name, value in NUMBERS.items() if name != "test_percent"} | {"test_path": "t.npz"}
    survey = parse_block(block, tmp_path, "block").survey()
    assert (len(survey.split.train), len(survey.split.test)) == (4, 1)
    assert (survey.found[0].high, survey.found[0].outside) == (9, 6)


@pytest.mark.parametrize(
    ("change", "block", "said"),
    [
        ({"x": np.ones((4, 2, 2))}, {"shape": [2, 3]}, "'x': has records of [2, 2], want [2, 3]"),
        ({"x": np.ones(4)}, {}, "'x': is [4], want [records, ...]"),
        ({"x": np.ones((0, 2))}, {}, "'x': is [0, 2]"),
        ({"x": np.array([["a"]])}, {}, "'x': is <U1"),
        ({"x": np.array([[1.0, np.nan]]), "y": np.array([0])}, {}, "'x': row 1, position [1] has nan"),
        ({"y": np.array([0, 1, 2, 0])}, {}, "'y': row 3 has '2', want one of '0', '1'"),
        ({"y": np.array([0, 1, 1])}, {}, "'y': 3 values, 'x' has 4 records"),
        ({"y": np.ones((4, 2))}, {}, "'y': is float64 with 2 dimensions"),
        ({}, {"array": "z"}, "'z': missing; the file has x, y"),
        ({}, {"values": "pixels"}, "want one of the kinds 'u'"),
        ({"x": np.ones((4, 2), np.uint16)}, {"values": "pixels"}, "'x': holds uint16, want uint8"),
        ({}, {"values": "codes", "codes": 9}, "'x': holds float64, want whole numbers"),
        ({"x": np.array([[1], [9]])}, {"values": "codes", "codes": 9}, "'x': holds the code 9, want 0..8"),
    ],
)
def test_arrays_that_are_not_as_described_are_named(tmp_path: Path, change, block, said: str):
    arrays(tmp_path, **change)
    told = NUMBERS | block
    if block.get("values"):
        told = {name: value for name, value in told.items() if name not in ("low", "high")}
    with pytest.raises(DataError) as refused:
        parse_block(told, tmp_path, "block").load()
    assert str(tmp_path / "x.npz") in str(refused.value)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 4), }", "{'descr': '<f4', 'shape': (((((("],
    ids=["more than any memory", "cut short"],
)
def test_an_array_whose_head_cannot_be_meant_is_named(tmp_path: Path, header: str):
    said = header.encode().ljust(117) + b"\n"
    with ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said)
    with pytest.raises(DataError, match=r"x\.npz, column 'x': cannot be read"):
        parse_block(NUMBERS, tmp_path, "block").load()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"values": "pictures"}, "values is 'pictures'"),
        ({"values": "pixels"}, "high is set, and values are 'pixels', which have none"),
        ({"codes": 3}, "codes is set, and values are 'numbers'"),
        ({"low": 5}, "range of 'x' is 5.0..3.0"),
        ({"low": -(10**400)}, "a number of too many digits"),
        ({"shape": [0]}, "shape is [0], want a list of 1 to 3 whole numbers"),
        ({"features": []}, "kind 'arrays' has no features"),
    ],
)
def test_a_block_of_arrays_that_means_nothing_is_refused(tmp_path: Path, change, said: str):
    with pytest.raises(DataError) as refused:
        parse_block(NUMBERS | change, tmp_path, "block")
    assert said in str(refused.value)


def test_codes_have_to_say_how_many_there_are_and_arrays_do_not_grow(tmp_path: Path):
    with pytest.raises(DataError, match="codes is missing, want how many"):
        parse_block(ARRAYS | {"values": "codes"}, tmp_path, "block")
    with pytest.raises(DataError, match="'arrays' does not grow"):
        parse_block(NUMBERS, tmp_path, "block").growing()
