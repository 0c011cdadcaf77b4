"""The training process as a real child: its frames, its crashes, its end with its parent's."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import trio

from ledger.errors import InvalidBytes
from ledger.transactions import Setting
from node.record_groups import Grouping
from node.training_process import JobRefused, WorkerCrashed, WorkerSettings, open_training_process
from node.worker_protocol import (
    FRAME_BYTES_MAX,
    LENGTH_BYTES,
    Evaluate,
    Evaluated,
    InitialModel,
    ModelForm,
    ModelMade,
    ModelServed,
    Progress,
    RoundTrained,
    ServeModel,
    TrainingTerms,
    TrainRound,
    answer_frame,
    frame_length,
    job_frame,
    parse_answer,
    parse_job,
    read_frame,
)
from tests.support.factory_records import filled_store, new_records, table
from tests.support.open_requests import LAYERS, LIMIT, PARAMETERS, SCALE_BITS
from tests.support.sealed_chain import wait_until

ROOT = Path(__file__).parents[2]
FORM = ModelForm("mlp", (Setting("layers", LAYERS),), SCALE_BITS, LIMIT)


def terms(**changes):
    settled = {
        "form": FORM,
        "strategy": "dlmu",
        "strategy_settings": (),
        "privacy": "none",
        "privacy_settings": (),
        "epochs": 3,
        "batch": 16,
        "learning_rate": "0.05",
        "momentum": "0.8",
        "round_number": 0,
        "seed": 7,
        "allow_no_guarantee": False,
    }
    return TrainingTerms(**(settled | changes))


def gone(pid):
    """Ended; a zombie that waits for its parent counts as ended."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def store(tmp_path):
    store, _ = filled_store(tmp_path / "records.sqlite")
    yield store
    store.close()


@pytest.mark.trio
async def test_a_round_is_trained_tested_and_served_the_same_way_twice(store):
    path = str(store.path)
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        assert isinstance(made, ModelMade)
        assert len(made.model) == 16 + 4 * PARAMETERS
        told = []
        job = TrainRound(terms(), path, (1, 2, 3), made.model, None)
        trained = await process.do(job, told.append)
        assert isinstance(trained, RoundTrained)
        assert [each.epoch for each in told if isinstance(each, Progress)] == [1, 2, 3]
        assert (trained.records, trained.weight) == (39, 39)
        assert trained.trained.accuracy > trained.start.accuracy
        # The same job again, after the process was replaced by another: not a bit differs.
        os.kill(process.pid, signal.SIGKILL)
        await wait_until(lambda: process.pid is None)
        again = await process.do(job)
        assert again == trained
        served = await process.do(ServeModel(terms(), path, (1, 2, 3), trained.update, trained.state))
        assert isinstance(served, ModelServed)
        assert len(served.vector) == 4 * PARAMETERS
        evaluated = await process.do(Evaluate(FORM, path, made.model))
        assert isinstance(evaluated, Evaluated)
        assert evaluated.score == trained.start
        assert sum(evaluated.score.confusion) == evaluated.score.records == 40


@pytest.mark.trio
async def test_what_cannot_be_done_is_refused_with_a_reason_and_the_process_goes_on(store):
    path = str(store.path)
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        pid = process.pid
        base = made.model
        for code, job in {
            "model": InitialModel(ModelForm("nope", (), 20, 512), 1),
            "strategy": TrainRound(terms(strategy="nope"), path, (1,), base, None),
            "privacy": TrainRound(terms(privacy="paper"), path, (1,), base, None),
            "settings": TrainRound(terms(learning_rate="nan"), path, (1,), base, None),
            "diverged": TrainRound(terms(learning_rate="1000"), path, (1, 2, 3), base, None),
            "store": TrainRound(terms(), path, (1, 9), base, None),
        }.items():
            with pytest.raises(JobRefused) as refused:
                await process.do(job)
            assert refused.value.code == code, refused.value
        for damaged in (base[:-1], b"", base[:16] + b"\xff\xff\xff\x7f" + base[20:]):
            with pytest.raises(JobRefused, match="want") as refused:
                await process.do(Evaluate(FORM, path, damaged))
            assert refused.value.code == "model"
        with pytest.raises(JobRefused) as refused:
            await process.do(Evaluate(FORM, path + ".missing", base))
        assert refused.value.code == "store"
        assert process.pid == pid


@pytest.mark.trio
async def test_a_process_killed_in_the_middle_is_a_crash_and_the_next_job_gets_a_new_one(store):
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        victim = process.pid

        def kill(progress):
            if progress.epoch == 2:
                os.kill(victim, signal.SIGKILL)

        long = TrainRound(terms(epochs=10_000), str(store.path), (1, 2, 3), made.model, None)
        with pytest.raises(WorkerCrashed, match="-9"):
            await process.do(long, kill)
        assert await process.do(InitialModel(FORM, 5)) == made
        assert process.pid != victim


@pytest.mark.trio
async def test_cancelling_a_job_ends_its_process_at_once(store):
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        victim = process.pid
        with trio.CancelScope() as scope:
            long = TrainRound(terms(epochs=10_000), str(store.path), (1, 2, 3), made.model, None)
            await process.do(long, lambda progress: scope.cancel())
        assert scope.cancelled_caught
        await wait_until(lambda: gone(victim))


@pytest.mark.trio
async def test_an_idle_process_gives_its_memory_back_and_comes_again(store):
    async with open_training_process(WorkerSettings(idle_exit_s=0.05)) as process:
        made = await process.do(InitialModel(FORM, 5))
        await wait_until(lambda: process.pid is None)
        assert await process.do(InitialModel(FORM, 5)) == made


@pytest.mark.trio
async def test_records_written_meanwhile_are_seen(store):
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        job = TrainRound(terms(), str(store.path), (1, 2), made.model, None)
        before = await process.do(job)
        store.add_period(4, new_records(table(5)), 1, 2)
        after = await process.do(TrainRound(terms(), str(store.path), (1, 2, 4), made.model, None))
        assert (before.records, after.records) == (26, 31)


@pytest.mark.trio
async def test_the_process_is_nice_and_keeps_to_its_threads(store):
    async with open_training_process(WorkerSettings(threads=1, nice=7)) as process:
        await process.do(InitialModel(FORM, 5))
        child = psutil.Process(process.pid)
        assert child.nice() == min(19, psutil.Process().nice() + 7)
    assert gone(child.pid)


PARENT = """
import sys, trio
from tests.net.test_training_process import *
async def main():
    store, _ = filled_store(Path(sys.argv[1]))
    async with open_training_process(WorkerSettings()) as process:
        made = await process.do(InitialModel(FORM, 5))
        job = TrainRound(terms(epochs=10_000), str(store.path), (1, 2, 3), made.model, None)
        await process.do(job, lambda progress: print(process.pid, flush=True))
trio.run(main)
"""


@pytest.mark.trio
async def test_a_node_that_is_killed_leaves_no_training_behind(tmp_path):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "r.sqlite")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    child = int(await trio.to_thread.run_sync(parent.stdout.readline))
    assert not gone(child)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    await wait_until(lambda: gone(child))
    parent.stdout.close()


NOISY = """
import os, sys
import node.worker as worker
inner = worker.initial_model
def noisy(*arguments):
    print("a library talks on stdout")
    os.write(1, b"so does C code")
    return inner(*arguments)
worker.initial_model = noisy
worker.main()
"""


def test_what_a_library_prints_does_not_break_the_frames():
    child = subprocess.Popen(
        [sys.executable, "-c", NOISY, "--nice=0"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    for _ in range(2):
        child.stdin.write(job_frame(InitialModel(FORM, 5)))
        child.stdin.flush()
        assert isinstance(parse_answer(read_frame(child.stdout)), ModelMade)
    rest, errors = child.communicate(timeout=30)
    assert (rest, child.returncode) == (b"", 0)
    assert errors.count(b"a library talks") == errors.count(b"so does C code") == 2


def test_importing_the_nodes_end_does_not_import_torch():
    code = (
        "import sys, node.trainer, node.attesting, node.aggregation, node.anchoring; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_frames_come_back_as_they_went_and_damage_is_refused():
    job = TrainRound(terms(), "/x", (1, 2), b"base", None)
    assert parse_job(job_frame(job)[LENGTH_BYTES:]) == job
    progress = Progress(1, 2, 3)
    data = answer_frame(progress)[LENGTH_BYTES:]
    assert parse_answer(data) == progress
    for at in range(len(data)):
        with pytest.raises(InvalidBytes):
            parse_answer(data[:at])
    with pytest.raises(InvalidBytes, match="at most"):
        frame_length((FRAME_BYTES_MAX + 1).to_bytes(LENGTH_BYTES, "big"))


@pytest.mark.trio
async def test_a_sound_round_is_noised_as_charged_and_counts_groups_where_they_are_the_unit(store):
    store.set_grouping(Grouping("machine", overlap=False))
    machines = ("press", "press", "lathe", "saw", "saw", "saw")
    store.add_period(4, replace(new_records(table(6)), groups=machines), 1, 2)
    path = str(store.path)
    by_machine = (Setting("unit", "group:machine"),)
    async with open_training_process(WorkerSettings()) as process:
        base = (await process.do(InitialModel(FORM, 5))).model
        job = TrainRound(terms(privacy="sound", noise="2.0"), path, (1, 2, 3), base, None)
        one, other = await process.do(job), await process.do(job)
        # 39 records in batches of 16 on average: three epochs of three steps, never the same noise twice.
        assert (one.steps, one.records) == (9, 39)
        assert one.update != other.update
        assert float(one.epsilon) > 0
        # Three machines, fewer than a batch: each of them is in each of the three steps.
        grouped = terms(privacy="sound", noise="2.0", privacy_settings=by_machine)
        assert (await process.do(TrainRound(grouped, path, (4,), base, None))).steps == 3
        for code, reason, wrong in (
            ("store", "bear no group", TrainRound(grouped, path, (1, 4), base, None)),
            ("privacy", "without a noise multiplier", TrainRound(terms(privacy="sound"), path, (1,), base, None)),
            (
                "store",
                "grouped by machine, want shift",
                TrainRound(
                    terms(privacy="sound", noise="2", privacy_settings=(Setting("unit", "group:shift"),)),
                    path,
                    (4,),
                    base,
                    None,
                ),
            ),
        ):
            with pytest.raises(JobRefused, match=reason) as refusal:
                await process.do(wrong)
            assert refusal.value.code == code
