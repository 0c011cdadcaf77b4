"""Exhaustive check of the proof rules by vote counts alone: every view sequence, every split of the correct votes.

Of one view only this matters: which certificates could ever exist, with all f liars signing everything. Correct members
notarize at most one block a view and sign nullify or finalize, never both. Blocks b and c stand for any two. A state is
what could be proposed next (b, c, or something fresh) and what could be final; more possible is never safer, so
walking over states, each view adding all that its votes allow, covers any number of views.
"""

from dataclasses import dataclass
from itertools import product

FRESH, B, C = "fresh", "b", "c"
State = tuple[frozenset[str], frozenset[str]]  # what a leader can justify next, what can be final


@dataclass(frozen=True)
class Rules:
    """The protocol, or one with a fault in it."""

    members: int
    quorum: int
    nullify_and_finalize: bool = False
    notarize_twice: bool = False
    fresh_always: bool = False  # nobody checks a proof
    wrong_block: bool = False  # a notarization justifies any block

    @property
    def faults(self) -> int:
        return (self.members - 1) // 3


def simplex(members: int) -> Rules:
    return Rules(members, quorum=members - (members - 1) // 3)


def _splits(total: int, parts: int) -> list[tuple[int, ...]]:
    return [counts for counts in product(range(total + 1), repeat=parts) if sum(counts) <= total]


def _outcomes(rules: Rules) -> set[tuple[bool, bool, bool, bool, bool]]:
    """(notarized b, notarized c, nullified, final b, final c) that one view can make possible, proposals unlimited."""
    correct = rules.members - rules.faults
    enough = rules.quorum - rules.faults
    notarize = product(range(correct + 1), repeat=2) if rules.notarize_twice else _splits(correct, 2)
    notarized = {(b >= enough, c >= enough) for b, c in notarize}
    decided = set()
    for final_b, final_c in _splits(correct, 2):
        spare = correct if rules.nullify_and_finalize else correct - final_b - final_c
        for nullify in (0, spare):  # fewer nullify votes make less possible
            decided.add((nullify >= enough, final_b >= enough, final_c >= enough))
    return {
        (nb, nc, nullified, fb, fc)
        for (nb, nc), (nullified, fb, fc) in product(notarized, decided)
        if (nb or not fb) and (nc or not fc)  # rule 11: finalize votes rest on a notarization
    }


def forks(rules: Rules) -> bool:
    """Whether two blocks can both become final in some sequence of views."""
    outcomes = _outcomes(rules)
    start: State = (frozenset({FRESH}), frozenset())
    seen, waiting = {start}, [start]
    while waiting:
        justified, final = waiting.pop()
        may = {block: block in justified or FRESH in justified or rules.fresh_always for block in (B, C)}
        for nb, nc, nullified, fb, fc in outcomes:
            if (nb and not may[B]) or (nc and not may[C]):
                continue
            new = {block for block, yes in ((B, nb), (C, nc)) if yes}
            after = new | (justified if nullified else frozenset())
            if rules.wrong_block and after & {B, C}:
                after |= {B, C}
            state = (frozenset(after), final | {block for block, yes in ((B, fb), (C, fc)) if yes})
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return any(len(final) == 2 for _, final in seen)
