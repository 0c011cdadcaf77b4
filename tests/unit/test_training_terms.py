"""Which terms a provider trains under: what cannot come to anything is refused before it costs an epoch."""

from dataclasses import replace

import pytest

from fl.draws import order_of
from fl.strategies.registry import strategy
from ledger.keys import KeyPair
from ledger.transactions import Protection, Setting
from node.training_terms import TermsRefused, check_terms, training_seed, training_terms
from tests.support.open_requests import TERMS

PUBLIC_ORDER = replace(TERMS, training_settings=(*TERMS.training_settings, Setting("order_seed", "7")))


def test_terms_that_can_be_trained_are_taken():
    check_terms(TERMS, allow_no_guarantee=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"aggregation": "magic"}, "magic"),
        ({"attest_window": 1}, "attest window 1 ms"),
        ({"strategy": "magic"}, "magic"),
        ({"parameters": TERMS.parameters + 1}, "parameters"),
        ({"limit": 2**20, "scale_bits": 30}, "limit"),
    ],
)
def test_terms_that_cannot_come_to_anything_are_refused_by_name(changes: dict[str, object], named: str):
    with pytest.raises(TermsRefused, match=named):
        check_terms(replace(TERMS, **changes), allow_no_guarantee=True)  # type: ignore[arg-type]


def test_the_order_of_records_is_a_secret_unless_the_request_names_a_seed():
    key = KeyPair.from_seed(bytes(32))

    def seeds(terms):
        return [training_terms(terms, 1, key, b"request", True, place=place).seed for place in range(2)]

    assert seeds(TERMS) == [training_seed(key, b"request")] * 2
    assert seeds(PUBLIC_ORDER) == [order_of(7, 0), order_of(7, 1)]
    check_terms(replace(PUBLIC_ORDER, privacy="none", privacy_settings=()), allow_no_guarantee=True)


def test_an_order_that_all_know_is_refused_where_noise_counts_on_secret_batches():
    sound = replace(PUBLIC_ORDER, privacy="sound", privacy_settings=(Setting("epsilon", "8"),))
    with pytest.raises(TermsRefused, match="order_seed with privacy sound"):
        check_terms(sound, allow_no_guarantee=False)
    wild = replace(TERMS, training_settings=(Setting("order_seed", "-2"),))
    with pytest.raises(TermsRefused, match="order_seed is '-2'"):
        check_terms(wild, allow_no_guarantee=True)


def test_rounds_that_are_too_short_for_the_papers_mode_are_refused_before_the_first():
    paper = replace(TERMS, privacy="paper", privacy_settings=(), epochs=3)
    check_terms(paper, allow_no_guarantee=True)
    with pytest.raises(TermsRefused, match="privacy mode paper with 2 epochs, want at least 3"):
        check_terms(replace(paper, epochs=2), allow_no_guarantee=True)
    staged = replace(paper, strategy="fedobd", strategy_settings=(Setting("second_stage", "5"),), epochs=10)
    with pytest.raises(
        TermsRefused, match=r"paper with strategy fedobd and second_stage 5: .* want second_stage 0, or"
    ):
        check_terms(staged, allow_no_guarantee=True)
    check_terms(replace(staged, strategy_settings=()), allow_no_guarantee=True)
    check_terms(replace(staged, privacy="none"), allow_no_guarantee=True)
    sound = replace(staged, privacy="sound", privacy_settings=(Setting("epsilon", "8"),))
    check_terms(sound, allow_no_guarantee=False)


def test_changes_of_a_model_cannot_be_masked():
    for name in ("fedobd", "clustered"):
        rule = strategy(name, {})
        wanted = rule.aggregation
        terms = replace(
            TERMS, strategy=name, aggregation=wanted.rule, parameters=rule.vectors * TERMS.parameters, providers_max=7
        )
        settings = tuple(Setting(key, value) for key, value in sorted(wanted.settings.items()))
        check_terms(terms, allow_no_guarantee=True, protection=Protection(settings, False, 1))
        with pytest.raises(TermsRefused, match="only a whole one can be masked"):
            check_terms(terms, allow_no_guarantee=True, protection=Protection(settings, True, 10_000))


def test_changes_that_would_fill_the_memory_of_who_sums_them_are_refused(monkeypatch):
    """Some ten bytes stand for a whole vector: 256 of them for 24 million parameters would be 24 GB."""
    terms = replace(TERMS, strategy="fedobd", providers_max=7)
    monkeypatch.setattr("fl.delta_blob.SPREAD_BYTES_MAX", 4 * 7 * TERMS.parameters)
    check_terms(terms, allow_no_guarantee=True)
    monkeypatch.setattr("fl.delta_blob.SPREAD_BYTES_MAX", 4 * 7 * TERMS.parameters - 1)
    with pytest.raises(TermsRefused, match=f"fedobd sends changes; 7 updates of {TERMS.parameters} parameters take"):
        check_terms(terms, allow_no_guarantee=True)
    check_terms(replace(terms, providers_max=6), allow_no_guarantee=True)
    check_terms(replace(terms, strategy="fedavg"), allow_no_guarantee=True)


def test_training_by_time_has_to_end_before_the_round_does():
    def timed(seconds: str):
        return replace(TERMS, strategy="t-sfl", strategy_settings=(Setting("seconds", seconds),))

    check_terms(timed("0"), allow_no_guarantee=True)
    check_terms(timed("59"), allow_no_guarantee=True)
    with pytest.raises(TermsRefused, match="training of 60 s in rounds of 60 s"):
        check_terms(timed("60"), allow_no_guarantee=True)
    # Without a word of it, the round's deadline tells how long there is.
    job = training_terms(timed("0"), 1, KeyPair.from_seed(bytes(32)), b"request", True)
    assert float(job.deadline) == 60.0
