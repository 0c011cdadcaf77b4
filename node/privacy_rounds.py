"""What a round costs this node's data: decided from the terms, charged before training, told with the update.

Between the ledger's requests, `fl.privacy.plan`'s costs and the budget on the disk. A job is charged each time it is
about to be given to the training process, whatever becomes of it: what nobody saw may have been seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import structlog
import trio

from fl.privacy.modes import MODES
from fl.privacy.plan import Noise, RoundCost, round_cost, shared_cost, told
from fl.privacy.shared_noise import PARTICIPANTS_MIN
from fl.privacy.terms import PrivacyRefused, distributed_settings, group_column, sound_settings
from ledger.entries import REQUESTS, Request, Round, round_key
from ledger.errors import CorruptStore
from ledger.protection import Charge
from ledger.protection_entries import MaskRound, Spent, charge_key, masking_key
from ledger.transactions import RequestTerms
from node.decline_reasons import public_reason
from node.privacy_budget import NOTHING, PICO, Account, BudgetSpent, ChargedRound, added, check_limit, costs_of
from node.privacy_charges import cost_announced
from node.record_errors import RecordStoreError
from node.record_store import RecordStore
from node.rounds import RoundId, open_requests, settings_dict
from node.training_terms import TermsRefused, short_reason
from node.workshop import Workshop

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RoundPrivacy:
    """`accuracy`: what is told of our test records, "none", "noisy" or "exact". `cost`: None where none is counted."""

    accuracy: str
    cost: RoundCost | None

    @property
    def sigma(self) -> float:
        """Noise multiplier of the steps; 0 where the mode has none of ours."""
        return self.cost.noise.sigma_micro / 1e6 if self.cost is not None else 0.0

    @property
    def units(self) -> int:
        """How many units of privacy are charged for; 0 where none are counted."""
        return self.cost.sampling.units if self.cost is not None else 0

    @property
    def query_sigma(self) -> float:
        """Deviation of the noise on the count of test records that are recognised."""
        return self.cost.noise.query_micro / 1e6 if self.cost is not None else 0.0


async def round_privacy(
    shop: Workshop, request_id: bytes, terms: RequestTerms, periods: Sequence[int], masked: bool
) -> RoundPrivacy:
    """How a round over these periods is trained here, and what it will be charged. `masked`: only a sum is released.

    Raises TermsRefused where no noise keeps what the request promises, RecordStoreError, BudgetDamaged, OSError.
    """
    if MODES[terms.privacy].masked_only and not masked:
        raise TermsRefused(f"privacy {terms.privacy} protects a sum, and this is not masked")
    # How many share the noise is known once no more keys are offered; before that a plan counts on the fewest there may
    # be: those who happened to be first say nothing.
    masks = shop.ledger.chain.read(MaskRound, masking_key(request_id)) if masked else None
    members = len(masks.members) if masks is not None and masks.threshold else 0
    current = shop.ledger.chain.read(Round, round_key(request_id)) if members else None
    invited = len(current.participants) if current is not None else 0
    return await trio.to_thread.run_sync(_round_privacy, shop, request_id, terms, periods, members, invited)


async def charge(shop: Workshop, round_id: RoundId, terms: RequestTerms, cost: RoundCost) -> Charge:
    """Charge the round's job; the charge to announce. Synced when it returns: then the job may be given away.

    Raises BudgetSpent when the request's epsilon or this node's would be passed, BudgetDamaged, OSError.
    """
    remembered, head = list(_remembered(shop, round_id.request)), shop.ledger.chain.head
    # A ledger that is still being fetched may remember more, all of it from before this node started.
    whole = head is not None and head.time >= shop.budget.began_ms

    def work() -> Account:
        for account in remembered:
            if shop.budget.adopt(account):
                log.warning("privacy_budget_behind_the_ledger", request=account.request.hex()[:16])
        shop.budget.compared |= whole
        one = ChargedRound(round_id.number, round_id.attempt, cost.sampling.units, cost.sampling.steps)
        return shop.budget.charge(_opened(round_id.request, cost), one, costs_of(cost.rdp()), shop.settings.limit)

    return _announced(cost, await trio.to_thread.run_sync(work))


async def charge_again(shop: Workshop, round_id: RoundId, before: Charge) -> Charge:
    """What to announce with bytes that were charged in an earlier attempt at the round: the same again for nothing."""

    def work() -> Charge:
        account = shop.budget.book().account(round_id.request)
        if account is not None:
            nothing = ChargedRound(round_id.number, round_id.attempt, before.units, 0)
            shop.budget.charge(account, nothing, NOTHING, shop.settings.limit)
        return Charge(
            before.mode,
            before.unit,
            before.noise_micro,
            before.batch,
            before.units,
            0,
            0,
            before.epsilon_micro,
            before.delta_pico,
        )

    return await trio.to_thread.run_sync(work)


async def plan_refusal(shop: Workshop, request_id: bytes, request: Request) -> str | None:
    """Why the request's whole plan does not fit into what is left of our privacy; None when it does.

    What other requests that we have joined may still cost counts as spent. Raises RecordStoreError, CorruptStore,
    OSError.
    """
    return await trio.to_thread.run_sync(
        _plan_refusal, shop, request_id, request, list(open_requests(shop.ledger.chain))
    )


async def round_refusal(shop: Workshop, round_id: RoundId, terms: RequestTerms, masked: bool) -> str | None:
    """Why the next round will not be trained here, as far as its cost tells; nothing is charged for asking.

    Damaged records or a damaged budget are a reason too. Raises OSError.
    """
    try:
        periods = await trio.to_thread.run_sync(shop.anchored_periods)
        cost = (await round_privacy(shop, round_id.request, terms, periods, masked)).cost
        if cost is not None:
            await trio.to_thread.run_sync(_would_charge, shop, round_id, cost)
    except (TermsRefused, BudgetSpent, RecordStoreError, CorruptStore) as error:
        log.warning("round_refused", request=round_id.request.hex()[:16], reason=str(error))
        return public_reason(error)
    return None


def _would_charge(shop: Workshop, round_id: RoundId, cost: RoundCost) -> None:
    account, book, limit = shop.budget.book().account(round_id.request), shop.budget.book(), shop.settings.limit
    costs, noise = costs_of(cost.rdp()), cost.noise
    spent = account.spent if account is not None else NOTHING
    check_limit(added(spent, costs), noise.delta_pico / PICO, noise.epsilon_micro, "in this request")
    check_limit(added(book.spent(), costs), limit.delta, limit.epsilon_micro, "in all")


def _plan_refusal(
    shop: Workshop, request_id: bytes, request: Request, open_now: Sequence[tuple[bytes, Request]]
) -> str | None:
    periods = shop.anchored_periods()
    try:
        cost = _round_privacy(shop, request_id, request.terms, periods).cost
    except TermsRefused as error:
        return str(error)
    if cost is None:
        return None
    book, limit = shop.budget.book(), shop.settings.limit
    reserved = [book.spent(), costs_of(cost.rdp(request.terms.rounds_max))]
    for other_id, other in open_now:
        left = other.terms.rounds_max - other.round
        if other_id == request_id or not shop.provides(other) or left <= 0:
            continue
        try:
            other_cost = _round_privacy(shop, other_id, other.terms, periods).cost
        except TermsRefused:
            # It will not be trained, so it will not cost anything.
            continue
        if other_cost is not None:
            reserved.append(costs_of(other_cost.rdp(left)))
    try:
        check_limit(added(*reserved), limit.delta, limit.epsilon_micro, "with this request")
    except BudgetSpent as error:
        return str(error)
    return None


def _round_privacy(
    shop: Workshop, request_id: bytes, terms: RequestTerms, periods: Sequence[int], members: int = 0, invited: int = 0
) -> RoundPrivacy:
    telling = shop.settings.telling
    if shop.records is None or not periods:
        raise TermsRefused("no anchored records here")
    if not MODES[terms.privacy].accounted:
        # Nothing is promised: the requester may know how its model does, unless the owner wants no word of it.
        return RoundPrivacy("none" if telling == "none" else "exact", None)
    if not shop.records.test_count():
        telling = "none"
    account = shop.budget.book().account(request_id)
    kept = None
    if account is not None:
        kept = Noise(account.noise_micro, account.query_noise_micro, account.epsilon_micro, account.delta_pico)
    settings = settings_dict(terms.privacy_settings)
    chosen = sound_settings(settings) if terms.privacy == "sound" else distributed_settings(settings)
    units = _units(shop.records, periods, chosen.unit)
    rounds = terms.rounds_max
    try:
        if terms.privacy == "sound":
            cost = round_cost(terms.privacy, settings, units, terms.batch, terms.epochs, rounds, telling, kept)
        else:
            members = members or max(PARTICIPANTS_MIN, terms.providers_min)
            least, size = terms.providers_min, terms.parameters
            cost = shared_cost(settings, units, rounds, size, members, least, telling, invited)
    except PrivacyRefused as error:
        raise TermsRefused(short_reason(str(error))) from None
    accuracy = told(chosen.accuracy, telling)
    if accuracy == "noisy" and not cost.noise.query_micro:
        # Our test records came later than the request's first round, and a query was not in its plan.
        accuracy = "none"
    return RoundPrivacy(accuracy, cost)


def _units(records: RecordStore, periods: Sequence[int], unit: str) -> int:
    """How many units of privacy the periods hold. Raises TermsRefused when the records bear no such groups."""
    column = group_column(unit)
    refusal = records.grouping().refusal(column)
    if refusal is not None:
        raise TermsRefused(short_reason(refusal))
    if column is not None:
        try:
            return records.group_count(periods)
        except RecordStoreError:
            raise TermsRefused(short_reason(f"unit {unit}: some records here bear no group")) from None
    wanted = set(periods)
    return sum(each.record_count for each in records.closed_periods() if each.period in wanted)


def _opened(request_id: bytes, cost: RoundCost) -> Account:
    noise = cost.noise
    return Account(
        request_id,
        cost.mode,
        cost.unit,
        noise.sigma_micro,
        noise.query_micro,
        cost.sampling.batch,
        noise.epsilon_micro,
        noise.delta_pico,
    )


def _announced(cost: RoundCost, account: Account) -> Charge:
    return Charge(
        mode=cost.mode,
        unit=cost.unit,
        noise_micro=cost.noise.sigma_micro,
        batch=cost.sampling.batch,
        units=cost.sampling.units,
        steps=cost.sampling.steps,
        query_noise_micro=cost.noise.query_micro,
        epsilon_micro=account.spent_micro(),
        delta_pico=account.delta_pico,
    )


def _remembered(shop: Workshop, present: bytes) -> Iterator[Account]:
    """What the ledger knows that this organisation was charged: a file that was lost or is an old copy knows less.

    Of all requests until the ledger has come to this node's present life, then of the one in work: an old league has
    thousands.
    """
    chain = shop.ledger.chain
    listed = [present] if shop.budget.compared else [request_id for request_id, _ in chain.scan(Request, REQUESTS)]
    for request_id in listed:
        spent = chain.read(Spent, charge_key(request_id, shop.me))
        if spent is not None:
            yield cost_announced(request_id, spent)
