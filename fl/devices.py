"""What trains and tests: the CPU, or a GPU where there is one. Seeds are drawn from on the CPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

DEVICES = ("auto", "cpu", "cuda")


class DeviceError(ValueError):
    """A device that does not exist, or is not here."""


def device_of(wish: str) -> torch.device:
    """ "auto" is a GPU where torch finds one, else the CPU. Raises DeviceError."""
    if wish not in DEVICES:
        raise DeviceError(f"device is {wish[:80]!r}, want one of {', '.join(DEVICES)}")
    found = torch.cuda.is_available()
    if wish == "cuda" and not found:
        build = "is built without CUDA" if torch.version.cuda is None else "finds no GPU"
        raise DeviceError(f"device cuda: torch {torch.__version__} {build}, want auto or cpu")
    return torch.device("cuda" if found and wish != "cpu" else "cpu")


def steady(device: torch.device) -> None:
    """Have a GPU compute the same for the same, as far as it can, and in full single precision."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False


def home_of(model: nn.Module) -> torch.device:
    """Where the model's parameters lie; the CPU for a model that has none."""
    return next((each.device for each in model.parameters()), torch.device("cpu"))


@contextmanager
def own_random_state(device: torch.device, seed: int) -> Iterator[None]:
    """What a model draws while it lasts (dropout) is drawn from `seed`; the caller's state is left alone."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            torch.cuda.manual_seed(seed)
        yield
