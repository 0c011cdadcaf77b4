"""Privacy that is spent: this node's budget, and what every provider of a request says that it was charged."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from fl.privacy.modes import MODES
from ledger.entries import (
    FINAL_STAGES,
    REQUESTS,
    AnchorTotals,
    Receipt,
    Request,
    anchor_totals_key,
    receipts_prefix,
    request_key,
)
from ledger.errors import CorruptStore
from ledger.protection_entries import Spent, charge_key
from ledger.transactions import AnnounceProtected
from node.privacy_budget import FOLDER, PICO, Account, PrivacyBudget
from node.rpc.errors import RpcError
from node.rpc.method import BOOLEAN, HEX, INTEGER, OBJECT, STRING, ledger_answer, listing, method
from node.rpc.node import Node
from node.rpc.parameters import Hash
from node.rpc.views import Json, to_json

if TYPE_CHECKING:
    from node.privacy_charges import Announced

# Announcements of a hundred rounds with everything else that a busy league says meanwhile: some seconds of reading.
BLOCKS_READ_MAX = 20_000
# A block is read in a millisecond; so often everybody else has a turn.
BLOCKS_A_TURN = 20


async def privacy_budget(node: Node) -> Json:
    """What trainings have spent of our data's privacy, in all and by request; epsilons in millionths, rounded up.

    `left`: of `epsilon_max`, for one more training; epsilons of single requests do not add up to the whole.
    `unguarded`: requests in modes that count nothing, which our records were trained for: what those told no number
    bounds.
    """
    limit = node.settings.privacy_limit
    try:
        book = await trio.to_thread.run_sync(PrivacyBudget(node.settings.data_dir / FOLDER).book)
    except (CorruptStore, OSError) as error:
        raise RpcError("unavailable", str(error), part="privacy budget") from None
    spent, totals = book.spent_micro(limit.delta), node.chain.read(AnchorTotals, anchor_totals_key(node.org))
    accounts = [_account(node, each) for each in reversed(book.accounts)]
    return {
        "head": node.head(),
        "data_type": node.settings.data_type,
        "epsilon_max": limit.epsilon_micro,
        "delta": f"{limit.delta:g}",
        "spent": spent,
        "left": max(0, limit.epsilon_micro - spent),
        "records": totals.records if totals is not None else 0,
        "requests": accounts,
        "unguarded": _unguarded(node),
    }


def _account(node: Node, account: Account) -> Json:
    request = node.chain.read(Request, request_key(account.request))
    return {
        "request": account.request.hex(),
        "title": request.terms.title if request is not None else "",
        "over": request.stage in FINAL_STAGES if request is not None else True,
        "mode": account.mode,
        "unit": account.unit,
        "noise": account.noise_micro,
        "query_noise": account.query_noise_micro,
        "batch": account.batch,
        "charges": account.charges,
        "epsilon": account.spent_micro(),
        "epsilon_max": account.epsilon_micro,
        "delta": f"{account.delta_pico / PICO:g}",
        "newest": [to_json(each) for each in account.newest],
    }


def _unguarded(node: Node) -> list[Json]:
    found: list[Json] = []
    for request_id, request in node.chain.scan(Request, REQUESTS):
        terms = request.terms
        mode, offered = MODES.get(terms.privacy), any(each.org == node.org for each in request.providers)
        if offered and request.round > 0 and (mode is None or not mode.accounted):
            found.append({"request": request_id.hex(), "title": terms.title, "mode": terms.privacy})
    return found


async def request_privacy(node: Node, *, request: Hash) -> Json:
    """What each provider of a request was charged by its own word, and what its noise, rate and steps come to.

    `recomputed` is the epsilon of all announcements found, null where no number holds; `fault` says why what was
    announced cannot be right, empty when it can. `complete`: whether every block that may hold one was still here.
    """
    # What the sums need loads numpy, and the node answers before it does.
    from node.privacy_charges import check_charges

    found = node.chain.read(Request, request_key(request))
    if found is None:
        raise RpcError("not_found", f"no request {request.hex()}", height=node.chain.height)
    announced, complete = await _announced(node, request, found)
    providers: list[Json] = []
    for provider in found.providers:
        spent = node.chain.read(Spent, charge_key(request, provider.org))
        checked = check_charges(found.terms, announced.get(provider.org, ()))
        providers.append(
            {
                "org": provider.org.hex(),
                "name": node.name_of(provider.org),
                "rounds": spent.rounds if spent is not None else 0,
                "charge": to_json(spent.charge) if spent is not None else None,
                "announcements": len(announced.get(provider.org, ())),
                "recomputed": checked.epsilon_micro,
                "fault": checked.fault,
            }
        )
    return {
        "head": node.head(),
        "request": request.hex(),
        "privacy": found.terms.privacy,
        "settings": to_json(found.terms.privacy_settings),
        "complete": complete,
        "providers": providers,
    }


async def _announced(
    node: Node, request_id: bytes, request: Request
) -> tuple[Mapping[bytes, Sequence["Announced"]], bool]:
    """By organisation, in order; and whether all blocks since the request was published could be read."""
    from node.privacy_charges import Announced

    found: dict[bytes, list[Announced]] = {}
    first, last = request.published_height, node.chain.height
    receipts = [each.height for _, each in node.chain.scan(Receipt, receipts_prefix(request_id))]
    if request.stage in FINAL_STAGES and receipts:
        last = max(receipts)
    complete = last - first < BLOCKS_READ_MAX
    for height in range(max(first, last - BLOCKS_READ_MAX + 1), last + 1):
        if height % BLOCKS_A_TURN == 0:
            await trio.lowlevel.checkpoint()
        final = node.chain.block(height)
        if final is None:
            complete = False
            continue
        for transaction in final.block.transactions:
            body = transaction.body
            if isinstance(body, AnnounceProtected) and body.update.request == request_id and body.charge:
                org = node.chain.org_of(transaction.sender) or transaction.sender
                found.setdefault(org, []).append(Announced(body.update.record_count, body.charge[0]))
    return found, complete


METHODS = (
    method(
        "privacy.budget",
        privacy_budget,
        ledger_answer(
            data_type=STRING,
            epsilon_max=INTEGER,
            delta=STRING,
            spent=INTEGER,
            left=INTEGER,
            records=INTEGER,
            requests=listing(OBJECT),
            unguarded=listing(OBJECT),
        ),
        ("unavailable",),
    ),
    method(
        "request.privacy",
        request_privacy,
        ledger_answer(
            request=HEX,
            privacy=STRING,
            settings={"type": ["object", "array"]},
            complete=BOOLEAN,
            providers=listing(OBJECT),
        ),
        ("not_found",),
    ),
)
