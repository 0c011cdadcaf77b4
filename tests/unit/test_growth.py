"""A table that grows: what is new becomes records, nothing is taken in twice, a rewritten past is named."""

from pathlib import Path

import numpy as np
import pytest

from fl.data.growing import Division, GrowingTable
from node.collector import PeriodRule, ingest
from node.growth import Growth, HistoryChanged
from node.record_errors import RecordStoreError, RecordStoreFull
from node.record_store import RecordStore
from tests.support.factory_records import split, table

NOW = 1_700_000_000_000
HOUR = 3_600_000
BY_TEN = PeriodRule(records=10)
HOURLY = PeriodRule(0, HOUR)
ALL = table(200)


@pytest.fixture
def store(tmp_path):
    with RecordStore(tmp_path / "records.sqlite") as store:
        yield store


def seen(rows, times=None, division=None, records=ALL):
    return GrowingTable(
        Path("press.csv"),
        records.take(slice(0, rows)),
        None if times is None else np.asarray(times, np.int64)[:rows],
        division or Division(20),
        lambda record: f"line {record + 2}",
    )


def periods_of(store):
    return [*(closed.period for closed in store.closed_periods()), *store.open_periods()]


def stored(store):
    """Every record, as bytes, by side."""
    trained, tested = store.records(periods_of(store)), store.test_records()
    return [[row.tobytes() for row in side.features] for side in (trained, tested)]


def counts(store):
    return len(store.records(periods_of(store))), store.test_count()


@pytest.mark.parametrize("kind", ["last", "random"])
def test_the_side_of_a_record_does_not_change_with_what_comes_later(kind):
    division = Division(20, kind, seed=4)
    whole = division.tested(1000, begun_with=100)
    for records in range(100, 1000, 37):
        assert np.array_equal(division.tested(records, 100), whole[:records])
    assert np.count_nonzero(whole[:100]) == 20
    assert np.count_nonzero(whole[100:]) == 180
    if kind == "last":
        assert whole[80:100].all()


def test_new_rows_become_records_and_full_periods_are_closed(store):
    growth = Growth(store, BY_TEN)
    first = growth.take_in(seen(50), NOW)
    assert (first.trained, first.tested, len(first.closed)) == (40, 10, 4)
    later = growth.take_in(seen(70), NOW + 5000)
    assert (later.trained, later.tested, [each.period for each in later.closed]) == (16, 4, [5])
    assert store.open_periods() == (6,)
    assert store.open_records(6) == 6
    assert growth.take_in(seen(70), NOW + 9000) == type(later)()
    tested = Division(20).tested(70, 50)
    assert stored(store) == [[row.tobytes() for row in ALL.features[:70][side]] for side in (~tested, tested)]


def test_growing_step_by_step_gives_the_records_of_growing_at_once(tmp_path):
    with RecordStore(tmp_path / "a.sqlite") as at_once, RecordStore(tmp_path / "b.sqlite") as by_steps:
        growth = Growth(at_once, BY_TEN)
        growth.take_in(seen(40), NOW)
        growth.take_in(seen(200), NOW)
        for rows in [40, 41, 42, 43, 60, 61, 130, 199, 200]:
            # A node that is restarted after every look.
            Growth(by_steps, BY_TEN).take_in(seen(rows), NOW)
        assert stored(at_once) == stored(by_steps)
        assert [each.record_count for each in by_steps.closed_periods()] == [10] * 16


def test_a_disk_that_fills_up_anywhere_loses_and_doubles_nothing(tmp_path, monkeypatch):
    with RecordStore(tmp_path / "plain.sqlite") as plain:
        Growth(plain, BY_TEN).take_in(seen(30), NOW)
        Growth(plain, BY_TEN).take_in(seen(90), NOW)
        wanted = stored(plain)
    for fails_at in range(11):
        with RecordStore(tmp_path / f"{fails_at}.sqlite") as store:
            growth = Growth(store, BY_TEN)
            growth.take_in(seen(30), NOW)
            writes = 0

            def fail(self, *arguments, real=RecordStore._check_open, fails_at=fails_at):
                nonlocal writes
                writes += 1
                if writes > fails_at:
                    raise RecordStoreFull("no room to write")
                return real(self, *arguments)

            with monkeypatch.context() as patch:
                patch.setattr(RecordStore, "_check_open", fail)
                with pytest.raises(RecordStoreFull):
                    growth.take_in(seen(90), NOW)
            # The same node looks again, or another after a restart.
            again = growth if fails_at % 2 else Growth(store, BY_TEN)
            again.take_in(seen(90), NOW)
            assert stored(store) == wanted


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize("row", [0, 33, 45, 49, 60])
def test_a_rewritten_row_is_named_and_nothing_is_touched(store, row, restarted):
    growth = Growth(store, BY_TEN)
    growth.take_in(seen(50), NOW)
    growth.take_in(seen(61), NOW)
    before = stored(store), store.closed_periods()
    forged = table(200)
    forged.features[row, 3] += 1
    forged.labels[61:] = 0
    growth = Growth(store, BY_TEN) if restarted else growth
    with pytest.raises(
        HistoryChanged, match=rf"press.csv: line {row + 2} \(record {row + 1}\) is not what was taken in"
    ):
        growth.take_in(seen(90, records=forged), NOW)
    assert (stored(store), store.closed_periods()) == before
    # The row is put back: the node goes on as if nothing had been.
    assert growth.take_in(seen(90), NOW).trained > 0
    assert counts(store) == (72, 18)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_file_that_was_begun_anew_is_no_growth(store, restarted):
    growth = Growth(store, BY_TEN)
    growth.take_in(seen(50), NOW)
    growth.take_in(seen(60), NOW)
    growth = Growth(store, BY_TEN) if restarted else growth
    for rows in (3, 55):
        with pytest.raises(HistoryChanged, match=f"press.csv: there are {rows} records, (50|60) were taken in before"):
            growth.take_in(seen(rows), NOW)
    assert counts(store) == (48, 12)


def test_another_division_would_test_on_what_was_trained_on(store):
    Growth(store, BY_TEN).take_in(seen(50), NOW)
    with pytest.raises(RecordStoreError, match="percent=30"):
        Growth(store, BY_TEN).take_in(seen(60, division=Division(30)), NOW)


def test_a_table_that_was_read_once_is_followed_from_then_on(store):
    tested = Division(20).tested(50, 50)
    rows = split()
    rows = type(rows)(ALL.take(np.flatnonzero(~tested)), ALL.take(np.flatnonzero(tested)))
    ingest(store, rows, BY_TEN, NOW)
    Growth(store, BY_TEN).take_in(seen(75), NOW)
    assert counts(store) == (60, 15)
    assert [each.period for each in store.closed_periods()] == [1, 2, 3, 4, 5, 6]


def test_a_period_by_time_is_closed_when_it_is_over_though_no_record_comes(store):
    growth = Growth(store, HOURLY)
    hour = NOW // HOUR
    growth.take_in(seen(10, times=[hour * HOUR + 5] * 10), hour * HOUR + 10)
    assert growth.next_due_ms() == (hour + 1) * HOUR
    assert growth.close_due((hour + 1) * HOUR - 1) == []
    (closed,) = growth.close_due((hour + 1) * HOUR)
    assert (closed.period, closed.record_count, closed.ends) == (hour, 8, (hour + 1) * HOUR)
    assert growth.next_due_ms() is None


def test_records_go_to_the_period_they_were_taken_in_and_late_ones_to_the_next(store):
    growth = Growth(store, HOURLY)
    hour = NOW // HOUR
    times = [(hour - 3) * HOUR] * 10 + [(hour - 2) * HOUR] * 10
    growth.take_in(seen(20, times=times), hour * HOUR)
    growth.close_due(hour * HOUR)
    assert [each.period for each in store.closed_periods()] == [hour - 3, hour - 2]
    # Taken in the hour that was closed, written down too late; and one dated in another century.
    times += [(hour - 2) * HOUR + 7] * 5 + [NOW * 3] + [hour * HOUR + 9] * 4
    growth.take_in(seen(30, times=times), hour * HOUR + 10)
    assert [each.period for each in store.closed_periods()] == [hour - 3, hour - 2, hour - 1]
    assert store.closed_periods()[-1].record_count == 4
    assert store.open_times(hour)[1] == hour * HOUR + 10
    assert counts(store) == (24, 6)


def test_records_without_times_bear_the_hour_they_were_collected_in(store):
    growth = Growth(store, HOURLY)
    hour = NOW // HOUR
    growth.take_in(seen(10), hour * HOUR + 60_000)
    growth.take_in(seen(20), (hour + 1) * HOUR + 5)
    assert [each.period for each in store.closed_periods()] == [hour]
    assert store.open_times(hour + 1) == ((hour + 1) * HOUR + 5,) * 2


def test_periods_go_on_from_what_the_ledger_holds(store):
    Growth(store, BY_TEN).take_in(seen(50), NOW, after_period=7)
    assert periods_of(store) == [8, 9, 10, 11]


def test_an_hour_that_is_anchored_already_takes_no_more_records(store):
    hour = NOW // HOUR
    Growth(store, HOURLY).take_in(seen(10, times=[NOW - HOUR] * 10), NOW, after_period=hour - 1)
    assert periods_of(store) == [hour]


def test_a_table_of_another_form_is_refused(store):
    Growth(store, BY_TEN).take_in(seen(50), NOW)
    with pytest.raises(RecordStoreError, match="want a data directory of its own"):
        Growth(store, BY_TEN).take_in(seen(60, records=table(200, width=9)), NOW)
