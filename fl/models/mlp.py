"""The fully connected network of [ANCHOR]. Arguments and shapes: arguments.py and shapes.py."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fl.models.arguments import MlpArguments


class Mlp(nn.Module):
    """ReLU between the layers, logits at the end. Input float32 [batch, ...], flattened to [batch, inputs]."""

    def __init__(self, arguments: MlpArguments) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(arguments.layers))

    def forward(self, records: Tensor) -> Tensor:
        signal = records.flatten(1)
        for layer in self.layers[:-1]:
            signal = torch.relu(layer(signal))
        logits: Tensor = self.layers[-1](signal)
        return logits
