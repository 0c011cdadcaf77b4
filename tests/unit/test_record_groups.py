"""Groups on their way from a source through the store to a round: the unit of privacy that a request can ask for."""

import sqlite3

import numpy as np
import pytest

from fl.data import cwru, text
from fl.data.errors import DataError
from fl.data.registry import load
from fl.data.tables import Split, Table
from fl.privacy.modes import PrivacyRefused, unit_column
from node.collector import PeriodRule, ingest
from node.growth import Growth
from node.record_errors import RecordStoreError
from node.record_groups import Grouping, grouping_of
from node.record_reader import RecordReader
from node.record_store import RecordStore

SCHEMA = """
label = "state"
classes = ["ok", "bad"]
group = "machine"
[[features]]
column = "load"
low = 0
high = 100
"""


def machines(rows, names):
    lines = "".join(f"{i % 100},{names[i % len(names)]},{'bad' if i % 3 else 'ok'}\n" for i in range(rows))
    return "load,machine,state\n" + lines


def a_table(folder, rows, names=("press", "lathe", "saw")):
    path = folder / "readings.csv"
    path.write_text(machines(rows, names))
    (folder / "readings.csv.schema.toml").write_text(SCHEMA)
    return path


def test_a_tables_groups_reach_whoever_trains(tmp_path):
    split = load("table", {"test_percent": "20"}, a_table(tmp_path, 50))
    with RecordStore(tmp_path / "records.sqlite") as store:
        ingest(store, split, PeriodRule(15), now_ms=10**12)
        periods = tuple(closed.period for closed in store.closed_periods())
        assert store.grouping() == Grouping("machine", overlap=False)
        assert store.group_count(periods) == 3
        # A period of two rows of one machine, or of two, as they come.
        assert store.group_count(periods[:1]) == 3
        reader = RecordReader(store.path)
        groups = reader.groups(periods, "machine")
        loads = reader.records(periods).features[:, 0]
        reader.close()
    rows = np.rint((loads + 1) * 50).astype(int)
    assert len(groups) == 40
    for machine in range(3):
        # Row i is of machine i mod 3, whatever number the store gave that machine.
        assert len(set(groups[rows % 3 == machine].tolist())) == 1


def test_a_table_that_grows_keeps_its_groups_by_name(tmp_path):
    """What a reader numbers anew at every look is one number in the store: a machine that comes later shifts nobody."""
    settings = {"test_percent": "20"}
    store = RecordStore(tmp_path / "records.sqlite")
    rule, path = PeriodRule(10), a_table(tmp_path, 20, ("press", "lathe"))
    from fl.data.registry import growing

    source, growth = growing("table", settings, path), Growth(store, rule)
    growth.take_in(source.read(), 10**12)
    with path.open("a") as file:
        file.write("".join(f"{i},{'anvil' if i % 2 else 'press'},ok\n" for i in range(20, 80)))
    growth.take_in(source.read(growth.known), 10**12)
    periods = [closed.period for closed in store.closed_periods()]
    assert store.group_count(periods) == 3
    reader = RecordReader(store.path)
    rows = np.rint((reader.records(periods).features[:, 0] + 1) * 50).astype(int)
    groups = reader.groups(periods, "machine")
    press = set(groups[(rows % 2 == 0)].tolist())
    assert len(press) == 1
    assert not press & set(groups[rows % 2 == 1].tolist())
    with pytest.raises(RecordStoreError, match="grouped by machine, want Site"):
        reader.groups(periods, "Site")
    reader.close()
    store.close()


def test_records_without_groups_are_no_group_units(tmp_path):
    features, labels = np.zeros((6, 2), np.float32), np.zeros(6, np.int64)
    plain = Table(features, labels, ("x",))
    with RecordStore(tmp_path / "records.sqlite") as store:
        ingest(store, Split(plain, plain), PeriodRule(3), now_ms=10**12)
        assert store.grouping() == Grouping("", overlap=False)
        with pytest.raises(RecordStoreError, match="bear no group"):
            store.group_count([1, 2])
    assert Grouping("", False).refusal(None) is None
    assert Grouping("", False).refusal("Site") == "unit group:Site: records here are grouped by nothing"
    assert Grouping("machine", False).refusal("Site") == "unit group:Site: records here are grouped by machine"
    assert Grouping("speaker", True).refusal("speaker") is None
    assert Grouping("speaker", True).refusal(None) == "unit record: records here overlap, want group:speaker"


def test_a_store_of_the_first_format_goes_on_with_ungrouped_records(tmp_path):
    split = load("table", {"test_percent": "20"}, a_table(tmp_path, 50))
    path = tmp_path / "records.sqlite"
    with RecordStore(path) as store:
        ingest(store, split, PeriodRule(20), now_ms=10**12)
    file = sqlite3.connect(path)
    file.executescript(
        "DROP TABLE record_groups; DROP TABLE group_names; PRAGMA user_version = 1;"
        "DELETE FROM meta WHERE name IN ('note/grouped_by', 'note/overlap');"
    )
    file.close()
    with RecordStore(path) as store:
        assert ingest(store, split, PeriodRule(20), now_ms=10**12) == 0
        # It hears now what the source says of groups and overlaps; its records of before bear none all the same.
        assert store.grouping() == Grouping("machine", overlap=False)
        with pytest.raises(RecordStoreError, match="before there were any"):
            store.group_count([1])
        assert len(store.records([1, 2])) == 40


def test_a_store_is_grouped_in_one_way_for_good(tmp_path):
    with RecordStore(tmp_path / "records.sqlite") as store:
        # A schema that names a group later: what came before bears none, what comes now does.
        for named in ("", "machine"):
            store.set_grouping(Grouping(named, False))
        reader = RecordReader(store.path)
        version = reader.version()
        store.set_grouping(Grouping("machine", False))
        # Said again, nothing is written: a trainer keeps the records it has read.
        assert reader.version() == version
        reader.close()
        for named in ("shift", ""):
            with pytest.raises(RecordStoreError, match=f"by machine, the source says {named or 'no groups'} now"):
                store.set_grouping(Grouping(named, False))


def test_windows_of_text_overlap_unless_they_are_set_apart(tmp_path):
    path = tmp_path / "play.txt"
    path.write_text("".join(f"ANN:\n{'abcdefghij' * 60}\n\nBOB:\n{'jihgfedcba' * 60}\n\n" for _ in range(2)))
    close = text.load(text.TextSettings(window=20, step=10), path).train
    apart = text.load(text.TextSettings(window=20, step=21), path).train
    assert grouping_of(close) == Grouping("speaker", overlap=True)
    assert grouping_of(apart) == Grouping("speaker", overlap=False)
    assert grouping_of(close.take(slice(0, 3))) == grouping_of(close)


def test_a_schema_can_say_that_rows_overlap(tmp_path):
    path = a_table(tmp_path, 20)
    schema = tmp_path / "readings.csv.schema.toml"
    schema.write_text("overlap = true\n" + SCHEMA)
    assert grouping_of(load("table", {}, path).train) == Grouping("machine", overlap=True)
    schema.write_text("overlap = 1\n" + SCHEMA)
    with pytest.raises(DataError, match="overlap is 1, want true or false"):
        load("table", {}, path)


def test_a_recording_can_be_the_unit_of_bearing_windows():
    signals = [(np.zeros((windows, 8), np.float32), label) for windows, label in ((3, 0), (2, 1), (4, 1))]
    table = cwru._table(signals, cwru.CwruSettings(load="2", group="recording"))
    assert grouping_of(table) == Grouping("recording", overlap=False)
    assert table.names_of_groups() == ("2 hp, healthy",) * 3 + ("2 hp, inner 007",) * 2 + ("2 hp, inner 014",) * 4
    by_load = cwru._table(signals, cwru.CwruSettings(load="2"))
    assert set(by_load.names_of_groups()) == {"2 hp"}


def test_the_column_of_a_request_is_read_from_its_terms():
    assert unit_column("sound", {"unit": "group:machine"}) == "machine"
    assert unit_column("distributed", {"unit": "group:machine"}) == "machine"
    assert unit_column("sound", {}) is None
    assert unit_column("none", {}) is None
    with pytest.raises(PrivacyRefused, match="want record, or group:"):
        unit_column("sound", {"unit": "machine"})
