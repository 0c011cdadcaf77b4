"""Bringing records into the store: a table once, a stream period by period."""

from itertools import pairwise

import numpy as np
import pytest

from node.collector import ROW_INTERVAL_MS, Collector, PeriodRule, ingest, layout_of
from node.record_errors import RecordStoreError
from node.record_store import RecordStore
from tests.support.factory_records import split, table, times_from

NOW = 1_700_000_000_000


@pytest.fixture
def store(tmp_path):
    with RecordStore(tmp_path / "records.sqlite") as store:
        yield store


def test_a_table_is_cut_into_closed_periods_that_follow_each_other(store):
    rows = split(train=70, test=40)
    assert ingest(store, rows, PeriodRule(records=25), NOW) == 70
    closed = store.closed_periods()
    assert [(each.period, each.record_count) for each in closed] == [(1, 25), (2, 25), (3, 20)]
    for earlier, later in pairwise(closed):
        assert earlier.ends == later.begins
    assert closed[-1].ends == NOW
    read = store.records([1, 2, 3])
    assert np.array_equal(read.features, rows.train.features)
    assert np.array_equal(store.test_records().features, rows.test.features)


def test_ingesting_again_changes_nothing_and_a_crash_in_between_neither(store):
    rows = split(train=70)

    class Crash(Exception):
        pass

    def crash(stored, total):
        if stored >= 50:
            raise Crash

    with pytest.raises(Crash):
        ingest(store, rows, PeriodRule(records=25), NOW, progress=crash)
    assert ingest(store, rows, PeriodRule(records=25), NOW + 5_000_000) == 20
    closed = store.closed_periods()
    assert ingest(store, rows, PeriodRule(records=25), NOW + 9_000_000) == 0
    assert store.closed_periods() == closed
    # The first start decided the times.
    assert closed[-1].ends == NOW
    assert np.array_equal(store.records([1, 2, 3]).features, rows.train.features)


def test_another_table_is_refused_and_the_anchored_one_stays(store):
    ingest(store, split(train=70), PeriodRule(records=25), NOW)
    changed = split(train=70)
    changed.train.features[3, 2] += 1
    with pytest.raises(RecordStoreError, match="another table"):
        ingest(store, changed, PeriodRule(records=25), NOW)
    assert np.array_equal(store.records([1, 2, 3]).features, split(train=70).train.features)


def test_periods_go_on_from_what_the_ledger_holds(store):
    ingest(store, split(train=50), PeriodRule(records=25), NOW, after_period=7)
    assert [each.period for each in store.closed_periods()] == [8, 9]


def test_a_period_by_time_holds_as_many_rows_as_fit(store):
    ingest(store, split(train=50), PeriodRule(0, 20 * ROW_INTERVAL_MS), NOW)
    assert [each.record_count for each in store.closed_periods()] == [20, 20, 10]


def test_a_stream_by_count_closes_full_periods(store):
    rows = table(23)
    store.declare(layout_of(rows))
    collector = Collector(store, PeriodRule(records=10))
    closed = []
    for at in range(0, 23, 6):
        part = slice(at, at + 6)
        closed += collector.collect(rows.features[part], rows.labels[part], times_from(NOW, 23)[part])
    assert [(each.period, each.record_count) for each in closed] == [(1, 10), (2, 10)]
    assert store.open_records(3) == 3
    assert np.array_equal(store.records([1, 2]).features, rows.features[:20])


def test_a_stream_by_time_closes_what_is_over_and_refuses_what_comes_late(store):
    rows = table(9)
    store.declare(layout_of(rows))
    collector = Collector(store, PeriodRule(0, 1000))
    times = np.array([5_100, 5_900, 6_000, 6_999, 9_000, 9_001, 9_500, 9_600, 9_999], np.int64)
    closed = collector.collect(rows.features, rows.labels, times)
    assert [(each.period, each.record_count, each.begins, each.ends) for each in closed] == [
        (5, 2, 5_000, 6_000),
        (6, 2, 6_000, 7_000),
    ]
    assert collector.close_due(9_999) == []
    assert [each.period for each in collector.close_due(10_000)] == [9]
    with pytest.raises(RecordStoreError, match="want more than 9"):
        collector.collect(rows.features[:1], rows.labels[:1], np.array([9_999], np.int64))


def test_a_period_rule_is_one_of_the_two():
    for wrong in [(0, 0), (5, 5), (-1, 0)]:
        with pytest.raises(ValueError, match="want one of the two"):
            PeriodRule(*wrong)
