"""How a request's updates are protected, as `request.get` shows it: charges, exclusions, the masked round in work."""

from ledger.masked_rounds import waited_for
from ledger.protection_entries import (
    Exclusion,
    MaskRound,
    Spent,
    charges_prefix,
    exclusions_prefix,
    masking_key,
    protection_key,
)
from ledger.transactions import Protection
from node.rpc.node import Node
from node.rpc.views import Json, to_json


def protection_shown(node: Node, request_id: bytes) -> dict[str, Json]:
    """`protection`: null for a plain request. `charges`: the newest of each provider. `excluded`: who dealt wrong
    shares. `masking`: the exchange of the masked round in work, else null. `waited_for`: whose word the stage waits
    for."""
    chain = node.chain
    charges = list(chain.scan(Spent, charges_prefix(request_id)))
    excluded = list(chain.scan(Exclusion, exclusions_prefix(request_id)))
    awaited = waited_for(chain.state(), request_id)
    return {
        "protection": to_json(chain.read(Protection, protection_key(request_id))),
        "charges": [{"org": org.hex(), "name": node.name_of(org), **to_json(spent)} for org, spent in charges],
        "excluded": [{"org": org.hex(), "name": node.name_of(org), **to_json(found)} for org, found in excluded],
        "masking": _masking(node, request_id),
        "waited_for": [{"org": org.hex(), "name": node.name_of(org)} for org in awaited],
    }


def _masking(node: Node, request_id: bytes) -> Json:
    """Who has got how far. Keys and commitments are in the state, `state.get` with the key `masking/<request>`."""
    found = node.chain.read(MaskRound, masking_key(request_id))
    if found is None:
        return None
    members = [
        {
            "org": each.org.hex(),
            "name": node.name_of(each.org),
            "dealt": bool(each.seed_commitment),
            "accepted": each.accepted,
            "complaints": [org.hex() for org in each.complaints],
            "answered": each.answered,
            "counted": each.counted,
            "revealed": each.revealed,
            "known_shares": each.known_shares,
        }
        for each in found.members
    ]
    return {"round": found.round, "attempt": found.attempt, "threshold": found.threshold, "members": members}
