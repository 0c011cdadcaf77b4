"""Who sits on the committee and who leads: pure functions of the committed state (DESIGN D7).

The papers let the highest reputation lead [DLMU 3, stage 7]; taken literally f colluders at the top lead nearly every
block. Here the highest reputation *that has not yet led in this epoch* leads, and an epoch is as many heights as seats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.certificates import Certificate, Committee
from ledger.entries import ELECTION, MEMBERS, Election, Member, Seat, Standing, standing_key
from ledger.reputation import after_missed_view
from ledger.state import BlockContext, State
from ledger.types import COMMITTEE_MAX, NodeKey, OrgId


@dataclass(frozen=True, slots=True)
class Candidacy:
    """A member that may be seated in the next epoch."""

    org: OrgId
    reputation: int
    last_led: int


def seat_count(eligible: int) -> int:
    """The largest 3k + 1 that can be filled, at most 31. Fewer than four members all sit: no fault is tolerated."""
    if eligible < 4:
        return eligible
    return min((eligible - 1) // 3 * 3 + 1, COMMITTEE_MAX)


def ranked(candidates: Sequence[Candidacy]) -> list[Candidacy]:
    """Best first. Equal reputation falls back to who led longer ago, then to the id: no ties, nothing to grind."""
    return sorted(candidates, key=lambda each: (-each.reputation, each.last_led, each.org))


def reseat(current: Sequence[Seat], candidates: Sequence[Candidacy]) -> tuple[Seat, ...]:
    """The next epoch's seats, ascending by id.

    Of members that could stay, at most f are replaced, so that a third of the old committee always knows the new one;
    seats of members that left or are jailed, and seats the committee grows by, are filled freely.
    """
    order = ranked(candidates)
    seats = seat_count(len(order))
    sitting = {seat.org for seat in current}
    staying = [each for each in order if each.org in sitting]
    newcomers = [each for each in order[:seats] if each.org not in sitting]
    room = max((seats - 1) // 3, seats - len(staying))
    chosen = newcomers[:room]
    chosen += staying[: seats - len(chosen)]
    return tuple(
        Seat(each.org, each.reputation, each.last_led, False) for each in sorted(chosen, key=lambda each: each.org)
    )


def leader_order(election: Election) -> tuple[NodeKey, ...]:
    """leader(view) is this order at view mod n: who has not led this epoch, who led longest ago, the skipped."""
    fresh = [seat for seat in election.seats if not seat.led and seat.org not in election.skipped]
    done = [seat for seat in election.seats if seat.led and seat.org not in election.skipped]
    fresh.sort(key=lambda seat: (-seat.reputation, seat.last_led, seat.org))
    done.sort(key=lambda seat: (seat.last_led, seat.org))
    return tuple(NodeKey(seat.org) for seat in fresh + done) + tuple(NodeKey(org) for org in election.skipped)


def committee_of(election: Election) -> Committee:
    return Committee(tuple(seat.org for seat in election.seats))


def first_election(founders: Sequence[OrgId], reputation: int) -> Election:
    """Epoch 0: the founders, all equal."""
    seats = reseat((), [Candidacy(org, reputation, 0) for org in founders])
    return Election(0, 1, seats, ())


def charge_failed_views(state: State, nullified: Sequence[Certificate]) -> None:
    """Leaders of views that are shown to have failed go to the end of the order and lose a little (rule 15)."""
    election = state.need(Election, ELECTION)
    order = leader_order(election)
    skipped = list(election.skipped)
    for certificate in nullified:
        leader = order[certificate.subject.view % len(order)]
        standing = state.need(Standing, standing_key(leader))
        state.put(standing_key(leader), replace(standing, reputation=after_missed_view(standing.reputation)))
        if leader not in skipped:
            skipped.append(leader)
    # At most f: with more, correct members could be framed out of leading altogether.
    faults = committee_of(election).faults
    state.put(ELECTION, replace(election, skipped=tuple(skipped[max(0, len(skipped) - faults) :])))


def redeem(state: State, org: OrgId) -> None:
    """A skipped member was seen again: it leads in its turn."""
    election = state.need(Election, ELECTION)
    if org in election.skipped:
        state.put(ELECTION, replace(election, skipped=tuple(each for each in election.skipped if each != org)))


def close_height(state: State, context: BlockContext) -> None:
    """The author has led; after as many heights as seats a new epoch begins."""
    election = state.need(Election, ELECTION)
    seats = tuple(
        replace(seat, led=True, last_led=context.height) if seat.org == context.author else seat
        for seat in election.seats
    )
    skipped = tuple(org for org in election.skipped if org != context.author)
    election = replace(election, seats=seats, skipped=skipped)
    standing = state.need(Standing, standing_key(context.author))
    state.put(standing_key(context.author), replace(standing, last_led=context.height))
    if context.height - election.epoch_start + 1 >= len(seats):
        election = _next_epoch(state, election, context.height + 1)
    state.put(ELECTION, election)


def _next_epoch(state: State, election: Election, start: int) -> Election:
    epoch = election.epoch + 1
    candidates = []
    for org, member in state.scan(Member, MEMBERS):
        standing = state.need(Standing, standing_key(org))
        if member.joined_epoch < epoch and standing.jailed_until_epoch <= epoch:
            candidates.append(Candidacy(OrgId(org), standing.reputation, standing.last_led))
    # A league whose members are all jailed keeps its committee: somebody must be able to go on.
    again = tuple(replace(seat, led=False) for seat in election.seats)
    seats = reseat(election.seats, candidates) if candidates else again
    seated = {seat.org for seat in seats}
    faults = (len(seats) - 1) // 3
    skipped = [org for org in election.skipped if org in seated]
    return Election(epoch, start, seats, tuple(skipped[max(0, len(skipped) - faults) :]))
