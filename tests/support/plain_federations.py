"""Federations written from the papers, slow and plain, in float64 and without fixed point: twins for `fl.strategies`.

And the same federations by the code under test: `run_round` at every client, `aggregate_blobs` after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from fl.aggregate import aggregate_blobs
from fl.fixed_point import decode, limit_in_steps, pack, unpack
from fl.models.registry import build
from fl.models.shapes import parameter_count
from fl.round import RoundJob, batch_seed, first_model, run_round, served_model
from fl.strategies.agreed_rule import agreed_rule
from fl.strategies.registry import strategy
from fl.vectors import parameter_vector
from tests.support.learning import separable

ARGUMENTS = {"layers": "8,6,4"}
COUNT = parameter_count("mlp", ARGUMENTS)
# Unequal factories: who weighs by records and who does not comes to other numbers.
RECORDS = (40, 70, 25)
TABLES = [separable(seed, records) for seed, records in enumerate(RECORDS)]
JOB = RoundJob("mlp", epochs=2, batch=16, lr=0.1, momentum=0.0, round_number=0, seed=3, arguments=ARGUMENTS)


@dataclass
class Twin:
    """What a federation came to: the global model after every round, and what each factory serves in the end."""

    models: list[np.ndarray]
    served: list[np.ndarray]


def federation(job: RoundJob, rounds: int, taking_part=None, named: str | None = None) -> Twin:
    """By the code under test. `taking_part(round)`: which clients train, by default all; `named`: the rule, by default
    what the strategy is usually averaged by."""
    rule = strategy(job.strategy, job.strategy_settings)
    aggregation = agreed_rule(rule, named, {})
    limit_q = limit_in_steps(job.limit, job.scale_bits)
    clients = range(len(TABLES))
    base, previous = first_model(job, 1), None
    states, models = dict.fromkeys(clients), []
    for number in range(rounds):
        here = clients if taking_part is None else taking_part(number)
        now = {client: replace(job, round_number=number, seed=client) for client in here}
        done = {client: run_round(now[client], TABLES[client], None, base, states[client]) for client in here}
        states |= {client: outcome.state for client, outcome in done.items()}
        made = aggregate_blobs(
            aggregation.rule,
            aggregation.settings,
            pack(base, job.scale_bits),
            [(pack(outcome.update_q, job.scale_bits), outcome.weight) for outcome in done.values()],
            len(base),
            job.scale_bits,
            limit_q,
            previous=None if previous is None else pack(previous, job.scale_bits),
        )
        previous, base = base, unpack(made.blob, len(base), job.scale_bits, limit_q).copy()
        models.append(decode(base, job.scale_bits)[:COUNT])
    return Twin(models, [served_model(job, base, states[client])[0] for client in clients])


def first_weights() -> np.ndarray:
    """What every federation here begins with, float64 [COUNT]."""
    return parameter_vector(build("mlp", ARGUMENTS, 1)).astype(np.float64)


Gradient = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(weights now, gradient of the batch) -> the gradient that is stepped along."""


def sgd(
    weights: np.ndarray, client: int, round_number: int, job: RoundJob, bend: Gradient, epochs: int = 0
) -> tuple[np.ndarray, int]:
    """Heavy-ball SGD in float64 by the batches of that client in that round; where it ends, and its steps."""
    model = build("mlp", ARGUMENTS, 1).double()
    features, labels = (torch.from_numpy(each) for each in TABLES[client])
    generator = torch.Generator().manual_seed(batch_seed(client, round_number))
    weights, velocity, steps = weights.copy(), np.zeros(COUNT), 0
    for _ in range(epochs or job.epochs):
        order = torch.randperm(len(features), generator=generator)
        for rows in torch.split(order, job.batch):
            torch.nn.utils.vector_to_parameters(torch.from_numpy(weights), model.parameters())
            gradients = torch.autograd.grad(
                cross_entropy(model(features[rows].double()), labels[rows]), list(model.parameters())
            )
            gradient = bend(weights, torch.cat([each.flatten() for each in gradients]).numpy())
            velocity = job.momentum * velocity + gradient
            weights = weights - job.lr * velocity
            steps += 1
    return weights, steps


def mean(vectors: list[np.ndarray], clients=None) -> np.ndarray:
    """Weighted by records; of these clients, None for all."""
    records = np.array(RECORDS, np.float64)[[*(clients or range(len(RECORDS)))]]
    return (np.array(vectors).T @ records) / records.sum()
