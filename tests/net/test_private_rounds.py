"""Rounds that cost privacy, through the trainer: charged on the disk before the job, announced with the update."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
import trio

from fl.privacy.plan import round_cost
from ledger.entries import Fate, Stage
from ledger.protection_entries import Spent, charge_key
from ledger.transactions import AnnounceProtected, DeclineRound, JoinRequest, Protection, PublishProtected, Setting
from node import offers, provider_rounds, requester_reports, trainer
from node.network.blob_store import blob_digest
from node.privacy_budget import FOLDER, Limit, PrivacyBudget, as_rdp, costs_of
from node.privacy_charges import Announced, check_charges
from node.privacy_rounds import charge
from node.rounds import RoundId, participant, settings_dict
from node.training_process import WorkerCrashed
from node.worker_protocol import TrainRound
from tests.net.test_trainer import TRAINED, MuteLedger, PlayedProcess, mute
from tests.support.open_requests import TERMS, join, round_of, vector_blob
from tests.support.sealed_chain import key_of, wait_until
from tests.support.training_league import BASE, TrainingLeague

UNMASKED = Protection((), masked=False, exchange_window=1)
SOUND = (Setting("epsilon", "8"),)
RECORDS = 39


@pytest.fixture
async def league(tmp_path, nursery, monkeypatch):
    for part in (provider_rounds, requester_reports, trainer):
        monkeypatch.setattr(part, "RESEND_S", 0.05)
    with ExitStack() as stack:
        league = TrainingLeague(tmp_path, nursery, stack)
        league.keep_records("alice", 0)
        yield league
        nursery.cancel_scope.cancel()


def publish(league, *, settings=SOUND, **changes):
    """A protected request, in mode sound unless another is named; its id."""
    changes = {"privacy": "sound", "privacy_settings": settings} | changes
    terms = replace(TERMS, initial_model=blob_digest(BASE), **changes)
    transaction = league.sealed.say("dave", PublishProtected(terms, UNMASKED))
    league.seal()
    assert not league.sealed.refused, league.sealed.refused
    return transaction.id


def in_training(league, *, settings=SOUND, **changes):
    """With alice as its only provider, in round 1."""
    request = publish(league, settings=settings, **({"providers_max": 1} | changes))
    join(league.sealed, "alice", request, RECORDS)
    league.seal()
    assert league.request(request).stage is Stage.TRAINING
    return request


def book(league):
    return PrivacyBudget(league.folder / "alice" / FOLDER).book()


def cost_of(league, request):
    terms = league.request(request).terms
    return round_cost("sound", settings_dict(terms.privacy_settings), RECORDS, terms.batch, terms.epochs, 2)


def announced(ledger):
    return [body for body in ledger.said if isinstance(body, AnnounceProtected)]


class Watched(PlayedProcess):
    """Looks at the disk whenever it is given a job."""

    def __init__(self, league, *answers):
        super().__init__(*answers)
        self.league = league
        self.charged = []

    async def do(self, job, on_progress=None):
        if isinstance(job, TrainRound):
            self.charged.append(sum(each.charges for each in book(self.league).accounts))
        return await super().do(job, on_progress)


async def life(league, process, ledger, until, **settings):
    """A trainer from its start to its death."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(league.trainer("alice", process, ledger, **settings).run)
        await wait_until(until)
        nursery.cancel_scope.cancel()


@pytest.mark.trio
async def test_a_job_is_charged_on_the_disk_before_it_is_given_away(league):
    request = in_training(league)
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: announced(ledger))
    cost = cost_of(league, request)
    assert process.charged == [1]
    assert float(process.jobs[0].terms.noise) == cost.noise.sigma_micro / 1e6 > 0.3
    account = book(league).account(request)
    assert account.spent == costs_of(cost.rdp())
    (newest,) = account.newest
    assert (newest.round, newest.units, newest.steps) == (1, RECORDS, 9)

    league.seal()
    assert not league.sealed.refused
    spent = league.sealed.chain.read(Spent, charge_key(request, key_of("alice").org))
    charge = spent.charge
    assert spent.rounds == 1
    assert (charge.mode, charge.unit, charge.batch, charge.units, charge.steps) == ("sound", "record", 16, RECORDS, 9)
    assert charge.epsilon_micro == account.spent_micro() <= 8_000_000
    found = check_charges(league.request(request).terms, [Announced(RECORDS, charge)])
    assert found.fault == ""
    assert found.epsilon_micro <= charge.epsilon_micro <= found.epsilon_micro + 10
    # The whole request is what was promised: two such rounds come to epsilon 8.
    assert cost.epsilon(2) == pytest.approx(8.0, abs=1e-4)


@pytest.mark.trio
async def test_a_crash_after_the_charge_has_cost_it(league):
    """Whoever crashes in training starts anew, and is charged anew: what it had done might have been seen."""
    request = in_training(league)

    class Endless(Watched):
        async def do(self, job, on_progress=None):
            await super().do(job, on_progress)
            await trio.sleep_forever()

    dying, ledger = Endless(league, TRAINED), league.sealed.ledger("alice")
    await life(league, dying, ledger, lambda: dying.charged)
    assert ledger.said == []
    again = Watched(league, TRAINED)
    # The second charge would pass the request's own epsilon by nothing: two rounds were planned.
    await life(league, again, ledger, lambda: announced(ledger))
    assert again.charged == [2]
    (said,) = announced(ledger)
    assert said.charge[0].epsilon_micro == book(league).account(request).spent_micro()
    assert said.charge[0].epsilon_micro / 1e6 == pytest.approx(8.0, abs=1e-4)


@pytest.mark.trio
async def test_a_crash_after_the_answer_costs_nothing_more(league):
    request = in_training(league)
    silent = mute(league, "alice")
    await life(league, PlayedProcess(TRAINED), silent, lambda: announced(silent))
    process, ledger = Watched(league, replace(TRAINED, update=vector_blob(0.75))), league.sealed.ledger("alice")
    await life(league, process, ledger, lambda: announced(ledger))
    assert announced(ledger) == announced(silent)
    assert process.charged == []
    assert book(league).account(request).charges == 1


@pytest.mark.trio
async def test_every_try_of_a_worker_that_dies_is_charged(league):
    request = in_training(league, rounds_max=4)
    process, ledger = Watched(league, WorkerCrashed("ended with -9"), TRAINED), league.sealed.ledger("alice")
    await life(league, process, ledger, lambda: announced(ledger))
    assert process.charged == [1, 2]
    account = book(league).account(request)
    (said,) = announced(ledger)
    assert (account.charges, said.charge[0].epsilon_micro) == (2, account.spent_micro())
    league.seal()
    # More is announced than the steps of this round explain, which an auditor has nothing against.
    assert check_charges(league.request(request).terms, [Announced(RECORDS, said.charge[0])]).fault == ""


async def two_attempts(league, process, **changes):
    """The request, and what alice announced in either attempt at its first round."""
    league.keep_records("bob", 1)
    request = publish(league, providers_max=2, providers_min=2, **changes)
    for name in ("alice", "bob"):
        join(league.sealed, name, request, RECORDS)
    league.seal()
    assert league.request(request).stage is Stage.TRAINING
    ledger = league.sealed.ledger("alice")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(league.trainer("alice", process, ledger).run)
        await wait_until(lambda: announced(ledger))
        league.seal()
        # Bob is silent: the round is void, and begins again.
        league.seal(after_ms=61_000)
        league.seal(after_ms=11_000)
        assert league.request(request).attempt == 1
        await wait_until(lambda: len(announced(ledger)) == 2)
        nursery.cancel_scope.cancel()
    return request, *announced(ledger)


@pytest.mark.trio
async def test_a_round_tried_again_sends_the_bytes_of_the_first_try(league):
    process = Watched(league, TRAINED, replace(TRAINED, update=vector_blob(0.9)))
    request, first, second = await two_attempts(league, process)
    assert (second.update.attempt, second.update.blob) == (1, first.update.blob)
    assert (second.charge[0].steps, second.charge[0].epsilon_micro) == (0, first.charge[0].epsilon_micro)
    assert process.charged == [1]
    account = book(league).account(request)
    assert (account.charges, account.spent) == (2, costs_of(cost_of(league, request).rdp()))
    league.seal()
    assert not league.sealed.refused
    both = [Announced(RECORDS, each.charge[0]) for each in (first, second)]
    assert check_charges(league.request(request).terms, both).fault == ""


@pytest.mark.trio
async def test_what_cost_nothing_is_sent_again_as_it_was_too(league):
    """Others have seen it: another one beside their copy of it would be the copy."""
    process = Watched(league, TRAINED, replace(TRAINED, update=vector_blob(0.9)))
    _, first, second = await two_attempts(league, process, privacy="none", settings=())
    assert (second.update.attempt, second.update.blob, second.charge) == (1, first.update.blob, ())
    assert len([job for job in process.jobs if isinstance(job, TrainRound)]) == 1


@pytest.mark.trio
async def test_a_round_past_the_budget_is_declined_and_the_worker_never_hears_of_it(league):
    request = in_training(league)
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: ledger.said, limit=Limit(1_000_000, 1e-5))
    (declined,) = ledger.said
    assert isinstance(declined, DeclineRound)
    assert declined.reason.startswith("privacy budget spent: epsilon ")
    assert declined.reason.endswith(" of 1 in all")
    assert process.jobs == []
    assert book(league).accounts == ()
    assert [data["code"] for data in league.told["alice"] if data["event"] == "declined"] == ["budget"]
    attempt = league.request(request).attempt
    league.seal()
    receipts = league.request(request)
    assert receipts.attempt == attempt + 1 or receipts.stage is Stage.FAILED, "the only provider: the round is void"


@pytest.mark.trio
async def test_a_damaged_budget_ends_training_not_the_node(league):
    in_training(league)
    folder = league.folder / "alice" / FOLDER
    folder.mkdir()
    (folder / "budget").write_bytes(b"not what was written")
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: ledger.said)
    (declined,) = ledger.said
    assert isinstance(declined, DeclineRound)
    assert declined.reason.startswith("privacy budget damaged")
    assert process.jobs == []
    (told,) = [data for data in league.told["alice"] if data["event"] == "declined"]
    assert "restore it from a backup" in told["reason"]


@pytest.mark.trio
@pytest.mark.parametrize("damaged", [True, False])
async def test_a_masked_round_is_declined_before_anybody_counts_on_this_node(league, damaged):
    terms = replace(
        TERMS,
        initial_model=blob_digest(BASE),
        privacy="sound",
        privacy_settings=SOUND,
        strategy="fedavg",
        providers_min=3,
        providers_max=3,
    )
    masked = Protection((), masked=True, exchange_window=10_000)
    request = league.sealed.say("dave", PublishProtected(terms, masked)).id
    league.seal()
    for seed, name in enumerate(("bob", "carol"), start=1):
        league.keep_records(name, seed)
    for name in ("alice", "bob", "carol"):
        join(league.sealed, name, request, RECORDS)
    league.seal()
    assert league.request(request).stage is Stage.KEYS
    if damaged:
        folder = league.folder / "alice" / FOLDER
        folder.mkdir()
        (folder / "budget").write_bytes(b"not what was written")
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: ledger.said, limit=Limit(500_000, 1e-5))
    (declined,) = ledger.said
    assert isinstance(declined, DeclineRound)
    assert declined.reason.startswith("privacy budget damaged" if damaged else "privacy budget spent: epsilon ")
    assert process.jobs == []


@pytest.mark.trio
async def test_a_budget_that_was_lost_is_known_from_the_ledger(league):
    request = in_training(league, rounds_max=6)
    ledger = league.sealed.ledger("alice")
    await life(league, PlayedProcess(TRAINED), ledger, lambda: announced(ledger))
    league.seal()
    spent = book(league).spent_micro(1e-5)
    (league.folder / "alice" / FOLDER / "budget").unlink()
    other = in_training(league, title="another", rounds_max=6)
    process = Watched(league, TRAINED)
    await life(league, process, ledger, lambda: len(announced(ledger)) == 2)
    accounts = {each.request: each for each in book(league).accounts}
    assert accounts.keys() == {request, other}
    assert accounts[request].spent_micro() >= spent
    assert process.charged == [2]


@pytest.mark.trio
async def test_a_lost_budget_is_held_against_a_ledger_that_is_still_being_fetched(league):
    """The ledger comes back block by block: what it tells later than the first charge counts as well."""
    requests = [in_training(league, title=title, rounds_max=6) for title in ("first", "second")]
    ledger = league.sealed.ledger("alice")
    await life(league, PlayedProcess(TRAINED), ledger, lambda: len(announced(ledger)) == 2)
    spent = book(league).account(requests[0])
    (league.folder / "alice" / FOLDER / "budget").unlink()
    shop = league.trainer("alice", PlayedProcess(TRAINED), ledger, limit=Limit(90_000_000, 1e-5))._shop
    cost = cost_of(league, requests[1])
    cost = replace(cost, noise=replace(cost.noise, epsilon_micro=90_000_000))

    async def charged():
        await charge(shop, RoundId(requests[1], 1, 1), league.request(requests[1]).terms, cost)
        return {each.request: each for each in shop.budget.book().accounts}

    assert (await charged()).keys() == {requests[1]}
    league.seal()
    accounts = await charged()
    assert accounts[requests[0]].spent_micro() >= spent.spent_micro()
    assert not shop.budget.compared
    shop.budget.began_ms = league.sealed.chain.head_time
    assert await charged()
    assert shop.budget.compared


@pytest.mark.trio
async def test_a_round_that_may_long_be_over_is_not_charged(league, monkeypatch):
    """A node that was away meets old rounds on its way to the head: only one that costs nothing is begun."""
    request = in_training(league, title="noised")
    free = in_training(league, title="free", privacy="none", settings=())
    begun, take_part = [], trainer.take_part

    async def noted(shop, task, current):
        begun.append(current.id.request)
        await take_part(shop, task, current)

    monkeypatch.setattr(trainer, "take_part", noted)
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    ledger.catching_up = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(league.trainer("alice", process, ledger).run)
        await wait_until(lambda: announced(ledger))
        assert (begun, book(league).accounts) == ([free], ())
        ledger.catching_up = False
        league.seal()
        await wait_until(lambda: len(announced(ledger)) == 2)
        nursery.cancel_scope.cancel()
    assert begun == [free, request]
    assert process.charged == [0, 1]


@pytest.mark.trio
async def test_a_full_disk_keeps_the_job_back_until_there_is_room(league, monkeypatch):
    in_training(league)
    full = [True]
    charge = PrivacyBudget.charge

    def refused(self, *given):
        if full[0]:
            raise OSError(28, "No space left on device")
        return charge(self, *given)

    monkeypatch.setattr(PrivacyBudget, "charge", refused)
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(league.trainer("alice", process, ledger).run)
        await wait_until(lambda: "failed" in league.events("alice"))
        assert process.jobs == []
        full[0] = False
        await wait_until(lambda: announced(ledger))
        nursery.cancel_scope.cancel()
    assert process.charged == [1]


# --- joining


@pytest.mark.trio
async def test_requests_whose_plan_does_not_fit_are_not_joined(league, monkeypatch):
    monkeypatch.setattr(offers, "RESEND_S", 0.01)
    too_much = publish(league, title="too much", settings=(Setting("epsilon", "12"),))
    first = publish(league, title="first", settings=(Setting("epsilon", "8"),))
    ledger = league.sealed.ledger("alice")
    await life(league, PlayedProcess(TRAINED), ledger, lambda: ledger.said and league.told["alice"])
    named = {data["request"]: data["reason"] for data in league.told["alice"] if data["event"] == "not_joined"}
    assert named.keys() == {too_much.hex()}
    assert named[too_much.hex()].startswith("privacy budget spent: epsilon 12 of 10 with this request")
    assert [body.request for body in ledger.said if isinstance(body, JoinRequest)] == [first]
    league.seal()
    # Nothing of the first is spent yet, but its rounds will be.
    second = publish(league, title="second", settings=(Setting("epsilon", "8"),))
    small = publish(league, title="small", settings=(Setting("epsilon", "1"),))
    league.told["alice"].clear()
    mutely = MuteLedger(league.sealed, key_of("alice"))

    def decided():
        refused = [data for data in league.told["alice"] if data["event"] == "not_joined"]
        return len(refused) == 2 and any(isinstance(body, JoinRequest) for body in mutely.said)

    await life(league, PlayedProcess(TRAINED), mutely, decided)
    refused = {data["request"] for data in league.told["alice"] if data["event"] == "not_joined"}
    assert refused == {too_much.hex(), second.hex()}
    assert [body.request for body in mutely.said if isinstance(body, JoinRequest)] == [small]


@pytest.mark.trio
async def test_an_owner_who_wants_a_guarantee_trains_with_one_only(league):
    plain = replace(TERMS, initial_model=blob_digest(BASE), title="plain")
    unsafe = league.sealed.say("dave", PublishProtected(plain, UNMASKED)).id
    sound = publish(league)
    ledger = league.sealed.ledger("alice")
    done = [lambda: ledger.said, lambda: league.told["alice"]]
    await life(league, PlayedProcess(TRAINED), ledger, lambda: all(each() for each in done), require_guarantee=True)
    assert [body.request for body in ledger.said] == [sound]
    (told,) = [data for data in league.told["alice"] if data["event"] == "not_joined"]
    assert (told["request"], told["reason"]) == (unsafe.hex(), "privacy none has no guarantee, this provider wants one")


# --- what is told of the test records

NOISY = (Setting("accuracy", "noisy"), Setting("accuracy_sigma", "25"), Setting("epsilon", "8"))
EXACT = (Setting("accuracy", "exact"), Setting("epsilon", "8"))


@pytest.mark.trio
@pytest.mark.parametrize(
    ("settings", "telling", "accuracy", "query"),
    [
        (SOUND, "exact", "none", "0.0"),
        (NOISY, "noisy", "noisy", "25.0"),
        (NOISY, "exact", "noisy", "25.0"),
        (NOISY, "none", "none", "0.0"),
        (EXACT, "exact", "exact", "0.0"),
        (EXACT, "noisy", "none", "0.0"),
    ],
)
async def test_of_test_records_is_told_what_terms_and_owner_both_allow(league, settings, telling, accuracy, query):
    request = in_training(league, settings=settings)
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: announced(ledger), telling=telling)
    terms = process.jobs[0].terms
    assert (terms.accuracy, terms.query_noise) == (accuracy, query)
    (said,) = announced(ledger)
    assert said.charge[0].query_noise_micro == int(float(query) * 1e6)
    league.seal()
    assert check_charges(league.request(request).terms, [Announced(RECORDS, said.charge[0])]).fault == ""
    part = participant(round_of(league.sealed, request), key_of("alice").org)
    assert part is None or part.fate is not Fate.REFUSED


@pytest.mark.trio
async def test_a_request_without_protection_is_charged_all_the_same(league):
    """Older leagues know no charge on the ledger; the owner's budget is the owner's."""
    terms = replace(
        TERMS, initial_model=blob_digest(BASE), privacy="none", providers_max=1, title="plain, and nothing is charged"
    )
    request = league.sealed.say("dave", PublishProtected(terms, UNMASKED)).id
    league.seal()
    join(league.sealed, "alice", request, RECORDS)
    league.seal()
    ledger, process = league.sealed.ledger("alice"), Watched(league, TRAINED)
    await life(league, process, ledger, lambda: announced(ledger))
    assert announced(ledger)[0].charge == ()
    assert process.charged == [0]
    assert process.jobs[0].terms.accuracy == "exact"
    assert as_rdp(book(league).spent()) == as_rdp((0,) * len(book(league).spent()))


@pytest.mark.trio
@pytest.mark.parametrize("mode", ["none", "sound"])
async def test_a_step_of_nothing_is_declined_where_it_would_pass_for_no_work(league, mode):
    """A requester can publish terms that lead nowhere; who trained by them must not lose reputation for it. In a mode
    that is charged whether an update is sent must not depend on the records, and noise is a step."""
    settings = SOUND if mode == "sound" else ()
    in_training(league, privacy=mode, settings=settings, providers_max=1)
    ledger, process = league.sealed.ledger("alice"), Watched(league, replace(TRAINED, update=BASE))
    await life(league, process, ledger, lambda: ledger.said)
    (said,) = ledger.said
    if mode == "sound":
        assert isinstance(said, AnnounceProtected)
    else:
        assert isinstance(said, DeclineRound)
        assert "no step" in said.reason
