"""The result files of a simulated run: the same bytes for the same settings, also when the run was broken off."""

import json
import signal
from contextlib import suppress
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from fl.export import read_model
from fl.fixed_point import unpack
from fl.simulate.blob_shelf import BlobShelf
from fl.simulate.checkpoint import Checkpoint, CheckpointError
from node.federations.all_runs import check_free, run_all
from node.federations.carry_out import Interrupted
from node.federations.layers import settled, tables_layer
from node.federations.planned_runs import planned_runs
from node.federations.result_files import RunFolder, RunFolderError, read_run, rows_of
from node.federations.rows import TABLES
from node.federations.settings import RunSettings, differences
from node.federations.stopping import Stop, stop_on_signals

DIFFER = {"timings.jsonl"}
"""Between two runs of the same settings."""


def asked(**changed) -> RunSettings:
    """A small run; `training={"epochs": 2}` changes a section."""
    tables: dict[str, dict[str, object]] = {
        "data": {
            "source": "bearing-simulator",
            "clients": 3,
            "settings": {"train_records": 60, "test_records": 40, "mix": "skewed"},
        },
        "strategy": {"name": "dlmu"},
        "training": {"epochs": 2},
        "rounds": {"rounds": 5},
        "results": {"checkpoint_every": 2},
    }
    for name, values in changed.items():
        tables[name] = {**tables.get(name, {}), **values}
    return settled(tables_layer(tables, Path.cwd(), ""))


class Looker:
    """Watches, and asks for the end after a round."""

    def __init__(self, stop: Stop, stop_after: int = 0) -> None:
        self.stop, self.stop_after = stop, stop_after
        self.rounds: list[int] = []

    def began(self, run, done, rounds):
        self.done = done

    def round_done(self, run, row, seconds):
        self.rounds.append(row["round"])
        self.stop.asked = row["round"] == self.stop_after


def run(settings: RunSettings, folder: Path | None, stop_after: int = 0) -> tuple[list, Looker]:
    """All runs, or as far as they came."""
    stop = Stop()
    looker = Looker(stop, stop_after)
    ended = []
    with suppress(Interrupted):
        ended += run_all(planned_runs(settings), folder, looker, stop)
    return ended, looker


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name not in DIFFER}


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A run that nobody broke off."""
    folder = tmp_path_factory.mktemp("whole")
    run(asked(), folder)
    return folder


def test_the_same_settings_give_the_same_bytes(whole, tmp_path):
    run(asked(), tmp_path)
    once, again = bytes_of(whole), bytes_of(tmp_path)
    assert set(once) == {
        "run.toml",
        "run.json",
        "checkpoint",
        "model.safetensors",
        *(f"{table}.{kind}" for table in TABLES for kind in ("jsonl", "parquet")),
    }
    assert [name for name in once if once[name] != again[name]] == []


class TestGoingOn:
    @pytest.mark.parametrize("stop_after", [1, 2, 4])
    def test_a_run_that_was_stopped_ends_in_the_same_bytes(self, whole, tmp_path, stop_after):
        ended, _ = run(asked(), tmp_path, stop_after)
        assert ended == []
        assert read_run(tmp_path)["result"] is None
        (end,), looker = run(asked(), tmp_path)
        assert looker.rounds == list(range(stop_after + 1, 6))
        assert [row["round"] for row in end.outcome.rounds] == [1, 2, 3, 4, 5]
        assert bytes_of(tmp_path) == bytes_of(whole)

    def test_lines_that_no_checkpoint_covers_are_cut_off(self, whole, tmp_path):
        """As after a power cut: the checkpoint is of round 2, the lines go on to round 4 and half of the fifth."""
        run(asked(), tmp_path, stop_after=2)
        kept = (tmp_path / "checkpoint").read_bytes()
        run(asked(), tmp_path, stop_after=4)
        (tmp_path / "checkpoint").write_bytes(kept)
        with (tmp_path / "clients.jsonl").open("a") as file:
            file.write('{"round": 5, "client": 0, "atta')
        _, looker = run(asked(), tmp_path)
        assert looker.rounds == [3, 4, 5]
        assert bytes_of(tmp_path) == bytes_of(whole)

    def test_a_run_without_a_checkpoint_begins_again(self, whole, tmp_path):
        run(asked(), tmp_path, stop_after=2)
        (tmp_path / "checkpoint").unlink()
        _, looker = run(asked(), tmp_path)
        assert looker.rounds == [1, 2, 3, 4, 5]
        assert bytes_of(tmp_path) == bytes_of(whole)

    def test_a_run_at_its_end_is_not_run_again(self, whole):
        before = bytes_of(whole)
        (end,), looker = run(asked(), whole)
        assert looker.rounds == []
        assert end.outcome.ending() == read_run(whole)["result"]
        assert bytes_of(whole) == before

    def test_more_rounds_go_on_where_it_ended(self, tmp_path):
        run(asked(rounds={"rounds": 3}), tmp_path)
        _, looker = run(asked(), tmp_path)
        assert looker.rounds == [4, 5]
        assert read_run(tmp_path)["result"]["rounds"] == 5

    def test_a_noise_that_was_chosen_for_its_rounds_is_not_stretched_over_more(self, tmp_path):
        noised = {"mode": "sound", "settings": {"epsilon": 8, "delta": "1e-5"}}
        run(asked(rounds={"rounds": 1}, privacy=noised, strategy={"name": "fedavg"}), tmp_path)
        with pytest.raises(RunFolderError, match=r"\[rounds\] rounds is 2, was 1"):
            run(asked(rounds={"rounds": 2}, privacy=noised, strategy={"name": "fedavg"}), tmp_path)

    def test_several_seeds_go_on_in_the_one_that_was_in_work(self, tmp_path):
        settings = asked(run={"seeds": 2, "seed": 7}, rounds={"rounds": 2})
        ended, _ = run(settings, tmp_path, stop_after=1)
        assert ended == []
        ended, looker = run(settings, tmp_path)
        assert [each.run.seed for each in ended] == [7, 8]
        assert looker.rounds == [2, 1, 2]
        assert {path.name for path in tmp_path.iterdir()} == {"seed-7", "seed-8"}

    def test_the_end_asked_for_in_a_last_round_holds_before_the_next_run(self):
        _, looker = run(asked(run={"seeds": 2}, rounds={"rounds": 2}), None, stop_after=2)
        assert looker.rounds == [1, 2]

    def test_worker_processes_go_on_with_what_this_process_began(self, whole, tmp_path):
        run(asked(), tmp_path, stop_after=3)
        there = asked(machine={"workers": 1})
        _, looker = run(there, tmp_path)
        assert looker.rounds == [4, 5]
        own = {name: content for name, content in bytes_of(tmp_path).items() if name != "run.toml"}
        assert own == {name: content for name, content in bytes_of(whole).items() if name != "run.toml"}


class TestRefused:
    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"training": {"epochs": 3}}, r"\[training\] epochs is 3, was 2"),
            ({"strategy": {"name": "fedavg"}}, r"\[strategy\] name is 'fedavg', was 'dlmu'"),
            ({"run": {"seed": 2}}, r"\[run\] seed is 2, was 1"),
            ({"rounds": {"rounds": 4}}, r"\[rounds\] rounds is 4, was 5"),
            ({"data": {"clients": 4}}, r"\[data\] clients is 4, was 3"),
        ],
    )
    def test_a_folder_of_other_settings_says_what_differs(self, whole, changed, said):
        before = bytes_of(whole)
        with pytest.raises(RunFolderError, match=said):
            run(asked(**changed), whole)
        assert bytes_of(whole) == before

    def test_a_checkpoint_put_in_from_another_run(self, whole, tmp_path):
        """The settings agree and the checkpoint does not: what was trained decides, not what a file says of it."""
        run(asked(training={"momentum": Decimal("0.5")}), tmp_path, stop_after=2)
        (tmp_path / "run.json").write_bytes((whole / "run.json").read_bytes())
        told = json.loads((tmp_path / "run.json").read_text())
        (tmp_path / "run.json").write_text(json.dumps({**told, "result": None}))
        with pytest.raises(CheckpointError, match=r"momentum 0\.5"):
            run(asked(), tmp_path)

    def test_damaged_files(self, whole, tmp_path):
        run(asked(), tmp_path, stop_after=2)
        checkpoint = bytearray((tmp_path / "checkpoint").read_bytes())
        checkpoint[-40] ^= 1
        (tmp_path / "checkpoint").write_bytes(checkpoint)
        with pytest.raises(CheckpointError, match="damaged"):
            run(asked(), tmp_path)
        (tmp_path / "checkpoint").unlink()
        (tmp_path / "rounds.jsonl").write_text('{"round": 1}\n')
        with pytest.raises(RunFolderError, match=r"rounds.jsonl, line 1: want the columns round, accuracy_global"):
            list(rows_of(tmp_path, "rounds"))
        whole_row = next(rows_of(whole, "rounds"))
        (tmp_path / "rounds.jsonl").write_text(json.dumps({**whole_row, "accuracy_global": "x"}) + "\n")
        with pytest.raises(RunFolderError, match=r"rounds.jsonl, line 1: accuracy_global is 'x', want number"):
            list(rows_of(tmp_path, "rounds"))
        for text, said in (
            ("[" * 100_000, "is not JSON"),
            ('{"format": "hanse-run-1", "result": {}}', "has no settings"),
            (json.dumps({**read_run(whole), "result": {}}), "does not say of how many rounds"),
        ):
            (tmp_path / "run.json").write_text(text)
            with pytest.raises(RunFolderError, match=said):
                run(asked(), tmp_path)
        (tmp_path / "run.json").write_text('{"format": "other"}')
        with pytest.raises(RunFolderError, match="format is 'other', want 'hanse-run-1'"):
            run(asked(), tmp_path)
        (tmp_path / "run.json").unlink()
        (tmp_path / "checkpoint").write_bytes(b"x")
        with pytest.raises(RunFolderError, match=r"a checkpoint without run\.json"):
            run(asked(), tmp_path)

    def test_a_folder_in_which_there_is_a_run(self, whole, tmp_path):
        with pytest.raises(RunFolderError, match="holds a run already: want --resume"):
            check_free(whole)
        check_free(tmp_path)

    def test_two_processes_in_one_folder(self, tmp_path):
        with RunFolder(tmp_path), pytest.raises(RunFolderError, match="another process is running there"):
            run(asked(), tmp_path)


class TestWhatIsWritten:
    def test_parquet_holds_the_rows_with_types_and_meanings(self, whole):
        for name, columns in TABLES.items():
            table = parquet.read_table(whole / f"{name}.parquet")
            assert table.to_pylist() == list(rows_of(whole, name))
            assert [field.name for field in table.schema] == [column.name for column in columns]
            assert [field.metadata[b"meaning"].decode() for field in table.schema] == [c.meaning for c in columns]

    def test_the_model_is_the_one_that_the_digest_names(self, whole):
        exported = read_model((whole / "model.safetensors").read_bytes())
        told = read_run(whole)
        with (whole / "checkpoint").open("rb") as source:
            checkpoint = Checkpoint.read(source, BlobShelf())
        base = unpack(checkpoint.base, told["parameters"], 20, 2**30)
        assert exported.matches(base)
        assert exported.metadata["digest"] == told["result"]["model_digest"]
        assert list(rows_of(whole, "rounds"))[-1]["digest"] == told["result"]["model_digest"]

    def test_a_round_adds_up_its_clients(self, whole):
        clients = list(rows_of(whole, "clients"))
        for row, own in zip(rows_of(whole, "rounds"), rows_of(whole, "own"), strict=True):
            part = [each for each in clients if each["round"] == row["round"]]
            assert row["clients"] == len(part) == 3
            for total in ("steps", "bytes_up"):
                assert row[total] == sum(each[total] for each in part)
            assert row["beta_mean"] == pytest.approx(np.mean([each["beta"] for each in part]))
            assert row["drift_l2_max"] == max(each["drift_l2"] for each in part)
            assert row["accuracy_own"] == pytest.approx(np.mean(own["accuracy_own"]))
            assert [each["accuracy_own"] for each in part] == own["accuracy_own"]
            losses, sizes = [each["loss_nats"] for each in part], [each["records"] for each in part]
            assert row["loss_training_nats"] == pytest.approx(np.average(losses, weights=sizes))
        # The skew makes factories mix their own model in from the second round on.
        assert [row["beta_max"] > 0 for row in rows_of(whole, "rounds")] == [False, True, True, True, True]

    def test_the_distribution_is_that_of_the_records(self, whole):
        rows = list(rows_of(whole, "distribution"))
        told = read_run(whole)["data"]
        for client, size in enumerate(told["records_train"]):
            assert sum(row["records"] for row in rows if row["client"] == client) == size
        assert [row["class"] for row in rows[:4]] == told["classes"]

    def test_nothing_of_this_machine_is_in_run_json(self, whole):
        told = read_run(whole)
        assert str(Path.home()) not in json.dumps(told)
        assert not {"machine", "results"} & told["settings"].keys()
        assert "path" not in told["settings"]["data"]

    def test_without_a_folder_nothing_is_written(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        (end,), _ = run(asked(rounds={"rounds": 1}), None)
        assert end.folder is None
        assert list(tmp_path.iterdir()) == []


class TestSignals:
    @pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
    def test_the_first_asks_and_the_second_ends_at_once(self, kind):
        told = []
        before = signal.getsignal(kind)
        with stop_on_signals(lambda: told.append("once")) as stop:
            assert not stop.asked
            signal.raise_signal(kind)
            assert stop.asked
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(kind)
        assert told == ["once"]
        assert signal.getsignal(kind) == before


def test_differences_are_told_by_section_and_key():
    one, other = asked().as_json(), asked(rounds={"per_round": 2}, privacy={"mode": "paper"}).as_json()
    assert differences(one, other) == ["[privacy] mode is 'none', was 'paper'", "[rounds] per_round is '0', was '2'"]
    assert differences(one, one) == []
