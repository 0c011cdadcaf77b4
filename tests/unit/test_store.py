"""What every store promises, for the one in memory and the one on a disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ledger.store import Store, WriteBatch, scan_range
from tests.support.stores import open_test_store

KEYS = [b"", b"a", b"a\x00", b"ab", b"b", b"b\xff", b"b\xff\xff", b"c", b"\xff", b"\xff\xff"]
ROWS = {key: b"value of " + key for key in KEYS}


@pytest.fixture(params=["memory", "leveldb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    with open_test_store(request.param, tmp_path) as store:
        yield store


def test_rows_are_read_as_they_were_written(store):
    store.write(WriteBatch(dict(ROWS)))
    for key, value in ROWS.items():
        assert store.get(key) == value
    assert store.get(b"nothing") is None


def test_an_empty_value_is_not_a_missing_row(store):
    store.write(WriteBatch({b"flag": b""}))
    assert store.get(b"flag") == b""
    assert list(store.scan(b"flag")) == [(b"flag", b"")]


def test_the_last_word_on_a_key_counts(store):
    batch = WriteBatch()
    batch.put(b"a", b"1")
    batch.delete(b"a")
    batch.delete(b"b")
    batch.put(b"b", b"2")
    batch.put(b"b", b"3")
    batch.delete(b"never there")
    store.write(batch)
    assert list(store.scan()) == [(b"b", b"3")]
    store.write(WriteBatch({b"b": None}), sync=False)
    assert list(store.scan()) == []
    store.write(WriteBatch())


def test_a_batch_that_cannot_be_written_is_not_begun(store):
    store.write(WriteBatch({b"balance": b"10"}))
    with pytest.raises(TypeError):
        store.write(WriteBatch({b"balance": b"0", b"other": 10}))  # type: ignore[dict-item]
    assert list(store.scan()) == [(b"balance", b"10")]


@pytest.mark.parametrize("prefix", [b"", b"a", b"b", b"b\xff", b"\xff", b"zz"])
@pytest.mark.parametrize("start", [None, *KEYS, b"aa", b"\xff\xff\xff"])
@pytest.mark.parametrize("reverse", [False, True])
def test_a_scan_is_the_sorted_rows_of_its_prefix_from_its_start(store, prefix, start, reverse):
    store.write(WriteBatch(dict(ROWS)))
    want = sorted(row for row in ROWS.items() if row[0].startswith(prefix))
    if start is not None:
        want = [row for row in want if (row[0] <= start if reverse else row[0] >= start)]
    if reverse:
        want.reverse()
    assert list(store.scan(prefix, start, reverse)) == want
    for limit in (0, 1, 3, 100):
        assert list(store.scan(prefix, start, reverse, limit)) == want[:limit]


@given(st.binary(max_size=4), st.none() | st.binary(max_size=4), st.booleans(), st.binary(max_size=5))
def test_scan_ranges_hold_exactly_the_keys_of_the_prefix(prefix, start, reverse, key):
    first, end = scan_range(prefix, start, reverse)
    inside = first <= key and (end is None or key < end)
    beyond = start is not None and (key > start if reverse else key < start)
    assert inside == (key.startswith(prefix) and not beyond)


def test_a_scan_shows_the_moment_it_was_asked_for(store):
    store.write(WriteBatch({b"a": b"1", b"b": b"1", b"c": b"1"}))
    early, begun = store.scan(), store.scan(reverse=True)
    assert next(begun) == (b"c", b"1")
    store.write(WriteBatch({b"a": None, b"b": b"2", b"d": b"2"}))
    assert list(early) == [(b"a", b"1"), (b"b", b"1"), (b"c", b"1")]
    assert list(begun) == [(b"b", b"1"), (b"a", b"1")]
    assert list(store.scan()) == [(b"b", b"2"), (b"c", b"1"), (b"d", b"2")]


def test_a_snapshot_stands_still(store):
    store.write(WriteBatch({b"a": b"1"}))
    with store.snapshot() as then:
        store.write(WriteBatch({b"a": b"2", b"b": b"2"}))
        assert then.get(b"a") == b"1"
        assert then.get(b"b") is None
        assert list(then.scan()) == [(b"a", b"1")]
    assert store.get(b"a") == b"2"


def test_a_closed_store_is_no_store(store):
    store.write(WriteBatch({b"a": b"1"}))
    store.close()
    store.close()
    for use in (
        lambda: store.get(b"a"),
        lambda: list(store.scan()),
        lambda: store.write(WriteBatch({b"a": None})),
    ):
        with pytest.raises(RuntimeError):
            use()


steps = st.lists(st.dictionaries(st.binary(max_size=2), st.none() | st.binary(max_size=3), max_size=6), max_size=8)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.binary(max_size=1), st.booleans())
def test_both_stores_tell_the_same_story(tmp_path_factory, steps, prefix, reverse):
    directory = tmp_path_factory.mktemp("story")
    with open_test_store("memory", directory) as memory, open_test_store("leveldb", directory) as disk:
        for changes in steps:
            memory.write(WriteBatch(dict(changes)), sync=False)
            disk.write(WriteBatch(dict(changes)), sync=False)
            assert list(memory.scan(prefix, reverse=reverse)) == list(disk.scan(prefix, reverse=reverse))
