"""A masked round of made-up providers, each step as a node takes it: keys, shares, masking, what is revealed."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from fl.fixed_point import Ints
from fl.mask_keys import MaskContext, public_key, seed_commitment
from fl.masking import Longs, MaskMember, MaskSecrets, mask_update
from fl.shamir import split, threshold

LEAGUE, REQUEST = hashlib.sha256(b"league").digest(), hashlib.sha256(b"request").digest()


def context(count: int, round: int = 3, attempt: int = 0) -> MaskContext:
    return MaskContext(LEAGUE, REQUEST, round, attempt, count)


def org(at: int) -> bytes:
    """Organisations whose order is not that of their numbers."""
    return hashlib.sha256(f"org {at}".encode()).digest()


def seeded(name: str) -> Callable[[int], bytes]:
    """Bytes that look random and are the same in every run."""
    counter = 0

    def random(length: int) -> bytes:
        nonlocal counter
        counter += 1
        return hashlib.shake_256(f"{name} {counter}".encode()).digest(length)

    return random


@dataclass(frozen=True)
class MaskedRound:
    """Providers, and how many of their shares give a secret back."""

    context: MaskContext
    secrets: tuple[MaskSecrets, ...]
    shares: Mapping[bytes, tuple[dict[int, bytes], dict[int, bytes]]]
    least: int

    @property
    def keys(self) -> dict[bytes, bytes]:
        return {each.org: public_key(each.mask_private) for each in self.secrets}

    def masked(self, at: int, values: Ints | Longs, weight: int, factor: int | None = None) -> bytes:
        factor = weight if factor is None else factor
        return mask_update(self.context, self.secrets[at], self.keys, values, weight, factor)

    def members(self, blobs: Mapping[int, bytes], holders: Sequence[int] | None = None) -> list[MaskMember]:
        """Those whose masks count, with the shares that the holders at these places reveal of each."""
        asked = list(range(self.least)) if holders is None else list(holders)
        return [self._member(at, blobs.get(at), asked) for at in range(len(self.secrets))]

    def _member(self, at: int, blob: bytes | None, holders: Collection[int]) -> MaskMember:
        mine = self.secrets[at]
        shares = self.shares[mine.org][0 if blob is not None else 1]
        return MaskMember(
            mine.org,
            public_key(mine.mask_private),
            seed_commitment(mine.seed, self.context, mine.org),
            blob,
            tuple((holder + 1, shares[holder + 1]) for holder in sorted(holders)),
        )


def masked_round(providers: int, count: int, name: str = "round", where: MaskContext | None = None) -> MaskedRound:
    random, least = seeded(f"{name} of {providers}"), threshold(providers)
    secrets = tuple(MaskSecrets(org(at), random(32), random(32)) for at in range(providers))
    indices = range(1, providers + 1)
    shares = {
        each.org: (split(each.seed, least, indices, random), split(each.mask_private, least, indices, random))
        for each in secrets
    }
    return MaskedRound(where or context(count), secrets, shares, least)


def updates(providers: int, count: int, limit_q: int, seed: int = 1) -> tuple[list[Ints], list[int]]:
    """Vectors within the limit, some coordinates at it, and weights."""
    rng = np.random.default_rng(seed)
    vectors = [rng.integers(-limit_q, limit_q, count, dtype=np.int32, endpoint=True) for _ in range(providers)]
    for vector in vectors:
        vector[0], vector[-1] = -limit_q, limit_q
    return vectors, [int(each) for each in rng.integers(1, 5000, providers)]
