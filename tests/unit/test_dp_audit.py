"""`hanse dp audit`: verdicts as exit codes, options that overrule a request's, models in a folder."""

import json
from pathlib import Path

import pytest

from fl.export import export_model
from fl.models.shapes import parameter_shapes
from fl.privacy.canaries import CANARIES as KNOWN_CANARIES
from fl.privacy.claims import AUDITED
from fl.round import initial_model
from node.audit_subject import audit_subject
from node.cli.dp_audit_options import CANARIES, MODES
from node.cli.exit_codes import Exit
from node.cli.main import run
from node.request_template import request_template

SMALL = ["--records", "60", "--epochs", "20", "--batch", "60"]
NO_TRAINING = dict.fromkeys(("model", "epochs", "batch", "learning_rate", "momentum", "strategy"), None) | {
    "model_argument": (),
    "privacy_setting": (),
}


def subject(**options):
    given = {
        "membership": False,
        "mode": None,
        "epsilon": None,
        "delta": None,
        "trials": 8,
        "rounds": None,
        "request_path": None,
        "data": None,
        "data_path": None,
        "data_setting": (),
        "records": None,
        "canary": "flipped",
        **NO_TRAINING,
    }
    return audit_subject(**{**given, **options})


def test_the_options_name_what_the_attacks_know():
    assert set(CANARIES) == set(KNOWN_CANARIES)
    assert set(MODES) == set(AUDITED)


def test_a_refuted_claim_is_an_exit_code(capsys: pytest.CaptureFixture[str]):
    """Plain training with all records in every step leaves nothing to chance: every canary is found."""
    arguments = ["dp", "audit", "--mode", "none", "--canary", "outlier", "--trials", "60", *SMALL]
    assert run(arguments) == Exit.NOT_VERIFIED
    printed = capsys.readouterr()
    assert "verdict     refuted" in printed.out
    assert "epsilon is at least 2.03, claimed 2" in printed.err
    assert run([*arguments[:-2], "--batch", "60", "--trials", "20", "--json"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["decisive"]) == ("not refuted", False)
    assert told["measured"] == told["measurable"] < 2


def test_too_few_trials_are_told_so(capsys: pytest.CaptureFixture[str]):
    assert run(["dp", "audit", "--trials", "10", *SMALL[:2], "--epochs", "1"]) == Exit.OK
    said = capsys.readouterr().out
    assert "verdict     not refuted" in said
    assert "want --trials 60 at least" in said


def test_membership_speaks_json(capsys: pytest.CaptureFixture[str]):
    arguments = ["dp", "audit", "--membership", "--epochs", "1", "--records", "100", "--rounds", "1", "--json"]
    assert run([*arguments, "--mode", "sound", "--epsilon", "3"]) == Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["mode"], told["guesses"], told["verdict"]) == ("sound", 50, "not refuted")
    assert told["low"] <= told["advantage"] <= told["high"]
    assert 0.9 < told["allowed"] < 0.91


def test_a_requests_terms_are_audited_and_options_overrule_them(tmp_path: Path):
    path = tmp_path / "request.toml"
    path.write_text(
        'title = "t"\ndata_type = "x"\n[model]\nname = "mlp"\narguments = { layers = "21,8,4" }\n'
        '[strategy]\nname = "dlmu"\nsettings = { tau = "0.5" }\n'
        '[privacy]\nmode = "sound"\nsettings = { epsilon = "3.0", clip = "0.5" }\n'
        "[training]\nepochs = 2\nbatch = 10\nlearning_rate = 0.3\nmomentum = 0.5\n"
        "[payment]\nprice = 1\nbudget = 1000\n[rounds]\nrounds_max = 7\n"
    )
    taken = subject(request_path=path)
    job = taken.claim.plan.job
    assert (job.model, job.strategy, job.epochs, job.batch, job.lr, job.momentum) == ("mlp", "dlmu", 2, 10, 0.3, 0.5)
    assert (dict(job.strategy_settings), job.privacy_settings["clip"]) == ({"tau": "0.5"}, "0.5")
    assert taken.claim.plan.rounds == 7
    assert 2.99 < taken.claim.plan.epsilon <= 3.0
    other = subject(request_path=path, epsilon=1.0, rounds=1, epochs=4).claim.plan
    assert (other.rounds, other.job.epochs) == (1, 4)
    assert 0.99 < other.epsilon <= 1.0
    # Another mode than the request's has settings of its own.
    assert "clip" not in subject(request_path=path, mode="paper").claim.plan.job.privacy_settings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--data-path", "x.csv"], "need --data SOURCE"),
        (["--privacy-setting", "clip"], "want NAME=VALUE"),
        (["--privacy-setting", "clop=1"], "no setting clop"),
        (["--privacy-setting", "unit=group:machine"], "an audit plants single records"),
        (["--data", "bearing-simulator", "--records", "9999999"], "training records"),
        (["--model", "mlpp"], "mlpp"),
        (["--epsilon", "0.01", "--records", "4", "--epochs", "10000"], "needs a noise multiplier above"),
    ],
)
def test_options_that_make_no_audit_are_one_line(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert run(["dp", "audit", "--trials", "8", *arguments]) == Exit.CONFIGURATION
    printed = capsys.readouterr()
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_exported_models_are_asked_about_ones_own_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    arguments = {"layers": "8,6,4"}
    for number in (2, 1):
        about = {"request": "ab" * 32, "round": str(number), "model": "mlp", "arguments": json.dumps(arguments)}
        vector = initial_model("mlp", arguments, number)
        written = export_model(vector, 20, parameter_shapes("mlp", arguments), about)
        (tmp_path / f"{number}.safetensors").write_bytes(written)
    served = export_model(vector, 20, parameter_shapes("mlp", arguments), about | {"served": "true"})
    (tmp_path / "1.served.safetensors").write_bytes(served)
    asked = ["dp", "audit", "--models", str(tmp_path), "--data", "bearing-simulator"]
    settings = ["--data-setting", "train_records=400"]
    assert run([*asked, *settings, "--json"]) == Exit.OK
    (told,) = json.loads(capsys.readouterr().out)["models"]
    assert told["request"] == "ab" * 32
    assert told["low"] <= told["advantage"] <= told["high"]
    assert run([*asked, *settings]) == Exit.OK
    assert "abababababab" in capsys.readouterr().out
    assert run(asked[:-2]) == Exit.CONFIGURATION
    (tmp_path / "3.safetensors").write_bytes(b"no model")
    assert run(asked) == Exit.MALFORMED
    assert "3.safetensors" in capsys.readouterr().err


def test_a_template_can_be_audited(tmp_path: Path):
    path = tmp_path / "request.toml"
    path.write_text(request_template())
    plan = subject(request_path=path).claim.plan
    assert plan.job.privacy == "sound"
    # What a request means that names no epsilon.
    assert 7.9 < plan.epsilon <= 8.0
