"""Tables of one's own: what the schema declares is what is read, and a damaged file says where it is damaged."""

import csv
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from fl.data.errors import DataError
from fl.data.registry import growing, load
from fl.data.tabular import read_table
from fl.data.tabular_schema import parse_schema, read_schema

SCHEMA = """
label = "State"
classes = ["ok", "worn"]
group = "Site"
time = "When"
missing = "{missing}"

[[features]]
column = "Heat [K]"
low = 290
high = 310

[[features]]
column = "Grade"
values = ["L", "M"]

[[features]]
column = "Shake"
low = 0.01
high = 100.0
log = true
"""
HEAD = ["When", "Site", "Grade", "Heat [K]", "Extra", "Shake", "State"]
ROWS = [
    ["2024-01-03", "north", "L", "290", "", "0.01", "ok"],
    ["2024-01-01", "south", "M", "300", "x", "1", "worn"],
    ["2024-01-02", "north", "M", "310.0", "y", "100", "ok"],
    ["2024-01-04", "south", "L", "305", "z", "1", "ok"],
]


def write(folder: Path, rows=ROWS, head=HEAD, missing="refuse", encoding="utf-8") -> Path:
    path = folder / "press.csv"
    with path.open("w", newline="", encoding=encoding) as file:
        csv.writer(file).writerows([head, *rows])
    (folder / "press.csv.schema.toml").write_text(SCHEMA.format(missing=missing))
    return path


def changed(row: int, column: str, value: str) -> list[list[str]]:
    rows = [list(cells) for cells in ROWS]
    rows[row][HEAD.index(column)] = value
    return rows


def read(path: Path):
    return read_table(path, read_schema(path.parent / "press.csv.schema.toml"))


def test_a_table_is_read_in_time_order_with_words_as_inputs_and_sites_as_groups(tmp_path):
    table = read(write(tmp_path))
    expected = [[0, -1, 1, 0], [1, -1, 1, 1], [-1, 1, -1, -1], [0.5, 1, -1, 0]]
    assert table.features == pytest.approx(np.array(expected), abs=1e-6)
    assert table.labels.tolist() == [1, 0, 0, 0]
    assert [table.group_names[site] for site in table.groups] == ["south", "north", "north", "south"]


def test_rows_go_by_the_time_they_name_and_not_by_how_it_is_written(tmp_path):
    rows = changed(0, "When", "2024-01-01T23:00:00-05:00")
    rows[1][0], rows[2][0], rows[3][0] = "2024-01-02T03:30:00Z", "2024-01-02 03:00", "20240102T050000+01:00"
    assert read(write(tmp_path, rows)).features[:, 0] == pytest.approx([1, 0, -1, 0.5])
    for row, number in zip(rows, ["10", "9", "1e1", " 8.5 "], strict=True):
        row[0] = number
    assert read(write(tmp_path, rows)).features[:, 0] == pytest.approx([0.5, 0, -1, 1])


def test_words_of_an_npz_file_have_gaps_as_those_of_a_csv_file_have(tmp_path):
    schema = parse_schema({"label": "y", "classes": ["0"], "features": [{"column": "x", "low": 0, "high": 1}]})
    for word, said in (("nan", "row 2: empty or not finite"), ("", "row 2: empty"), ("1_0", "row 2 has '1_0', want a")):
        np.savez(tmp_path / "t.npz", x=np.array(["1", word]), y=np.array(["0", "0"]))
        with pytest.raises(DataError, match=f"column 'x': {said}"):
            read_table(tmp_path / "t.npz", schema)


def test_the_last_records_are_for_testing(tmp_path):
    split = load("table", {"test_percent": "25"}, write(tmp_path))
    assert split.test.features[0].tolist() == pytest.approx([0.5, 1, -1, 0])
    random = load("table", {"test_percent": "50", "split": "random", "seed": "4"}, tmp_path / "press.csv")
    assert (len(random.train), len(random.test)) == (2, 2)


def test_a_file_as_a_spreadsheet_saves_it_is_read(tmp_path):
    assert len(read(write(tmp_path, encoding="utf-8-sig"))) == 4


@pytest.mark.parametrize(
    ("rows", "head", "said"),
    [
        (ROWS, ["Time", *HEAD[1:]], ["column 'When': missing", "7 columns: 'Time', 'Site'"]),
        (ROWS, [*HEAD[:4], "Shake", *HEAD[5:]], ["column 'Shake'", "2 times"]),
        (changed(2, "Heat [K]", "warm"), HEAD, ["column 'Heat [K]'", "line 4 has 'warm', want a number"]),
        (
            changed(1, "State", "broken"),
            HEAD,
            ["column 'State'", "line 3 has 'broken'", "'ok', 'worn'", "1 such"],
        ),
        (changed(3, "Grade", "H"), HEAD, ["column 'Grade'", "line 5 has 'H'"]),
        (changed(0, "Shake", "nan"), HEAD, ["column 'Shake'", "line 2: empty or not finite"]),
        (changed(0, "Heat [K]", "inf"), HEAD, ["column 'Heat [K]'", "line 2"]),
        (changed(0, "Heat [K]", "1e999"), HEAD, ["column 'Heat [K]'", "line 2 has '1e999', want a number of at most"]),
        (changed(1, "Heat [K]", "3_00"), HEAD, ["column 'Heat [K]'", "line 3 has '3_00', want a number without _"]),
        (changed(1, "Heat [K]", "300,5"), HEAD, ["line 3 has '300,5', want a number without a comma: 1234.5"]),
        (changed(2, "When", "17"), HEAD, ["column 'When'", "line 4 has '17', want a time in ISO 8601"]),
        (changed(2, "When", "nan"), HEAD, ["column 'When'", "line 4: empty or not finite"]),
        (changed(3, "Site", "  "), HEAD, ["column 'Site'", "line 5"]),
        ([*ROWS, ["2024-01-05", "north"]], HEAD, ["line 6 has 2 cells, want 7"]),
        ([], HEAD, ["no records"]),
    ],
)
def test_a_table_that_is_not_as_declared_says_where(tmp_path, rows, head, said):
    path = write(tmp_path, rows, head)
    with pytest.raises(DataError) as refused:
        read(path)
    for part in [str(path), *said]:
        assert part in str(refused.value)


def test_gaps_are_dropped_when_the_schema_says_so_and_later_lines_keep_their_numbers(tmp_path):
    rows = changed(1, "Shake", "")
    assert len(read(write(tmp_path, rows, missing="drop"))) == 3
    rows[3][HEAD.index("Grade")] = "H"
    with pytest.raises(DataError, match="line 5 has 'H'"):
        read(write(tmp_path, rows, missing="drop"))


def test_many_gaps_are_counted_not_listed(tmp_path):
    rows = [["2024", "n", "L", "", "", "1", "ok"] for _ in range(500)]
    with pytest.raises(DataError, match="line 2, line 3, line 4, line 5, line 6 and 495 more"):
        read(write(tmp_path, rows))


@pytest.mark.parametrize("data", [b"", b"\x00\xff\xfe", b"When,Site\n\xff\n", b'When,"Site\n'])
def test_bytes_that_are_no_csv_are_refused(tmp_path, data):
    path = write(tmp_path)
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"press\.csv"):
        read(path)


def test_parquet_and_npz_give_the_same_table_as_csv(tmp_path):
    import pyarrow
    import pyarrow.parquet

    expected = read(write(tmp_path))
    columns = {name: [row[i] for row in ROWS] for i, name in enumerate(HEAD)}
    typed = {**columns, "Heat [K]": [float(heat) for heat in columns["Heat [K]"]]}
    pyarrow.parquet.write_table(pyarrow.table(typed), tmp_path / "press.parquet")
    np.savez(tmp_path / "press.npz", **{name: np.array(cells) for name, cells in typed.items()})
    schema = read_schema(tmp_path / "press.csv.schema.toml")
    for name in ("press.parquet", "press.npz"):
        table = read_table(tmp_path / name, schema)
        assert np.array_equal(table.features, expected.features)
        assert np.array_equal(table.labels, expected.labels)
        assert np.array_equal(table.groups, expected.groups)


def test_a_column_of_a_matrix_is_named_by_its_position(tmp_path):
    schema = parse_schema({"label": "y", "classes": ["0", "1"], "features": [{"column": "m:1", "low": 0, "high": 10}]})
    np.savez(tmp_path / "t.npz", m=np.array([[1, 0.0], [2, 10.0]]), y=np.array([0, 1]))
    assert read_table(tmp_path / "t.npz", schema).features.tolist() == [[-1], [1]]
    np.savez(tmp_path / "t.npz", m=np.ones((2, 1)), y=np.array([0, 1]))
    with pytest.raises(DataError, match=r"column 'm:1': 'm' has the columns 0\.\.0"):
        read_table(tmp_path / "t.npz", schema)
    np.savez(tmp_path / "t.npz", m=np.ones((3, 2)), y=np.array([0, 1]))
    with pytest.raises(DataError, match="column 'y': 2 values, 'm:1' has 3"):
        read_table(tmp_path / "t.npz", schema)


GOOD = {"label": "y", "classes": ["a", "b"], "features": [{"column": "x", "low": 0, "high": 1}]}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lable": "y"}, "has no lable"),
        ({"label": 3}, "label is 3"),
        ({"classes": "a"}, "classes are 'a'"),
        ({"classes": ["a", "a"]}, "each once"),
        ({"features": []}, "features are"),
        ({"features": [{"column": "x", "low": 0}]}, "low and high"),
        ({"features": [{"column": "x", "low": 1, "high": 0}]}, "range of 'x'"),
        ({"features": [{"column": "x", "low": 0, "high": True}]}, "low and high"),
        ({"features": [{"column": "x", "low": 0, "high": 1, "lgo": True}]}, "has no lgo"),
        ({"features": [{"column": "x", "values": ["a"], "low": 0}]}, "has no low"),
        ({"features": [{"column": "y", "low": 0, "high": 1}]}, "the label and a feature"),
        ({"features": GOOD["features"] * 2}, "a feature twice"),
        ({"missing": "ignore"}, "'refuse' or 'drop'"),
        ({"delimiter": ",,"}, "one character"),
    ],
)
def test_a_schema_that_means_nothing_is_refused(change, said):
    with pytest.raises(DataError) as refused:
        parse_schema(GOOD | change, "press.toml")
    assert said in str(refused.value)
    # Wherever the fault is found, the text says which file it is in.
    assert str(refused.value).startswith("press.toml")


def test_a_schema_without_features_says_so():
    with pytest.raises(DataError, match=r"press\.toml: features are missing, want 1 to"):
        parse_schema({name: value for name, value in GOOD.items() if name != "features"}, "press.toml")


def test_a_missing_or_damaged_schema_is_named(tmp_path):
    path = write(tmp_path)
    with pytest.raises(DataError, match=r"other\.toml: is the table's schema"):
        load("table", {"schema": "other.toml"}, path)
    (tmp_path / "press.csv.schema.toml").write_text("label = ")
    with pytest.raises(DataError, match="is not TOML"):
        load("table", {}, path)
    (tmp_path / "press.doc").touch()
    (tmp_path / "press.doc.schema.toml").write_text(SCHEMA.format(missing="drop"))
    with pytest.raises(DataError, match=r"ends in '\.doc'"):
        load("table", {}, tmp_path / "press.doc")


# --- a file that grows


def growing_table(path: Path):
    return growing("table", {"schema": "press.csv.schema.toml"}, path).read()


def test_a_growing_file_is_read_in_its_own_order_with_the_times_of_its_rows(tmp_path):
    seen = growing_table(write(tmp_path))
    days = [np.datetime64(row[0]) for row in ROWS]
    assert [np.datetime64(int(time), "ms") for time in seen.times] == days
    assert seen.records.labels.tolist() == [0, 1, 0, 0]
    assert [seen.place(record) for record in range(4)] == ["line 2", "line 3", "line 4", "line 5"]


def test_rows_with_gaps_are_passed_over_and_do_not_shift_what_is_named(tmp_path):
    seen = growing_table(write(tmp_path, changed(1, "Heat [K]", ""), missing="drop"))
    assert [seen.place(record) for record in range(3)] == ["line 2", "line 4", "line 5"]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_other_files_grow_too(tmp_path, suffix):
    path = write(tmp_path)
    columns = {name: [row[at] for row in ROWS] for at, name in enumerate(HEAD)}
    if suffix == ".npz":
        np.savez(path.with_suffix(suffix), **{name: np.array(cells) for name, cells in columns.items()})
    else:
        parquet.write_table(pyarrow.table(columns), path.with_suffix(suffix))
    read_here, as_csv = growing_table(path.with_suffix(suffix)), growing_table(path)
    assert np.array_equal(read_here.records.features, as_csv.records.features)
    assert np.array_equal(read_here.times, as_csv.times)


@pytest.mark.parametrize(
    ("when", "unit", "wanted"),
    [
        ("2024-01-01T00:00:00+01:00", "", 1_704_063_600_000),
        ("1704067200.25", "s", 1_704_067_200_250),
        ("1704067200250", "ms", 1_704_067_200_250),
        ("17", "", None),
        ("yesterday", "", "line 2 has 'yesterday', want a time in ISO 8601"),
        ("2024-01-01", "s", "line 2 has '2024-01-01', want a number: time_unit is 's'"),
        ("1_704_067_200", "s", "line 2 has '1_704_067_200', want a number without _: time_unit is 's'"),
        ("1_704_067_200", "", "line 2 has '1_704_067_200', want a time in ISO 8601"),
        ("1e308", "s", "want a time since 1970"),
        ("-5", "s", "line 2 has '-5', want a time since 1970"),
        ("1e300", "ms", "want a time since 1970"),
    ],
)
def test_the_time_of_a_row_is_what_the_schema_says(tmp_path, when, unit, wanted):
    path = write(tmp_path, [[when, *ROWS[0][1:]]])
    if unit:
        schema = path.with_name("press.csv.schema.toml")
        schema.write_text(f'time_unit = "{unit}"\n' + schema.read_text())
    if wanted is None:
        assert growing_table(path).times is None
    elif isinstance(wanted, int):
        assert growing_table(path).times.tolist() == [wanted]
    else:
        with pytest.raises(DataError, match=wanted) as raised:
            growing_table(path)
        assert "column 'When'" in str(raised.value)


def test_a_unit_without_a_time_column_is_refused():
    with pytest.raises(DataError, match="time_unit is 's'"):
        parse_schema({"label": "a", "classes": ["x"], "time_unit": "s", "features": [{"column": "b", "values": ["c"]}]})


@pytest.mark.parametrize("seed", range(6))
def test_reading_what_was_added_gives_what_reading_all_gives(tmp_path, seed):
    """A file written in pieces that end anywhere: within a word, a quoted line end, a letter of two bytes."""
    path = write(tmp_path)
    rng = np.random.default_rng(seed)
    for at in range(40):
        state = ("ok", "worn")[at % 2]
        row = [f"2024-02-01T00:00:{at:02}", 'a "Süd"\nb', "LM"[at % 2], str(290 + at % 20), "é\n", "1", state]
        with path.open("a", newline="") as file:
            csv.writer(file, lineterminator=["\n", "\r\n"][seed % 2]).writerow(row)
    whole, text = growing_table(path), path.read_bytes()
    head = text.index(b"\n") + 1
    cuts = sorted({head, len(text), *rng.integers(head, len(text), 25).tolist()})
    source = growing("table", {"schema": "press.csv.schema.toml"}, path)
    got, labels, times, places, parts = [], [], [], [], 0
    for cut in cuts:
        path.write_bytes(text[:cut])
        seen = None
        # Refused when it is cut within quotes, after a line end that is part of a cell.
        with suppress(DataError):
            seen = source.read(len(got))
        if seen is None:
            continue
        assert seen.first in (0, len(got))
        parts += seen.first > 0
        if not seen.first:
            got, labels, times, places = [], [], [], []
        got += seen.records.features.tolist()
        labels += seen.records.labels.tolist()
        times += [] if seen.times is None else seen.times.tolist()
        places += [seen.place(at) for at in range(len(seen.records))]
    assert parts > 5
    assert got == whole.records.features.tolist()
    assert (labels, times) == (whole.records.labels.tolist(), whole.times.tolist())
    assert places == [whole.place(at) for at in range(len(whole.records))]


def test_what_was_read_before_and_is_changed_is_read_again(tmp_path):
    path = write(tmp_path)
    source = growing("table", {"schema": "press.csv.schema.toml"}, path)
    assert len(source.read().records) == 4
    assert (source.read(4).first, len(source.read(4).records)) == (4, 0)
    # Somebody who holds another number of records than were given gets them all.
    assert source.read(3).first == 0
    changed = path.read_bytes().replace(b"305", b"304")
    path.write_bytes(changed)
    assert source.read(4).first == 0
    assert source.read(4).first == 4
    path.write_bytes(changed[: len(changed) // 2])
    assert source.read(4).first == 0
    schema = path.with_name("press.csv.schema.toml")
    path.write_bytes(changed)
    assert source.read().total == 4
    schema.write_text(schema.read_text().replace("high = 310", "high = 311"))
    assert source.read(4).first == 0


def test_a_file_that_grows_needs_line_ends_that_show_where_it_ends(tmp_path):
    path = write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\r\n", b"\r"))
    with pytest.raises(DataError, match="lines that end in CR alone"):
        growing_table(path)
