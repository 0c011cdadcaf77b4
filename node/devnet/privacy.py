"""What a devnet's request cost its factories in privacy: told at the end, and checked as any auditor would."""

from collections.abc import Mapping
from typing import Any

from fl.comparison import Compared
from node.devnet.league import DevLeague
from node.devnet.plan import Plan
from node.privacy_budget import MICRO, PICO


def charges_of(league: DevLeague, request: str) -> list[Mapping[str, Any]]:
    """Per provider what the ledger says of its charges, with what its own noise, rate and steps come to."""
    return list(league.nodes[0].call("request.privacy", request=request)["providers"])


def privacy_lines(league: DevLeague, request: str, compared: Compared) -> list[str]:
    """For people; nothing where no noise was asked for."""
    charges = [each["charge"] for each in charges_of(league, request) if each["charge"] is not None]
    if not charges or compared.without_noise is None:
        return []
    spent = max(int(charge["epsilon_micro"]) for charge in charges) / MICRO
    delta = max(int(charge["delta_pico"]) for charge in charges) / PICO
    noises = sorted(int(charge["noise_micro"]) / MICRO for charge in charges)
    return [
        f"Every step was noised (multiplier {noises[0]:.2f} to {noises[-1]:.2f}): a factory has spent at most epsilon "
        f"{spent:.2f} at delta {delta:g}. The same rounds without noise: {compared.without_noise:.2%}, so "
        f"it cost {100 * (compared.without_noise - compared.federated.accuracy):.2f} points"
    ]


def privacy_faults(league: DevLeague, plan: Plan, request: str) -> list[str]:
    """Charges that are missing, larger than the request allows, or smaller than what was stated costs."""
    allowed = float(dict(plan.draft.privacy_settings)["epsilon"]) * MICRO
    faults = []
    for each in charges_of(league, request):
        if each["charge"] is None:
            faults.append(f"{each['name']}: nothing charged")
        elif each["fault"]:
            faults.append(f"{each['name']}: {each['fault']}")
        elif int(each["charge"]["epsilon_micro"]) > allowed:
            faults.append(f"{each['name']}: epsilon {int(each['charge']['epsilon_micro']) / MICRO:g}")
    return faults
