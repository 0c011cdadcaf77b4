"""What a simulated federation is asked to do: what a request would say, and what only a simulator knows."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fl.fixed_point import LIMIT, SCALE_BITS


class SimulationError(ValueError):
    """Terms, an engine or a checkpoint that no simulation can be run with. Says what came and what was wanted."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a request would say. `inspected`: updates that are no work are rejected, as in protected requests.

    `rule`: None takes the rule (and its settings) that the strategy names for itself.
    `per_round`: how many clients are drawn to take part in a round, 0 for all of them. `evaluate_every`: the model is
    tested after every so many rounds, and after the last one always; it changes no model. `device`: what trains and
    tests, "cpu", "cuda" or "auto" (cuda where there is one). `order_seed`: what a request says in public of the order
    of mini-batches; -1: they are drawn from the federation's own seed. `pace_s`: virtual seconds that a step takes a
    middling client; `pace_spread`: how many times as long the slowest may take for it as the fastest. Only strategies
    that end training by time look at them.
    """

    model: str
    rounds: int
    epochs: int
    batch: int
    lr: float
    momentum: float
    arguments: Mapping[str, str] = field(default_factory=dict)
    strategy: str = "fedavg"
    strategy_settings: Mapping[str, str] = field(default_factory=dict)
    privacy: str = "none"
    privacy_settings: Mapping[str, str] = field(default_factory=dict)
    rule: str | None = None
    rule_settings: Mapping[str, str] = field(default_factory=dict)
    inspected: bool = False
    scale_bits: int = SCALE_BITS
    limit: float = LIMIT
    per_round: int = 0
    evaluate_every: int = 1
    device: str = "auto"
    order_seed: int = -1
    pace_s: float = 0.01
    pace_spread: float = 4.0

    def __post_init__(self) -> None:
        """Raises SimulationError for counts that no federation can have."""
        if self.rounds < 1 or self.evaluate_every < 1 or self.per_round < 0:
            raise SimulationError(
                f"{self.rounds} rounds, {self.per_round} clients a round, tested every {self.evaluate_every} rounds: "
                "want at least 1, 0 (all of them) and 1"
            )
        if not (0 < self.pace_s <= 86_400 and 1 <= self.pace_spread <= 1_000_000):
            raise SimulationError(
                f"{self.pace_s} seconds a step, spread {self.pace_spread} times: want above 0 to 86400 and 1 to 1000000"
            )
