"""What the local interface says of privacy that is spent: here, and by every provider's own word."""

from dataclasses import replace

import pytest

from fl.privacy.plan import round_cost
from ledger.protection import Charge
from ledger.transactions import AnchorRecords, AnnounceProtected, AnnounceUpdate
from node.privacy_budget import FOLDER, Account, ChargedRound, Limit, PrivacyBudget, costs_of
from node.rpc.errors import RpcError
from node.rpc.node import Node
from tests.support.rpc_calls import call
from tests.support.rpc_services import ALICE, BOB, LoneServices, settings_in
from tests.unit.test_rpc_methods import DRAFT, MODEL, ModelMaker

SOUND = DRAFT | {"privacy": "sound", "privacy_settings": {"epsilon": "3"}, "providers_max": 1, "title": "private"}
COST = round_cost("sound", {"epsilon": "3"}, 500, 32, 1, 3)


@pytest.fixture
def services():
    services = LoneServices(instant=True)
    services.trainer = ModelMaker()
    return services


@pytest.fixture
def node(services, tmp_path):
    settings = replace(settings_in(tmp_path), data_type="bearing", privacy_limit=Limit(4_000_000, 1e-4))
    return Node(services=services, settings=settings, version="1", started=0.0)


def charge(**changes):
    honest = Charge(
        "sound",
        "record",
        COST.noise.sigma_micro,
        32,
        500,
        COST.sampling.steps,
        0,
        round(COST.epsilon() * 1e6) + 1,
        COST.noise.delta_pico,
    )
    return replace(honest, **changes)


async def announced(node, services, said):
    """A request of alice's whose only provider, bob, has announced its first update with this charge; its id."""
    request = (await call(node, "request.publish", request=SOUND))["request"]
    services.key = BOB
    await services.submit_own(AnchorRecords(1, 500, MODEL, 0, 10))
    await call(node, "request.join", request=request)
    update = AnnounceUpdate(bytes.fromhex(request), 1, 0, MODEL, 100, 500, (1,), 0, 0)
    await services.submit_own(AnnounceProtected(update, (said,)))
    services.key = ALICE
    return request


@pytest.mark.trio
async def test_an_honest_charge_is_shown_and_fits(node, services):
    request = await announced(node, services, charge())
    shown = await call(node, "request.privacy", request=request)
    (bob,) = shown["providers"]
    assert (shown["privacy"], shown["settings"], shown["complete"]) == ("sound", {"epsilon": "3"}, True)
    assert (bob["name"], bob["rounds"], bob["announcements"], bob["fault"]) == ("bob", 1, 1, "")
    assert bob["charge"]["epsilon_micro"] - bob["recomputed"] in (0, 1)
    assert bob["charge"]["units"] == 500


@pytest.mark.trio
async def test_a_charge_that_is_too_small_is_named(node, services):
    request = await announced(node, services, charge(epsilon_micro=1_000))
    (bob,) = (await call(node, "request.privacy", request=request))["providers"]
    assert bob["fault"].startswith("announced epsilon 0.0010, these steps cost")
    assert bob["recomputed"] == pytest.approx(COST.epsilon() * 1e6, abs=2)


@pytest.mark.trio
async def test_requests_that_nobody_was_charged_for_say_so(node):
    with pytest.raises(RpcError, match="no request"):
        await call(node, "request.privacy", request="00" * 32)
    request = (await call(node, "request.publish", request=DRAFT))["request"]
    shown = await call(node, "request.privacy", request=request)
    assert (shown["privacy"], shown["providers"]) == ("none", [])


@pytest.mark.trio
async def test_the_budget_is_shown_with_what_is_left_of_it(node, services, tmp_path):
    fresh = await call(node, "privacy.budget")
    assert (fresh["data_type"], fresh["epsilon_max"], fresh["delta"]) == ("bearing", 4_000_000, "0.0001")
    assert (fresh["spent"], fresh["left"], fresh["requests"], fresh["unguarded"]) == (0, 4_000_000, [], [])

    request = (await call(node, "request.publish", request=SOUND))["request"]
    noise = COST.noise
    account = Account(
        bytes.fromhex(request), "sound", "record", noise.sigma_micro, 0, 32, noise.epsilon_micro, noise.delta_pico
    )
    budget = PrivacyBudget(tmp_path / FOLDER)
    for number in (1, 2):
        budget.charge(account, ChargedRound(number, 0, 500, 16), costs_of(COST.rdp()), node.settings.privacy_limit)
    shown = await call(node, "privacy.budget")
    (one,) = shown["requests"]
    assert (one["title"], one["charges"], one["over"], one["unit"]) == ("private", 2, False, "record")
    assert shown["spent"] + shown["left"] == 4_000_000
    # At a larger delta than the request's own.
    assert 0 < shown["spent"] < one["epsilon"] <= one["epsilon_max"] == 3_000_000

    budget.path.write_bytes(b"damaged")
    with pytest.raises(RpcError, match="privacy budget damaged") as caught:
        await call(node, "privacy.budget")
    assert caught.value.kind.word == "unavailable"


@pytest.mark.trio
async def test_what_was_trained_without_a_guarantee_is_not_hidden(node, services):
    request = (await call(node, "request.publish", request=DRAFT | {"providers_max": 1}))["request"]
    services.key = BOB
    await services.submit_own(AnchorRecords(1, 500, MODEL, 0, 10))
    await call(node, "request.join", request=request)
    assert (await call(node, "privacy.budget"))["unguarded"] == [
        {"request": request, "title": "bearings", "mode": "none"}
    ]


@pytest.mark.trio
async def test_a_target_that_nobody_would_measure_is_not_published(node):
    with pytest.raises(RpcError, match="nobody would measure it") as caught:
        await call(node, "request.publish", request=SOUND | {"target_accuracy": 900_000})
    assert caught.value.kind.word == "invalid_params"
    noisy = {"target_accuracy": 900_000, "privacy_settings": {"epsilon": "3", "accuracy": "noisy"}}
    assert (await call(node, "request.publish", request=SOUND | noisy))["status"] == "final"
