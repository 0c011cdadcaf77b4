"""Masked requests through the trainers of three factories: real disks, deaths at any word, and nothing left behind."""

from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from fl.aggregate import weighted_mean
from fl.fixed_point import encode, pack
from ledger.entries import Fate, Receipt, Stage, receipt_key
from ledger.protection import AcceptShares, OfferMaskKeys, RevealShares, ShareMaskSecrets
from ledger.transactions import AnnounceProtected, Body, DeclineRound, Protection, PublishProtected, Transaction
from ledger.types import Hash32
from node import masked_rounds, offers, provider_rounds, requester_reports, trainer
from node.network.blob_store import blob_digest
from node.worker_protocol import TrainRound
from tests.net.test_trainer import TRAINED
from tests.support.open_requests import LIMIT, PARAMETERS, SCALE_BITS, TERMS
from tests.support.sealed_chain import NodeLedger, key_of, wait_until
from tests.support.training_league import BASE, TrainingLeague

PROVIDERS = ("alice", "bob", "carol")
WINDOW_MS = 10_000


@pytest.fixture
async def league(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[TrainingLeague]:
    for part in (provider_rounds, requester_reports, trainer, masked_rounds, offers):
        monkeypatch.setattr(part, "RESEND_S", 0.05)
    with ExitStack() as stack:
        league = TrainingLeague(tmp_path, nursery, stack)
        for seed, name in enumerate(PROVIDERS):
            league.keep_records(name, seed)
        league.attesters()
        yield league
        nursery.cancel_scope.cancel()


class Trains:
    """A training process that makes a vector of its own each time; `made`: the blobs that must never be seen."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.made: list[bytes] = []
        self.jobs: list[TrainRound] = []

    async def do(self, job: TrainRound, on_progress: object = None) -> object:
        await trio.lowlevel.checkpoint()
        self.jobs.append(job)
        vector = encode(self.rng.uniform(-1, 1, PARAMETERS), SCALE_BITS, LIMIT)
        self.made.append(pack(vector, SCALE_BITS))
        return replace(TRAINED, update=self.made[-1])


class Mute(NodeLedger):
    """Stands for a node that dies when it is about to say one kind of word for the first time."""

    dies_at: type[Body] = OfferMaskKeys

    async def submit_own(self, body: Body) -> Transaction:
        if type(body) is self.dies_at:
            self.said.append(body)
            await trio.sleep_forever()
        return await super().submit_own(body)


def publish_masked(league: TrainingLeague, rounds: int = 1, **changes: Any) -> Hash32:
    terms = replace(
        TERMS,
        initial_model=blob_digest(BASE),
        providers_min=3,
        providers_max=3,
        rounds_max=rounds,
        attest_window=WINDOW_MS,
        **changes,
    )
    said = league.sealed.say("dave", PublishProtected(terms, Protection((), True, WINDOW_MS)))
    league.seal()
    assert not league.sealed.refused, league.sealed.refused
    return said.id


def files_with(folder: Path, secret: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.trio
async def test_two_masked_rounds_leave_a_model_and_no_trace_of_an_update(
    league: TrainingLeague, nursery: trio.Nursery
) -> None:
    processes = {name: Trains(seed) for seed, name in enumerate(PROVIDERS)}
    for name, process in processes.items():
        nursery.start_soon(league.trainer(name, process).run)
    nursery.start_soon(league.live)
    request = publish_masked(league, rounds=2)
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 60)

    assert league.request(request).outcome == "all rounds done"
    for number in (1, 2):
        receipt = league.sealed.chain.read(Receipt, receipt_key(request, number, 0))
        assert receipt is not None
        assert {line.fate for line in receipt.lines} == {Fate.DELIVERED}
        ordered = sorted(PROVIDERS, key=lambda name: key_of(name).org)
        vectors = [np.frombuffer(processes[name].made[number - 1][16:], "<i4") for name in ordered]
        assert receipt.model == blob_digest(pack(weighted_mean(vectors, [39] * 3), SCALE_BITS))
    await wait_until(lambda: all(not list((league.folder / name / "masking").iterdir()) for name in PROVIDERS))
    for name, process in processes.items():
        for made in process.made:
            assert files_with(league.folder / name, made[16:]) == [], "what was trained lies on no disk"


@pytest.mark.trio
@pytest.mark.parametrize("word", [OfferMaskKeys, ShareMaskSecrets, AcceptShares, AnnounceProtected, RevealShares])
async def test_who_dies_with_a_word_on_its_lips_says_the_same_in_its_next_life(
    league: TrainingLeague, nursery: trio.Nursery, word: type[Body]
) -> None:
    for seed, name in enumerate(PROVIDERS[1:]):
        nursery.start_soon(league.trainer(name, Trains(seed)).run)
    nursery.start_soon(league.live)
    process, first = Trains(7), Mute(league.sealed, key_of("alice"))
    first.dies_at = word
    async with trio.open_nursery() as first_life:
        first_life.start_soon(league.trainer("alice", process, first).run)
        request = publish_masked(league)
        await wait_until(lambda: any(type(body) is word for body in first.said), 60)
        first_life.cancel_scope.cancel()
    second = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", process, second).run)
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 60)

    assert league.request(request).outcome == "all rounds done"
    assert {body for body in first.said if type(body) is word} == {body for body in second.said if type(body) is word}
    assert len(process.made) == 1, "trained once"
    receipt = league.sealed.chain.read(Receipt, receipt_key(request, 1, 0))
    assert receipt is not None
    assert {line.fate for line in receipt.lines} == {Fate.DELIVERED}


@pytest.mark.trio
async def test_who_lost_its_secrets_says_so_and_is_not_waited_for(
    league: TrainingLeague, nursery: trio.Nursery
) -> None:
    for seed, name in enumerate(PROVIDERS[1:]):
        nursery.start_soon(league.trainer(name, Trains(seed)).run)
    nursery.start_soon(league.live)
    first = Mute(league.sealed, key_of("alice"))
    first.dies_at = ShareMaskSecrets
    async with trio.open_nursery() as first_life:
        first_life.start_soon(league.trainer("alice", Trains(7), first).run)
        request = publish_masked(league)
        await wait_until(lambda: any(type(body) is ShareMaskSecrets for body in first.said), 60)
        first_life.cancel_scope.cancel()
    for path in (league.folder / "alice" / "masking").iterdir():
        path.unlink()
    second = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", Trains(8), second).run)
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 60)
    declined = [body for body in second.said if isinstance(body, DeclineRound)]
    assert [body.reason for body in declined if body.attempt == 0] == [
        "the secrets of this round are not here any more"
    ]
    # Three are the fewest: without one the first attempt is void, and the next has new keys.
    assert (league.request(request).outcome, league.request(request).attempt) == ("all rounds done", 1)


@pytest.mark.trio
async def test_in_a_private_mode_a_masked_round_starts_from_what_is_released_only(
    league: TrainingLeague, nursery: trio.Nursery
) -> None:
    processes = {name: Trains(seed) for seed, name in enumerate(PROVIDERS)}
    for name, process in processes.items():
        nursery.start_soon(league.trainer(name, process).run)
    nursery.start_soon(league.live)
    request = publish_masked(league, rounds=2, privacy="sound")
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 60)
    assert league.request(request).outcome == "all rounds done"
    assert [job.state for process in processes.values() for job in process.jobs] == [None] * 6


@pytest.mark.trio
async def test_the_same_masks_never_hide_a_second_update(
    league: TrainingLeague, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node dies when its update is masked and not kept yet: it sits the attempt out, and trains no other for it."""
    for seed, name in enumerate(PROVIDERS[1:]):
        nursery.start_soon(league.trainer(name, Trains(seed)).run)
    nursery.start_soon(league.live)
    process, lost = Trains(7), []

    async def put(data: bytes) -> Hash32:
        lost.append(data)
        await trio.sleep_forever()
        raise AssertionError

    async with trio.open_nursery() as first_life:
        with monkeypatch.context() as patch:
            patch.setattr(league.blobs["alice"], "put", put)
            first_life.start_soon(league.trainer("alice", process, league.sealed.ledger("alice")).run)
            request = publish_masked(league)
            await wait_until(lambda: lost, 60)
            first_life.cancel_scope.cancel()
    second = league.sealed.ledger("alice")
    nursery.start_soon(league.trainer("alice", process, second).run)
    await wait_until(lambda: league.request(request).stage is Stage.DONE, 60)
    declined = [body.attempt for body in second.said if isinstance(body, DeclineRound)]
    announced = [body.update.attempt for body in second.said if isinstance(body, AnnounceProtected)]
    assert (set(declined), set(announced), len(process.made)) == ({0}, {1}, 2)
