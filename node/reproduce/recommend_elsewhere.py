"""Whether what Hanse recommends holds with other models and other data: convolutions, bearings, text."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from fl.data.tables import Split, Table, join
from node.reproduce.dlmu_text import plays, speakers
from node.reproduce.experiment import Asked, Experiment, Report, ReportTable, Run, Tell
from node.reproduce.federations import (
    GLOBAL,
    OWN_GLOBAL,
    OWN_SERVED,
    SERVED_ON_ALL,
    check_pictures,
    data_set,
    divided,
    load_split,
    measure_federation,
    strategy_terms,
    terms_of,
)
from node.reproduce.plot import Panel, Plot, bar
from node.reproduce.recommended_methods import DLMU, FEDAVG, FITTED, METHODS, RECOMMENDED
from node.reproduce.results import Measured, Results

SIMULATED, TEXT = "bearing-simulator", "text"
COMPARED = (FEDAVG, FITTED, DLMU, RECOMMENDED)
_PICTURES = {"mnist": "train-images-idx3-ubyte.gz", "fashion-mnist": "train-images-idx3-ubyte.gz"}
FIRST_FILES = {**_PICTURES, "cifar10": "labels.npz", "cwru": "cwru_12k_load0hp.npz"}
_CNN = {"input": "1x28x28", "classes": "10", "channels": "8,16", "hidden": "64"}
_COLOUR = {"input": "3x16x16", "classes": "10", "channels": "8,16", "hidden": "64"}
_PERCEPTRON = {"layers": "8,150,150,4"}
_LSTM = {"vocabulary": "65", "embedding": "8", "hidden": "64", "layers": "1"}
_WINDOWS = {"window": "20", "step": "20"}


@dataclass(frozen=True, slots=True)
class Place:
    """One row of the table. `folder`: of the data set, "" where nothing is read; `split`: as fl.partition knows it, or
    "site" for simulated factories as they come, "speaker" for a factory a speaker of the plays. `unequal`: of what the
    split gives it, the first factory keeps one in as many as there are factories, the last one all."""

    title: str
    source: str
    folder: str
    settings: Mapping[str, str]
    split: str
    clients: int
    model: str
    arguments: Mapping[str, str]
    rounds: int
    epochs: int
    lr: float
    unequal: bool = False


_SMALL = {"limit": "3000", "test_limit": "1000"}
PLACES = (
    Place("MNIST, CNN, class(2)", "mnist", "mnist", _SMALL, "class(2)", 10, "cnn", _CNN, 15, 5, 0.05),
    Place("Fashion-MNIST, CNN, class(2)", "mnist", "fashion-mnist", _SMALL, "class(2)", 10, "cnn", _CNN, 15, 5, 0.02),
    Place(
        "CIFAR-10, CNN, class(2)",
        "cifar10",
        "cifar10",
        {**_SMALL, "mosaics": "3", "downscale": "2"},
        "class(2)",
        10,
        "cnn",
        _COLOUR,
        20,
        5,
        0.02,
    ),
    Place(
        "MNIST, two digits a factory, 1 to 10 times the records",
        "mnist",
        "mnist",
        {"limit": "6000", "test_limit": "2000", "downscale": "2"},
        "class(2)",
        10,
        "mlp",
        {"layers": "196,64,10"},
        20,
        5,
        0.05,
        unequal=True,
    ),
    Place("CWRU, a load a factory", "cwru", "cwru", {"load": "all"}, "group", 4, "mlp", _PERCEPTRON, 15, 10, 0.05),
    Place(
        "CWRU, two states a factory", "cwru", "cwru", {"load": "all"}, "class(2)", 4, "mlp", _PERCEPTRON, 15, 10, 0.05
    ),
    Place("plays, LSTM, a speaker a factory", TEXT, "", _WINDOWS, "speaker", 10, "char-lstm", _LSTM, 15, 2, 0.3),
    Place("simulated bearings, sites", SIMULATED, "", {}, "site", 5, "mlp", _PERCEPTRON, 10, 5, 0.05),
)


@dataclass(frozen=True, slots=True)
class ElsewhereSize:
    places: tuple[Place, ...] = field(default=PLACES)
    batch: int = 32
    momentum: float = 0.8


def _whole(place: Place) -> Place:
    """The same with all records and twice the rounds."""
    kept = {name: value for name, value in place.settings.items() if name not in ("limit", "test_limit", "mosaics")}
    return replace(place, settings=kept, rounds=2 * place.rounds)


class RecommendElsewhere(Experiment):
    name = "recommend-elsewhere"
    summary = "whether what Hanse recommends holds with other models and data: convolutions, bearings, text"
    source = "Hanse's own"
    wants = "the folder that holds mnist/, fashion-mnist/, cifar10/, cwru/ and shakespeare/"
    minutes_quick = 15.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": ElsewhereSize(),
        "full": ElsewhereSize(tuple(_whole(place) for place in PLACES)),
    }
    size: ElsewhereSize

    def check(self, asked: Asked) -> None:
        super().check(asked)
        if any(place.source == "cifar10" for place in self.size.places):
            check_pictures()
        for place in self.size.places:
            if place.source == TEXT:
                plays(asked.data)
            elif place.folder:
                data_set(asked.data, place.folder, FIRST_FILES[place.folder])

    def runs(self, asked: Asked) -> Sequence[Run]:
        return [
            Run(
                {"place": place.title, "method": method},
                seed,
                self._settings(place, method),
                partial(self._measure, asked, place, method, seed),
            )
            for seed in asked.seeds
            for place in self.size.places
            for method in COMPARED
        ]

    def _settings(self, place: Place, method: str) -> dict[str, Any]:
        told: dict[str, Any] = {"unequal": True} if place.unequal else {}
        return {
            **told,
            "source": place.source,
            "settings": dict(place.settings),
            "split": place.split,
            "clients": place.clients,
            "terms": self._terms(place, method),
        }

    def _terms(self, place: Place, method: str) -> dict[str, Any]:
        return {
            "model": place.model,
            "arguments": dict(place.arguments),
            "rounds": place.rounds,
            "epochs": place.epochs,
            "batch": self.size.batch,
            "lr": place.lr,
            "momentum": self.size.momentum,
            **strategy_terms(*METHODS[method]),
        }

    def _measure(self, asked: Asked, place: Place, method: str, seed: int, tell: Tell) -> Measured:
        clients, test = _clients(asked, place, seed)
        terms = terms_of(self._terms(place, method), asked.device)
        return measure_federation(terms, clients, test, seed, tell)

    def report(self, results: Results) -> Report:
        columns = {
            GLOBAL: "global, common test",
            OWN_GLOBAL: "global, own records",
            OWN_SERVED: "served, own records",
            SERVED_ON_ALL: "served, common test",
        }
        rows = tuple(
            (place, method, *(results.spread(figure, place=place, method=method).text() for figure in columns))
            for place in results.named("place")
            for method in results.named("method")
        )
        table = ReportTable("Percent, means of the last five rounds", ("place", "method", *columns.values()), rows)
        setting = (
            f"B {self.size.batch}, momentum {self.size.momentum:g}, all factories in every round; rounds, epochs and "
            "learning rates: node/reproduce/recommend_elsewhere.py. Own records: the factory's own mix of classes, or "
            "its own test records where it has any."
        )
        return Report(setting, (table,), (_plot(results),), _verdict(results))


def _clients(asked: Asked, place: Place, seed: int) -> tuple[list[Split], Table]:
    """Raises DataError."""
    from fl.data import registry

    if place.split == "site":
        each = [{**place.settings, "factory": str(at), "factories": str(place.clients)} for at in range(place.clients)]
        return [registry.load(place.source, one, None) for one in each], registry.pooled_test(
            place.source, each[0], None
        )
    if place.source == TEXT:
        told = speakers(plays(asked.data), int(place.settings["window"]), int(place.settings["step"]), place.clients)
        return list(told), join([each.test for each in told])
    folder = data_set(asked.data, place.folder, FIRST_FILES[place.folder])
    whole = load_split(place.source, place.settings, folder)
    clients = divided(whole, place.split, place.clients, seed)
    if place.unequal:
        clients = [_first(client, at + 1, place.clients) for at, client in enumerate(clients)]
    return clients, whole.test


def _first(client: Split, of: int, whole: int) -> Split:
    """With so many whole-ths of the training records, every class in the same share."""
    import numpy as np

    labels = client.train.labels
    by_class = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    rows = np.concatenate([found[: len(found) * of // whole] for found in by_class])
    return replace(client, train=client.train.take(np.sort(rows)))


def _plot(results: Results) -> Plot:
    from node.plots.groups import Group

    places = results.named("place")
    panels = tuple(
        Panel(
            title,
            "accuracy, %",
            groups=tuple(
                Group(method, [bar(results.spread(figure, place=place, method=method)) for place in places])
                for method in results.named("method")
            ),
            places=places,
        )
        for figure, title in ((GLOBAL, "global model, common test"), (OWN_SERVED, "served models, own records"))
    )
    return Plot("elsewhere", panels)


def _verdict(results: Results) -> str:
    told = []
    for place in results.named("place"):
        ours, fedavg, dlmu = ({"place": place, "method": name} for name in (RECOMMENDED, FEDAVG, DLMU))
        gain, harm = results.difference(GLOBAL, ours, fedavg).mean, results.difference(GLOBAL, dlmu, fedavg).mean
        own = results.difference(OWN_SERVED, ours, dlmu).mean
        told.append(
            f"{place}: the recommended global model is {gain:+.1f} points from FedAvg's, that of the published rule "
            f"{harm:+.1f}; what is served, {own:+.1f} points from the published rule's."
        )
    return " ".join(told)
