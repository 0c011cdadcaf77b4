"""What an experiment leaves in its folder: report.md, table.json, table.csv and table.parquet, plots."""

import csv
import io
import json
import math
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from node.disk import publish_file
from node.reproduce.experiment import Asked, Experiment, Report, ReportTable
from node.reproduce.results import Results

COLUMNS = ("figure", "mean", "deviation", "seeds", "published", "published_source")


def rows_of(experiment: Experiment, results: Results) -> list[dict[str, object]]:
    """The long table: a row for each figure of each cell, over its seeds. Not-a-number becomes None."""
    cells = list(dict.fromkeys(tuple(each.keys.items()) for each in results.all))
    names = list(dict.fromkeys(key for cell in cells for key, _ in cell))
    rows: list[dict[str, object]] = []
    for cell in cells:
        keys = dict(cell)
        here = Results(tuple(each for each in results.all if dict(each.keys) == keys))
        for figure in here.all[0].measured.figures:
            found = here.spread(figure)
            printed = experiment.published(keys, figure)
            rows.append(
                {
                    **{name: keys.get(name) for name in names},
                    "figure": figure,
                    "mean": _finite(found.mean),
                    "deviation": _finite(found.deviation),
                    "seeds": found.seeds,
                    "published": printed.value if printed else None,
                    "published_source": printed.source if printed else None,
                }
            )
    return rows


def write_report(
    folder: Path, experiment: Experiment, asked: Asked, results: Results, report: Report
) -> tuple[Path, ...]:
    """Everything but the plots; the files written. Raises OSError."""
    rows = rows_of(experiment, results)
    written = [_publish(folder / "report.md", as_markdown(experiment, asked, report, _drawn(folder, report)))]
    content = {
        "experiment": experiment.name,
        "source": experiment.source,
        "scale": asked.scale,
        "seeds": list(asked.seeds),
        "setting": report.setting,
        "verdict": report.verdict,
        "versions": {name: version(name) for name in ("hanse", "torch", "numpy")},
        "rows": rows,
    }
    written.append(_publish(folder / "table.json", json.dumps(content, indent=1, allow_nan=False) + "\n"))
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    written.append(_publish(folder / "table.csv", text.getvalue()))
    parquet = _parquet(rows)
    if parquet is not None:
        publish_file(folder / "table.parquet", parquet)
        written.append(folder / "table.parquet")
    return tuple(written)


def as_markdown(experiment: Experiment, asked: Asked, report: Report, pictures: Sequence[str] = ()) -> str:
    """The report as a page. A cell is a mean and, behind ±, the sample deviation over seeds."""
    seeds = ", ".join(map(str, asked.seeds))
    parts = [f"# {experiment.name}", experiment.summary + ".", f"Scale {asked.scale}, seeds {seeds}. {report.setting}"]
    parts += [f"![{name}]({name})" for name in pictures]
    for table in report.tables:
        parts.append(f"## {table.title}\n\n{markdown_table(table)}")
    parts.append(f"## What it shows\n\n{report.verdict}")
    return "\n\n".join(parts) + "\n"


def markdown_table(table: ReportTable) -> str:
    """The table alone, without its title."""
    lines = [table.columns, tuple("---" for _ in table.columns), *table.rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _drawn(folder: Path, report: Report) -> list[str]:
    return [f"{plot.name}.png" for plot in report.plots if (folder / f"{plot.name}.png").exists()]


def _publish(path: Path, text: str) -> Path:
    publish_file(path, text.encode())
    return path


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _parquet(rows: list[dict[str, object]]) -> bytes | None:
    """None where pyarrow is not installed: table.csv says the same."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        return None
    numbers = {"mean": pyarrow.float64(), "deviation": pyarrow.float64(), "seeds": pyarrow.int64()}
    kinds = {name: numbers.get(name, pyarrow.string()) for name in rows[0]} | {"published": pyarrow.float64()}
    table = pyarrow.Table.from_pylist(rows, schema=pyarrow.schema(list(kinds.items())))
    sink = io.BytesIO()
    parquet.write_table(table, sink)
    return sink.getvalue()
