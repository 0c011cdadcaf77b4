"""What a client does in the comparison with Flower: torch, nothing of ours, nothing of Flower's.

Reads the work from the folder named by the environment variable BENCH_WORK: other processes than the first import this.
"""

import json
import os
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

FOLDER = Path(os.environ["BENCH_WORK"])
WORK = json.loads((FOLDER / "work.json").read_text())
torch.set_num_threads(1)


def net() -> nn.Module:
    parts: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(WORK["layers"]):
        parts += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*parts[:-1])


def load(model: nn.Module, tensors: list[np.ndarray]) -> None:
    with torch.no_grad():
        for parameter, tensor in zip(model.parameters(), tensors, strict=True):
            parameter.copy_(torch.from_numpy(np.array(tensor)))


def dump(model: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().numpy().copy() for parameter in model.parameters()]


def first_tensors() -> list[np.ndarray]:
    vector, cut, start = np.load(FOLDER / "initial.npy"), [], 0
    for parameter in net().parameters():
        cut.append(vector[start : start + parameter.numel()].reshape(parameter.shape))
        start += parameter.numel()
    return cut


@cache
def table(name: str) -> dict[str, torch.Tensor]:
    """Kept by each process: a client's records are read once in it."""
    with np.load(FOLDER / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def train(client: int, number: int, tensors: list[np.ndarray]) -> tuple[list[np.ndarray], int]:
    """A round of one client, rounds from 0: its trained tensors and how many records it has."""
    records, model = table(f"client-{client}"), net()
    load(model, tensors)
    optimiser = torch.optim.SGD(model.parameters(), lr=WORK["lr"], momentum=WORK["momentum"])
    draw = torch.Generator().manual_seed(int(np.load(FOLDER / "orders.npy")[number, client]))
    count = len(records["labels"])
    for _ in range(WORK["epochs"]):
        for rows in torch.split(torch.randperm(count, generator=draw), WORK["batch"]):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(records["features"][rows]), records["labels"][rows]).backward()
            optimiser.step()
    return dump(model), count


def accuracy(tensors: list[np.ndarray], features: torch.Tensor, labels: torch.Tensor) -> float:
    model = net()
    load(model, tensors)
    with torch.no_grad():
        return float((model(features).argmax(1) == labels).float().mean())


def own_accuracy(client: int, tensors: list[np.ndarray]) -> float:
    records = table(f"client-{client}")
    return accuracy(tensors, records["test_features"], records["test_labels"])


def common_accuracy(tensors: list[np.ndarray]) -> float:
    return accuracy(tensors, table("test")["features"], table("test")["labels"])
