"""What a dishonest factory may send instead of its update, and what it may train on. Knows no rule and no network.

Attackers are told more here than a league tells them: they know each other, and those that want to see all updates of
the round. So what a simulation shows is the worse case. Randomness comes in as an argument.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from fl.data.tables import Table
from fl.fixed_point import Ints
from fl.settings import Number, parse_settings


class AttackError(ValueError):
    """An attack that does not exist, or cannot be made with these attackers."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What attackers know in a round. trained: by client, the update that each would send if it were honest.

    base: the global model of the round; previous: the one before it, None in the first round; limit_q: the widest
    coordinate that is no error. All vectors are int32 [n].
    """

    base: Ints
    previous: Ints | None
    trained: Mapping[int, Ints]
    attackers: tuple[int, ...]
    limit_q: int
    rng: np.random.Generator

    @property
    def honest(self) -> list[int]:
        return [client for client in self.trained if client not in self.attackers]

    def as_update(self, vector: NDArray[np.float64]) -> Ints:
        """Whole coordinates within the limit: an attacker does not send what is refused unseen."""
        limited = np.clip(np.rint(vector), -self.limit_q, self.limit_q)
        return limited.astype(np.int32)

    def noise(self, length: float) -> NDArray[np.float64]:
        """A random direction of that length, float64 [n]."""
        drawn = self.rng.normal(size=len(self.base))
        return drawn * (length / float(np.linalg.norm(drawn)))


class Attack(ABC):
    """`strength` means what `meaning` says; 0 takes the attack's own."""

    name: ClassVar[str]
    summary: ClassVar[str]
    meaning: ClassVar[str] = "not used"
    usual: ClassVar[float] = 0.0

    def __init__(self, strength: float = 0.0) -> None:
        self.strength = strength or self.usual

    def poison(self, table: Table) -> Table:
        """What an attacker trains on: here its records as they are."""
        return table

    @abstractmethod
    def uploads(self, seen: Seen) -> dict[int, Ints]:
        """What each attacker sends, by client."""


class LabelFlip(Attack):
    name = "label-flip"
    summary = "train honestly on records whose class c is called the last but c"

    def poison(self, table: Table) -> Table:
        return replace(table, labels=len(table.classes) - 1 - table.labels)

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        return {client: seen.trained[client] for client in seen.attackers}


class SignFlip(Attack):
    name = "sign-flip"
    summary = "send the own step backwards"
    meaning = "how many times as long"
    usual = 3.0

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        base = seen.base.astype(np.float64)
        return {
            client: seen.as_update(base - self.strength * (seen.trained[client] - base)) for client in seen.attackers
        }


class LittleIsEnough(Attack):
    """[Baruch, Baruch and Goldberg 2019, arXiv 1902.06156]: mean - z * deviation, by coordinate, of all honest updates.

    The paper's attackers estimate both from their own and send the same; these know them, and each adds a little noise,
    or they would be taken for the copies that they are.
    """

    name = "little-is-enough"
    summary = "send the mean of the honest updates, off by some deviations in every coordinate"
    meaning = "z: how many deviations (1.5 in the paper's trials)"
    usual = 1.5
    NOISE = 0.05  # of the step's length

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        if len(seen.honest) < 2:
            raise AttackError(f"{self.name} with {len(seen.honest)} honest factories, want two to deviate from")
        honest = np.stack([seen.trained[client] for client in seen.honest]).astype(np.float64)
        common = honest.mean(0) - self.strength * honest.std(0)
        length = self.NOISE * float(np.linalg.norm(common - seen.base))
        return {client: seen.as_update(common + seen.noise(length)) for client in seen.attackers}


class FreeRider(Attack):
    """[Lin, Du and Liu 2019, arXiv 1911.12560]: no training, the last movement of the global model once more, and some
    noise so that it looks different every time. Nothing at all in the first round."""

    name = "free-rider"
    summary = "train nothing, send the last movement of the global model again"
    meaning = "length of the noise on it, in its own length"
    usual = 0.1

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        base = seen.base.astype(np.float64)
        movement = base - seen.previous if seen.previous is not None else np.zeros_like(base)
        length = self.strength * float(np.linalg.norm(movement))
        return {client: seen.as_update(base + movement + seen.noise(length)) for client in seen.attackers}


class Copier(Attack):
    """An update of an honest factory, which a league with sealed updates gives to nobody in time."""

    name = "copier"
    summary = "train nothing, send the update of an honest factory"
    meaning = "length of the noise on it, in the step's own length"
    usual = 0.005

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        if not seen.honest:
            raise AttackError(f"{self.name} with no honest factory to copy from")
        sent = {}
        for at, client in enumerate(seen.attackers):
            copied = seen.trained[seen.honest[at % len(seen.honest)]].astype(np.float64)
            length = self.strength * float(np.linalg.norm(copied - seen.base))
            sent[client] = seen.as_update(copied + seen.noise(length))
        return sent


class Noise(Attack):
    name = "noise"
    summary = "train nothing, send a random step of the length of an honest one"
    meaning = "how many times as long"
    usual = 1.0

    def uploads(self, seen: Seen) -> dict[int, Ints]:
        base = seen.base.astype(np.float64)
        lengths = [float(np.linalg.norm(seen.trained[client] - base)) for client in seen.honest or seen.attackers]
        length = self.strength * float(np.median(lengths))
        return {client: seen.as_update(base + seen.noise(length)) for client in seen.attackers}


ATTACKS: dict[str, type[Attack]] = {
    each.name: each for each in (LabelFlip, SignFlip, LittleIsEnough, FreeRider, Copier, Noise)
}


@dataclass(frozen=True, slots=True)
class _Strength:
    strength: Annotated[float, Number(0.0, 1e6, "as the attack says; 0 is its own")] = 0.0


def attack(name: str, strength: str = "0") -> Attack:
    """The attack of that name. Raises AttackError for an unknown one, or a strength that is none."""
    kind = ATTACKS.get(name)
    if kind is None:
        raise AttackError(f"unknown attack {name[:80]!r}, want one of {', '.join(ATTACKS)}")
    return kind(parse_settings(_Strength, f"attack {name}", {"strength": strength}, AttackError).strength)
