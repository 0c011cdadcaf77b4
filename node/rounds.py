"""Reading a round off the ledger: what is in work, who takes part, which blobs it is made of. Decides nothing."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from ledger.entries import OPEN_REQUESTS, OpenRequests, Participant, Request, Round, request_key, round_key
from ledger.protection_entries import protection_key
from ledger.request_terms import BLOB_OVERHEAD_BYTES_MAX
from ledger.transactions import AnnounceProtected, AnnounceUpdate, Protection, RequestTerms, Setting
from ledger.types import Hash32, NodeKey, OrgId
from node.ports import ChainView


class RoundId(NamedTuple):
    """One attempt at one round of one request."""

    request: bytes
    number: int
    attempt: int


class RoundInWork(NamedTuple):
    id: RoundId
    request: Request
    round: Round


def open_requests(chain: ChainView) -> Iterator[tuple[Hash32, Request]]:
    """Requests that are not over, in order of publication."""
    ids = chain.read(OpenRequests, OPEN_REQUESTS)
    for request_id in ids.ids if ids is not None else ():
        request = chain.read(Request, request_key(request_id))
        if request is not None:
            yield Hash32(request_id), request


def rounds_in_work(chain: ChainView) -> Iterator[RoundInWork]:
    for request_id, request in open_requests(chain):
        current = chain.read(Round, round_key(request_id))
        if current is not None:
            yield RoundInWork(RoundId(request_id, current.number, current.attempt), request, current)


def participant(current: Round, org: OrgId | bytes) -> Participant | None:
    return next((part for part in current.participants if part.org == org), None)


def place_of(request: Request, org: OrgId | bytes) -> int:
    """Where an organisation stands among the request's providers, ascending by id, from 0. Raises ValueError."""
    return sorted(provider.org for provider in request.providers).index(org)


def blob_bytes_max(terms: RequestTerms) -> int:
    """The longest blob that a vector of the request can be."""
    return 4 * terms.parameters + BLOB_OVERHEAD_BYTES_MAX


def announced_update(body: object) -> AnnounceUpdate | None:
    """The update that a statement announces, of a plain or a protected request; None for any other statement."""
    if isinstance(body, AnnounceProtected):
        return body.update
    return body if isinstance(body, AnnounceUpdate) else None


def protection_of(chain: ChainView, request: bytes) -> Protection | None:
    """How the updates of a request are protected; None for a plain one."""
    return chain.read(Protection, protection_key(request))


def settings_dict(settings: Sequence[Setting]) -> dict[str, str]:
    return {setting.name: setting.value for setting in settings}


def model_holders(chain: ChainView, request: Request, me: NodeKey) -> list[NodeKey]:
    """Whom to ask for a request's global model: the requester, who made the first, and those who computed the rest."""
    committee = chain.committee().members
    requester = keys_of(chain, [request.requester])
    providers = keys_of(chain, [provider.org for provider in request.providers])
    first = requester if request.model_round == 0 else []
    ordered = [*first, *map(NodeKey, committee), *requester, *providers]
    return [key for key in dict.fromkeys(ordered) if key != me]


def keys_of(chain: ChainView, orgs: Iterable[bytes]) -> list[NodeKey]:
    """Where these organisations' nodes are found; those that are in the league no more are left out."""
    return [key for org in orgs if (key := chain.key_of(org)) is not None]
