"""Real daemons in mode sound: what a round costs is charged and shown, and who has nothing left declines alone."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from node.devnet.league import NodePlan
from node.privacy_budget import FOLDER, PrivacyBudget
from tests.support.processes import (
    FAST,
    factory,
    hanse,
    publish,
    receipts_of,
    request_of,
    running_league,
    wait,
    wait_over,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

# With 120 records and two epochs a round: epsilon 3.73 after one round, 5.03 after two, 6.00 after three.
SOUND = {"epsilon": "6", "accuracy": "noisy", "accuracy_sigma": "40"}
BOBS_MAX = Decimal("4.4")


def test_a_round_past_a_nodes_budget_goes_on_without_it(tmp_path: Path) -> None:
    bob_grants = {"training": {"offer": "ask"}, "privacy": {"epsilon_max": BOBS_MAX}}
    plans = [
        NodePlan("alice", settings=FAST),
        factory("bob", 0, 2, **bob_grants),
        factory("carol", 1, 2),
    ]
    with running_league(tmp_path / "league", plans) as league:
        alice, bob, _ = league.nodes
        request = publish(
            alice,
            title="Private bearings",
            privacy="sound",
            privacy_settings=SOUND,
            strategy="fedavg",
            rounds_max=3,
            providers_min=1,
            providers_max=2,
            join_window=600_000,
        )
        # Bob's own budget would not have let it join by itself; what its operator wants it does as far as it goes.
        bob.call("request.join", request=request)
        ended = wait_over(league, alice, request)
        assert (ended["stage"], ended["model_round"]) == ("done", 3)
        said = [{line["org"]: line for line in each["lines"]} for each in receipts_of(alice, request)]
        fates = [(each[bob.org.hex()]["fate"], len(each)) for each in said]
        assert fates[0] == ("delivered", 2)
        assert {fate for fate, _ in fates[1:]} == {"declined"}
        reason = said[1][bob.org.hex()]["reason"]
        assert reason.startswith("privacy budget spent: epsilon ")
        assert reason.endswith(f" of {BOBS_MAX} in all")
        carol = league.nodes[2].org.hex()
        assert [each[carol]["fate"] for each in said] == ["delivered"] * 3

        spent = bob.call("privacy.budget")
        assert 0 < spent["spent"] <= BOBS_MAX * 10**6
        assert (spent["left"], spent["requests"][0]["charges"]) == (BOBS_MAX * 10**6 - spent["spent"], 1)
        kept = PrivacyBudget(bob.folder / FOLDER).book().account(bytes.fromhex(request))
        assert kept is not None
        assert kept.spent_micro() == spent["requests"][0]["epsilon"]

        shown = alice.call("request.privacy", request=request)
        assert shown["complete"]
        charged = {each["name"]: each for each in shown["providers"]}
        assert {name: each["announcements"] for name, each in charged.items()} == {"bob": 1, "carol": 3}
        assert all(each["fault"] == "" and each["recomputed"] <= 6_000_001 for each in charged.values())
        assert charged["carol"]["charge"]["epsilon_micro"] > charged["bob"]["charge"]["epsilon_micro"] > 3_000_000
        assert charged["bob"]["charge"]["query_noise_micro"] == 40_000_000

        report = hanse("dp", "report", "-c", bob.folder)
        assert (report.code, "Private bearings" in report.out, f"of {BOBS_MAX} at delta" in report.out) == (
            0,
            True,
            True,
        )
        check = hanse("dp", "check", request[:8], "-c", alice.folder, "--json")
        assert check.code == 0
        assert json.loads(check.out)["providers"] == shown["providers"]
        assert request_of(alice, request)["over"]
        wait(league, league.is_agreed, "all hold the same ledger")
