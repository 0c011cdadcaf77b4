"""The reference work in one process without anything around it: `python -m bench.bare_process FOLDER ROUNDS`.

What somebody writes who has all records in one place: torch, a loop over the factories, the weighted mean of their
models, the test of the mean on every factory's test records. Prints the seconds of each round, one a line, then the
accuracy. Imports nothing of ours but the numbers of the work.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

BATCH, EPOCHS, LEARNING_RATE, MOMENTUM = 32, 40, 0.01, 0.8


class Mlp(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(8, 150), nn.ReLU(), nn.Linear(150, 150), nn.ReLU(), nn.Linear(150, 4))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        answers: torch.Tensor = self.layers(inputs)
        return answers


def train(model: Mlp, features: torch.Tensor, labels: torch.Tensor) -> None:
    optimiser = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    for _ in range(EPOCHS):
        order = torch.randperm(len(features))
        for at in range(0, len(features), BATCH):
            rows = order[at : at + BATCH]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(features[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
            optimiser.step()


def accuracy(model: Mlp, features: torch.Tensor, labels: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(features).argmax(1) == labels).float().mean())


def main() -> None:
    folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    torch.manual_seed(1)
    tables = []
    for path in sorted(folder.glob("*.npz")):
        table = np.load(path)
        features, labels = torch.from_numpy(table["features"]) / 4, torch.from_numpy(table["label"])
        half = len(labels) // 2
        tables.append(((features[:half], labels[:half]), (features[half:], labels[half:])))
    common = Mlp()
    tested = 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        trained = []
        for training, _ in tables:
            model = Mlp()
            model.load_state_dict(common.state_dict())
            train(model, *training)
            trained.append(model.state_dict())
        mean = {name: torch.stack([each[name] for each in trained]).mean(0) for name in trained[0]}
        common.load_state_dict(mean)
        tested = sum(accuracy(common, *test) for _, test in tables) / len(tables)
        print(f"{time.perf_counter() - began:.3f}", flush=True)
    print(f"accuracy {tested:.4f}")


if __name__ == "__main__":
    main()
