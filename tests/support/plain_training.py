"""The plainest training there is, to see whether data can be learnt from. Not the code that the daemon trains with."""

import torch

from fl.data import Table
from fl.models import build


def trained_accuracy(train: Table, test: Table, epochs: int, rate: float, seed: int = 0) -> float:
    """The accuracy on `test` of the paper's network, trained on `train` with plain momentum SGD."""
    threads = torch.get_num_threads()
    # So small a network is slower on two threads, and far slower when both cores are busy.
    torch.set_num_threads(1)
    try:
        return _trained_accuracy(train, test, epochs, rate, seed)
    finally:
        torch.set_num_threads(threads)


def _trained_accuracy(train: Table, test: Table, epochs: int, rate: float, seed: int) -> float:
    model = build("mlp", {}, seed)
    step = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.8)
    draw = torch.Generator().manual_seed(seed)
    records, labels = torch.from_numpy(train.inputs()), torch.from_numpy(train.labels)
    for _ in range(epochs):
        for batch in torch.randperm(len(train), generator=draw).split(32):
            step.zero_grad()
            torch.nn.functional.cross_entropy(model(records[batch]), labels[batch]).backward()
            step.step()
    with torch.no_grad():
        answers = model(torch.from_numpy(test.inputs())).argmax(1).numpy()
    return float((answers == test.labels).mean())
