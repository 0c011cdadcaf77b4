"""What `request.get` and `hanse request get` tell of how a request is protected, in the middle of a masked round."""

from dataclasses import dataclass
from typing import Any, cast

import pytest
from click.testing import CliRunner

from ledger.chain import Chain
from ledger.entries import Stage
from ledger.protection import Charge, threshold
from ledger.protection_entries import Exclusion, Spent, charge_key, exclusion_key
from ledger.state import State
from node.cli import request as verbs
from node.rpc.methods.request_protection import protection_shown
from node.rpc.node import Node
from tests.support.masked_league import MaskedLeague
from tests.support.sealed_chain import key_of

CHARGE = Charge("sound", "record", 1_200_000, 32, 480, 15, 0, 1_500_000, 10_000_000)


@dataclass
class Seen:
    """Of a node what a view of the ledger takes."""

    chain: Chain

    def name_of(self, org: bytes) -> str | None:
        return next((name for name in NAMES if key_of(name).org == org), None)


NAMES = [f"provider {at}" for at in range(4)]


def shown(league: MaskedLeague) -> dict[str, Any]:
    return protection_shown(cast(Node, Seen(league.sealed.chain)), league.request)


def at(stage: Stage) -> MaskedLeague:
    league = MaskedLeague(4)
    while league.entry.stage is not stage:
        league.block()
    return league


def test_the_exchange_is_shown_with_who_is_waited_for():
    league = at(Stage.SHARES)
    found = shown(league)
    assert found["protection"] == {"aggregation_settings": [], "masked": True, "exchange_window": 10_000}
    assert found["masking"]["threshold"] == threshold(4)
    assert [each["name"] for each in found["waited_for"]] == [each["name"] for each in found["masking"]["members"]]
    assert {each["name"] for each in found["waited_for"]} == set(NAMES)
    assert not any(each["dealt"] for each in found["masking"]["members"])
    league = at(Stage.UNMASKING)
    members = shown(league)["masking"]["members"]
    assert all(each["dealt"] and each["accepted"] and each["counted"] and not each["revealed"] for each in members)
    league.run()
    found = shown(league)
    assert (found["masking"], found["waited_for"], found["charges"], found["excluded"]) == (None, [], [], [])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> str:
    """What a person reads of a masked request in SHARES, of which one provider was charged and one put out."""
    league = at(Stage.SHARES)
    chain, request = league.sealed.chain, league.request
    charged, out = key_of(NAMES[0]).org, key_of("long gone").org
    state = chain.state()
    state.put(charge_key(request, charged), Spent(2, CHARGE))
    state.put(exclusion_key(request, out), Exclusion(1, 0, 9, "did not open the shares"))
    monkeypatch.setattr(chain, "state", lambda: state)
    monkeypatch.setattr(chain, "scan", lambda kind, prefix: State.scan(state, kind, prefix))
    answer = {
        "request": {
            "id": request.hex(),
            "requester_name": "asker",
            "requester": "",
            "stage": "shares",
            "outcome": "",
            "round": 1,
            "accuracy": 0,
            "judged_round": 0,
            "paid": 0,
            "escrow": 9,
            "terms": {},
            "providers": [],
            **shown(league),
        },
        "round": None,
    }
    monkeypatch.setattr(verbs, "ask", lambda *_, **__: answer)
    monkeypatch.setattr(verbs, "whole_id", lambda *_: request.hex())
    result = CliRunner().invoke(verbs.request, ["get", request.hex()])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_person_reads_what_was_charged_who_was_put_out_and_who_is_waited_for(told: str):
    assert "only their sum is ever seen" in told
    assert "1.500" in told
    assert "1e-05" in told
    assert "put out in round 1" in told
    assert "did not open the shares" in told
    waiting = next(line for line in told.splitlines() if line.startswith("waiting for: "))
    assert all(name in waiting for name in NAMES)
    assert "threshold 3" in told
