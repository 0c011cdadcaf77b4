"""A small federation to simulate: three clouds of points, learned in a few rounds and not by guessing."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fl.data.tables import Split, Table
from fl.simulate.attacks import Attack
from fl.simulate.federation import Federation, Terms

TERMS = Terms("mlp", rounds=3, epochs=2, batch=16, lr=0.1, momentum=0.5, arguments={"layers": "6,12,3"}, device="cpu")


def clouds(seed: int, records: int, classes: Sequence[int] = (0, 1, 2)) -> Table:
    """Records of these classes around centres that are the same for every seed."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(3, 6))
    labels = rng.choice(classes, records)
    features = (centres[labels] + 0.7 * rng.normal(size=(records, 6))).astype(np.float32)
    return Table(features, labels.astype(np.int64), ("a", "b", "c"))


def factories(count: int, records: int = 80, mixed: bool = True) -> tuple[list[Split], Table]:
    """`count` clients that share one test; each without one of the classes unless `mixed`. Sizes differ a little."""
    test = clouds(99, 300)
    classes = [(0, 1, 2) if mixed else [place for place in range(3) if place != at % 3] for at in range(count)]
    return [Split(clouds(at, records + at, classes[at]), test) for at in range(count)], test


def federation(
    count: int = 6,
    seed: int = 1,
    attack: Attack | None = None,
    attackers: Sequence[int] = (),
    mixed: bool = True,
    more: dict[str, Any] | None = None,
    **terms: Any,
) -> Federation:
    """`more`: what `Federation` takes beside; `terms`: what is otherwise than in TERMS."""
    clients, test = factories(count, mixed=mixed)
    return Federation(replace(TERMS, **terms), clients, test, seed, attack, attackers, **(more or {}))
