"""[DLMU] Tables 2 to 4: fixed and dynamic clipping thresholds under noise, as published and at an epsilon that holds.

As published: mode `paper`, in which E - 1 epochs of every round train without noise. What its accounting claims is not
printed; it is read as the noise of the noised epochs alone, as if the others did not leave, at delta 1e-5 (the printed
"sigma = 1e-5" can only be a delta). DP-SGD is read as the same training with a fixed C in place of equation 2. So the
epsilon of these rows is a claim, and no guarantee: `hanse dp audit --mode paper` refutes it. At equal, valid epsilon:
mode `sound`, every step clipped and noised, charged by the node's accountant over all rounds; C fixed, or following
equation 2 over noisy statistics. The split is class(2) for all three data sets, as 5.3 has it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, ClassVar

from fl.data.tables import Split
from node.plots.lines import Line
from node.reproduce import published
from node.reproduce.dpsgd_sizes import DELTA, SETS, SIZES, USUAL_CLIP, Pictures, TablesSize
from node.reproduce.dpsgd_verdict import DYNAMIC, FIXED, METHODS, PLAIN, VALID_DYNAMIC, VALID_FIXED, dpsgd_verdict
from node.reproduce.experiment import Asked, Experiment, Published, Report, ReportTable, Run, Tell
from node.reproduce.federations import (
    FEDAVG,
    GLOBAL,
    check_pictures,
    data_set,
    divided,
    load_split,
    measure_federation,
    terms_of,
)
from node.reproduce.plot import Panel, Plot
from node.reproduce.results import Keys, Measured, MissingResult, Results


class DpsgdTables(Experiment):
    name = "dpsgd-tables"
    summary = "[DLMU] Tables 2 to 4: clipping thresholds under noise, as published and at an epsilon that holds"
    source = "[DLMU] section 5.3, Tables 2, 3 and 4"
    wants = "a folder with the folders cifar10, mnist and fashion-mnist"
    minutes_quick = 8.0
    sizes: ClassVar[Mapping[str, object]] = SIZES
    size: TablesSize

    def check(self, asked: Asked) -> None:
        super().check(asked)
        for name in self.size.pictures:
            data_set(asked.data, name, SETS[name][0])
        if "cifar10" in self.size.pictures:
            check_pictures()

    def runs(self, asked: Asked) -> Sequence[Run]:
        return [
            Run(keys, seed, {"size": _plain(asdict(self.size)), **FEDAVG}, partial(self._measure, asked, keys, seed))
            for seed in asked.seeds
            for name in self.size.pictures
            for keys in self._cells(name)
        ]

    def _cells(self, name: str) -> list[dict[str, str]]:
        """Every cell of one table, and those at a valid epsilon."""
        cells = [{"data": name, "method": PLAIN, "epsilon": "-", "clip": "-"}]
        for epsilon in self.size.epsilons:
            at = {"data": name, "epsilon": str(epsilon)}
            clips = self.size.clips if epsilon == min(self.size.epsilons) else (USUAL_CLIP,)
            cells += [{**at, "method": FIXED, "clip": f"{clip:g}"} for clip in clips]
            cells.append({**at, "method": DYNAMIC, "clip": "-"})
            cells.append({**at, "method": VALID_FIXED, "clip": f"{USUAL_CLIP:g}"})
            cells.append({**at, "method": VALID_DYNAMIC, "clip": "-"})
        return [{key: cell[key] for key in ("data", "method", "epsilon", "clip")} for cell in cells]

    def _measure(self, asked: Asked, keys: Keys, seed: int, tell: Tell) -> Measured:
        size, pictures = self.size, self.size.pictures[keys["data"]]
        whole = load_split(keys["data"], pictures.settings, data_set(asked.data, keys["data"], SETS[keys["data"]][0]))
        clients = divided(whole, size.split, size.clients, seed)
        training = size.valid if keys["method"] in (VALID_FIXED, VALID_DYNAMIC) else size.plain
        terms = {
            "model": pictures.model,
            "arguments": pictures.arguments,
            "rounds": size.rounds,
            **FEDAVG,
            **training.as_terms(),
            **self._privacy(keys, pictures, clients),
        }
        return measure_federation(terms_of(terms, asked.device), clients, whole.test, seed, tell)

    def _privacy(self, keys: Keys, pictures: Pictures, clients: Sequence[Split]) -> dict[str, object]:
        """Mode and settings of the cell."""
        method = keys["method"]
        if method == PLAIN:
            return {"privacy": "none"}
        epsilon = float(keys["epsilon"])
        if method in (VALID_FIXED, VALID_DYNAMIC):
            settings = {"epsilon": f"{epsilon:g}", "delta": repr(DELTA), "clip": f"{USUAL_CLIP:g}"}
            if method == VALID_DYNAMIC:
                settings["clip_rule"] = "published"
            return {"privacy": "sound", "privacy_settings": settings}
        settings = {
            "sigma": repr(claimed_sigma(self.size, pictures, epsilon, min(len(each.train) for each in clients)))
        }
        if method == FIXED:
            settings["clip"] = keys["clip"]
        return {"privacy": "paper", "privacy_settings": settings}

    def published(self, keys: Keys, figure: str) -> Published | None:
        name, method = keys["data"], keys["method"]
        if figure != GLOBAL or name not in SETS:
            return None
        value: float | None = None
        if method == PLAIN:
            value = published.PLAIN[name]
        elif method == FIXED and keys["clip"] == f"{USUAL_CLIP:g}":
            value = published.FIXED_CLIP[name].get(int(keys["epsilon"]))
        elif method == FIXED and keys["epsilon"] == "2":
            value = published.CLIPS_AT_2[name].get(float(keys["clip"]))
        elif method == DYNAMIC:
            value = published.DYNAMIC_CLIP[name].get(int(keys["epsilon"]))
        return Published(value, f"[DLMU] Table {SETS[name][1]}") if value is not None else None

    def report(self, results: Results) -> Report:
        size = self.size
        tables = [table for name in results.named("data") for table in self._tables(results, name)]
        panels = tuple(
            Panel(
                f"{name}: global model, common test",
                "accuracy, %",
                "epsilon: claimed (published), or spent (valid)",
                lines=_lines(results.where(data=name), size.epsilons),
            )
            for name in results.named("data")
        )
        return Report(
            f"{size.clients} clients, {size.split}, {size.rounds} rounds. As published: E {size.plain.epochs} (the "
            f"last noised), B {size.plain.batch}, learning rate {size.plain.lr:g}, momentum {size.plain.momentum:g}. "
            f"At a valid epsilon: E {size.valid.epochs}, B {size.valid.batch}, learning rate {size.valid.lr:g} of "
            f"steps in units of C, momentum {size.valid.momentum:g}, delta {DELTA:g}. "
            + " ".join(
                f"{name}: {pictures.model} {', '.join(pictures.arguments.values())}, "
                f"{pictures.settings.get('limit', 'all')} training records."
                for name, pictures in size.pictures.items()
            ),
            tuple(tables),
            (Plot("accuracy", panels),),
            dpsgd_verdict(results, size.epsilons),
        )

    def _tables(self, results: Results, name: str) -> list[ReportTable]:
        epsilons = [str(epsilon) for epsilon in self.size.epsilons]
        clip = f"{USUAL_CLIP:g}"
        plain = results.spread(GLOBAL, data=name, method=PLAIN).text()
        rows = [("none", f"{published.PLAIN[name]:.2f}", plain, *["-"] * 4)]
        for epsilon in epsilons:
            at = {"data": name, "epsilon": epsilon}
            fixed, dynamic = {**at, "method": FIXED, "clip": clip}, {**at, "method": DYNAMIC, "clip": "-"}
            rows.append(
                (
                    epsilon,
                    self._printed(fixed),
                    results.spread(GLOBAL, **fixed).text(),
                    self._printed(dynamic),
                    results.spread(GLOBAL, **dynamic).text(),
                    results.spread(GLOBAL, **at, method=VALID_FIXED).text(),
                    results.spread(GLOBAL, **at, method=VALID_DYNAMIC).text(),
                )
            )
        title = f"Table {SETS[name][1]}, {name}: accuracy of the global model in percent"
        columns = (
            "epsilon",
            "printed: DP-SGD C=1",
            "as published: C=1",
            "printed: DDP-SGD",
            "as published: dynamic",
            "valid epsilon: C=1",
            "valid epsilon: dynamic",
        )
        least = epsilons[0]
        clips = [each.keys["clip"] for each in results.where(data=name, epsilon=least, method=FIXED).all]
        swept = tuple(
            (each, self._printed(keys), results.spread(GLOBAL, **keys).text())
            for each in dict.fromkeys(clips)
            for keys in [{"data": name, "method": FIXED, "epsilon": least, "clip": each}]
        )
        sweep = ReportTable(
            f"Table {SETS[name][1]}, {name}: fixed thresholds at a claimed epsilon of {least}",
            ("C", "printed", "as published"),
            swept,
        )
        return [ReportTable(title, columns, tuple(rows)), sweep]

    def _printed(self, keys: Keys) -> str:
        found = self.published(keys, GLOBAL)
        return f"{found.value:.2f}" if found else "-"


def claimed_sigma(size: TablesSize, pictures: Pictures, epsilon: float, records: int) -> float:
    """The noise that the published accounting is read to take at the client with the fewest records."""
    from fl.privacy.claims import claim
    from fl.round import RoundJob

    plain = size.plain
    job = RoundJob(
        pictures.model,
        plain.epochs,
        plain.batch,
        plain.lr,
        plain.momentum,
        round_number=0,
        seed=0,
        privacy="paper",
        arguments=pictures.arguments,
        allow_no_guarantee=True,
    )
    return claim(job, epsilon, DELTA, records, size.rounds, trials=8).sigma


def _lines(results: Results, epsilons: Sequence[int]) -> tuple[Line, ...]:
    """A line a method over epsilon, a run a seed; training without noise is level."""
    lines = []
    for method, label in METHODS.items():
        found = results.where(method=method)
        by_seed: dict[int, dict[int, float]] = {}
        for each in found.all:
            if each.keys["clip"] not in ("-", f"{USUAL_CLIP:g}"):
                continue
            value = each.measured.figures[GLOBAL]
            places = epsilons if method == PLAIN else (int(each.keys["epsilon"]),)
            by_seed.setdefault(each.seed, {}).update(dict.fromkeys(places, value))
        if by_seed:
            lines.append(Line(label, list(by_seed.values())))
    if not lines:
        raise MissingResult("no run to draw")
    return tuple(lines)


def _plain(value: Any) -> Any:
    """Mappings and tuples as JSON has them."""
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value
