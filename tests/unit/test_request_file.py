"""A request file is read strictly into the terms of the ledger, and the examples that ship are such files."""

import json
from pathlib import Path

import pytest

from ledger.codec import decode, encode
from ledger.transactions import Protection, RequestTerms
from node.cli.exit_codes import Exit
from node.config import load_config
from node.config_template import config_template
from node.request_file import RequestFileError, check_known, load_request, parse_request, request_from_json
from node.request_template import request_template

CONFIGS = Path(__file__).parents[2] / "configs"

LEAST = """
title = "Bearing faults"
data_type = "bearing"
[model]
name = "mlp"
[payment]
price = 2
budget = 1000
"""


def with_line(section: str, line: str) -> str:
    """The least request with one more line in a section."""
    if f"[{section}]" in LEAST:
        return LEAST.replace(f"[{section}]\n", f"[{section}]\n{line}\n")
    return LEAST + f"[{section}]\n{line}\n" if section else f"{line}\n{LEAST}"


def test_the_least_request_has_every_default() -> None:
    draft = parse_request(LEAST)
    assert (draft.strategy, draft.aggregation) == ("gradient-tracking", "even-mean")
    assert (draft.privacy, draft.seed) == ("sound", 1)
    assert (draft.masked, draft.exchange_window, draft.needs_protection) == (False, 1, True)
    assert (draft.join_window, draft.round_deadline, draft.attest_window) == (30_000, 60_000, 10_000)
    assert dict(draft.training_settings) == {"learning_rate": "0.01", "momentum": "0.8"}
    check_known(draft)


@pytest.mark.parametrize(
    ("lines", "strategy", "rule"),
    [
        ("", "gradient-tracking", "even-mean"),
        ('[privacy]\nmode = "none"\n', "gradient-tracking", "even-mean"),
        ('[strategy]\nname = "auto"\nsettings = { unseen = 0.1 }\n', "gradient-tracking", "even-mean"),
        ('[aggregation]\nrule = "mean"\n', "gradient-tracking", "mean"),
        ('[aggregation]\nrule = "median"\n', "gradient-tracking", "median"),
        ("[masking]\nenabled = true\n[rounds]\nproviders_min = 3\n", "fedavg", "mean"),
        ('[strategy]\nname = "fedavg"\n', "fedavg", "mean"),
        ('[strategy]\nname = "fedavgm"\n', "fedavgm", "momentum"),
        ('[strategy]\nname = "scaffold"\n', "scaffold", "mean"),
    ],
)
def test_a_strategy_that_is_not_named_is_the_recommended_one(lines: str, strategy: str, rule: str) -> None:
    draft = parse_request(LEAST + lines)
    assert (draft.strategy, draft.aggregation) == (strategy, rule)
    assert (("vectors", "2") in draft.aggregation_settings) is (strategy == "scaffold")
    check_known(draft)


def test_numbers_mean_exactly_what_was_written() -> None:
    draft = parse_request(
        with_line("rounds", "target_accuracy = 0.953\nround_deadline_s = 2.5")
        + "[training]\nlearning_rate = 0.10\nmomentum = 0\n"
    )
    assert draft.target_accuracy == 953_000
    assert draft.round_deadline == 2_500
    assert dict(draft.training_settings) == {"learning_rate": "0.10", "momentum": "0"}


def test_terms_are_what_the_ledger_carries() -> None:
    draft = parse_request(with_line("model", 'arguments = { layers = "8,16,4" }'))
    terms = draft.terms(b"\1" * 32, 212)
    assert decode(RequestTerms, encode(terms)) == terms
    assert (terms.parameters, terms.initial_model) == (212, b"\1" * 32)
    assert [(each.name, each.value) for each in terms.model_arguments] == [("layers", "8,16,4")]


def test_protection_is_what_the_ledger_carries() -> None:
    draft = parse_request(LEAST + "[masking]\nenabled = true\nexchange_window_s = 2.5\n[rounds]\nproviders_min = 3\n")
    assert draft.protection() == Protection((), True, 2_500)
    robust = parse_request(
        LEAST + '[aggregation]\nrule = "trimmed-mean"\nsettings = { share = 0.2, inspect = false }\n'
    )
    named = [(each.name, each.value) for each in robust.protection().aggregation_settings]
    assert (named, robust.protection().masked) == ([("inspect", "false"), ("share", "0.2")], False)
    assert decode(Protection, encode(robust.protection())) == robust.protection()


@pytest.mark.parametrize(
    ("lines", "needed"),
    [
        ('[privacy]\nmode = "none"\n[strategy]\nname = "fedavg"\n', False),
        ('[privacy]\nmode = "paper"\n[strategy]\nname = "fedavg"\n', False),
        # What is recommended is averaged by a rule of its own time.
        ('[privacy]\nmode = "none"\n', True),
        # Two vectors, of which the rule has to be told.
        ('[privacy]\nmode = "none"\n[strategy]\nname = "scaffold"\n', True),
        ('[privacy]\nmode = "none"\n[aggregation]\nrule = "median"\n', True),
        ('[privacy]\nmode = "none"\n[masking]\nenabled = true\n[rounds]\nproviders_min = 3\n', True),
        ("", True),
    ],
)
def test_what_an_older_league_cannot_carry_out_is_known(lines: str, needed: bool) -> None:
    assert parse_request(LEAST + lines).needs_protection is needed


def test_a_draft_survives_json() -> None:
    draft = parse_request(with_line("strategy", 'name = "dlmu"\nsettings = { tau = 0.5, strict = true }'))
    assert request_from_json(json.loads(json.dumps(draft.as_json()))) == draft


@pytest.mark.parametrize(
    ("section", "line", "names"),
    [
        ("", "titel = 'x'", ["has no titel", "did you mean title?"]),
        ("models", "name = 'mlp'", ["has no models", "did you mean model?"]),
        ("model", "argument = {}", ["[model] has no argument", "did you mean arguments?"]),
        ("model", "scale_bits = 31", ["[model] scale_bits is 31", "from 1 to 30"]),
        ("model", "scale_bits = 30\nlimit = 4", ["limit 4 at 30 scale_bits", "32 bits"]),
        ("model", "arguments = { layers = [8, 4] }", ["[model] arguments"]),
        ("model", f"arguments = {{ layers = '{'8,' * 200}4' }}", ["[model] arguments"]),
        ("training", "epochs = 0", ["[training] epochs is 0", "from 1 to 10000"]),
        ("training", "learning_rate = 'fast'", ["[training] learning_rate is 'fast'", "a number from"]),
        ("training", "learning_rate = nan", ["[training] learning_rate", "a number from"]),
        ("training", "momentum = 1", ["[training] momentum is 1"]),
        ("rounds", "target_accuracy = 95", ["[rounds] target_accuracy is 95", "from 0 to 1"]),
        ("rounds", "target_accuracy = 0.9500001", ["six decimal places"]),
        ("rounds", "target_accuracy = inf", ["[rounds] target_accuracy"]),
        ("rounds", "join_window_s = 0", ["[rounds] join_window_s is 0", "seconds from"]),
        ("rounds", "round_deadline_s = 0.0001", ["[rounds] round_deadline_s", "seconds from"]),
        ("rounds", "round_deadline_s = true", ["[rounds] round_deadline_s is True"]),
        ("rounds", "providers_min = 5\nproviders_max = 4", ["providers_min is 5", "providers_max (4)"]),
        ("rounds", "providers_min = 9\nproviders_max = 300", ["[rounds] providers_max is 300"]),
        ("rounds", "providers_min = 501\n", ["[rounds] providers_min"]),
        ("masking", "enabled = true", ["[rounds] 2 to 16 providers mask", "3 at least", "64 at most"]),
        ("payment", "tip = 1", ["[payment] has no tip"]),
        ("strategy", "name = ''", ["[strategy] name is ''"]),
    ],
)
def test_a_wrong_term_names_itself(section: str, line: str, names: list[str]) -> None:
    with pytest.raises(RequestFileError) as caught:
        parse_request(with_line(section, line), "request.toml")
    assert str(caught.value).startswith("request.toml:")
    for name in names:
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("cut", "named"),
    [
        ('title = "Bearing faults"\n', "title is missing"),
        ('data_type = "bearing"\n', "data_type is missing"),
        ('name = "mlp"\n', "[model] name is missing"),
        ("price = 2\n", "[payment] price is missing"),
        ("budget = 1000\n", "[payment] budget is missing"),
    ],
)
def test_a_missing_term_is_asked_for(cut: str, named: str) -> None:
    with pytest.raises(RequestFileError) as caught:
        parse_request(LEAST.replace(cut, ""))
    assert named in str(caught.value)


def test_a_budget_that_pays_nobody_is_refused() -> None:
    with pytest.raises(RequestFileError, match="budget is 1, want at least 4"):
        parse_request(LEAST.replace("budget = 1000", "budget = 1"))


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('name = "mlp"', 'name = "mpl"', "mpl"),
        ('name = "mlp"', 'name = "mlp"\narguments = { layer = 3 }', "layer"),
        ('name = "mlp"', 'name = "mlp"\narguments = { layers = "8,,4" }', "layers"),
        ("[payment]", '[strategy]\nname = "dlum"\n[payment]', "dlum"),
        ("[payment]", '[strategy]\nname = "dlmu"\nsettings = { tau = 3 }\n[payment]', "tau"),
        ("[payment]", '[aggregation]\nrule = "median-of-lies"\n[payment]', "unknown rule 'median-of-lies'"),
        ("[payment]", '[aggregation]\nrule = "trimmed-mean"\nsettings = { share = 2 }\n[payment]', "share"),
        (
            "[payment]",
            '[aggregation]\nrule = "median"\n[masking]\nenabled = true\n[rounds]\nproviders_min = 3\n[payment]',
            "rule median compares the updates with one another, and of masked updates only the sum is ever seen",
        ),
        (
            "[payment]",
            '[strategy]\nname = "fedadam"\n[privacy]\nmode = "none"\n[masking]\nenabled = true\n[rounds]\n'
            "providers_min = 3\n[payment]",
            "rule adam with masks, for which the ledger takes mean or noisy-step",
        ),
        ("[payment]", '[privacy]\nmode = "distributed"\n[payment]', "masked"),
        ("[payment]", "[privacy]\nsettings = { epsilon = -1 }\n[payment]", "epsilon"),
        ("[payment]", '[privacy]\nmode = "total"\n[payment]', "total"),
        ("[payment]", '[privacy]\nmode = "paper"\nsettings = { sigma = -1 }\n[payment]', "sigma"),
    ],
)
def test_what_this_installation_cannot_do_is_said_before_publishing(old: str, new: str, named: str) -> None:
    draft = parse_request(LEAST.replace(old, new, 1))
    with pytest.raises(RequestFileError, match=named):
        check_known(draft)


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": "ten"},
        {"epochs": True},
        {"epochs": -1},
        {"title": 5},
        {"title": "x" * 65},
        {"title": ""},
        {"model_arguments": [["a", "b"]]},
        {"model_arguments": {"a": {"b": 1}}},
        {"budget": 2**60},
        {"more": 1},
        {"providers_min": 40, "providers_max": 4},
        {"rounds_max": 0},
    ],
)
def test_json_of_a_stranger_is_refused(change: dict[str, object]) -> None:
    values = {**parse_request(LEAST).as_json(), **change}
    with pytest.raises(RequestFileError):
        request_from_json(values)


def test_json_without_a_field_is_refused() -> None:
    values = parse_request(LEAST).as_json()
    for name in values:
        with pytest.raises(RequestFileError, match=name):
            request_from_json({key: value for key, value in values.items() if key != name})


def test_the_template_is_a_request_and_so_are_its_comments() -> None:
    template = request_template()
    draft = parse_request(template)
    check_known(draft)
    spelt_out = "\n".join(
        line.removeprefix("# ") if " = " in line and ";" not in line else line for line in template.splitlines()
    )
    assert spelt_out != template
    assert parse_request(spelt_out) == draft


@pytest.mark.parametrize("path", sorted((CONFIGS / "requests").glob("*.toml")), ids=lambda path: path.name)
def test_the_example_requests_can_be_published(path: Path) -> None:
    draft = load_request(path)
    check_known(draft)
    assert draft.target_accuracy > 0


def test_the_examples_are_those_that_the_documents_name() -> None:
    named = {"bearing.toml", "bearing-masked.toml", "bearing-robust.toml", "cwru.toml", "mnist.toml"}
    assert {path.name for path in (CONFIGS / "requests").glob("*")} == named


def test_the_example_configuration_is_the_template(tmp_path: Path) -> None:
    example = CONFIGS / "node.toml"
    assert example.read_text() == config_template(
        {"node": {"name": "Alice Bearings"}, "data": {"source": "bearing-simulator"}}
    ), "make it anew: python -c 'from node.config_template import *; ...' as this test does"
    assert load_config(example, {}).data.source == "bearing-simulator"


def test_the_systemd_unit_starts_the_node_and_hides_the_rest() -> None:
    from configparser import ConfigParser

    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(CONFIGS / "hanse.service")
    service = unit["Service"]
    assert service["ExecStart"].endswith("hanse start --config /var/lib/hanse/config.toml")
    assert service["Restart"] == "on-failure"
    assert service["UMask"] == "0077"
    # A wrong configuration does not become right by being read again, nor does a program that is too old get newer.
    assert service["RestartPreventExitStatus"].split() == [
        str(int(code)) for code in (Exit.CONFIGURATION, Exit.OUTDATED)
    ]
