"""Parquet files as other programs leave them: the same words as in CSV, and a fault that names the column and row."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fl.data.errors import DataError
from fl.data.tabular import read_table
from fl.data.tabular_files import read_columns
from fl.data.tabular_schema import parse_schema
from fl.data.tabular_times import times_of

PLAIN = {"label": "y", "classes": ["0", "1"], "features": [{"column": "x", "low": 0, "high": 4}]}


def parquet_of(folder: Path, **columns) -> Path:
    made = {"x": [1.0, 2.0, 3.0, 4.0], "y": [0, 1, 1, 0]} | columns
    parquet.write_table(
        pyarrow.Table.from_arrays([pyarrow.array(each) for each in made.values()], list(made)), folder / "t.parquet"
    )
    return folder / "t.parquet"


@pytest.mark.parametrize(
    ("labels", "wanted"),
    [
        (pyarrow.array([0.0, 1.0, 1.0, None]), [0, 1, 1]),
        (pyarrow.array([0, 1, None, 1]), [0, 1, 1]),
        (pyarrow.array([Decimal("0.00"), Decimal("1.00"), None, Decimal("1.00")]), [0, 1, 1]),
        (pyarrow.array([False, True, True, False]), [0, 1, 1, 0]),
        (pyarrow.array(["0", "1", None, "1"]).dictionary_encode(), [0, 1, 1]),
    ],
)
def test_a_label_in_parquet_is_the_same_word_with_and_without_gaps(tmp_path, labels, wanted):
    schema = parse_schema(PLAIN | {"missing": "drop"})
    assert read_table(parquet_of(tmp_path, y=labels), schema).labels.tolist() == wanted


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_times_in_parquet_may_be_finer_than_pythons(tmp_path, zone):
    """As pandas writes them: nanoseconds."""
    when = pyarrow.array([10**18 + 3, 10**18 + 5_000_002, 10**18 + 2_000_001, 0], pyarrow.timestamp("ns", zone))
    schema = parse_schema(PLAIN | {"time": "when"})
    path = parquet_of(tmp_path, when=when)
    assert read_table(path, schema).features[:, 0].tolist() == [1.0, -0.5, 0.5, 0.0]
    assert times_of(read_columns(path, schema.columns(), ","), schema).tolist() == [10**12, 10**12 + 5, 10**12 + 2, 0]


def test_a_truth_is_a_number_in_parquet_as_in_npz(tmp_path):
    table = read_table(parquet_of(tmp_path, x=[True, False, None, True]), parse_schema(PLAIN | {"missing": "drop"}))
    assert table.features[:, 0].tolist() == [-0.5, -1.0, -0.5]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"x": [[1], [2], [3], [4]]}, "column 'x': row 1 has list, want a number, a text or a time"),
        ({"y": [None, b"0", b"1", b"1"]}, "column 'y': row 2 has bytes, want a number"),
        ({"x": pyarrow.array([1, 2, 3, 4], pyarrow.duration("ns"))}, "column 'x': is duration[ns], want numbers"),
        ({"x": pyarrow.array([1, 2, 3, 4], pyarrow.date32())}, "column 'x': row 1 has '1970-01-02', want a number"),
        ({"when": pyarrow.array([10**13] * 4, pyarrow.timestamp("s"))}, "column 'when': row 1 has "),
        (
            {"y": pyarrow.array([b"0", b"1", b"\xff", b"1"]).view(pyarrow.string())},
            "column 'y': cannot be read: 'utf-8'",
        ),
    ],
)
def test_what_parquet_holds_beside_numbers_words_and_times_is_refused(tmp_path, columns, said):
    schema = parse_schema(PLAIN | ({"time": "when"} if "when" in columns else {}))
    with pytest.raises(DataError) as refused:
        read_table(parquet_of(tmp_path, **columns), schema)
    assert f"t.parquet, {said}" in str(refused.value)


def test_a_column_that_is_in_parquet_twice_is_refused(tmp_path):
    arrays = [pyarrow.array([1.0, 2.0]), pyarrow.array([3.0, 4.0]), pyarrow.array([0, 1])]
    parquet.write_table(pyarrow.Table.from_arrays(arrays, ["x", "x", "y"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'x': is there 2 times, want it once"):
        read_table(tmp_path / "t.parquet", parse_schema(PLAIN))


@pytest.mark.parametrize("seed", range(3))
def test_a_damaged_parquet_file_is_refused_or_read(tmp_path, seed):
    """Bytes changed at random, or the end cut off: nothing but DataError comes of it."""
    rng = np.random.default_rng(seed)
    good = parquet_of(tmp_path, x=np.linspace(0, 4, 200), y=[str(row % 2) for row in range(200)]).read_bytes()
    told, path = [], tmp_path / "t.parquet"
    for _ in range(100):
        data = bytearray(good)
        for at in rng.integers(0, len(data), int(rng.integers(1, 6))):
            data[at] = rng.integers(0, 256)
        path.write_bytes(data if rng.random() < 0.8 else data[: rng.integers(0, len(data))])
        try:
            read_table(path, parse_schema(PLAIN))
        except DataError as error:
            told.append(str(error))
    assert len(told) > 20
    assert all(str(path) in each for each in told)


def test_a_gap_in_parquet_is_a_gap(tmp_path):
    schema = parse_schema({"label": "y", "classes": ["0", "1"], "features": [{"column": "x", "low": 0, "high": 1}]})
    parquet.write_table(pyarrow.table({"x": [0.5, None, 1.0], "y": [0, 1, 1]}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="column 'x': row 2: empty"):
        read_table(tmp_path / "t.parquet", schema)
    (tmp_path / "t.parquet").write_bytes(b"PAR1 no PAR1")
    with pytest.raises(DataError, match="cannot be read as Parquet"):
        read_table(tmp_path / "t.parquet", schema)
