"""[ANCHOR] Fig. 5: five factories watch bearings; one federated model against one trained on all records in one place.

As in 3.4.2: a round is 40 passes at every factory and their mean, or 40 passes over all records together; after each
round the model is tested on every factory's own test records. The paper's eight-channel recordings are not public: here
factories are simulated, each with its own machine, sensors and faults, or, with `--data`, are the four motor loads of
CWRU's recordings too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from fl.data.tables import Split, join
from node.reproduce.experiment import Asked, Experiment, Report, ReportTable, Run, Tell
from node.reproduce.federations import FEDAVG, LAST_ROUNDS, LocalTraining, data_set, load_split, terms_of
from node.reproduce.plot import Panel, Plot, by_round
from node.reproduce.results import Measured, Results

if TYPE_CHECKING:
    from fl.simulate.terms import Terms

METHODS = ("federated", "centralised")
SETS = {"simulated": "simulated bearings", "cwru": "CWRU, a motor load a factory"}
CWRU_LOADS = 4
# Two accuracies closer than this are called equal.
EQUAL_POINTS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BearingSize(LocalTraining):
    """`train_records`, `test_records`: of each simulated factory; CWRU's are what was recorded."""

    rounds: int
    epochs: int = 40
    factories: int = 5
    train_records: int = 1000
    test_records: int = 1000
    lr: float = 0.005
    momentum: float = 0.0
    layers: str = "8,150,150,4"


class Bearing(Experiment):
    name = "bearing"
    summary = "[ANCHOR] Fig. 5: federated and centralised on every factory's test records"
    source = "[ANCHOR] section 3.4.2, Fig. 5"
    minutes_quick = 6.0
    sizes: ClassVar[Mapping[str, object]] = {"quick": BearingSize(rounds=25), "full": BearingSize(rounds=100)}
    size: BearingSize

    def check(self, asked: Asked) -> None:
        if asked.data is not None:
            data_set(asked.data, "cwru", "cwru_12k_load0hp.npz")

    def runs(self, asked: Asked) -> Sequence[Run]:
        sets = tuple(SETS) if asked.data is not None else ("simulated",)
        return [
            Run({"data": chosen, "method": method}, seed, {"size": asdict(self.size), **FEDAVG}, measure)
            for seed in asked.seeds
            for chosen in sets
            for method in METHODS
            for measure in [partial(self._measure, asked, chosen, method, seed)]
        ]

    def _measure(self, asked: Asked, chosen: str, method: str, seed: int, tell: Tell) -> Measured:
        size = self.size
        if chosen == "cwru":
            factories = motor_loads(data_set(asked.data, "cwru", "cwru_12k_load0hp.npz"))
        else:
            factories = simulated(size, seed)
        terms = terms_of(
            {
                **FEDAVG,
                "model": "mlp",
                "arguments": {"layers": size.layers},
                "rounds": size.rounds,
                **size.as_terms(),
                # Tested below, on every factory's records.
                "evaluate_every": size.rounds,
            },
            asked.device,
        )
        clients = list(factories)
        if method == "centralised":
            # One client with all records: the same training, and nothing to average.
            clients = [
                Split(join([each.train for each in factories]), join([each.test for each in factories])),
            ]
        return measure_by_factory(terms, clients, factories, seed, tell)

    def report(self, results: Results) -> Report:
        size = self.size
        tables, panels = [], []
        for chosen in results.named("data"):
            here = results.where(data=chosen)
            names = factory_figures(here)
            rows = []
            for name in names:
                federated, centralised = ({"method": method} for method in METHODS)
                rows.append(
                    (
                        name.removesuffix("_percent").replace("_", " "),
                        *(here.spread(name, method=method).text() for method in METHODS),
                        here.difference(name, federated, centralised).text(),
                    )
                )
            title = f"{SETS[chosen]}: accuracy in percent on each factory's test records, mean of the last 5 rounds"
            tables.append(ReportTable(title, ("test records of", *METHODS, "difference"), tuple(rows)))
            panels += [
                Panel(
                    f"{SETS[chosen]}: {name.removesuffix('_percent').replace('_', ' ')}",
                    "accuracy, %",
                    lines=tuple(by_round(method, here, name, {"method": method}) for method in METHODS),
                )
                for name in names
            ]
        plots = tuple(
            Plot(f"fig5-{chosen}", tuple(panel for panel in panels if panel.title.startswith(SETS[chosen])))
            for chosen in results.named("data")
        )
        return Report(
            f"{size.factories} factories with {size.train_records} training and {size.test_records} test records each, "
            f"MLP {size.layers.replace(',', '-')}, learning rate {size.lr:g}, momentum {size.momentum:g}, B "
            f"{size.batch}, {size.epochs} passes a round, {size.rounds} rounds. A seed is another league of factories.",
            tuple(tables),
            plots,
            " ".join(bearing_verdict(results.where(data=chosen), SETS[chosen]) for chosen in results.named("data")),
        )


def measure_by_factory(
    terms: "Terms", clients: Sequence[Split], factories: Sequence[Split], seed: int, tell: Tell
) -> Measured:
    """Rounds of `clients`; after each, the global model on every factory's test records, in percent."""
    from fl.batches import as_records
    from fl.evaluate import evaluate
    from fl.fixed_point import decode
    from fl.models.registry import build
    from fl.simulate.federation import Federation

    tests = [as_records(each.test.features, each.test.labels) for each in factories]
    model = build(terms.model, terms.arguments, seed=0)
    curves: dict[str, list[float]] = {f"factory_{at + 1}_percent": [] for at in range(len(factories))}
    with Federation(terms, clients, join([each.test for each in clients]), seed) as federation:
        for number in range(terms.rounds):
            federation.round(number)
            vector = decode(federation.base, terms.scale_bits)
            for curve, test in zip(curves.values(), tests, strict=True):
                curve.append(100 * evaluate(model, test, vector).accuracy)
            mean = sum(curve[-1] for curve in curves.values()) / len(curves)
            tell(f"round {number + 1} of {terms.rounds}, {mean:.1f} %")
    last = {name: sum(curve[-LAST_ROUNDS:]) / len(curve[-LAST_ROUNDS:]) for name, curve in curves.items()}
    return Measured(last, {name: tuple(curve) for name, curve in curves.items()})


@lru_cache(maxsize=2)
def simulated(size: BearingSize, seed: int) -> tuple[Split, ...]:
    """The league of factories that the seed stands for."""
    wanted = {
        "factories": str(size.factories),
        "seed": str(seed),
        "train_records": str(size.train_records),
        "test_records": str(size.test_records),
    }
    return tuple(load_split("bearing-simulator", {**wanted, "factory": str(at)}, None) for at in range(size.factories))


def motor_loads(folder: Path) -> tuple[Split, ...]:
    """CWRU's four loads, a factory each. Raises DataError."""
    return tuple(load_split("cwru", {"load": str(load)}, folder) for load in range(CWRU_LOADS))


def factory_figures(results: Results) -> tuple[str, ...]:
    """The figures of one data set, a factory each."""
    return tuple(results.all[0].measured.figures)


def bearing_verdict(results: Results, what: str) -> str:
    """The sentences of one data set."""
    federated, centralised = ({"method": method} for method in METHODS)
    apart = {name: results.difference(name, federated, centralised).mean for name in factory_figures(results)}
    equal = [name for name, points in apart.items() if abs(points) <= EQUAL_POINTS]
    worst = min(apart, key=lambda name: apart[name])
    best = max(apart, key=lambda name: apart[name])
    span = f"{apart[worst]:+.1f} to {apart[best]:+.1f} points"
    said = f"On {what} the federated model lies {span} from the centralised one, factory by factory"
    if len(equal) == len(apart):
        return f"{said}: equal to within {EQUAL_POINTS:g} point everywhere, as [ANCHOR] Fig. 5 shows it."
    if apart[worst] >= -EQUAL_POINTS:
        return f"{said}: nowhere worse, and better than Fig. 5's equality on {len(apart) - len(equal)} of {len(apart)}."
    below = sum(points < -EQUAL_POINTS for points in apart.values())
    return (
        f"{said}: below it by more than {EQUAL_POINTS:g} point at {below} of {len(apart)} factories, so Fig. 5's "
        "equality does not hold in these runs."
    )
