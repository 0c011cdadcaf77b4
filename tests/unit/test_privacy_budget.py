"""The budget: on the disk before the job, never given back, and damage never mistaken for a fresh start."""

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.privacy.accountant import add_rdp, epsilon_micro, epsilon_of, rdp_poisson_gaussian
from ledger.types import AMOUNT_MAX
from node import privacy_budget
from node.privacy_budget import (
    FILE,
    NOTHING,
    Account,
    Book,
    BudgetDamaged,
    BudgetSpent,
    ChargedRound,
    Limit,
    PrivacyBudget,
    added,
    as_rdp,
    costs_of,
)
from node.simulation.disk import DiskFaults, PowerCut, SimDisk

BEARINGS, PUMPS = bytes([5]) * 32, bytes([6]) * 32
FOLDER = Path("privacy")
COST = costs_of(rdp_poisson_gaussian(0.02, 1.5, 60))
ROOMY = Limit(50_000_000, 1e-5)
ROUND = ChargedRound(1, 0, 640, 60)


def account(request=BEARINGS, epsilon_micro=20_000_000):
    return Account(request, "sound", "record", 1_200_000, 0, 32, epsilon_micro, 10_000_000)


def rounds_affordable(limit, cost=COST):
    count = 0
    while epsilon_of(as_rdp(added(*[cost] * (count + 1))), limit.delta) * 1e6 <= limit.epsilon_micro:
        count += 1
    return count


@pytest.fixture
def budget(tmp_path):
    return PrivacyBudget(tmp_path / "privacy")


def test_what_was_charged_is_there_after_a_restart(budget):
    assert budget.book().spent() == NOTHING
    for number in (1, 2, 3):
        budget.charge(account(), ChargedRound(number, 0, 640, 60), COST, ROOMY)
    again = PrivacyBudget(budget.path.parent).book()
    kept = again.account(BEARINGS)
    assert kept is not None
    assert (kept.charges, [each.round for each in kept.newest]) == (3, [1, 2, 3])
    assert again.spent() == added(COST, COST, COST)
    whole = epsilon_of(rdp_poisson_gaussian(0.02, 1.5, 180), 1e-5)
    assert whole <= again.spent_micro(1e-5) / 1e6 <= whole * 1.0001


def test_requests_on_the_same_records_share_the_budget(budget):
    limit = Limit(3_000_000, 1e-5)
    affordable = rounds_affordable(limit)
    assert affordable >= 4
    for number in range(affordable):
        budget.charge(account((BEARINGS, PUMPS)[number % 2]), ROUND, COST, limit)
    for request in (BEARINGS, PUMPS):
        with pytest.raises(BudgetSpent, match=r"^privacy budget spent: epsilon .* of 3 in all$"):
            budget.charge(account(request), ROUND, COST, limit)
    assert budget.book().spent() == added(*[COST] * affordable), "what was refused has cost nothing"
    # A smaller round may still fit.
    budget.charge(account(), ROUND, NOTHING, limit)


def test_a_request_never_costs_more_than_it_promised(budget):
    modest = account(epsilon_micro=1_000_000)
    affordable = rounds_affordable(Limit(1_000_000, 1e-5))
    for _ in range(affordable):
        budget.charge(modest, ROUND, COST, ROOMY)
    with pytest.raises(BudgetSpent, match="in this request") as spent:
        # Whatever a later round says of its limit, the first one's stays.
        budget.charge(replace(modest, epsilon_micro=9_000_000), ROUND, COST, ROOMY)
    assert len(str(spent.value).encode()) <= 64
    budget.charge(account(PUMPS), ROUND, COST, ROOMY)


def test_all_that_a_request_has_spent_is_measured_at_its_smallest_delta(budget):
    first = budget.charge(account(), ROUND, COST, ROOMY)
    grown = budget.charge(replace(account(), delta_pico=1_000_000), ROUND, COST, ROOMY)
    assert grown.spent_micro() == epsilon_micro(as_rdp(added(COST, COST)), 1e-6) > first.spent_micro()
    assert budget.charge(account(), ROUND, COST, ROOMY).delta_pico == 1_000_000


def test_the_file_is_the_owners_alone(budget):
    budget.charge(account(), ROUND, COST, ROOMY)
    assert (budget.path.stat().st_mode & 0o777, budget.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_every_damage_stops_training_and_says_so(budget):
    budget.charge(account(), ROUND, COST, ROOMY)
    whole = budget.path.read_bytes()
    flipped = [whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :] for at in range(0, len(whole), 41)]
    for damaged in (*flipped, whole[:-1], whole + b"\0", b"", whole[:40], bytes(len(whole))):
        budget.path.write_bytes(damaged)
        fresh = PrivacyBudget(budget.path.parent)
        for work in (fresh.book, lambda fresh=fresh: fresh.charge(account(), ROUND, COST, ROOMY)):
            with pytest.raises(BudgetDamaged, match=r"privacy budget damaged: .*restore it from a backup"):
                work()
        assert budget.path.read_bytes() == damaged, "it is left as it was found"
    budget.path.write_bytes(whole)
    assert PrivacyBudget(budget.path.parent).book().spent() == COST


def test_a_file_that_counts_otherwise_is_not_misread(budget, monkeypatch):
    budget.charge(account(), ROUND, COST, ROOMY)
    monkeypatch.setattr(privacy_budget, "RDP_ORDERS", (*privacy_budget.RDP_ORDERS[:-1], 2048))
    with pytest.raises(BudgetDamaged, match="another version"):
        PrivacyBudget(budget.path.parent).book()


# --- crashes


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.floats(0.05, 0.5))
def test_no_job_was_ever_given_away_that_the_disk_does_not_know_of(seed, jobs, cut):
    """Crashes and power cuts at every write: what was trained is charged, whatever else is."""
    rng = Random(seed)
    disk = SimDisk(rng)
    disk.faults = DiskFaults(cut_short=cut, failing=0.1)
    budget = PrivacyBudget(FOLDER, disk.files())
    trained = tried = 0
    for number in range(jobs):
        tried += 1
        try:
            budget.charge(account(), ChargedRound(number, 0, 640, 60), COST, ROOMY)
            trained += 1
        except PowerCut:
            budget = PrivacyBudget(FOLDER, disk.files())
        except OSError:
            pass
        assert trained <= (charged := charges(disk)) <= tried
        assert PrivacyBudget(FOLDER, disk.files()).book().spent() == added(*[COST] * charged)
    if rng.random() < 0.5:
        disk.cut_power()
    assert trained <= charges(disk) <= tried


def charges(disk):
    kept = PrivacyBudget(FOLDER, disk.files()).book().account(BEARINGS)
    return kept.charges if kept is not None else 0


@pytest.mark.parametrize("fault", [DiskFaults(full=True), DiskFaults(failing=1.0)])
def test_a_disk_that_refuses_lets_nothing_be_trained(fault):
    disk = SimDisk(Random(1))
    budget = PrivacyBudget(FOLDER, disk.files())
    budget.charge(account(), ROUND, COST, ROOMY)
    disk.faults = fault
    with pytest.raises(OSError):
        budget.charge(account(), ROUND, COST, ROOMY)
    disk.faults = DiskFaults()
    assert charges(disk) == 1
    assert budget.charge(account(), ROUND, COST, ROOMY).charges == 2


def test_a_rotten_bit_on_the_disk_is_noticed_wherever_it_is():
    disk = SimDisk(Random(2))
    PrivacyBudget(FOLDER, disk.files()).charge(account(), ROUND, COST, ROOMY)
    for at in range(0, disk.length(FILE), 29):
        disk.rot(FILE, at)
        with pytest.raises(BudgetDamaged):
            PrivacyBudget(FOLDER, disk.files()).book()
        disk.rot(FILE, at)


# --- what was lost comes back from the ledger


def test_a_file_that_knows_less_than_the_ledger_takes_that_over(budget):
    announced = replace(account(), charges=7, spent=added(*[COST] * 7))
    assert budget.adopt(announced)
    assert not budget.adopt(announced), "once"
    assert PrivacyBudget(budget.path.parent).book().spent() == announced.spent
    # It goes on from there.
    assert budget.charge(account(), ROUND, COST, ROOMY).charges == 8
    assert not budget.adopt(announced)
    assert budget.book().spent() == added(*[COST] * 8)


def test_adopting_never_makes_less_of_what_is_known(budget):
    for _ in range(3):
        budget.charge(account(), ROUND, COST, ROOMY)
    assert not budget.adopt(replace(account(), charges=2, spent=NOTHING))
    assert budget.adopt(replace(account(), charges=4, spent=NOTHING))
    assert budget.book().spent() == added(COST, COST, COST)


def test_an_old_copy_with_crashes_in_it_takes_over_what_was_announced_since(budget):
    """Five charges of which three crashed; then four rounds more were announced, and an old file was put back."""
    for _ in range(5):
        budget.charge(account(), ROUND, COST, ROOMY)
    whole = added(*[COST] * 9)
    announced = replace(account(), charges=5, spent=whole)
    announced = replace(announced, epsilon_micro=announced.spent_micro())
    assert budget.adopt(announced)
    assert budget.book().spent() == whole
    assert not budget.adopt(announced)


# --- arithmetic


def test_old_requests_are_added_up_and_not_forgotten(budget, monkeypatch):
    monkeypatch.setattr(privacy_budget, "ACCOUNTS_MAX", 3)
    for each in range(10):
        budget.charge(account(bytes([each]) * 32), ROUND, COST, ROOMY)
    book = PrivacyBudget(budget.path.parent).book()
    assert [each.request[0] for each in book.accounts] == [7, 8, 9]
    assert book.spent() == added(*[COST] * 10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(1e-3, 1.0), st.floats(0.3, 20), st.integers(1, 500)), min_size=1, max_size=6))
def test_costs_in_billionths_are_never_too_small_and_hardly_too_large(parts):
    vectors = [rdp_poisson_gaussian(*part) for part in parts]
    kept, exact = as_rdp(added(*map(costs_of, vectors))), add_rdp(*vectors)
    most = AMOUNT_MAX / 1e9
    assert all(min(each, most) <= got * (1 + 1e-12) for got, each in zip(kept, exact, strict=True))
    epsilon = epsilon_of(exact, 1e-5)
    assert epsilon <= epsilon_of(kept, 1e-5) * (1 + 1e-12) <= epsilon * (1 + 1e-6) + 1e-7 * len(parts)


def test_what_is_too_large_to_write_down_stays_too_large():
    endless = added(*[costs_of(rdp_poisson_gaussian(1.0, 0.3, 10_000_000))] * 3)
    assert max(endless) == AMOUNT_MAX
    assert Book(folded=endless).spent_micro(1e-5) > 10**6 * 10**6
