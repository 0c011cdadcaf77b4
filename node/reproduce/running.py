"""Carries out the runs of an experiment that are still missing, one after the other or in processes of their own."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.process import BaseProcess

from node.reproduce.experiment import Asked, CannotReproduce, Experiment, Run
from node.reproduce.results import Measured, Result, Results
from node.reproduce.results_folder import ResultsFolder

Told = Callable[[str, int, int], object]
"""(what is being done, runs done, runs in all)"""


def carry_out(experiment: Experiment, asked: Asked, folder: ResultsFolder, workers: int, told: Told) -> Results:
    """Every run's result, in order; those that `folder` holds are taken from there.

    Stopped at any moment (Ctrl-C, a power cut) it loses the runs that were going on, and no other. Raises
    CannotReproduce, and what the code under measurement raises.
    """
    runs = experiment.runs(asked)
    folder.prepare()
    found: dict[int, Result] = {}
    for at, run in enumerate(runs):
        stored = folder.find(run)
        if stored is not None:
            found[at] = stored
    missing = [at for at in range(len(runs)) if at not in found]
    if missing:
        if workers > 1 and not experiment.alone and len(missing) > 1:
            _in_processes(experiment, asked, runs, missing, found, folder, min(workers, len(missing)), told)
        else:
            _one_by_one(runs, missing, found, folder, told)
    return Results(tuple(found[at] for at in range(len(runs))))


def _one_by_one(
    runs: Sequence[Run], missing: Sequence[int], found: dict[int, Result], folder: ResultsFolder, told: Told
) -> None:
    for at in missing:
        run = runs[at]

        def tell(text: str, name: str = run.name) -> None:
            told(f"{name}: {text}", len(found), len(runs))

        told(run.name, len(found), len(runs))
        # Another command may have done it meanwhile, in the same folder.
        found[at] = folder.find(run) or folder.keep(run, run.measure(tell))
        told(f"{run.name}: done", len(found), len(runs))


def _in_processes(
    experiment: Experiment,
    asked: Asked,
    runs: Sequence[Run],
    missing: Sequence[int],
    found: dict[int, Result],
    folder: ResultsFolder,
    workers: int,
    told: Told,
) -> None:
    # Spawned, not forked: torch's threads do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=end_at_once) as pool:
        going: dict[Future[Measured], int] = {}
        try:
            for at in missing:
                going[pool.submit(measure_one, experiment, asked, at)] = at
            while going:
                done, _ = wait(going, return_when=FIRST_COMPLETED)
                for future in done:
                    at = going.pop(future)
                    found[at] = folder.keep(runs[at], future.result())
                    told(f"{runs[at].name}: done", len(found), len(runs))
        except BrokenProcessPool:
            raise CannotReproduce(
                "a worker process was killed (out of memory?); what was done is kept: run again, with fewer --workers"
            ) from None
        except BaseException:
            # What they are at is lost in any case, and may take hours.
            for worker in multiprocessing.active_children():
                worker.terminate()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def end_at_once() -> None:
    """In a worker process: Ctrl-C, which a terminal sends to all, ends it without a word, and so does the end of who
    started it, however that came about; what it was at is lost."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    # Killed, it cannot tell its workers, and they would train on and then wait for orders for ever.
    parent.join()
    os._exit(1)


def measure_one(experiment: Experiment, asked: Asked, at: int) -> Measured:
    """In a worker process: the run at that place of the experiment."""
    return experiment.runs(asked)[at].measure(lambda _: None)
