"""What a provider's data is charged for a request, as its provider says it: public, so that anybody can add it up.

Whether a charge is right the ledger cannot know. It demands one where the mode of privacy has a price, and keeps the
newest; older ones are in the announcements that carried them.
"""

from collections.abc import Sequence

from ledger.errors import InvalidTransaction
from ledger.protection import Charge
from ledger.protection_entries import Spent, charge_key
from ledger.state import State
from ledger.transactions import RequestTerms
from ledger.types import OrgId

# Modes of privacy that spend a budget with every round.
CHARGED_MODES = frozenset({"sound", "distributed"})


def put_charge(state: State, request_id: bytes, terms: RequestTerms, org: OrgId, charge: Sequence[Charge]) -> None:
    """Note what a round cost its provider's data. Raises InvalidTransaction ("charge")."""
    if bool(charge) is not (terms.privacy in CHARGED_MODES):
        wanted = "a charge" if terms.privacy in CHARGED_MODES else "none"
        raise InvalidTransaction("charge", f"{len(charge)} charges, privacy {terms.privacy!r} wants {wanted}")
    for each in charge:
        if each.mode != terms.privacy:
            raise InvalidTransaction("charge", f"a charge of mode {each.mode!r}, want {terms.privacy!r}")
        if each.batch > each.units:
            raise InvalidTransaction("charge", f"batches of {each.batch} out of {each.units}")
        before = state.get(Spent, charge_key(request_id, org))
        rounds = before.rounds if before else 0
        state.put(charge_key(request_id, org), Spent(rounds + 1, each))
