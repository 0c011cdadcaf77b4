"""What a person reads after the runs: a line a run, a line a fault, and the figures that are worth keeping as JSON."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Result = Mapping[str, Any]


def show(results: Sequence[Result], console: Console) -> None:
    """Two tables: the faults with their times, the runs with their transfers."""
    console.print(_faults(results))
    console.print(_runs(results))
    for result in results:
        if result["skipped"]:
            console.print(f"{result['name']} was skipped: {result['skipped']}", highlight=False)
    played = [result for result in results if not result["skipped"]]
    faults = sum(not seen["what"].startswith(("wait", "mend")) for result in played for seen in result["steps"])
    signed = sum(int(result["signed"]) for result in played)
    lost = sum(int(result["unsettled"]) for result in played)
    held = sum(1 for result in played if result["held"])
    console.print(
        f"{held} of {len(played)} runs held; {faults} perturbations; {signed} transfers signed, {lost} of unknown fate",
        highlight=False,
    )


def _faults(results: Sequence[Result]) -> Table:
    table = Table("run", "fault", "next final", "all back", box=None)
    for result in results:
        for seen in result["steps"]:
            table.add_row(result["name"], seen["what"], _seconds(seen["outage_s"]), _seconds(seen["back_s"]))
    return table


def _runs(results: Sequence[Result]) -> Table:
    table = Table("run", "nodes", "height", "signed", "final", "refused", "median wait", "seconds", "", box=None)
    for result in results:
        if result["skipped"]:
            continue
        table.add_row(
            result["name"],
            f"{result['nodes']} (f = {result['faults']})",
            *(str(result[word]) for word in ("height", "signed", "final", "refused")),
            _seconds(result["median_wait_s"]),
            f"{result['seconds']:.0f}",
            "holds" if result["held"] else "FAILS",
        )
    return table


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"


def append(path: Path, results: Sequence[Result]) -> None:
    """One JSON object a line and run, after what the file holds already."""
    with path.open("a") as file:
        for result in results:
            file.write(json.dumps(result) + "\n")
