"""Whom a step is about: names, and roles that are looked up when it begins. Liars are never chosen by a role."""

from collections.abc import Sequence

from tests.e2e.league import RunLeague
from tests.e2e.run_node import RunNode


def chosen(league: RunLeague, words: Sequence[str]) -> list[RunNode]:
    """The nodes that `words` mean now, each once, in the order in which they are named."""
    found: list[RunNode] = []
    for word in words:
        found += [node for node in _meant(league, word, found) if node not in found]
    return found


def sides(league: RunLeague, groups: Sequence[Sequence[str]]) -> list[list[RunNode]]:
    """The sides of a partition; who is named in none is a side with the others of that kind."""
    placed: list[RunNode] = []
    found: list[list[RunNode]] = []
    for words in groups:
        side: list[RunNode] = []
        for word in words:
            side += [node for node in _meant(league, word, [*placed, *side]) if node not in placed and node not in side]
        placed += side
        found.append(side)
    left = [node for node in league.nodes if node not in placed]
    return [side for side in (*found, left) if side]


def _meant(league: RunLeague, word: str, taken: Sequence[RunNode]) -> list[RunNode]:
    fit = [node for node in league.honest if not node.standing.dead and node not in taken]
    match word:
        case "all":
            return league.nodes
        case "others":
            return [node for node in league.nodes if node not in taken]
        case "leader" | "next-leader":
            led = [node for node in league.leaders() if node in fit]
            return [led[min(word == "next-leader", len(led) - 1)]]
        case "follower":
            led = [node for node in league.leaders() if node in fit]
            return [league.rng.choice(led[1:] or led)]
        case "random":
            return [league.rng.choice(fit)]
        case "f":
            return league.rng.sample(fit, league.manifest.league.faults)
        case _:
            return [league.node(word)]
