"""Small tables that a model can learn, and local training written the slow, plain way for comparison."""

import json
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

# As the trainer does: torch's second thread only waits, and on a busy machine a test of 0.3 s then takes 12.
torch.set_num_threads(1)

VECTORS = Path(__file__).parent.parent / "vectors"


def golden():
    """The independent reference run of FedAvg and DLMU: pure functions, a toy federation, a 2-2-2 network."""
    return json.loads((VECTORS / "dlmu-golden.json").read_text())


def separable(seed, records=200, inputs=8, classes=4):
    """(features float32 [records, inputs], labels int64): classes are the largest of fixed linear scores."""
    planes = np.random.default_rng(1).normal(size=(inputs, classes))
    features = np.random.default_rng(seed).normal(size=(records, inputs)).astype(np.float32)
    return features, (features @ planes).argmax(1)


def plain_training(model, features, labels, plan):
    """torch.optim.SGD, one mini-batch at a time: the slow twin of `fl.train.local_train`. The vector, float32 [n]."""
    start = [each.detach().clone() for each in model.parameters()]
    optimiser = torch.optim.SGD(model.parameters(), lr=plan.lr, momentum=plan.momentum)
    generator = torch.Generator().manual_seed(plan.seed)
    for _ in range(plan.epochs):
        order = torch.randperm(len(features), generator=generator)
        for at in range(0, len(features), plan.batch):
            rows = order[at : at + plan.batch]
            optimiser.zero_grad()
            loss = cross_entropy(model(features[rows]), labels[rows])
            if plan.proximal:
                pairs = zip(model.parameters(), start, strict=True)
                loss = loss + plan.proximal / 2 * sum(((now - then) ** 2).sum() for now, then in pairs)
            loss.backward()
            optimiser.step()
    return torch.cat([each.detach().flatten() for each in model.parameters()]).numpy()
