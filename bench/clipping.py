"""CPU time of a step whose gradients are clipped record by record, against plain SGD: `python -m bench.clipping`.

Four contestants take their steps in turn, on the same records: plain SGD with torch's optimiser; the clipped sum alone;
a whole sound step, with Poisson sampling and noise from ChaCha20 in float64; and Opacus with its float32 noise, where
it is installed (`pip install -c constraints.txt -e .[bench]`). Wanted: at most 2.0 times plain SGD for the perceptron
at batch 32, 1.8 for the convolutional network, 5 for the LSTM. Prints medians in ms a step and ratios.
"""

import copy
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from fl.batches import Records, as_records
from fl.models.registry import build
from fl.privacy.clipper_choice import clipper_for
from fl.privacy.sampling import sampling
from fl.privacy.secure_random import SecureRandom
from fl.privacy.sound import SoundPlan, sound_train
from fl.privacy.terms import SoundSettings
from fl.vectors import flatten_in_place, parameter_vector

RECORDS, LR = 1024, 0.01
Step = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Case:
    """A model with its arguments, one record's shape, how many codes there are (0: measurements), batch, repeats."""

    told: str
    model: str
    arguments: dict[str, str]
    shape: tuple[int, ...]
    codes: int
    batch: int
    repeats: int
    wanted: float | None = None


CASES = (
    Case("MLP 8-150-150-4", "mlp", {}, (8,), 0, 32, 300, 2.0),
    Case("MLP 8-150-150-4", "mlp", {}, (8,), 0, 256, 200),
    Case("CNN 28x28", "cnn", {}, (1, 28, 28), 0, 32, 100, 1.8),
    Case("CNN 28x28", "cnn", {}, (1, 28, 28), 0, 128, 50),
    Case("LSTM, 40 characters", "char-lstm", {}, (40,), 65, 32, 30, 5.0),
)


def table(case: Case) -> Records:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 4, RECORDS)
    if case.codes:
        return as_records(rng.integers(0, case.codes, (RECORDS, *case.shape)), labels)
    return as_records(rng.normal(size=(RECORDS, *case.shape)).astype(np.float32), labels)


def plain(case: Case, records: Records) -> Step:
    """What anybody would write first."""
    model = build(case.model, case.arguments, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=LR)

    def step() -> None:
        rows = torch.randint(RECORDS, (case.batch,))
        optimiser.zero_grad()
        cross_entropy(model(records.features[rows]), records.labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def clipped(case: Case, records: Records) -> Step:
    """The clipped sum of a batch, nothing else."""
    clipper = clipper_for(flatten_in_place(build(case.model, case.arguments, 1)))
    features, labels = records.features[: case.batch], records.labels[: case.batch]
    return lambda: clipper.of_records(features, labels, 1.0)


def sound(case: Case, records: Records) -> tuple[Step, int]:
    """An epoch of sound training as it is, and its steps."""
    model = build(case.model, case.arguments, 1)
    vector = parameter_vector(model)
    plan = SoundPlan(SoundSettings(), 1.0, sampling(RECORDS, case.batch, 1), 1, LR)
    return (lambda: sound_train(model, vector, records, plan, SecureRandom())), plan.sampling.steps


def opacus(case: Case, records: Records) -> Step | None:
    """A step of Opacus: gradients of every record, clipped, noised; None where it is not installed."""
    try:
        from opacus import GradSampleModule
        from opacus.layers import DPLSTM
        from opacus.optimizers import DPOptimizer
    except ImportError:
        return None
    model: Any = copy.deepcopy(build(case.model, case.arguments, 1))
    for name, layer in list(model.named_children()):
        if isinstance(layer, nn.LSTM):
            # The one recurrent layer that it takes.
            setattr(model, name, DPLSTM(layer.input_size, layer.hidden_size, layer.num_layers, batch_first=True))
    model = GradSampleModule(model)
    optimiser = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=LR),
        noise_multiplier=1.0,
        max_grad_norm=1.0,
        expected_batch_size=case.batch,
    )

    def step() -> None:
        rows = torch.randint(RECORDS, (case.batch,))
        optimiser.zero_grad()
        cross_entropy(model(records.features[rows]), records.labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return step


def cpu_ms(step: Step) -> float:
    begun = time.process_time()
    step()
    return (time.process_time() - begun) * 1e3


def measure(case: Case) -> None:
    records = table(case)
    whole, steps = sound(case, records)
    contestants: dict[str, tuple[Step, int]] = {
        "plain SGD": (plain(case, records), 1),
        "clipped sum": (clipped(case, records), 1),
        "sound step, sampled and noised": (whole, steps),
    }
    other = opacus(case, records)
    if other is not None:
        contestants["Opacus, noised"] = (other, 1)
    seen: dict[str, list[float]] = {name: [] for name in contestants}
    # In turn, so that a machine that is busy for a while is so for all of them. An epoch counts as its many steps.
    for at in range(case.repeats + 3):
        for name, (step, many) in contestants.items():
            if at % many == 0 or many == 1:
                took = cpu_ms(step) / many
                if at >= 3 or many > 1:
                    seen[name].append(took)
    base = statistics.median(seen["plain SGD"])
    wanted = "" if case.wanted is None else f"   wanted: at most {case.wanted}"
    print(f"{case.told}, batch {case.batch}{wanted}")
    for name, times in seen.items():
        median = statistics.median(times)
        print(f"  {name:32} {median:8.3f} ms   {median / base:5.2f}")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for case in CASES:
        measure(case)
    if opacus(CASES[0], table(CASES[0])) is None:
        print("Opacus is not installed: pip install -c constraints.txt -e .[bench]")


if __name__ == "__main__":
    main()
