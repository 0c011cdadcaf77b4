"""The trainer over a real chain, real stores and real training processes: whole requests, crashes, refusals."""

import json
import os
import signal
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import trio

from fl.export import read_model
from fl.fixed_point import limit_in_steps, unpack
from ledger.entries import Fate, Receipt, Stage, receipt_key
from ledger.transactions import AnnounceUpdate, DeclineRound, JoinRequest, ReportAccuracy
from node import offers, provider_rounds, requester_reports, trainer
from node.network.blob_store import blob_digest
from node.rounds import participant
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import model_form
from node.worker_protocol import Progress, RoundTrained, Score, TrainRound
from tests.support.factory_records import new_records, table
from tests.support.open_requests import LIMIT, PARAMETERS, SCALE_BITS, TERMS, join, publish, round_of, vector_blob
from tests.support.sealed_chain import NodeLedger, key_of, wait_until
from tests.support.training_league import BASE, TrainingLeague

UPDATE = vector_blob(0.5)


@pytest.fixture
async def league(tmp_path, nursery, monkeypatch):
    for part in (provider_rounds, requester_reports, trainer):
        monkeypatch.setattr(part, "RESEND_S", 0.05)
    with ExitStack() as stack:
        league = TrainingLeague(tmp_path, nursery, stack)
        yield league
        nursery.cancel_scope.cancel()


class PlayedProcess:
    """A training process whose answers the test writes; counts the jobs."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.jobs = []

    async def do(self, job, on_progress=None):
        self.jobs.append(job)
        await trio.lowlevel.checkpoint()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


SCORE = Score(40, 30, 750_000, 500_000, 740_000, ())
TRAINED = RoundTrained(
    UPDATE, 39, 39, b"state after", SCORE, SCORE, SCORE, 9, ("0.5",), "0.0", "0.1", (), "none", None, 750_000, 40
)


class MuteLedger(NodeLedger):
    """Stands for the moment before a crash: what it is told to say is never said."""

    async def submit_own(self, body):
        self.said.append(body)
        await trio.sleep_forever()


def mute(league, name):
    return MuteLedger(league.sealed, key_of(name))


async def in_training(league, **changes):
    """A published request with alice as its only provider, in round 1."""
    request = publish(league.sealed, "dave", BASE, **({"providers_max": 1} | changes))
    join(league.sealed, "alice", request)
    league.seal()
    assert not league.sealed.refused, league.sealed.refused
    assert league.request(request).stage is Stage.TRAINING
    return request


def announcements(ledger):
    return [body for body in ledger.said if isinstance(body, AnnounceUpdate)]


@pytest.mark.trio
async def test_two_factories_train_a_request_to_its_end(league, nursery):
    for seed, name in enumerate(("alice", "bob", "dave")):
        league.keep_records(name, seed, anchored=False)
        nursery.start_soon(league.anchorer(name).run)
    shelves = {}
    for name in ("alice", "bob", "dave"):
        founder = league.trainer(name, await league.process(idle_exit_s=600))
        shelves[name] = founder.shelf
        nursery.start_soon(founder.run)
    first_model, _ = await founder.make_initial_model(model_form(TERMS), 5)
    league.attesters()
    nursery.start_soon(league.live)
    await wait_until(lambda: all("anchored" in league.events(name) for name in shelves))
    request = publish(league.sealed, "dave", league.blobs["dave"].store.read(first_model))
    league.seal()
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 120)
    await wait_until(lambda: all(shelf.has(request) for shelf in shelves.values()), 60)

    ended = league.request(request)
    assert ended.outcome == "all rounds done"
    orgs = {key_of("alice").org, key_of("bob").org}
    for number in (1, 2):
        receipt = league.sealed.chain.read(Receipt, receipt_key(request, number, 0))
        assert {line.org: line.fate for line in receipt.lines} == dict.fromkeys(orgs, Fate.DELIVERED)
        assert all((line.weight, line.periods) == (39, (1, 2, 3)) for line in receipt.lines)
    # Round 2 was judged on the model of round 1: better than the model drawn by lot that the request began with.
    assert receipt.base_accuracy > 500_000
    note = shelves["dave"].note(request)
    assert (note["digest"], note["round"], note["stage"]) == (ended.model.hex(), 2, "done")
    exported = read_model((shelves["dave"].folder / note["file"]).read_bytes())
    blob = league.blobs["dave"].store.read(ended.model)
    assert blob_digest(blob) == ended.model
    assert exported.matches(unpack(blob, PARAMETERS, SCALE_BITS, limit_in_steps(LIMIT, SCALE_BITS)))
    served = shelves["alice"].note(request)["served"]
    assert served["own_test"]["accuracy_micro"] > 500_000
    assert shelves["alice"].note(request)["own_test"]["records"] == 40
    assert "served" not in note
    assert "tested" in league.events("dave")
    assert league.events("alice").count("trained") == 2
    await wait_until(lambda: "kept" in league.events("alice"))
    assert not list((league.folder / "alice" / "strategies").iterdir())


@pytest.mark.trio
async def test_a_process_killed_in_mid_round_costs_nothing_but_time(league, nursery):
    league.keep_records("alice", 0)
    await in_training(league)
    process = await league.process()
    ledger = league.sealed.ledger("alice")
    killed = []

    class Killer:
        """Kills the process at its first sign of life."""

        async def do(self, job, on_progress=None):
            def kill(progress):
                assert isinstance(progress, Progress)
                if not killed:
                    killed.append(process.pid)
                    os.kill(process.pid, signal.SIGKILL)
                on_progress(progress)

            return await process.do(replace(job, terms=replace(job.terms, epochs=30)), kill)

    nursery.start_soon(league.trainer("alice", Killer(), ledger).run)
    await wait_until(lambda: announcements(ledger), 60)
    league.seal()
    assert killed
    assert len(announcements(ledger)) == 1
    assert not league.sealed.refused


@pytest.mark.trio
async def test_a_crash_between_result_and_announcement_announces_the_same_bytes(league):
    league.keep_records("alice", 0)
    request = await in_training(league)
    silent = mute(league, "alice")
    async with trio.open_nursery() as first_life:
        first_life.start_soon(league.trainer("alice", PlayedProcess(TRAINED), silent).run)
        await wait_until(lambda: announcements(silent))
        first_life.cancel_scope.cancel()
    assert league.sealed.pending == []
    # The next life would train something else: it must not come to that.
    other = PlayedProcess(replace(TRAINED, update=vector_blob(0.75)))
    ledger = league.sealed.ledger("alice")
    async with trio.open_nursery() as second_life:
        second_life.start_soon(league.trainer("alice", other, ledger).run)
        await wait_until(lambda: announcements(ledger))
        second_life.cancel_scope.cancel()
    assert announcements(ledger) == announcements(silent)
    assert [job for job in other.jobs if isinstance(job, TrainRound)] == []
    league.seal()
    part = participant(round_of(league.sealed, request), key_of("alice").org)
    assert (part.fate, part.blob) == (Fate.ANNOUNCED, blob_digest(UPDATE))


@pytest.mark.trio
async def test_an_announcement_that_was_lost_is_said_again_and_only_then(league, nursery):
    league.keep_records("alice", 0)
    await in_training(league)
    ledger = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", PlayedProcess(TRAINED), ledger).run)
    await wait_until(lambda: announcements(ledger))
    (first,) = league.sealed.pending
    league.sealed.pending.clear()
    await wait_until(lambda: len(announcements(ledger)) == 2)
    assert league.sealed.pending == [first]


@pytest.mark.trio
async def test_an_update_that_was_deleted_is_declined_not_announced(league):
    league.keep_records("alice", 0)
    await in_training(league)
    silent = mute(league, "alice")
    async with trio.open_nursery() as first_life:
        first_life.start_soon(league.trainer("alice", PlayedProcess(TRAINED), silent).run)
        await wait_until(lambda: announcements(silent))
        first_life.cancel_scope.cancel()
    league.blobs["alice"].store.delete(blob_digest(UPDATE))
    ledger = league.sealed.ledger("alice")
    async with trio.open_nursery() as second_life:
        second_life.start_soon(league.trainer("alice", PlayedProcess(TRAINED), ledger).run)
        await wait_until(lambda: ledger.said)
        second_life.cancel_scope.cancel()
    assert isinstance(ledger.said[0], DeclineRound)


@pytest.mark.trio
async def test_a_full_disk_keeps_the_announcement_back_until_there_is_room(league, nursery):
    league.keep_records("alice", 0)
    await in_training(league)
    store = league.blobs["alice"].store
    roomy, store.capacity_bytes = store.capacity_bytes, store.bytes_stored
    league.blobs["alice"].store.capacity_bytes += len(BASE)
    process, ledger = PlayedProcess(TRAINED), league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", process, ledger).run)
    await wait_until(lambda: "failed" in league.events("alice"))
    assert ledger.said == []
    store.capacity_bytes = roomy
    await wait_until(lambda: announcements(ledger))
    # The training was not thrown away.
    assert len(process.jobs) == 1
    assert blob_digest(UPDATE) in store


@pytest.mark.trio
async def test_three_crashes_decline_the_round_with_a_reason(league, nursery):
    league.keep_records("alice", 0)
    await in_training(league, providers_min=1)
    process = PlayedProcess(WorkerCrashed("the training process ended with -9"))
    ledger = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", process, ledger).run)
    await wait_until(lambda: ledger.said)
    assert len(process.jobs) == 3
    (declined,) = ledger.said
    assert isinstance(declined, DeclineRound)
    assert declined.reason == "the training process crashed", "its last words are for its own people"
    assert "declined" in league.events("alice")


@pytest.mark.trio
async def test_terms_without_a_guarantee_are_declined_unless_allowed(league, nursery):
    league.keep_records("alice", 0)
    await in_training(league, privacy="paper")
    refusing, process = league.sealed.ledger("alice"), PlayedProcess(TRAINED)
    async with trio.open_nursery() as strict:
        strict.start_soon(league.trainer("alice", process, refusing).run)
        await wait_until(lambda: refusing.said)
        strict.cancel_scope.cancel()
    assert isinstance(refusing.said[0], DeclineRound)
    assert "guarantee" in refusing.said[0].reason
    assert process.jobs == []
    league.sealed.pending.clear()
    (league.folder / "alice" / "strategies").joinpath(f"{refusing.said[0].request.hex()}.training").unlink()
    allowing = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", process, allowing, allow_no_guarantee=True).run)
    await wait_until(lambda: announcements(allowing))
    assert process.jobs[0].terms.allow_no_guarantee


@pytest.mark.trio
async def test_records_that_are_not_anchored_are_not_trained_on(league, nursery):
    store = league.keep_records("alice", 0)
    store.add_period(4, new_records(table(20)), 1, 2)
    await in_training(league)
    process = PlayedProcess(TRAINED)
    nursery.start_soon(league.trainer("alice", process).run)
    await wait_until(lambda: process.jobs)
    assert process.jobs[0].periods == (1, 2, 3)


@pytest.mark.trio
async def test_only_suitable_requests_are_joined_and_the_others_are_named(league, nursery):
    league.keep_records("alice", 0)
    ledger = league.sealed.ledger("alice")
    suits = publish(league.sealed, "dave", BASE)
    cheap = publish(league.sealed, "dave", vector_blob(0.1), price=1, title="cheap")
    paper = publish(league.sealed, "dave", BASE, privacy="paper", price=9)
    other = publish(league.sealed, "dave", BASE, data_type="weather", price=9)
    wrong = publish(league.sealed, "dave", BASE, model="nope", price=9)
    own = publish(league.sealed, "alice", BASE, price=9)
    dear = publish(league.sealed, "dave", BASE, price=9)
    nursery.start_soon(league.trainer("alice", PlayedProcess(TRAINED), ledger, price_min=5).run)
    await wait_until(lambda: ledger.said and len(league.told["alice"]) >= 4)
    joined = [body for body in ledger.said if isinstance(body, JoinRequest)]
    assert [body.request for body in joined] == [dear]
    assert joined[0].record_count == 39
    named = {data["request"]: data["reason"] for data in league.told["alice"] if data["event"] == "not_joined"}
    assert named.keys() == {each.hex() for each in (suits, cheap, paper, wrong)}
    assert "price" in named[cheap.hex()]
    assert "guarantee" in named[paper.hex()]
    assert "nope" in named[wrong.hex()]
    assert other.hex() not in named
    assert own.hex() not in named


@pytest.mark.trio
async def test_nobody_joins_before_the_weights_to_begin_with_are_here_and_are_weights(league, nursery, monkeypatch):
    # Who is invited and cannot train pays with its reputation, so a requester that served nothing had others pay.
    monkeypatch.setattr(offers, "RESEND_S", 0.01)
    league.keep_records("alice", 0)
    ledger = league.sealed.ledger("alice")
    served_later, junk = vector_blob(0.7), b"no vector at all"
    league.blobs["dave"].store.put(junk)
    waits = publish(league.sealed, "dave", served_later, title="served later")
    never = publish(league.sealed, "dave", junk, title="junk")
    nursery.start_soon(league.trainer("alice", PlayedProcess(TRAINED), ledger).run)
    await wait_until(lambda: "not_joined" in league.events("alice"))
    await wait_until(lambda: sum(digest == blob_digest(served_later) for digest, _ in league.blobs["alice"].asked) > 2)
    assert [data["request"] for data in league.told["alice"]] == [never.hex()]
    assert "malformed" in league.told["alice"][0]["reason"]
    assert not ledger.said
    league.blobs["dave"].store.put(served_later)
    await wait_until(lambda: ledger.said)
    assert [body.request for body in ledger.said] == [waits]


@pytest.mark.trio
async def test_by_hand_means_by_hand(league, nursery):
    league.keep_records("alice", 0)
    publish(league.sealed, "dave", BASE)
    ledger = league.sealed.ledger("alice")
    founder = league.trainer("alice", PlayedProcess(TRAINED), ledger, joins=False)
    for _ in range(5):
        founder._look(nursery)
    assert ledger.said == []


@pytest.mark.trio
async def test_training_ends_with_its_round_and_the_next_attempt_begins_anew(league, nursery):
    league.keep_records("alice", 0)
    request = await in_training(league)
    begun, ended = [], []

    class Endless:
        async def do(self, job, on_progress=None):
            begun.append(job)
            try:
                await trio.sleep_forever()
            finally:
                ended.append(job)

    nursery.start_soon(league.trainer("alice", Endless()).run)
    await wait_until(lambda: begun)
    # The deadline passes, nobody delivered: the round is void and is tried again.
    league.seal(after_ms=60_001)
    league.seal(after_ms=10_001)
    await wait_until(lambda: ended)
    await wait_until(lambda: len(begun) == 2)
    assert (round_of(league.sealed, request).number, round_of(league.sealed, request).attempt) == (1, 1)
    assert begun[0] == begun[1]


@pytest.mark.trio
async def test_a_request_that_fails_is_noted_and_forgotten(league, nursery):
    founder = league.trainer("dave", PlayedProcess(TRAINED))
    nursery.start_soon(founder.run)
    request = publish(league.sealed, "dave", BASE)
    league.seal()
    league.seal(after_ms=1_001)
    assert league.request(request).stage is Stage.FAILED
    await wait_until(lambda: founder.shelf.has(request))
    note = json.loads(founder.shelf.note_path(request).read_text())
    assert note["stage"] == "failed"
    assert "file" not in note


@pytest.mark.trio
async def test_a_requester_reports_its_own_test_once(league, nursery):
    league.keep_records("alice", 0)
    league.keep_records("dave", 2)
    request = await in_training(league)
    process = await league.process()
    ledger = league.sealed.ledger("dave")
    nursery.start_soon(league.trainer("dave", process, ledger).run)
    await wait_until(lambda: ledger.said, 60)
    league.seal()
    assert not league.sealed.refused
    (report,) = ledger.said
    assert isinstance(report, ReportAccuracy)
    current = round_of(league.sealed, request)
    # Up to as many test records as are anchored.
    assert (current.requester_tested, current.requester_accuracy) == (39, report.accuracy)


@pytest.mark.trio
async def test_the_first_model_is_made_once_and_kept(league):
    founder = league.trainer("dave", await league.process())
    form = model_form(TERMS)
    digest, parameters = await founder.make_initial_model(form, 5)
    assert parameters == PARAMETERS
    blob = league.blobs["dave"].store.read(digest)
    assert np.any(unpack(blob, PARAMETERS, SCALE_BITS, limit_in_steps(LIMIT, SCALE_BITS)))
    assert await founder.make_initial_model(form, 5) == (digest, parameters)
    with pytest.raises(JobRefused, match="keeps no records"):
        await founder.evaluate(form, blob)
