"""How large the tables of clipping thresholds are made: data, models, training and what is run, by scale."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from node.reproduce import published
from node.reproduce.federations import LocalTraining

EPSILONS = (2, 3, 5, 10)
DELTA = 1e-5
USUAL_CLIP = 1.0
# By data set: the file that shows its folder, and the table.
SETS = {
    "cifar10": ("labels.npz", 2),
    "mnist": ("train-images-idx3-ubyte", 3),
    "fashion-mnist": ("train-images-idx3-ubyte", 4),
}


@dataclass(frozen=True, slots=True)
class Pictures:
    """`settings`: of the source; `model`, `arguments`: what is trained on them."""

    settings: Mapping[str, str]
    model: str
    arguments: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TablesSize:
    """`clips`: the fixed thresholds that are run at the least epsilon; at the others it is USUAL_CLIP.

    `valid`: of mode sound, which divides steps by C and by no record's norm: its learning rate is another, and few
    large batches cost it less. `plain`: of all the other methods.
    """

    rounds: int
    plain: LocalTraining
    valid: LocalTraining
    pictures: Mapping[str, Pictures]
    clients: int = 10
    split: str = "class(2)"
    epsilons: tuple[int, ...] = field(default=EPSILONS)
    clips: tuple[float, ...] = field(default=tuple(published.CLIPS_AT_2["mnist"]))


def small(settings: Mapping[str, str], inputs: int) -> Pictures:
    """Pooled pictures, and a perceptron of one hidden layer for them."""
    return Pictures({"limit": "8000", "test_limit": "2000", **settings}, "mlp", {"layers": f"{inputs},64,10"})


SIZES = {
    "quick": TablesSize(
        rounds=8,
        plain=LocalTraining(epochs=3, batch=128, lr=0.02, momentum=0.8),
        valid=LocalTraining(epochs=3, batch=128, lr=0.5, momentum=0.5),
        pictures={
            "cifar10": small({"downscale": "4", "mosaics": "8"}, 192),
            "mnist": small({"downscale": "2"}, 196),
            "fashion-mnist": small({"downscale": "2"}, 196),
        },
        clips=(0.1, 1.0, 2.0),
    ),
    "full": TablesSize(
        rounds=100,
        plain=LocalTraining(epochs=10, batch=32, lr=0.01, momentum=0.8),
        valid=LocalTraining(epochs=1, batch=512, lr=0.5, momentum=0.5),
        pictures={
            "cifar10": Pictures(
                {}, "cnn", {"input": "3x32x32", "classes": "10", "channels": "64,128,256", "hidden": "256"}
            ),
            "mnist": Pictures({}, "cnn", {"input": "1x28x28", "classes": "10", "channels": "32,64"}),
            "fashion-mnist": Pictures({}, "cnn", {"input": "1x28x28", "classes": "10", "channels": "32,64"}),
        },
    ),
}
