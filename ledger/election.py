"""Who sits on the committee and who leads: pure functions of the committed state (DESIGN D7).

The papers let the highest reputation lead [DLMU 3, stage 7]; taken literally f colluders at the top lead nearly every
block. Here the highest reputation *that has not yet led in this epoch* leads, and an epoch is as many heights as seats.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ledger.certificates import Certificate, Committee
from ledger.entries import ELECTION, LEAGUE, MEMBERS, Election, League, Member, Seat, Standing, member_key, standing_key
from ledger.reputation import after_missed_view
from ledger.state import BlockContext, State
from ledger.types import COMMITTEE_MAX, NodeKey, OrgId


@dataclass(frozen=True, slots=True)
class Candidacy:
    """A member that may be seated in the next epoch, and the key its node signs with."""

    org: OrgId
    key: NodeKey
    reputation: int
    last_led: int


def seat_count(eligible: int, seats_max: int = COMMITTEE_MAX) -> int:
    """The largest 3k + 1 that can be filled, at most `seats_max`. Fewer than four all sit: no fault is tolerated."""
    able = min(eligible, seats_max)
    return able if able < 4 else (able - 1) // 3 * 3 + 1


def ranked(candidates: Sequence[Candidacy]) -> list[Candidacy]:
    """Best first. Equal reputation falls back to who led longer ago, then to the id: no ties, nothing to grind."""
    return sorted(candidates, key=lambda each: (-each.reputation, each.last_led, each.org))


def reseat(
    current: Sequence[Seat], candidates: Sequence[Candidacy], seats_max: int = COMMITTEE_MAX
) -> tuple[Seat, ...]:
    """The next epoch's seats, ascending by organisation.

    With f of the present committee, or one where that is none: at most f newcomers are seated, and of the members that
    could stay at most f are not. So a committee is never taken over from one epoch to the next, and it grows and
    shrinks to its `seat_count` in steps. Seats of members that left or are jailed stay empty beyond f newcomers.
    """
    order = ranked(candidates)
    target = seat_count(len(order), seats_max)
    sitting = {seat.org for seat in current}
    staying = [each for each in order if each.org in sitting]
    newcomers = [each for each in order[:target] if each.org not in sitting]
    # The founders are seated all at once: there is nobody to take over from.
    step = max(1, (len(current) - 1) // 3) if current else target
    kept = max(0, len(staying) - step)
    size = max(target, kept)
    # While a committee is too large nobody comes in: else members of equal reputation would take turns for ever.
    chosen = newcomers[: min(step, size - kept)]
    chosen += staying[: size - len(chosen)]
    return tuple(
        Seat(each.org, each.key, each.reputation, each.last_led, False)
        for each in sorted(chosen, key=lambda each: each.org)
    )


def leader_order(election: Election) -> tuple[NodeKey, ...]:
    """leader(view) is this order at view mod n: who has not led this epoch, who led longest ago, the skipped."""
    return tuple(NodeKey(seat.key) for seat in _order(election))


def _order(election: Election) -> list[Seat]:
    fresh = [seat for seat in election.seats if not seat.led and seat.org not in election.skipped]
    done = [seat for seat in election.seats if seat.led and seat.org not in election.skipped]
    fresh.sort(key=lambda seat: (-seat.reputation, seat.last_led, seat.org))
    done.sort(key=lambda seat: (seat.last_led, seat.org))
    by_org = {seat.org: seat for seat in election.seats}
    return fresh + done + [by_org[org] for org in election.skipped]


def committee_of(election: Election) -> Committee:
    return Committee(tuple(sorted(seat.key for seat in election.seats)))


def seated_org(election: Election, key: bytes) -> OrgId:
    """Whose seat is held with this key."""
    return next(OrgId(seat.org) for seat in election.seats if seat.key == key)


def first_election(founders: Sequence[Candidacy], seats_max: int) -> Election:
    """Epoch 0: the founders, all equal."""
    return Election(0, 1, reseat((), founders, seats_max), ())


def charge_failed_views(state: State, nullified: Sequence[Certificate]) -> None:
    """Leaders of views that are shown to have failed go to the end of the order and lose a little (rule 15)."""
    election = state.need(Election, ELECTION)
    order = _order(election)
    skipped = list(election.skipped)
    for certificate in nullified:
        leader = order[certificate.subject.view % len(order)].org
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
    """The author has led. After as many heights as seats a new epoch begins, and at once when a seat is nobody's."""
    election = state.need(Election, ELECTION)
    author = context.author_org
    seats = tuple(
        replace(seat, led=True, last_led=context.height) if seat.org == author else seat for seat in election.seats
    )
    skipped = tuple(org for org in election.skipped if org != author)
    election = replace(election, seats=seats, skipped=skipped)
    standing = state.need(Standing, standing_key(author))
    state.put(standing_key(author), replace(standing, last_led=context.height))
    # Who left, was expelled or became an observer votes on no height more.
    changed = state.need(League, LEAGUE).electorate_height == context.height
    gone = changed and any(_is_vacant(state, seat) for seat in seats)
    if gone or context.height - election.epoch_start + 1 >= len(seats):
        election = _next_epoch(state, election, context)
    state.put(ELECTION, election)


def _is_vacant(state: State, seat: Seat) -> bool:
    """Whether a seat is nobody's any more; also when its member left and is back in the same block with another key:
    the old one is given up, and what it signed from here on would cost nobody anything."""
    member = state.get(Member, member_key(seat.org))
    return member is None or member.roles == 0 or member.key != seat.key


def _next_epoch(state: State, election: Election, context: BlockContext) -> Election:
    epoch = election.epoch + 1
    voters, eligible = [], []
    for org, member in state.scan(Member, MEMBERS):
        if member.roles == 0:
            continue
        standing = state.need(Standing, standing_key(org))
        candidacy = Candidacy(OrgId(org), NodeKey(member.key), standing.reputation, standing.last_led)
        voters.append(candidacy)
        if member.joined_epoch < epoch and standing.jailed_until_epoch <= epoch:
            eligible.append(candidacy)
    # A league whose members are all jailed or new keeps who sits of them: somebody must be able to go on.
    if not eligible:
        sitting = {seat.org for seat in election.seats}
        eligible = [each for each in voters if each.org in sitting] or voters
    seats = reseat(election.seats, eligible, context.parameters.seats_max)
    seated = {seat.org for seat in seats}
    faults = (len(seats) - 1) // 3
    skipped = [org for org in election.skipped if org in seated]
    return Election(epoch, context.height + 1, seats, tuple(skipped[max(0, len(skipped) - faults) :]))
