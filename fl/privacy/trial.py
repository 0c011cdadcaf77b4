"""What accuracy to expect of a wish for privacy: a federation trained with it and without, on simulated bearings.

On records that are made up, so it costs nobody's budget. Other data learn otherwise; what carries over is how far the
two are apart.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from fl.privacy.outlook import Wish
from fl.simulate.federation import Course, Federation
from fl.simulate.scenarios import clients_of, scenario, with_terms


@dataclass(frozen=True, slots=True)
class Trial:
    """Accuracy on the common test, mean of the last three rounds; chance is a quarter."""

    private: float
    plain: float


def trial(wish: Wish, learning_rate: float, momentum: float, seed: int, tick: Callable[[], None]) -> Trial:
    """Train both, calling `tick` after every round. Raises what `fl.round.run_round` does, DataError."""
    chosen = scenario("bearings")
    chosen = replace(chosen, settings={**chosen.settings, "train_records": str(wish.units), "test_records": "200"})
    clients, test = clients_of(chosen, None, wish.providers, None, seed)
    plan = {
        "rounds": wish.rounds,
        "epochs": wish.epochs,
        "batch": wish.batch,
        "lr": learning_rate,
        "momentum": momentum,
    }

    def course(privacy: str, settings: dict[str, str]) -> Course:
        terms = with_terms(chosen, **plan, privacy=privacy, privacy_settings=settings)
        with Federation(terms, clients, test, seed) as federation:
            return federation.run(lambda _: tick())

    return Trial(course(wish.mode, dict(wish.settings)).accuracy, course("none", {}).accuracy)
