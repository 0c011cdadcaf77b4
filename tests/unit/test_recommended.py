"""The strategy that nobody names: the same one in requests, simulated runs and devnets, never where it cannot be."""

import pytest

from fl.strategies.recommended import AUTO, Circumstances, named_or_recommended, recommended
from fl.strategies.registry import strategy
from node.devnet.plan import CannotPlan, plan_devnet
from node.federations.layers import request_layer, settled
from node.federations.planned_runs import rule_of
from node.request_file import parse_request
from tests.unit.test_request_file import LEAST


def devnet(**changes):
    asked = {
        "factories": 5,
        "data": "bearing-simulator",
        "split": None,
        "rounds": 10,
        "epochs": None,
        "target": None,
        "strategy": None,
        "privacy": None,
        "epsilon": None,
        "request_path": None,
    }
    return plan_devnet(**(asked | changes)).draft


@pytest.mark.parametrize(
    ("of", "name"),
    [
        (Circumstances(), "gradient-tracking"),
        (Circumstances("sound"), "gradient-tracking"),
        (Circumstances("paper", "mean"), "gradient-tracking"),
        (Circumstances("sound", "median"), "gradient-tracking"),
        (Circumstances("none", "momentum"), "fedavg"),
        # Nothing is kept of a masked update where a guarantee holds.
        (Circumstances("none", None, True), "gradient-tracking"),
        (Circumstances("sound", None, True), "fedavg"),
        (Circumstances("distributed", "noisy-step", True), "fedavg"),
        (Circumstances(participation=0.7), "gradient-tracking"),
        (Circumstances(participation=0.5), "scaffold"),
        (Circumstances(participation=0.1), "scaffold"),
        (Circumstances(participation=0.1, rule="median"), "gradient-tracking"),
    ],
)
def test_what_is_recommended_where(of, name):
    assert recommended(of) == named_or_recommended(AUTO, of) == name
    assert named_or_recommended("dlmu", of) == "dlmu"


def test_what_is_recommended_is_there_with_its_usual_settings():
    assert strategy(recommended(Circumstances()), {}).unseen > 0


@pytest.mark.parametrize("privacy", [None, "sound", "none"])
def test_a_devnet_trains_what_is_recommended(privacy):
    draft = devnet(privacy=privacy)
    assert (draft.strategy, draft.aggregation, draft.aggregation_settings) == ("gradient-tracking", "even-mean", ())


def test_another_strategy_of_a_devnet_brings_its_own_rule(tmp_path):
    assert devnet(strategy="fedavg").aggregation_settings == ()
    assert devnet(strategy="fedavgm").aggregation == "momentum"
    robust = tmp_path / "robust.toml"
    robust.write_text(LEAST + '[aggregation]\nrule = "median"\n', encoding="utf-8")
    assert devnet(request_path=robust, strategy="dlmu").aggregation == "median"
    with pytest.raises(CannotPlan, match="--strategy scaffold: strategy scaffold is aggregated by rule mean"):
        devnet(request_path=robust, strategy="scaffold")


def test_a_word_of_inspection_names_no_rule(tmp_path):
    """The usual rule of one strategy is not what the request named, and another strategy does not inherit it."""
    text = LEAST + '[aggregation]\nsettings = { inspect = "false" }\n'
    said = tmp_path / "said.toml"
    said.write_text(text, encoding="utf-8")
    assert devnet(request_path=said).aggregation == "even-mean"
    inspect = ("inspect", "false")
    for name, rule, settings in (("fedavg", "mean", (inspect,)), ("scaffold", "mean", (inspect, ("vectors", "2")))):
        draft = devnet(request_path=said, strategy=name)
        assert (draft.strategy, draft.aggregation, draft.aggregation_settings) == (name, rule, settings)
        over = {("data", "source"): "bearing-simulator", ("strategy", "name"): name}
        found = settled(request_layer(parse_request(text)), over)
        assert (found.strategy.name, rule_of(found), found.aggregation.inspected) == (name, rule, False)


def simulated(*layers, **said):
    keys = {tuple(name.split("_", 1)): value for name, value in said.items()}
    return settled(*layers, {("data", "source"): "bearing-simulator", **keys}).strategy


def test_a_simulated_run_trains_what_a_request_of_its_terms_would():
    assert simulated().name == "gradient-tracking"
    assert simulated(privacy_mode="sound").name == "gradient-tracking"
    assert simulated(aggregation_rule="momentum").name == "fedavg"
    assert simulated(strategy_name="dlmu").name == "dlmu"


def test_who_is_attacked_trains_as_ever():
    assert simulated(attack_name="noise", data_clients=6).name == "gradient-tracking"


def test_with_few_clients_in_a_round_the_strategy_is_told_how_few():
    told = simulated(rounds_per_round="10", data_clients=40)
    assert dict(told.settings)["participation"] == "0.25"
    own = simulated(rounds_per_round="10", data_clients=40, strategy_settings=(("participation", "0.5"),))
    assert dict(own.settings)["participation"] == "0.5"


def test_another_strategy_on_top_of_a_request_brings_its_own_rule():
    layer = request_layer(parse_request(LEAST))
    assert simulated(layer).name == "gradient-tracking"
    over = settled(layer, {("data", "source"): "bearing-simulator", ("strategy", "name"): "fedavgm"})
    assert (over.strategy.name, over.aggregation.rule, over.aggregation.settings) == ("fedavgm", AUTO, ())
    kept = request_layer(parse_request(LEAST + '[aggregation]\nrule = "median"\n'))
    assert settled(kept, {("data", "source"): "bearing-simulator"}).aggregation.rule == "median"


@pytest.mark.parametrize("lines", ["", '[privacy]\nmode = "none"\n', '[strategy]\nname = "fedavg"\n'])
def test_a_request_is_simulated_as_a_league_would_treat_it(lines):
    """Whose updates are sealed are inspected, and leagues seal whatever is not masked."""

    def inspected(text):
        return settled(request_layer(parse_request(text)), {("data", "source"): "bearing-simulator"}).aggregation

    assert inspected(LEAST + lines).inspected
    masked = LEAST + "[masking]\nenabled = true\n[rounds]\nproviders_min = 3\n" + lines
    assert not inspected(masked).inspected
