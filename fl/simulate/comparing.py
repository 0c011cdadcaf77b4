"""What an attack does and what a rule does against it: the same federation with and without either, side by side."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fl.data.tables import Split, Table
from fl.simulate.attacks import Attack
from fl.simulate.federation import Course, Federation, RoundResult, Terms

PLAIN = "mean"

Told = Callable[[str, RoundResult], object]
"""(which of the runs, a round of it that is done)"""


@dataclass(frozen=True, slots=True)
class Run:
    """One federation of the comparison. `attack`: its name, or None; `attackers`: places of the clients that cheat."""

    title: str
    rule: str
    inspected: bool
    attack: str | None
    attackers: tuple[int, ...]
    clients: int
    course: Course

    @property
    def rejections(self) -> dict[int, Counter[str]]:
        """By client, ascending: how often it was rejected for which reason."""
        found: dict[int, Counter[str]] = {}
        for result in self.course.rounds:
            for client, reason in result.rejected.items():
                found.setdefault(client, Counter())[reason] += 1
        return dict(sorted(found.items()))

    def rejected(self, attackers: bool) -> tuple[int, int]:
        """How many updates of attackers (or of honest clients) were rejected, and of how many."""
        whose = [client for client in range(self.clients) if (client in self.attackers) is attackers]
        found = self.rejections
        return sum(found[client].total() for client in whose if client in found), len(whose) * len(self.course.rounds)


def compare_rules(
    terms: Terms,
    clients: Sequence[Split],
    test: Table,
    seed: int,
    attack: Attack | None,
    attackers: Sequence[int],
    told: Told | None = None,
) -> list[Run]:
    """The plain mean and the rule of `terms` with inspection, each without the attack and, where there is one, with it.

    Raises what `Federation` and its rounds do.
    """
    plain = replace(terms, rule=PLAIN, rule_settings={}, inspected=False)
    watched = replace(terms, inspected=True)
    runs = []
    for chosen in (plain, watched):
        for attacked in (False, True) if attack is not None else (False,):
            rule = chosen.rule or PLAIN
            name = f"{rule}, inspected" if chosen.inspected else rule
            title = f"{name}, {attack.name}" if attack is not None and attacked else name
            cheating = tuple(attackers) if attacked else ()

            def done(result: RoundResult, title: str = title) -> None:
                if told is not None:
                    told(title, result)

            with Federation(chosen, clients, test, seed, attack if attacked else None, cheating) as federation:
                course = federation.run(done)
            named = attack.name if attack is not None and attacked else None
            runs.append(Run(title, rule, chosen.inspected, named, cheating, len(clients), course))
    return runs
