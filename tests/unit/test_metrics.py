"""The metrics page: what the daemon tells is what Prometheus reads."""

from collections import Counter

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ledger.chain import Chain
from ledger.memory_store import MemoryStore
from node.happenings import BlockFigures, count_training
from node.metrics import Metrics
from tests.support.league import League


def samples(metrics):
    families = text_string_to_metric_families(metrics.page().decode())
    return {(each.name, *sorted(each.labels.values())): each.value for family in families for each in family.samples}


def test_a_final_block_moves_every_figure_it_should():
    metrics = Metrics()
    for height in (1, 2):
        kinds = {"Transfer": 3, "AnchorRecords": 1}
        metrics.block_final(height=height, views=height, size=5_000, kinds=kinds, finality_s=0.12)
    found = samples(metrics)
    assert found[("hanse_height",)] == 2
    assert found[("hanse_transactions_total", "Transfer")] == 6
    assert found[("hanse_block_bytes_sum",)] == 10_000
    assert found[("hanse_block_transactions_sum",)] == 8
    assert found[("hanse_views_per_height_bucket", "1.0")] == 1
    assert found[("hanse_finality_seconds_bucket", "0.1")] == 0
    assert found[("hanse_finality_seconds_bucket", "0.15")] == 2


def test_a_clock_that_stands_wrong_does_not_make_time_negative():
    metrics = Metrics()
    metrics.block_final(height=1, views=1, size=1, kinds={}, finality_s=-3.0)
    assert samples(metrics)[("hanse_finality_seconds_sum",)] == 0


def test_missed_views_are_counted_by_leader_and_two_nodes_count_apart():
    first, second = Metrics(), Metrics()
    first.view_missed(b"\xab" * 32)
    first.view_missed(b"\xab" * 32)
    assert samples(first)[("hanse_missed_views_total", "ab" * 8)] == 2
    assert ("hanse_missed_views_total", "ab" * 8) not in samples(second)


def test_failed_views_are_counted_by_the_leader_of_their_own_height_also_while_catching_up():
    league = League(4)
    behind = Chain(MemoryStore(), league.genesis)
    metrics, finals, failed = Metrics(), [], Counter()
    figures = BlockFigures(metrics, behind, league.keys[0].org)
    for views in (0, 2, 1, 0, 1):
        failed.update(league.chain.leaders()[:views])
        finals.append(league.commit(failed_views=views))
    # As in catching up: the chain is at its head before the first block is told of.
    outcomes = [behind.append(final) for final in finals]
    for final, outcome in zip(finals, outcomes, strict=True):
        figures.count(final, outcome)
    found = samples(metrics)
    assert {org: found[("hanse_missed_views_total", org.hex()[:16])] for org in failed} == failed


def test_local_rounds_are_timed_and_failures_named():
    metrics = Metrics()
    count_training(metrics, {"event": "trained", "seconds": 0.7})
    count_training(metrics, {"event": "declined", "code": "diverged", "reason": "loss is not finite"})
    count_training(metrics, {"event": "epoch", "epoch": 1})
    found = samples(metrics)
    assert found[("hanse_training_seconds_sum",)] == 0.7
    assert found[("hanse_training_failures_total", "diverged")] == 1


def test_what_is_timed_counts_when_it_fails_too():
    metrics = Metrics()

    def failing():
        with metrics.timed(metrics.fsync):
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        failing()
    assert samples(metrics)[("hanse_journal_fsync_seconds_count",)] == 1
