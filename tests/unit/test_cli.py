"""The command line without a node: help, exit codes, files it makes and refuses to make."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from node.cli.exit_codes import MEANINGS, OF_RPC_WORD, Exit
from node.cli.main import cli, main, run
from node.identity import load_key
from node.rpc.errors import BY_WORD
from tests.support.cli_node import node_folder

PEER = "12D3KooWLuFsLfvqHBdVjDmSnN2Pgub8qu8Boxf2muVwHgRUvMiR"
OTHER_PEER = "12D3KooWFKPUZyL9RBTdfSXtAkY1ZwTByPWjKYBw9ZwXRTc3YzxP"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration of this machine gets in."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("HANSE_")]:
        monkeypatch.delenv(name)


def every_verb(command: click.Command = cli, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """All verbs, groups included, by their words."""
    if path:
        yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from every_verb(inner, (*path, name))


def test_what_a_command_starts_imports_nothing_from_where_somebody_happens_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    with pytest.raises(SystemExit):
        main(["--help"])
    (tmp_path / "signal.py").write_text("raise SystemExit(3)")
    ran = subprocess.run([sys.executable, "-c", "import signal"], cwd=tmp_path, check=False)
    assert ran.returncode == 0


@pytest.mark.parametrize("path", list(every_verb()), ids=" ".join)
def test_every_verb_teaches_and_speaks_json(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == Exit.OK
    said = capsys.readouterr().out
    assert "Examples:" in said
    assert f"hanse {' '.join(path[:1])}" in said.split("Examples:")[1]
    command: click.Command = cli
    for word in path:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    if not isinstance(command, click.Group):
        assert "--json" in said


def test_the_verbs_are_those_that_were_promised() -> None:
    verbs = {path[0] for path in every_verb()}
    assert verbs >= {"init", "start", "stop", "status", "devnet", "request", "join", "anchor", "dispute", "ledger"}
    assert verbs >= {"model", "peers", "keys", "genesis", "config"}


def test_help_comes_fast_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from node.cli.main import run; run(['--help']);"
        "print([name for name in ('torch', 'libp2p', 'numpy', 'trio', 'rich', 'httpx') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == "[]"


def test_the_installed_command_is_this_one() -> None:
    ended = subprocess.run([sys.executable, "-m", "node.cli.main", "--version"], capture_output=True, text=True)
    assert ended.returncode == 0
    assert ended.stdout.startswith("hanse")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["stauts"], Exit.USAGE, "did you mean 'status'?"),
        (["genesis", "create"], Exit.USAGE, "Missing option '--name'"),
        (["status", "--what"], Exit.USAGE, "No such option"),
        (["status", "-c", "away"], Exit.CONFIGURATION, "away: there is no configuration"),
        (["request", "publish"], Exit.USAGE, "which request?"),
        (["request", "publish", "away.toml"], Exit.CONFIGURATION, "away.toml: cannot be read"),
        (["devnet", "--keep"], Exit.USAGE, "--keep needs --directory"),
        (["help", "nothing"], Exit.USAGE, "no topic or verb 'nothing'"),
        (["genesis", "hash", "away.json"], Exit.CONFIGURATION, "away.json"),
        (["keys", "new", "k.pem", "--passphrase-fd", "999"], Exit.CONFIGURATION, "--passphrase-fd 999"),
    ],
)
def test_a_mistake_is_one_line_and_a_code(
    arguments: list[str], code: Exit, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("hanse: ")
    assert said in printed.err
    assert printed.err.count("\n") == 1
    assert run([*arguments, "--json"]) == code
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["exit_code"] == code
    assert said in error["message"]


def test_exit_codes_have_one_meaning_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(MEANINGS) == set(Exit)
    assert set(OF_RPC_WORD) <= set(BY_WORD)
    assert run(["help", "exit-codes", "--json"]) == Exit.OK
    listed = {int(each["name"]) for each in json.loads(capsys.readouterr().out)["exit-codes"]}
    assert listed == {int(code) for code in Exit}


@pytest.mark.parametrize("topic", ["models", "strategies", "sources", "privacy"])
def test_topics_list_what_is_installed(topic: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["help", topic]) == Exit.OK
    text = capsys.readouterr().out
    assert run(["help", topic, "--json"]) == Exit.OK
    entries = json.loads(capsys.readouterr().out)[topic]
    assert entries
    for entry in entries:
        assert entry["name"] in text
        assert entry["summary"] in text


def test_init_makes_a_folder_that_config_check_likes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "alice"
    command = ["init", str(folder), "--name", "Alice", "--data", "bearing-simulator", "--data-setting", "factory=2"]
    command += ["--offer", "all", "--listen", "/ip4/127.0.0.1/tcp/4101", "--json"]
    assert run(command) == Exit.OK
    made = json.loads(capsys.readouterr().out)
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700

    assert run(["genesis", "member", "-c", str(folder), "--balance", "7"]) == Exit.OK
    line = capsys.readouterr().out.strip()
    assert line == f"Alice:{made['org']}@{made['peer_id']}:/ip4/127.0.0.1/tcp/4101:7"
    assert run(["config", "check", "-c", str(folder)]) == Exit.CONFIGURATION
    assert "[genesis] file" in capsys.readouterr().err

    assert run(["genesis", "create", "--name", "x", "--member", line, "-o", str(folder / "genesis.json")]) == Exit.OK
    assert run(["config", "check", "-c", str(folder)]) == Exit.OK
    capsys.readouterr()
    assert run(["config", "show", "-c", str(folder), "--json"]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert shown["values"]["data"]["settings"] == {"factory": "2"}
    assert shown["origins"]["data"] | {"type": "default"} == shown["origins"]["data"]
    assert shown["origins"]["training"]["offer"] == "file"
    assert run(["keys", "show", "-c", str(folder), "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["peer_id"] == made["peer_id"]


def test_init_touches_nothing_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = node_folder(tmp_path / "alice")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert run(["init", str(folder), "--name", "Other"]) == Exit.CONFIGURATION
    assert "there is a node already" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_wrong_init_leaves_nothing_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "alice"
    folder.mkdir()
    for wrong in (["--rpc", "0.0.0.0:1"], ["--bootstrap", "/ip4/1.2.3.4/tcp/1"], ["--offer", "all"]):
        assert run(["init", str(folder), "--name", "Alice", *wrong]) == Exit.CONFIGURATION
    (tmp_path / "genesis.json").write_text("{}")
    assert run(["init", str(folder), "--name", "A", "--genesis", str(tmp_path / "genesis.json")]) == Exit.CONFIGURATION
    assert list(folder.iterdir()) == []


def test_an_interrupted_init_goes_on_with_its_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "alice"
    assert run(["init", str(folder), "--name", "Alice"]) == Exit.OK
    key = load_key(folder / "key.pem")
    (folder / "config.toml").unlink()
    assert run(["init", str(folder), "--name", "Alice"]) == Exit.OK
    assert load_key(folder / "key.pem") == key


def test_passphrases_come_from_files_and_descriptors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, secret, new = tmp_path / "alice", tmp_path / "secret", tmp_path / "new"
    for path, text in ((secret, "geheim\n"), (new, "neu\n")):
        path.write_text(text)
        path.chmod(0o600)
    assert run(["init", str(folder), "--name", "Alice", "--passphrase-file", str(secret)]) == Exit.OK
    assert load_key(folder / "key.pem", "geheim")
    command = ["keys", "passphrase", "-c", str(folder), "--new-passphrase-file", str(new)]
    assert run(command) == Exit.OK
    assert "put it right" in capsys.readouterr().err
    assert load_key(folder / "key.pem", "neu")
    assert run(["keys", "show", "-c", str(folder), "--passphrase-file", str(secret)]) == Exit.CONFIGURATION
    assert "is not the one of this key" in capsys.readouterr().err
    reading, writing = os.pipe()
    os.write(writing, b"neu\n")
    os.close(writing)
    assert run(["keys", "show", "-c", str(folder), "--passphrase-fd", str(reading)]) == Exit.OK
    # Without a terminal there is nobody to ask.
    ended = subprocess.run(
        [sys.executable, "-m", "node.cli.main", "keys", "passphrase", "-c", str(folder)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == Exit.CONFIGURATION


def test_a_passphrase_is_no_argument_and_no_variable() -> None:
    for path in every_verb():
        command: click.Command = cli
        for word in path:
            assert isinstance(command, click.Group)
            found = command.get_command(click.Context(command), word)
            assert found is not None
            command = found
        for option in command.params:
            if "passphrase" in (option.name or "") and isinstance(option, click.Option):
                assert option.is_flag or option.name.endswith(("_file", "_fd")), f"{path} {option.name}"
            if isinstance(option, click.Option) and option.envvar:
                assert option.name == "config_path"


@pytest.mark.parametrize(
    "member",
    [
        "alice",
        "alice:12D3KooW:x:1",
        f"alice:{PEER}:/ip4/1.2.3/tcp/1:5",
        f"alice:{PEER}::x",
        f"alice:{PEER}::-1",
        f"alice:{PEER}:/ip4/10.0.0.5/tcp/1/p2p/{OTHER_PEER}:5",
    ],
)
def test_a_founder_that_makes_no_sense_is_refused(member: str, tmp_path: Path) -> None:
    command = ["genesis", "create", "--name", "x", "--member", member, "-o", str(tmp_path / "g.json")]
    assert run(command) == Exit.USAGE
    assert not (tmp_path / "g.json").exists()


def test_a_genesis_comes_out_the_same_in_any_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = [f"alice:{PEER}:/ip6/::1/tcp/4001:5", f"bob:{OTHER_PEER}::7"]
    hashes = set()
    for at, ordered in enumerate((members, members[::-1])):
        path = str(tmp_path / f"{at}.json")
        options = [word for member in ordered for word in ("--member", member)]
        assert run(["genesis", "create", "--name", "x", "--time", "5", *options, "-o", path]) == Exit.OK
        assert run(["genesis", "check", path]) == Exit.OK
        capsys.readouterr()
        assert run(["genesis", "hash", path]) == Exit.OK
        hashes.add(capsys.readouterr().out)
    assert len(hashes) == 1
    assert run(["genesis", "show", path, "--json"]) == Exit.OK
    shown = json.loads(capsys.readouterr().out)
    assert {member["name"]: member["addresses"] for member in shown["members"]} == {
        "alice": ["/ip6/::1/tcp/4001"],
        "bob": [],
    }
    assert run(["genesis", "create", "--name", "x", "--member", members[0], "-o", path]) == Exit.CONFIGURATION
    Path(path).write_text(Path(path).read_text().replace('"balance": 7', '"balance": 8'))
    assert run(["genesis", "check", path]) == Exit.CONFIGURATION
    assert "chain id" in capsys.readouterr().err


def test_a_request_can_be_checked_before_it_is_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["request", "publish", "--template"]) == Exit.OK
    path = tmp_path / "request.toml"
    path.write_text(capsys.readouterr().out)
    assert run(["request", "publish", str(path), "--check", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["request"]["model"] == "mlp"
    path.write_text(path.read_text().replace('name = "mlp"', 'name = "mpl"'))
    assert run(["request", "publish", str(path), "--check"]) == Exit.CONFIGURATION
    assert "mpl" in capsys.readouterr().err


def test_start_names_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = node_folder(tmp_path / "alice")
    assert run(["start", "-c", str(folder)]) == Exit.CONFIGURATION
    assert "[genesis] file" in capsys.readouterr().err
    (folder / "genesis.json").write_text("{}")
    (folder / "key.pem").chmod(0o644)
    assert run(["start", "-c", str(folder)]) == Exit.CONFIGURATION
    assert "chmod 600" in capsys.readouterr().err


def test_a_reader_that_has_enough_is_no_error() -> None:
    command = f"{sys.executable} -m node.cli.main help sources | head -c 1"
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""


def test_a_fault_of_ours_is_told_as_one(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("node.cli.help_topics.TOPICS", {"models": ("x", lambda: 1 / 0)})
    assert run(["help", "models"]) == Exit.INTERNAL
    assert "ZeroDivisionError" in capsys.readouterr().err
