"""What a request says of a strategy and its aggregation: agreed, filled in, or refused before anybody trains."""

from dataclasses import replace

import numpy as np
import pytest

from fl.aggregate import RULES
from fl.fixed_point import pack
from fl.strategies.agreed_rule import MOVED_BY_UPDATES, agreed_rule, check_agreed
from fl.strategies.base import Aggregation, StrategyError
from fl.strategies.fedavg import FedAvg
from fl.strategies.registry import BUILT_IN, strategy
from ledger.transactions import Protection, Setting
from node.provider_rounds import _stands_still
from node.request_file import RequestFileError, check_known, parse_request
from node.training_terms import TermsRefused, check_terms
from tests.support.open_requests import PARAMETERS, TERMS

LEAST = """
title = "Bearings"
data_type = "bearing-windows"
[model]
name = "mlp"
arguments = { layers = "8,16,4" }
[privacy]
mode = "none"
[payment]
price = 2
budget = 1000
"""


def protection(masked=False, **settings):
    pairs = tuple(Setting(name, value) for name, value in sorted(settings.items()))
    return Protection(pairs, masked, 10_000 if masked else 1)


def wide(name, vectors, rule, **changes):
    return replace(
        TERMS, strategy=name, strategy_settings=(), aggregation=rule, parameters=vectors * PARAMETERS, **changes
    )


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_a_request_need_not_repeat_what_its_strategy_says(name):
    rule = strategy(name, {})
    agreed = agreed_rule(rule, None, {})
    assert agreed == (rule.aggregation if rule.aggregation != Aggregation() else Aggregation(rule.usual_rule))
    check_agreed(rule, agreed.rule, agreed.settings)
    # Said in full, or with the check of updates left out, it is the same.
    assert agreed_rule(rule, agreed.rule, agreed.settings) == agreed
    loose = agreed_rule(rule, None, {"inspect": "false"})
    assert loose == Aggregation(agreed.rule, {**agreed.settings, "inspect": "false"})


def test_a_plug_in_with_a_second_vector_is_averaged_and_nothing_else():
    class Wide(FedAvg):
        name, vectors = "wide", 2

    rule = Wide.from_settings({})
    assert agreed_rule(rule, None, {}) == Aggregation("mean", {"vectors": "2"})
    with pytest.raises(StrategyError, match="rule mean with vectors 2, but the request says rule median"):
        agreed_rule(rule, "median", {})


def test_who_has_no_rule_of_its_own_takes_any():
    assert agreed_rule(strategy("fedavg", {}), "median", {"inspect": "false"}).rule == "median"
    check_agreed(strategy("dlmu", {}), "trimmed-mean", {"share": "0.2"})


@pytest.mark.parametrize(
    ("name", "settings", "rule", "said", "fault"),
    [
        (
            "fedavgm",
            {},
            "mean",
            {},
            "is aggregated by rule momentum with lr 0.3, momentum 0.9, but the request says rule",
        ),
        (
            "fedavgm",
            {"lr": "0.5"},
            None,
            {"lr": "0.3"},
            "momentum with lr 0.5, momentum 0.9, but the request says lr 0.3",
        ),
        ("scaffold", {}, "median", {}, "rule mean with vectors 2, but the request says rule median"),
        ("scaffold", {}, None, {"share": "0.2"}, "but the request says share 0.2"),
        ("fedadam", {}, None, {"tau": "1"}, "but the request says tau 1"),
    ],
)
def test_contradictions_are_refused_with_what_is_wanted(name, settings, rule, said, fault):
    with pytest.raises(StrategyError, match=fault):
        agreed_rule(strategy(name, settings), rule, said)


@pytest.mark.parametrize("rule", ["momentum", "adam", "clustered"])
def test_who_reads_the_models_movement_takes_no_rule_that_adds_to_it(rule):
    tracking = strategy("gradient-tracking", {})
    fault = f"gradient-tracking tells everybody's gradient from how the model moved, but the request says rule {rule}"
    with pytest.raises(StrategyError, match=fault):
        agreed_rule(tracking, rule, {})
    with pytest.raises(TermsRefused, match=fault):
        check_terms(wide("gradient-tracking", 1, rule), True)
    for name in MOVED_BY_UPDATES:
        assert agreed_rule(tracking, name, {}).rule == name
    assert {name for name, row in RULES.items() if row.vectors is None} == {*MOVED_BY_UPDATES, "momentum"}


def test_on_the_ledger_every_word_is_wanted():
    with pytest.raises(StrategyError, match=r"wants rule momentum with lr 0\.3, the request lacks it"):
        check_agreed(strategy("fedavgm", {}), "momentum", {"momentum": "0.9"})


@pytest.mark.parametrize(
    ("name", "rule", "settings", "vectors"),
    [
        ("scaffold", "mean", [("vectors", "2")], 2),
        ("fedavgm", "momentum", [("lr", "0.3"), ("momentum", "0.9")], 1),
        ("fedadam", "adam", [("beta1", "0.9"), ("beta2", "0.99"), ("lr", "0.03"), ("tau", "0.001")], 3),
        ("fedper", "mean", [], 1),
        ("ditto", "mean", [], 1),
    ],
)
def test_a_file_that_names_a_strategy_becomes_terms_that_providers_take(name, rule, settings, vectors):
    draft = parse_request(LEAST + f'[strategy]\nname = "{name}"\n')
    assert (draft.aggregation, list(draft.aggregation_settings)) == (rule, settings)
    assert draft.needs_protection is (bool(settings) or rule != "mean")
    check_known(draft)
    count = 8 * 16 + 16 + 16 * 4 + 4
    terms = draft.terms(bytes(32), vectors * count)
    check_terms(terms, allow_no_guarantee=True, protection=draft.protection())
    with pytest.raises(TermsRefused, match="parameters, terms say"):
        check_terms(replace(terms, parameters=(vectors + 1) * count), True, protection=draft.protection())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        (
            '[strategy]\nname = "fedavgm"\n[aggregation]\nrule = "mean"\n',
            "strategy fedavgm is aggregated by rule momentum",
        ),
        ('[strategy]\nname = "scaffold"\n[aggregation]\nrule = "multi-krum"\n', "the request says rule multi-krum"),
    ],
)
def test_a_file_that_contradicts_its_strategy_is_refused_where_it_is_read(text, fault):
    with pytest.raises(RequestFileError, match=fault):
        parse_request(LEAST + text)


@pytest.mark.parametrize("name", ["local-only", "centralised"])
def test_baselines_of_simulations_are_no_requests(name):
    with pytest.raises(RequestFileError, match=f"strategy {name} is a baseline for simulations"):
        check_known(parse_request(LEAST + f'[strategy]\nname = "{name}"\n'))
    with pytest.raises(TermsRefused, match="no request can ask for it"):
        check_terms(wide(name, 1, "mean"), allow_no_guarantee=True)


def test_masks_take_what_needs_no_more_than_a_sum():
    check_terms(wide("scaffold", 2, "mean"), True, protection=protection(masked=True, vectors="2"))
    adam = {"lr": "0.03", "beta1": "0.9", "beta2": "0.99", "tau": "0.001"}
    check_terms(wide("fedadam", 3, "adam"), True, protection=protection(masked=True, **adam))
    with pytest.raises(TermsRefused, match="which masked rounds do not name"):
        check_terms(wide("fedavgm", 1, "momentum"), True, protection=protection(masked=True, lr="0.3", momentum="0.9"))
    with pytest.raises(TermsRefused, match="scaffold is aggregated by rule mean with vectors 2"):
        check_terms(wide("scaffold", 2, "median"), True, protection=protection(vectors="2"))


def test_a_model_that_stands_still_is_no_work_whatever_moves_behind_it():
    """SCAFFOLD's control variate moves where the model does not: others would take the provider for a free rider."""
    terms = wide("scaffold", 2, "mean")
    rng = np.random.default_rng(1)
    base = rng.integers(-(2**20), 2**20, 2 * PARAMETERS).astype(np.int32)
    behind, ahead = base.copy(), base.copy()
    behind[PARAMETERS:] += 7
    ahead[PARAMETERS - 1] += 1
    moved = [_stands_still(pack(update), pack(base), terms) for update in (base, behind, ahead)]
    assert moved == [True, True, False]


@pytest.mark.parametrize(
    ("rule", "settings", "masked", "seen"),
    [
        ("mean", {"vectors": "7"}, False, 7),
        ("mean", {"vectors": "2"}, True, 2),
        ("median", {"vectors": "2"}, False, 2),
        ("clustered", {}, False, 4),
        ("adam", {}, False, 3),
        ("adam", {}, True, 3),
    ],
)
def test_a_rule_that_reads_updates_otherwise_than_they_are_sent_is_refused_before_anybody_trains(
    rule, settings, masked, seen
):
    """Nobody could make a model of updates that are not so many vectors, and a round would be paid for nothing."""
    terms = wide("fedavg", 1, rule, providers_min=3, providers_max=4)
    with pytest.raises(TermsRefused, match=f"rule {rule} takes an update for {seen} vectors, .* fedavg sends 1"):
        check_terms(terms, True, protection=protection(masked, **settings))


@pytest.mark.parametrize(("name", "vectors"), [("scaffold", 2), ("gradient-tracking", 1), ("fedper", 1), ("ditto", 1)])
def test_what_goes_on_from_a_factorys_own_is_refused_where_nothing_is_kept(name, vectors):
    """Under masks with a guarantee a factory keeps nothing: SCAFFOLD would add everybody's gradient once more."""
    said = {"vectors": "2"} if vectors == 2 else {}
    sound = {"privacy": "sound", "privacy_settings": (Setting("epsilon", "8"),)}
    with pytest.raises(TermsRefused, match=f"strategy {name} goes on from what its factory kept"):
        check_terms(wide(name, vectors, "mean", **sound), True, protection=protection(True, **said))
    check_terms(wide(name, vectors, "mean", **sound), True, protection=protection(False, **said))
    check_terms(wide(name, vectors, "mean"), True, protection=protection(True, **said))


@pytest.mark.parametrize("mode", ["paper", "sound"])
def test_training_that_ends_by_time_is_refused_beforehand_where_a_mode_wants_whole_epochs(mode):
    settings = (Setting("epsilon", "8"),) if mode == "sound" else ()
    with pytest.raises(TermsRefused, match=f"privacy mode {mode} with strategy t-sfl, which ends training by time"):
        check_terms(wide("t-sfl", 1, "mean", privacy=mode, privacy_settings=settings), True)
    check_terms(wide("t-sfl", 1, "mean"), True)
