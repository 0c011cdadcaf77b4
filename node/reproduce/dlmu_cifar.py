"""[DLMU] Fig. 2 and Table 1: CIFAR-10 from IID to two classes a client, FedAvg beside DLMU.

What the paper leaves open, and how it is read here: the network (a strided CNN), and what was tested. So three readings
stand side by side: the global model on the common test; each client's mixed model on its own classes; the mixed
models on the whole test.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, ClassVar

from node.reproduce import published
from node.reproduce.dlmu_verdict import READINGS, cifar_verdict, curves_apart
from node.reproduce.experiment import Asked, Experiment, Published, Report, ReportTable, Run, Tell
from node.reproduce.federations import (
    BETA,
    GLOBAL,
    LOCKED,
    OWN_SERVED,
    SERVED_MIX,
    LocalTraining,
    check_pictures,
    data_set,
    divided,
    load_split,
    measure_federation,
    strategy_terms,
    terms_of,
)
from node.reproduce.plot import Panel, Plot, by_round
from node.reproduce.results import Keys, Measured, Results

SPLITS = ("iid", "dirichlet(0.5)", "class(3)", "class(2)")
# "unseen" is ours, not DLMU's.
METHODS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "fedavg": ("fedavg", SERVED_MIX),
    "dlmu": ("dlmu", {"form": "literal", "strict": "true", **SERVED_MIX}),
    "dlmu-guarded": ("dlmu", {"form": "literal", "cap": "0.5", "selective": "true", **SERVED_MIX}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CifarSize(LocalTraining):
    """`mosaics`, `downscale`: of the source cifar10. `limit`, `test_limit`: pictures kept, 0 all."""

    rounds: int
    arguments: Mapping[str, str]
    mosaics: int = 0
    downscale: int = 1
    limit: int = 0
    test_limit: int = 0
    clients: int = 10
    splits: tuple[str, ...] = field(default=SPLITS)


class DlmuCifar(Experiment):
    name = "dlmu-cifar"
    summary = "[DLMU] Fig. 2 and Table 1: FedAvg and DLMU on CIFAR-10, from IID to two classes a client"
    source = "[DLMU] section 5.2, Fig. 2 and Table 1"
    wants = "the CIFAR-10 folder with train_00.webp, test_00.webp and labels.npz"
    minutes_quick = 7.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": CifarSize(
            rounds=12,
            epochs=5,
            lr=0.02,
            arguments={"input": "3x16x16", "classes": "10", "channels": "8,16", "hidden": "64"},
            mosaics=3,
            downscale=2,
            limit=3000,
            test_limit=1000,
        ),
        "full": CifarSize(
            rounds=100,
            epochs=10,
            lr=0.01,
            arguments={"input": "3x32x32", "classes": "10", "channels": "64,128,256", "hidden": "256"},
        ),
    }
    size: CifarSize

    def check(self, asked: Asked) -> None:
        super().check(asked)
        check_pictures()
        data_set(asked.data, "cifar10", "labels.npz")

    def runs(self, asked: Asked) -> Sequence[Run]:
        return [
            Run(
                {"split": split, "method": method},
                seed,
                self._settings(method),
                partial(self._measure, asked, split, method, seed),
            )
            for seed in asked.seeds
            for split in self.size.splits
            for method in METHODS
        ]

    def _settings(self, method: str) -> dict[str, Any]:
        size = {**asdict(self.size), "splits": list(self.size.splits)}
        return {"size": size, **strategy_terms(*METHODS[method])}

    def _measure(self, asked: Asked, split: str, method: str, seed: int, tell: Tell) -> Measured:
        size = self.size
        terms = terms_of(
            {
                "model": "cnn",
                "arguments": size.arguments,
                "rounds": size.rounds,
                **size.as_terms(),
                **strategy_terms(*METHODS[method]),
            },
            asked.device,
        )
        kept = {name: str(getattr(size, name)) for name in ("downscale", "mosaics", "limit", "test_limit")}
        whole = load_split("cifar10", kept, data_set(asked.data, "cifar10", "labels.npz"))
        return measure_federation(terms, divided(whole, split, size.clients, seed), whole.test, seed, tell)

    def published(self, keys: Keys, figure: str) -> Published | None:
        if figure != GLOBAL or keys["method"] not in ("fedavg", "dlmu") or keys["split"] not in published.DLMU_CIFAR:
            return None
        place = 0 if keys["method"] == "fedavg" else 1
        return Published(published.DLMU_CIFAR[keys["split"]][place], "[DLMU] Fig. 2")

    def report(self, results: Results) -> Report:
        size = self.size
        splits = results.named("split")
        accuracies = ReportTable(
            "Accuracy in percent, mean of the last 5 rounds",
            ("split", "method", "printed in Fig. 2", *READINGS.values(), "beta at the end", "clients at beta 1, %"),
            tuple(
                (
                    split,
                    method,
                    f"{found.value:.2f}"
                    if (found := self.published({"split": split, "method": method}, GLOBAL))
                    else "-",
                    *(results.spread(reading, split=split, method=method).text() for reading in READINGS),
                    results.spread(BETA, split=split, method=method).text(2),
                    results.spread(LOCKED, split=split, method=method).text(0),
                )
                for split in splits
                for method in METHODS
            ),
        )
        apart = ReportTable(
            "Table 1: mean absolute difference between the curves of DLMU and FedAvg, in points",
            ("split", "printed", "global model", "own classes, served model"),
            tuple(
                (
                    split,
                    f"{published.DLMU_CIFAR_APART[split]:.2f}" if split in published.DLMU_CIFAR_APART else "-",
                    curves_apart(results, GLOBAL, split).text(),
                    curves_apart(results, OWN_SERVED, split).text(),
                )
                for split in splits
            ),
        )
        panels = [
            Panel(
                f"{split}: {title}",
                "accuracy, %",
                lines=tuple(
                    by_round(method, results, figure, {"split": split, "method": method}) for method in METHODS
                ),
            )
            for figure, title in ((GLOBAL, "global model, common test"), (OWN_SERVED, "served models, own classes"))
            for split in splits
        ]
        half = len(splits)
        return Report(
            f"{size.clients} clients, all of them in every round, {size.rounds} rounds, E {size.epochs}, "
            f"B {size.batch}, learning rate {size.lr:g}, momentum {size.momentum:g}; "
            f"{size.limit or 'all'} training and {size.test_limit or 'all'} test pictures, strided CNN "
            f"({size.arguments['input']}, channels {size.arguments['channels']}, hidden {size.arguments['hidden']}).",
            (accuracies, apart),
            (Plot("global", tuple(panels[:half])), Plot("own", tuple(panels[half:]))),
            cifar_verdict(results),
        )
