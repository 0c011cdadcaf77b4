"""What Hanse recommends, and why: strategies side by side where factories differ, and the bars that they have to pass.

The setting is that of the independent check of [DLMU] which this project began with: small pictures, ten factories, a
network of one hidden layer. Both accuracies count: the global model on the common test, which a requester buys, and
what each factory serves itself, on its own mix of classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, ClassVar

from node.reproduce.experiment import Asked, Experiment, Report, ReportTable, Run, Tell
from node.reproduce.federations import (
    GLOBAL,
    OWN_SERVED,
    SERVED_ON_ALL,
    LocalTraining,
    data_set,
    divided,
    measure_federation,
    strategy_terms,
    terms_of,
)
from node.reproduce.plot import Panel, Plot, bar
from node.reproduce.recommend_bars import bars_table, recommend_verdict
from node.reproduce.recommended_methods import MAIN, METHODS, OTHERS, WITH_FEW
from node.reproduce.results import Keys, Measured, Results
from node.reproduce.small_pictures import small_pictures

SPLITS = ("iid", "dirichlet(0.5)", "class(3)", "class(2)")
HARDEST = "class(2)"
PICTURES = ("mnist", "fashion-mnist")
# By the name of the data in the table.
MANY = "mnist, 10 of 100"
FIRST_FILE = "train-images-idx3-ubyte.gz"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecommendSize(LocalTraining):
    """`limit`, `test_limit`: pictures kept, 0 for all; `many`: clients of the setting in which ten take part in a
    round, 0: it is left out; `many_limit` and `many_rounds`: its pictures and rounds."""

    limit: int
    test_limit: int
    rounds: int
    many: int
    many_limit: int
    many_rounds: int
    clients: int = 10
    epochs: int = 5
    lr: float = 0.05
    layers: str = "196,64,10"
    splits: tuple[str, ...] = SPLITS


class Recommend(Experiment):
    name = "recommend"
    summary = "what Hanse recommends where factories differ: strategies side by side, and the bars they have to pass"
    source = "Hanse's own bars; [DLMU] 5.2 for the splits"
    wants = "the folder that holds mnist/ and fashion-mnist/"
    minutes_quick = 30.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": RecommendSize(limit=6_000, test_limit=2_000, rounds=30, many=100, many_limit=20_000, many_rounds=60),
        "full": RecommendSize(limit=0, test_limit=0, rounds=100, many=100, many_limit=0, many_rounds=200),
    }
    size: RecommendSize

    def check(self, asked: Asked) -> None:
        super().check(asked)
        for name in PICTURES:
            data_set(asked.data, name, FIRST_FILE)

    def runs(self, asked: Asked) -> Sequence[Run]:
        return [
            Run(keys, seed, self._settings(keys), partial(self._measure, asked, keys, seed))
            for seed in asked.seeds
            for keys in self._cells()
        ]

    def _cells(self) -> list[dict[str, str]]:
        splits = self.size.splits
        cells = [(data, split, method) for data in PICTURES for split in splits for method in MAIN]
        if HARDEST in splits:
            cells += [(data, HARDEST, method) for data in PICTURES for method in OTHERS]
        if self.size.many:
            cells += [(MANY, split, method) for split in splits for method in WITH_FEW]
        return [{"data": data, "split": split, "method": method} for data, split, method in cells]

    def _settings(self, keys: Keys) -> dict[str, Any]:
        size = {**asdict(self.size), "splits": list(self.size.splits)}
        return {"size": size, **strategy_terms(*METHODS[keys["method"]])}

    def _measure(self, asked: Asked, keys: Keys, seed: int, tell: Tell) -> Measured:
        size, many = self.size, keys["data"] == MANY
        terms = terms_of(
            {
                "model": "mlp",
                "arguments": {"layers": size.layers},
                "rounds": size.many_rounds if many else size.rounds,
                **size.as_terms(),
                **strategy_terms(*METHODS[keys["method"]]),
                "per_round": 10 if many else 0,
            },
            asked.device,
        )
        name = "mnist" if many else keys["data"]
        folder = data_set(asked.data, name, FIRST_FILE)
        whole = small_pictures(folder, size.many_limit if many else size.limit, size.test_limit)
        clients = divided(whole, keys["split"], size.many if many else size.clients, seed)
        return measure_federation(terms, clients, whole.test, seed, tell)

    def report(self, results: Results) -> Report:
        size = self.size
        titles = {
            GLOBAL: "Global model on the common test, percent",
            OWN_SERVED: "Served models on each factory's own classes, percent",
            SERVED_ON_ALL: "The same served models on the whole common test, percent",
        }
        return Report(
            f"MLP {size.layers} on standardised pictures of 14x14, {size.limit or 'all'} to train and "
            f"{size.test_limit or 'all'} to test, as many of every class; {size.clients} factories, E {size.epochs}, "
            f"B {size.batch}, learning rate {size.lr:g}, momentum {size.momentum:g}, {size.rounds} rounds. With "
            f"{size.many} factories, ten a round: {size.many_limit or 'all'} pictures, {size.many_rounds} rounds. "
            "Means of the last five rounds.",
            (*(_table(title, figure, results) for figure, title in titles.items()), bars_table(results)),
            tuple(_plot(data, results) for data in PICTURES),
            recommend_verdict(results),
        )


def _cell(results: Results, figure: str, **keys: str) -> str:
    found = results.where(**keys)
    return found.spread(figure).text() if found.all else ""


def _table(title: str, figure: str, results: Results) -> ReportTable:
    splits = results.named("split")
    rows = tuple(
        (data, method, *(_cell(results, figure, data=data, method=method, split=split) for split in splits))
        for data in results.named("data")
        for method in results.where(data=data).named("method")
    )
    return ReportTable(title, ("data", "method", *splits), rows)


def _plot(data: str, results: Results) -> Plot:
    from node.plots.groups import Group

    splits = results.named("split")
    panels = tuple(
        Panel(
            f"{data}: {title}",
            "accuracy, %",
            groups=tuple(
                Group(method, [bar(results.spread(figure, data=data, split=split, method=method)) for split in splits])
                for method in MAIN
            ),
            places=splits,
        )
        for figure, title in ((GLOBAL, "global model, common test"), (OWN_SERVED, "served models, own classes"))
    )
    return Plot(data, panels)
