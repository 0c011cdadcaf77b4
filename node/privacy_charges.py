"""What is announced of a charge, computed again: whoever reads the ledger sees whether its epsilon is too small.

Pure. It shows what follows from the noise, rate and steps that a provider states, not that the noise was added: that
nobody outside can see.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fl.privacy.accountant import ZERO_RDP, Rdp, add_rdp, epsilon_micro, rdp_gaussian
from fl.privacy.plan import query_rdp, round_rdp
from fl.privacy.sampling import Sampling
from fl.privacy.shared_noise import sum_multiplier
from fl.privacy.terms import (
    DistributedSettings,
    PrivacyRefused,
    SoundSettings,
    distributed_settings,
    sound_settings,
)
from ledger.protection import Charge
from ledger.protection_entries import Spent
from ledger.transactions import RequestTerms
from node.privacy_budget import MICRO, PICO, Account, costs_of
from node.rounds import settings_dict

# Costs scale with the vector; a step of so little overshoots by less than anybody reads.
ADOPTED_STEP = 1.02
# 1.02 to this power is 10^17: past that nothing is left to protect.
ADOPTED_STEPS_MAX = 2_000
# The ledger's own bound of a request's rounds.
ROUNDS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Recomputed:
    """`epsilon_micro`: what the stated noise, rate and steps cost at the stated delta, None where they cost no number
    at all; `fault`: why what was announced cannot be right, empty when it can."""

    epsilon_micro: int | None
    fault: str


@dataclass(frozen=True, slots=True)
class Announced:
    """A charge beside the number of records that the same announcement counts for."""

    record_count: int
    charge: Charge


def check_charges(terms: RequestTerms, announced: Sequence[Announced]) -> Recomputed:
    """Whether what one provider announced, in order, fits the request's terms and its own noise, rate and steps."""
    charges = [each.charge for each in announced]
    if not charges:
        return Recomputed(0, "")
    settings = settings_dict(terms.privacy_settings)
    try:
        if terms.privacy == "distributed":
            chosen: SoundSettings | DistributedSettings = distributed_settings(settings)
            found = recomputed(charges, sum_multiplier(distributed_settings(settings), terms.rounds_max))
        else:
            chosen = sound_settings(settings)
            found = recomputed(charges)
    except PrivacyRefused as error:
        return Recomputed(None, f"terms that nothing holds for: {error}")
    return Recomputed(found.epsilon_micro, found.fault or _against_terms(chosen, announced))


def _against_terms(chosen: SoundSettings | DistributedSettings, announced: Sequence[Announced]) -> str:
    newest = announced[-1].charge
    if newest.unit != chosen.unit:
        return f"unit is {newest.unit}, the request wants {chosen.unit}"
    if newest.epsilon_micro > chosen.epsilon * MICRO * (1 + 1e-9):
        return f"epsilon {newest.epsilon_micro / MICRO:.4f} is spent, the request allows {chosen.epsilon:g}"
    if newest.delta_pico > chosen.delta * PICO * (1 + 1e-9):
        return f"delta is {newest.delta_pico / PICO:g}, the request allows {chosen.delta:g}"
    for each in announced:
        # More units than records make the rate, and with it the cost, look smaller than it is.
        if each.charge.units > each.record_count:
            return f"{each.charge.units} units of privacy in {each.record_count} records"
    return ""


def recomputed(charges: Iterable[Charge], shared_sigma: float = 0.0) -> Recomputed:
    """All charges that one provider announced for one request, in order, against the newest of them.

    `shared_sigma`: in mode distributed, the noise multiplier of the sum, a function of the request's terms.
    """
    listed = list(charges)
    if not listed:
        return Recomputed(0, "")
    newest = listed[-1]
    if any((each.mode, each.unit) != (newest.mode, newest.unit) for each in listed):
        return Recomputed(None, "mode or unit of privacy changed within the request")
    if not 0 < newest.delta_pico < PICO:
        return Recomputed(None, f"delta is {newest.delta_pico / PICO:g}, want more than 0 and less than 1")
    try:
        spent = add_rdp(*(charge_rdp(each, shared_sigma) for each in listed))
    except PrivacyRefused as error:
        return Recomputed(None, f"no number holds for this: {error}")
    found = epsilon_micro(spent, newest.delta_pico / PICO)
    if newest.epsilon_micro < found:
        return Recomputed(
            found, f"announced epsilon {newest.epsilon_micro / 1e6:.4f}, these steps cost {found / 1e6:.4f}"
        )
    if any(later.epsilon_micro < former.epsilon_micro for former, later in pairwise(listed)):
        return Recomputed(found, "announced epsilon went down: what is spent is not given back")
    return Recomputed(found, "")


def charge_rdp(charge: Charge, shared_sigma: float = 0.0) -> Rdp:
    """What one announced charge costs. Raises PrivacyRefused for noise of which nothing can be said."""
    if not charge.steps:
        # Bytes that were released and charged in an earlier attempt.
        return query_rdp(charge.query_noise_micro, 1)
    if charge.mode == "distributed":
        # Whoever adds its part of the sum's noise is charged for the sum; nobody's part alone would do.
        return add_rdp(rdp_gaussian(shared_sigma, charge.steps), query_rdp(charge.query_noise_micro, 1))
    sampled = Sampling(min(charge.batch, charge.units), charge.units, charge.steps)
    return round_rdp(sampled, charge.noise_micro, charge.query_noise_micro)


def cost_announced(request: bytes, spent: Spent) -> Account:
    """An account that costs at least what the ledger says was announced for a request."""
    charge = spent.charge
    delta = max(1, charge.delta_pico) / PICO
    whole: Rdp = ZERO_RDP
    if charge.mode == "sound" and charge.steps:
        whole = add_rdp(*[charge_rdp(charge)] * min(spent.rounds, ROUNDS_MAX))
    for _ in range(ADOPTED_STEPS_MAX):
        # Earlier rounds may have cost more than the newest, and jobs that crashed are in its sum only.
        if epsilon_micro(whole, delta) >= charge.epsilon_micro:
            break
        whole = tuple(max(each, 1e-6) * ADOPTED_STEP for each in whole)
    return Account(
        request,
        charge.mode,
        charge.unit,
        charge.noise_micro,
        charge.query_noise_micro,
        charge.batch,
        max(1, charge.epsilon_micro),
        max(1, charge.delta_pico),
        spent.rounds,
        costs_of(whole),
    )
