"""What a league may set for itself: in the genesis first, later by a ballot and from a height on.

Each value has a range in which a league can still work; what would not fit together is refused by name. What a request
was published under it keeps (`entries.Request`); everything else follows the parameters of the height in work.
"""

from dataclasses import dataclass
from typing import Annotated

from ledger.codec import Range
from ledger.fields import Duration, Millionths
from ledger.types import COMMITTEE_MAX

Heights = Annotated[int, Range(1, 10**9)]

# Requests and ballots that are not over cost a look in every block, candidates one at every registration.
REQUESTS_OPEN_LIMIT = 64
CANDIDATES_LIMIT = 64
BALLOTS_OPEN_LIMIT = 64
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class LeagueParameters:
    """Durations in milliseconds of block time, ratios in millionths, bytes a day of block time.

    `reward_min`: the least a request pays a record and finished round, the C of [ANCHOR] Algorithm 3. `seats_max`: the
    committee is the largest 3k + 1 within it. `aggregation_max`: so long a closed round waits for its aggregate, longer
    than a weekend for which a league is switched off. `void_rounds_max`: rounds in a row that too few delivered end a
    request. `slash_share`: what proof of equivocation takes of a balance.
    """

    registration_expiry_heights: Heights = 10_000
    # Founders begin in the middle: there is room to earn and to lose.
    founder_reputation: Millionths = 500_000
    reward_min: Annotated[int, Range(1, 10**9)] = 1
    # With fewer than four a league that could tolerate a fault would stand still with one machine, and few would say
    # what comes into blocks, ballots that take it back included.
    seats_max: Annotated[int, Range(4, COMMITTEE_MAX)] = COMMITTEE_MAX
    requests_open_max: Annotated[int, Range(1, REQUESTS_OPEN_LIMIT)] = REQUESTS_OPEN_LIMIT
    # Of one member, or a single one with 64 tokens could close the market for a year. It takes eight to fill it.
    requests_per_member_max: Annotated[int, Range(1, REQUESTS_OPEN_LIMIT)] = 8
    candidates_max: Annotated[int, Range(1, CANDIDATES_LIMIT)] = CANDIDATES_LIMIT
    # A flood of registrations pushes out one that waits for its first approval no faster than this.
    registrations_per_block_max: Annotated[int, Range(1, CANDIDATES_LIMIT)] = 4
    ballots_open_max: Annotated[int, Range(1, BALLOTS_OPEN_LIMIT)] = BALLOTS_OPEN_LIMIT
    ballots_per_member_max: Annotated[int, Range(1, BALLOTS_OPEN_LIMIT)] = 4
    # Long enough that the people behind the nodes can be asked, as idle leagues make no blocks.
    ballot_expiry_heights: Annotated[int, Range(8, 10**9)] = 10_000
    # Shorter than a second nobody delivers, and who asked for it had work for nothing.
    join_window_min: Duration = 1_000
    round_deadline_min: Duration = 1_000
    attest_window_min: Duration = 1_000
    duration_max: Duration = 366 * DAY_MS
    aggregation_max: Annotated[int, Range(60_000, 366 * DAY_MS)] = 3 * DAY_MS
    void_rounds_max: Annotated[int, Range(1, 100)] = 3
    jail_epochs: Annotated[int, Range(0, 10_000)] = 8
    slash_share: Millionths = 100_000
    storage_quota: Annotated[int, Range(2**20, 2**40)] = 64 * 2**20


def contradiction(parameters: LeagueParameters) -> str | None:
    """What of these does not fit together, in words; None when all does. Ranges are the codec's business."""
    for name in ("join_window_min", "round_deadline_min", "attest_window_min"):
        least = getattr(parameters, name)
        if least > parameters.duration_max:
            return f"{name} {least}, want at most duration_max, which is {parameters.duration_max}"
    for own, all_of_them in (
        ("requests_per_member_max", "requests_open_max"),
        ("ballots_per_member_max", "ballots_open_max"),
        ("registrations_per_block_max", "candidates_max"),
    ):
        if getattr(parameters, own) > getattr(parameters, all_of_them):
            most = getattr(parameters, all_of_them)
            return f"{own} {getattr(parameters, own)}, want at most {all_of_them}, which is {most}"
    return None
