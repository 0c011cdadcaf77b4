"""`hanse request advise`: from what is told of classes to lines that a request file takes."""

import json

import pytest

from fl.advice import advise
from fl.label_mix import FactoryMix, differences
from ledger.transactions import Setting
from node.cli import advise as verb
from node.cli.main import main
from node.label_disclosure import ATTRIBUTE, label_attributes
from node.labels_file import LabelsFileError, read_labels
from node.request_file import check_known, parse_request

HEAD = 'title = "t"\ndata_type = "bearing-simulator"\n[model]\nname = "mlp"\n[payment]\nprice = 1\nbudget = 1000\n'
APART = """
[[factory]]
name = "north"
classes = { healthy = 600, inner = 600 }
[[factory]]
name = "south"
records = 1000
classes = { outer = 0.5, ball = 0.5 }
"""


def run(capsys, *words):
    with pytest.raises(SystemExit) as ended:
        main(["request", "advise", *words])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture
def labels(tmp_path):
    path = tmp_path / "factories.toml"
    path.write_text(APART, encoding="utf-8")
    return path


@pytest.mark.parametrize("privacy", ["sound", "none", "paper"])
@pytest.mark.parametrize(
    ("weights", "kind"),
    [
        ([{"a": 1.0, "b": 1.0}] * 4, "alike"),
        ([{"a": 3.0, "b": 1.0}, {"b": 1.0}] * 2, "mixed"),
        ([{str(at): 1.0} for at in range(4)], "apart"),
    ],
)
def test_advice_is_a_request_that_can_be_published(weights, kind, privacy):
    found = differences([FactoryMix(f"f{at}", 1_000, each) for at, each in enumerate(weights)])
    advice = advise(found, privacy)
    assert advice.kind == kind
    assert all(each.reason for each in advice.settings)
    draft = parse_request(HEAD + verb._toml(advice))
    assert (draft.strategy, draft.privacy) == ("gradient-tracking", privacy)
    check_known(draft)


def test_warnings_say_what_no_setting_mends():
    mixes = [FactoryMix("north", 9_000, {"a": 1.0}), FactoryMix("south", 100, {"b": 1.0})]
    told = " ".join(advise(differences(mixes), "none").warnings)
    assert "only one factory has class a (north), b (south)" in told
    assert "one factory has 99 % of all records" in told


@pytest.mark.parametrize("weights", [[{"a": 1.0, "b": 1.0}] * 4, [{"a": 1.0}, {"b": 1.0}]])
def test_what_is_advised_with_shared_noise_can_be_published(weights):
    found = differences([FactoryMix(f"f{at}", 1_000, each) for at, each in enumerate(weights)])
    draft = parse_request(HEAD + verb._toml(advise(found, "distributed")))
    assert (draft.strategy, draft.aggregation, draft.privacy) == ("fedavg", "noisy-step", "distributed")
    assert draft.masked
    check_known(draft)


@pytest.mark.parametrize(("privacy", "strategy"), [("sound", "fedavg"), ("none", "gradient-tracking")])
def test_what_is_advised_for_a_masked_request_can_be_published_masked(labels, tmp_path, capsys, privacy, strategy):
    masked = HEAD + "[masking]\nenabled = true\n"
    asked = masked + f'[rounds]\nproviders_min = 3\n[privacy]\nmode = "{privacy}"\n'
    path = tmp_path / "masked.toml"
    path.write_text(asked + ("settings = { epsilon = 8 }\n" if privacy == "sound" else ""), encoding="utf-8")
    code, out, _ = run(capsys, "--labels", str(labels), "--request", str(path), "--json")
    assert code == 0
    draft = parse_request(masked + json.loads(out)["toml"].replace("[rounds]", "[rounds]\nproviders_min = 3"))
    assert (draft.strategy, draft.masked) == (strategy, True)
    check_known(draft)


def test_from_a_file_without_a_node(labels, capsys):
    code, out, _ = run(capsys, "--labels", str(labels))
    assert code == 0
    assert 'name = "gradient-tracking"' in out
    code, out, _ = run(capsys, "--labels", str(labels), "--privacy", "none", "--json")
    found = json.loads(out)
    assert (code, found["factories"], found["records"], found["classes"]) == (0, 2, 2_200, 4)
    assert found["distance"] == pytest.approx(0.5)
    assert {each["section"] for each in found["settings"]} == {"strategy", "training", "rounds", "privacy"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("factory = 3\n", "want 1 to 1024 tables"),
        ('[[factory]]\nname = "n"\n', "want name, classes"),
        ('[[factory]]\nname = "n"\nclasses = { a = -1 }\n', "class a is '-1', want a count or a share"),
        ('[[factory]]\nname = "n"\nclasses = { a = 0 }\n', "want one of each"),
        ('[[factory]]\nname = "n"\nrecords = 1.5\nclasses = { a = 1 }\n', "1.5 records"),
        (APART + '[[factory]]\nname = "north"\nclasses = { a = 1 }\n', "north is there twice"),
    ],
)
def test_a_file_that_says_nothing_usable_is_refused(tmp_path, text, said, capsys):
    path = tmp_path / "labels.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(LabelsFileError, match=said):
        read_labels(path)
    code, _, err = run(capsys, "--labels", str(path))
    assert code != 0
    assert said in err


def provider(org, shares, records=1_000, data_type="bearing", **attributes):
    told = {ATTRIBUTE: shares} if shares else {}
    return {
        "org": org * 64,
        "name": org,
        "data_type": data_type,
        "record_count": records,
        "attributes": told | attributes,
    }


@pytest.fixture
def league(monkeypatch):
    """Two requests, the newer first."""
    requests = {
        "22": [provider("a", "0:50 1:50"), provider("b", ""), provider("c", "nonsense"), provider("d", "4:100")],
        "11": [provider("a", "0:100"), provider("b", "2:100", site="x"), provider("e", "0:100", data_type="other")],
    }

    def ask(_config, method, **params):
        if method == "request.list":
            return {"requests": [{"id": each} for each in requests]}
        return {"request": {"providers": requests[params["request"]]}}

    monkeypatch.setattr(verb, "ask", ask)
    monkeypatch.setattr(verb, "whole_id", lambda _config, given: given)


def test_from_the_ledger_the_newest_that_each_told_counts(league, capsys):
    code, out, _ = run(capsys, "--data-type", "bearing", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["factories"], found["classes"], found["tells_nothing"]) == (3, 4, ["c"])
    assert found["held_by_one"] == {"0": "a", "1": "a", "2": "b", "4": "d"}
    code, out, _ = run(capsys, "22", "--json")
    assert json.loads(out)["tells_nothing"] == ["b", "c"]


def test_where_too_few_tell_anything_the_silent_are_named(league, capsys):
    code, _, err = run(capsys, "11", "--data-type", "other")
    assert code != 0
    assert "1 factories say which classes they have, want two at least" in err


class Store:
    def label_counts(self):
        return {0: 480, 2: 520}


def test_nothing_is_told_unless_the_owner_says_so():
    assert label_attributes(Store(), "no") == ()
    assert label_attributes(None, "tenths") == ()
    assert label_attributes(Store(), "tenths") == (Setting(ATTRIBUTE, "0:50 2:50"),)
    assert label_attributes(Store(), "percents") == (Setting(ATTRIBUTE, "0:48 2:52"),)
