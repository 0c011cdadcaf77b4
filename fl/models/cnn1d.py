"""A convolutional network for raw vibration windows. Arguments and shapes: arguments.py and shapes.py."""

import torch
from torch import Tensor, nn

from fl.models.arguments import Cnn1dArguments
from fl.models.built_in import CNN1D_FIRST_KERNEL, CNN1D_FIRST_STRIDE, CNN1D_KERNEL, CNN1D_STRIDE


class Cnn1d(nn.Module):
    """Input float32 [batch, channels, length], output logits [batch, classes].

    The mean over time before the last layer makes the answer indifferent to where in the window a shock falls.
    """

    def __init__(self, arguments: Cnn1dArguments) -> None:
        super().__init__()
        before = arguments.channels
        self.convolutions = nn.ModuleList()
        for i, after in enumerate(arguments.filters):
            kernel = CNN1D_KERNEL if i else CNN1D_FIRST_KERNEL
            stride = CNN1D_STRIDE if i else CNN1D_FIRST_STRIDE
            self.convolutions.append(nn.Conv1d(before, after, kernel, stride=stride, padding=kernel // 2))
            before = after
        self.output = nn.Linear(before, arguments.classes)

    def forward(self, windows: Tensor) -> Tensor:
        signal = windows
        for convolution in self.convolutions:
            signal = torch.relu(convolution(signal))
        logits: Tensor = self.output(signal.mean(dim=2))
        return logits
