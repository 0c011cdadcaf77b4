"""Which headers to show so that somebody who trusts an earlier one comes to believe a later one. Pure.

`light.py` says what is believed; here is its other side, for whoever has the chain.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from ledger.blocks import FinalHeader, Header
from ledger.errors import InvalidProof
from ledger.genesis import Genesis
from ledger.light import SKIP_HEIGHTS_MAX, Trusted, overlap_suffices, trust_genesis, trust_header
from ledger.types import Hash32

# Of `FinalHeader`s in a proof: with skips a handful, without a change of the committee each; years of epochs.
PATH_MAX = 4096
# Headers linked back by their parents, half a kilobyte each.
ANCESTORS_MAX = 16_384


class HeaderSource(Protocol):
    """What of `chain.Chain` is needed."""

    @property
    def genesis(self) -> Genesis: ...
    def header(self, height: int) -> Header | None: ...
    def final_header(self, height: int) -> FinalHeader | None: ...
    def committee_changes(self, after: int, up_to: int) -> Iterator[FinalHeader]: ...


def trusted_at(chain: HeaderSource, height: int) -> Trusted:
    """What somebody believes who trusts our header of `height`; 0: the genesis. Raises InvalidProof without it."""
    return trust_genesis(chain.genesis) if height == 0 else trust_header(_need(chain, height))


def path_between(
    chain: HeaderSource, start: int, target: int, skip_heights_max: int = SKIP_HEIGHTS_MAX
) -> tuple[FinalHeader, ...]:
    """Headers that lead from a trusted `start` (0: the genesis) to `target`, which is the last of them.

    As few as a greedy search finds; with `NO_SKIPPING` one of each committee that led to the next. Raises InvalidProof
    when `target` is below `start` (see `ancestors_between`), is not held, or is too far for PATH_MAX headers.
    """
    if target < start or target < 1:
        raise InvalidProof(f"height {target} is not above the trusted height {start}")
    goal = _need(chain, target)
    trusted = trusted_at(chain, start)
    if target == start:
        return (goal,)
    # Headers at which the committee changes: between two of them nothing is gained by stopping.
    stops = [*chain.committee_changes(start, target - 1), goal]
    if not skip_heights_max:
        stops = _last_of_each_committee(trusted, stops)
    path: list[FinalHeader] = []
    at = 0
    while at < len(stops):
        at += _farthest(trusted, stops[at:], skip_heights_max)
        path.append(stops[at])
        trusted = _believed(trusted, stops[at])
        at += 1
        if len(path) > PATH_MAX:
            raise InvalidProof(f"more than {PATH_MAX} headers lead from height {start} to {target}")
    return tuple(path)


def ancestors_between(chain: HeaderSource, start: int, target: int) -> tuple[Header, ...]:
    """Headers from the parent of the trusted `start` down to `target`. Raises InvalidProof."""
    if not 1 <= target < start or start - target > ANCESTORS_MAX:
        raise InvalidProof(f"height {target} is not 1 to {ANCESTORS_MAX} heights below {start}")
    found = []
    for height in range(start - 1, target - 1, -1):
        header = chain.header(height)
        if header is None:
            raise InvalidProof(f"the header of height {height} is not kept here")
        found.append(header)
    return tuple(found)


def _farthest(trusted: Trusted, stops: Sequence[FinalHeader], skip_heights_max: int) -> int:
    """Index of a late stop that is believed at once. The first one always is: no change lies before it."""
    best, stride = 0, 1
    if _reachable(trusted, stops[-1], skip_heights_max):
        return len(stops) - 1
    # Gallop forwards, then backwards in halves: seats change slowly, so what is near is mostly believed.
    while stride:
        further = best + stride
        if further < len(stops) and _reachable(trusted, stops[further], skip_heights_max):
            best, stride = further, stride * 2
        else:
            stride //= 2
    return best


def _reachable(trusted: Trusted, final: FinalHeader, skip_heights_max: int) -> bool:
    if final.header.committee == trusted.next_committee:
        return True
    bridged = final.header.height - trusted.height
    return 1 < bridged <= skip_heights_max and overlap_suffices(trusted, final)


def _last_of_each_committee(trusted: Trusted, stops: Sequence[FinalHeader]) -> list[FinalHeader]:
    """What came and went between two headers of one committee is left out."""
    last = {final.header.committee: at for at, final in enumerate(stops)}
    kept, at = [], last.get(trusted.next_committee, 0)
    while at < len(stops) - 1:
        kept.append(stops[at])
        at = last[stops[at].header.next_committee]
    return [*kept, stops[-1]]


def _believed(trusted: Trusted, final: FinalHeader) -> Trusted:
    """As `light.advance`, unchecked: our own chain has checked these headers."""
    header = final.header
    return Trusted(
        trusted.chain_id,
        header.height,
        header.id,
        header.time,
        final.committee,
        Hash32(header.next_committee),
        header,
        trusted.way,
    )


def _need(chain: HeaderSource, height: int) -> FinalHeader:
    final = chain.final_header(height)
    if final is None:
        raise InvalidProof(f"the header of height {height} is not here: above the head, or no longer kept")
    return final
