"""CPU time of local training against a bare torch loop: `python -m bench.training`. Prints medians and ratios.

The work of [ANCHOR]: MLP 8-150-150-4, 1,000 records, batch 32, 40 epochs, one thread. A whole round has the encoding
and the test of the global model and of the update on 1,000 records on top of the training.
"""

import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from fl.aggregate import aggregate_blobs
from fl.batches import as_records
from fl.fixed_point import limit_in_steps, pack
from fl.models.registry import build
from fl.round import RoundJob, Table, initial_model, run_round
from fl.train import LocalPlan, local_train
from fl.vectors import parameter_vector

EPOCHS, BATCH, RECORDS, REPEATS = 40, 32, 1000, 7
LR, MOMENTUM = 0.005, 0.8


def table(seed: int) -> Table:
    """Eight features and four classes that a linear score tells apart."""
    planes = np.random.default_rng(1).normal(size=(8, 4))
    features = np.random.default_rng(seed).normal(size=(RECORDS, 8)).astype(np.float32)
    return features, (features @ planes).argmax(1)


def bare_torch(features: torch.Tensor, labels: torch.Tensor) -> None:
    """What anybody would write first."""
    model = build("mlp", {}, 1)
    optimiser = torch.optim.SGD(model.parameters(), lr=LR, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        order = torch.randperm(RECORDS)
        for at in range(0, RECORDS, BATCH):
            rows = order[at : at + BATCH]
            optimiser.zero_grad()
            cross_entropy(model(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def median_cpu_s(work: Callable[[], object]) -> float:
    """Median CPU seconds of REPEATS runs, after one that does not count."""
    work()
    seconds = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def main() -> None:
    torch.set_num_threads(1)
    train, test = table(2), table(3)
    records, vector = as_records(*train), parameter_vector(build("mlp", {}, 1))
    plan, base = LocalPlan(EPOCHS, BATCH, LR, MOMENTUM, seed=1), initial_model("mlp", {}, 1)
    job = RoundJob("mlp", EPOCHS, BATCH, LR, MOMENTUM, round_number=0, seed=1, strategy="dlmu")
    steps = EPOCHS * -(-RECORDS // BATCH)

    bare = median_cpu_s(lambda: bare_torch(records.features, records.labels))
    ours = median_cpu_s(lambda: local_train(build("mlp", {}, 1), vector, records, plan))
    whole = median_cpu_s(lambda: run_round(job, train, test, base, None))
    print(f"bare torch   {bare / steps * 1e3:.3f} ms/step   {bare:.3f} s")
    print(f"local_train  {ours / steps * 1e3:.3f} ms/step   {ours:.3f} s   ratio {ours / bare:.2f}")
    print(f"run_round    {whole / steps * 1e3:.3f} ms/step   {whole:.3f} s   ratio {whole / bare:.2f}")

    blob, most = pack(base), limit_in_steps(job.limit, job.scale_bits)
    updates = [(pack(base + np.int32(at)), 1000 + at) for at in range(5)]
    again = median_cpu_s(lambda: aggregate_blobs("mean", {}, blob, updates, len(base), job.scale_bits, most))
    print(f"aggregate_blobs, 5 updates of {len(base)} parameters: {again * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
