"""A record that was changed after it was anchored loses the dispute, by the command line and offline, node or no node.

Every damaged field of a bundle is refused in tests/unit/test_bundles.py too, over a chain with changing committees.
"""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.exit_codes import Exit
from node.cli.main import run
from tests.support.processes import factory, hanse, running_league

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

PERIOD, RECORD = 2, 7


def damaged(value: Any) -> Iterator[Any]:
    """The same JSON with one leaf changed, for every leaf."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from ({**value, name: changed} for changed in damaged(inner))
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from ([*value[:at], changed, *value[at + 1 :]] for changed in damaged(inner))
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, str):
        # The last hex digit of bytes, the last letter of a word.
        yield value[:-1] + ("1" if value[-1:] != "1" else "2")
    else:
        yield 0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two bundles and the genesis file, made by the commands of a factory's owner while the league ran."""
    made = tmp_path_factory.mktemp("bundles")
    directory = tmp_path_factory.mktemp("dispute")
    files = {name: made / f"{name}.json" for name in ("untouched", "changed", "beside", "genesis")}
    with running_league(directory, [factory("alice", 0, 2), factory("bob", 1, 2)]) as league:
        alice = league.nodes[0].folder
        files["genesis"].write_bytes((alice / "genesis.json").read_bytes())
        before = hanse("dispute", "open", str(PERIOD), "-o", files["untouched"], "-c", alice, "--json")
        assert before.code == Exit.OK, before
        assert before.json["finding"] == "untouched"

        with sqlite3.connect(alice / "records.sqlite", timeout=20) as file:
            told = file.execute(
                "UPDATE records SET label = (label + 1) % 4 WHERE period = ? AND place = ?", (PERIOD, RECORD)
            )
            assert told.rowcount == 1

        after = hanse("dispute", "open", str(PERIOD), "-o", files["changed"], "-c", alice)
        assert after.code == Exit.NOT_VERIFIED, after
        assert f"Record {RECORD} of period {PERIOD} was changed after it was anchored" in after.out
        assert "leaf anchored" in after.out, "the proof is shown"
        named = hanse("dispute", "open", str(PERIOD), "--record", str(RECORD), "-c", alice, "--json")
        assert named.code == Exit.NOT_VERIFIED
        assert [fault["index"] for fault in named.json["resolution"]["faults"]] == [RECORD]
        beside = hanse("dispute", "open", str(PERIOD), "--record", "8", "-o", files["beside"], "-c", alice, "--json")
        assert (beside.code, beside.json["finding"]) == (Exit.OK, "untouched"), "its neighbour still wins"
        other_period = hanse("dispute", "open", "1", "-c", alice, "--json")
        assert (other_period.code, other_period.json["finding"]) == (Exit.OK, "untouched")
    return files


@pytest.mark.parametrize(
    ("name", "finding"), [("untouched", "untouched"), ("changed", "record_changed"), ("beside", "untouched")]
)
def test_anybody_checks_a_bundle_with_the_genesis_file_alone(
    bundles: dict[str, Path], name: str, finding: str, tmp_path: Path
) -> None:
    checked = hanse("dispute", "verify", bundles[name], "--genesis", bundles["genesis"], "--json", cwd=tmp_path)
    assert checked.code == Exit.OK, checked
    assert checked.json["finding"] == finding
    assert checked.json["period"] == PERIOD


def test_a_bundle_that_was_damaged_in_any_field_is_refused(
    bundles: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bundle.json"
    verify = ["dispute", "verify", str(path), "--genesis", str(bundles["genesis"])]
    for name in ("untouched", "changed"):
        whole = json.loads(bundles[name].read_text())
        path.write_text(json.dumps(whole))
        assert run(verify) == Exit.OK
        versions = list(damaged(whole))
        assert len(versions) > 30, "every field is damaged once"
        for broken in versions:
            path.write_text(json.dumps(broken))
            capsys.readouterr()
            assert run(verify) == Exit.NOT_VERIFIED, broken
            assert str(path) in capsys.readouterr().err
