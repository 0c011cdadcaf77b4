"""Which federations one command runs: one a seed, and with an attack four of each. Decides, and runs nothing."""

from dataclasses import dataclass, replace

from fl.aggregate import check_rule
from fl.privacy.modes import privacy_mode
from fl.privacy.terms import PrivacyRefused
from fl.simulate.attacks import attack
from fl.simulate.terms import Terms
from fl.strategies.agreed_rule import agreed_rule
from fl.strategies.registry import strategy
from node.federations.layers import attackers_of, per_round_of
from node.federations.settings import AUTO, AttackSection, RunSettings

# Rules that bear nothing: what another rule is compared with.
PLAIN = ("mean", "even-mean")


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """`place`: folder under that of the command, empty for a run that is alone. `settings`: of this run, one seed.
    `variant`: what it is compared by, the same for all seeds of it."""

    place: str
    variant: str
    rule: str
    settings: RunSettings

    @property
    def seed(self) -> int:
        return self.settings.run.seed

    @property
    def attackers(self) -> tuple[int, ...]:
        """Places of the clients that cheat in this run: the last ones."""
        clients = self.settings.data.clients
        return tuple(range(clients - attackers_of(self.settings), clients)) if self.settings.attack.name else ()


def check_named(settings: RunSettings) -> None:
    """That everything the settings name is there and takes its settings, before any record is read.

    Raises StrategyError, AggregateError, AttackError, PrivacyRefused.
    """
    strategy(settings.strategy.name, dict(settings.strategy.settings))
    if settings.aggregation.rule != AUTO:
        check_rule(settings.aggregation.rule, dict(settings.aggregation.settings))
    mode = privacy_mode(settings.privacy.mode, allow_no_guarantee=True)
    mode.check(dict(settings.privacy.settings))
    if mode.masked_only:
        raise PrivacyRefused(f"privacy mode {mode.name} is for masked updates, and the simulator masks none")
    if settings.attack.name:
        attack(settings.attack.name, settings.attack.strength)


def planned_runs(settings: RunSettings) -> list[PlannedRun]:
    """All runs, variant by variant, seeds ascending. Raises StrategyError."""
    variants = _variants(settings)
    runs = []
    for variant, chosen in variants:
        for seed in range(settings.run.seed, settings.run.seed + settings.run.seeds):
            own = replace(chosen, run=replace(chosen.run, seed=seed, seeds=1))
            parts = [*([variant.replace(", ", "-")] if len(variants) > 1 else [])]
            parts += [f"seed-{seed}"] if settings.run.seeds > 1 else []
            runs.append(PlannedRun("/".join(parts), variant, rule_of(chosen), own))
    return runs


def _variants(settings: RunSettings) -> list[tuple[str, RunSettings]]:
    """By name: the run itself, or with an attack the plain rule and the checked one, each with it and without."""
    attack = settings.attack
    if not attack.name:
        return [(settings.strategy.name, replace(settings, attack=AttackSection(compare=False)))]
    alone = replace(attack, compare=False)
    if not attack.compare:
        return [(f"{rule_of(settings)}, {attack.name}", replace(settings, attack=alone))]
    rule = settings.aggregation.rule
    plain = replace(settings.aggregation, rule=rule if rule in PLAIN else AUTO, settings=(), inspected=False)
    watched = replace(settings.aggregation, inspected=True)
    found = []
    for chosen in (plain, watched):
        kind = "inspected" if chosen.inspected else "unchecked"
        for section, name in ((AttackSection(compare=False), "honest"), (alone, attack.name)):
            one = replace(settings, aggregation=chosen, attack=section)
            found.append((f"{rule_of(one)}, {kind}, {name}", one))
    return found


def rule_of(settings: RunSettings) -> str:
    """The name of the rule: the strategy's own or usual one where settings leave it to that. Raises StrategyError."""
    if settings.aggregation.rule != AUTO:
        return settings.aggregation.rule
    return agreed_rule(strategy(settings.strategy.name, dict(settings.strategy.settings)), None, {}).rule


def terms_of(settings: RunSettings) -> Terms:
    """The terms of the federation; its model is decided. Raises SimulationError."""
    rule = settings.aggregation.rule
    return Terms(
        model=settings.model.name,
        rounds=settings.rounds.rounds,
        epochs=settings.training.epochs,
        batch=settings.training.batch,
        lr=float(settings.training.learning_rate),
        momentum=float(settings.training.momentum),
        arguments=dict(settings.model.arguments),
        strategy=settings.strategy.name,
        strategy_settings=dict(settings.strategy.settings),
        privacy=settings.privacy.mode,
        privacy_settings=dict(settings.privacy.settings),
        rule=None if rule == AUTO else rule,
        rule_settings=dict(settings.aggregation.settings),
        inspected=settings.aggregation.inspected,
        scale_bits=settings.model.scale_bits,
        limit=settings.model.limit,
        per_round=per_round_of(settings),
        evaluate_every=settings.rounds.evaluate_every,
        device=settings.machine.device,
        order_seed=settings.run.order_seed,
        pace_s=float(settings.training.pace_s),
        pace_spread=float(settings.training.pace_spread),
    )
