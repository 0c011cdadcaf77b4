"""The work of `bench/flower_work.py` in our simulator: `python -m bench.flower_here FOLDER WORKERS` (0: this process).

Prints what `bench/flower_app.py` prints, and the digest of the last model.
"""

import json
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from bench.flower_work import SEED
from fl.data.tables import Split, Table
from fl.simulate.engines.base import Engine
from fl.simulate.engines.inline import Inline
from fl.simulate.engines.processes import Processes
from fl.simulate.federation import Federation
from fl.simulate.terms import Terms


def main() -> None:
    folder, workers = Path(sys.argv[1]), int(sys.argv[2])
    work = json.loads((folder / "work.json").read_text())
    names = tuple(str(each) for each in range(work["layers"][-1]))

    def table(file: str, kind: str = "") -> Table:
        with np.load(folder / f"{file}.npz") as arrays:
            return Table(arrays[f"{kind}features"], arrays[f"{kind}labels"], names)

    test = table("test")
    places = range(work["clients"])
    clients = [
        Split(table(f"client-{at}"), table(f"client-{at}", "test_") if work["own_tests"] else test) for at in places
    ]
    terms = Terms(
        "mlp",
        work["rounds"],
        work["epochs"],
        work["batch"],
        work["lr"],
        work["momentum"],
        {"layers": ",".join(map(str, work["layers"]))},
        device="cpu",
    )
    engine: Engine = Processes(workers) if workers else Inline()
    ended = [time.perf_counter()]
    seeds = [SEED + at for at in places]
    with Federation(terms, clients, test, SEED, engine=engine, batch_seeds=seeds) as federation:
        course = federation.run(lambda _: ended.append(time.perf_counter()))
    seconds = [after - before for before, after in pairwise(ended)]
    reached = [each.accuracy for each in course.rounds]
    print(json.dumps({"round_s": seconds, "accuracy": reached, "digest": course.rounds[-1].digest}))


if __name__ == "__main__":
    main()
