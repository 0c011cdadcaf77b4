"""[DLMU] Fig. 3b: the next character in Shakespeare's plays, a client a speaker, FedAvg beside DLMU.

The paper takes LEAF's SHAKESPEARE and does not name the network's size; here the plays as they are commonly compiled,
divided by who speaks, and the LSTM of `fl.models`. The split is given by the plays: seeds differ in the first weights,
in mini-batches and, at full scale, in who is drawn for a round. FEMNIST, the other half of Fig. 3, is not among the
sources.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import ClassVar

from fl.data.tables import Split, Table, join
from node.reproduce import published
from node.reproduce.dlmu_cifar import METHODS
from node.reproduce.dlmu_verdict import text_verdict
from node.reproduce.experiment import Asked, CannotReproduce, Experiment, Published, Report, ReportTable, Run, Tell
from node.reproduce.federations import (
    BETA,
    GLOBAL,
    OWN_GLOBAL,
    OWN_SERVED,
    SERVED_ON_ALL,
    LocalTraining,
    load_split,
    measure_federation,
    strategy_terms,
    terms_of,
)
from node.reproduce.plot import Panel, Plot, by_round
from node.reproduce.results import Keys, Measured, Results

FILES = ("input.txt", "input.txt.xz", "input.txt.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class TextSize(LocalTraining):
    """`speakers`: those who say most, a client each; 0 all who say enough. `window`, `step`: as in the source text."""

    rounds: int
    arguments: Mapping[str, str]
    speakers: int
    window: int
    step: int
    per_round: int = 0


class DlmuText(Experiment):
    name = "dlmu-text"
    summary = "[DLMU] Fig. 3b: FedAvg and DLMU on Shakespeare's plays, a client a speaker"
    source = "[DLMU] section 5.2, Fig. 3b"
    wants = "the plays as one text file (input.txt, .xz or .gz), or the folder with it"
    minutes_quick = 5.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": TextSize(
            rounds=15,
            epochs=2,
            lr=0.3,
            arguments={"vocabulary": "65", "embedding": "8", "hidden": "64", "layers": "1"},
            speakers=10,
            window=20,
            step=20,
        ),
        "full": TextSize(
            rounds=100,
            epochs=10,
            lr=0.3,
            arguments={"vocabulary": "65", "embedding": "8", "hidden": "256", "layers": "2"},
            speakers=0,
            window=80,
            step=8,
            per_round=10,
        ),
    }
    size: TextSize

    def check(self, asked: Asked) -> None:
        super().check(asked)
        plays(asked.data)

    def runs(self, asked: Asked) -> Sequence[Run]:
        return [
            Run(
                {"method": method},
                seed,
                {"size": asdict(self.size), **strategy_terms(*METHODS[method])},
                partial(self._measure, asked, method, seed),
            )
            for seed in asked.seeds
            for method in METHODS
        ]

    def _measure(self, asked: Asked, method: str, seed: int, tell: Tell) -> Measured:
        size = self.size
        terms = terms_of(
            {
                "model": "char-lstm",
                "arguments": size.arguments,
                "rounds": size.rounds,
                **size.as_terms(),
                **strategy_terms(*METHODS[method]),
                "per_round": size.per_round,
            },
            asked.device,
        )
        clients = speakers(plays(asked.data), size.window, size.step, size.speakers)
        return measure_federation(terms, clients, join([each.test for each in clients]), seed, tell)

    def published(self, keys: Keys, figure: str) -> Published | None:
        return None

    def report(self, results: Results) -> Report:
        size = self.size
        fedavg = {"method": "fedavg"}
        figures = {
            GLOBAL: "global model, all test lines",
            OWN_GLOBAL: "global model, own lines",
            OWN_SERVED: "served model, own lines",
            SERVED_ON_ALL: "served models, all test lines",
        }
        table = ReportTable(
            "Accuracy in percent, mean of the last 5 rounds",
            ("method", *figures.values(), "global model minus FedAvg's", "printed difference", "beta at the end"),
            tuple(
                (
                    method,
                    *(results.spread(figure, method=method).text() for figure in figures),
                    "-" if method == "fedavg" else results.difference(GLOBAL, {"method": method}, fedavg).text(),
                    f"{published.DLMU_TEXT_GAIN:+.2f}" if method == "dlmu" else "-",
                    results.spread(BETA, method=method).text(2),
                )
                for method in results.named("method")
            ),
        )
        panels = tuple(
            Panel(
                title,
                "accuracy, %",
                lines=tuple(by_round(method, results, figure, {"method": method}) for method in METHODS),
            )
            for figure, title in ((GLOBAL, "global model, all test lines"), (OWN_SERVED, "served models, own lines"))
        )
        who = f"the {size.speakers} speakers who say most" if size.speakers else "all speakers with enough to say"
        taking = f"{size.per_round} of them a round" if size.per_round else "all of them in every round"
        return Report(
            f"{who[0].upper()}{who[1:]}, {taking}, {size.rounds} rounds, E {size.epochs}, B {size.batch}, learning "
            f"rate {size.lr:g}, momentum {size.momentum:g}; windows of {size.window} characters, one every "
            f"{size.step}; LSTM with {size.arguments['layers']} layer(s) of {size.arguments['hidden']}. Each speaker's "
            "last fifth is the test.",
            (table,),
            (Plot("accuracy", panels),),
            text_verdict(results),
        )


def plays(given: Path | None) -> Path:
    """The text file. Raises CannotReproduce."""
    assert given is not None, "checked before anything is run"
    if given.is_file():
        return given
    for folder in (given / "shakespeare", given):
        for name in FILES:
            if (folder / name).is_file():
                return folder / name
    raise CannotReproduce(f"{given} has none of {', '.join(FILES)} and no folder shakespeare with one")


@lru_cache(maxsize=2)
def speakers(path: Path, window: int, step: int, count: int) -> tuple[Split, ...]:
    """Those who say most, each with its own lines to train and to test on. Raises DataError."""
    whole = load_split("text", {"window": str(window), "step": str(step)}, path)
    assert whole.train.groups is not None, "plays have speakers"
    assert whole.test.groups is not None, "plays have speakers"
    said = sorted(range(len(whole.train.group_names)), key=lambda who: (-_count(whole.train, who), who))
    if len(said) < count:
        raise CannotReproduce(f"{path} has {len(said)} speakers with enough to say, want {count}")
    chosen = said[:count] if count else said
    return tuple(
        Split(
            whole.train.take((whole.train.groups == who).nonzero()[0]),
            whole.test.take((whole.test.groups == who).nonzero()[0]),
        )
        for who in chosen
    )


def _count(table: Table, who: int) -> int:
    assert table.groups is not None
    return int((table.groups == who).sum())
