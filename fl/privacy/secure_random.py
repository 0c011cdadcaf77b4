"""Noise and sampling from a stream nobody can predict: ChaCha20 under a key from the operating system.

torch's generator is not used for this: its float32 normal numbers end at 5.77 and its state can be recovered from
its output (research behind DESIGN D11).
"""

import hashlib
import math
import os
from fractions import Fraction

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

# Box and Muller's method works on pairs; 64 Ki of them are 1 MiB of key stream at a time.
PAIRS_PER_CHUNK = 1 << 16
UNIT = 2.0**-53


class SecureRandom:
    """A stream of random numbers. Without a seed nobody can repeat it; a seed is for tests alone."""

    def __init__(self, seed: int | None = None) -> None:
        key = os.urandom(32) if seed is None else hashlib.sha256(f"secure-random {seed}".encode()).digest()
        # A fresh key for every stream, so a fixed nonce never meets the same key twice.
        self._stream = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()

    def words(self, count: int) -> NDArray[np.uint64]:
        """Uniform 64-bit words, uint64 [count]."""
        return np.frombuffer(self._stream.update(bytes(8 * count)), "<u8")

    def chosen(self, probability: float | Fraction, count: int) -> NDArray[np.intp]:
        """The indices below `count` that a coin of that probability, tossed once for each, picks: Poisson sampling.

        A coin is a 64-bit word below floor(probability * 2^64). Its first 16 bits nearly always decide, so the other 48
        are drawn only where they must.
        """
        if not 0 <= probability <= 1:
            raise ValueError(f"probability {probability}, want 0 to 1")
        if probability == 1:
            return np.arange(count)
        head, tail = divmod(int(probability * 2**64), 1 << 48)
        tossed = np.frombuffer(self._stream.update(bytes(2 * count)), "<u2")
        chosen = np.flatnonzero(tossed <= head)
        tied = np.flatnonzero(tossed[chosen] == head)
        if not len(tied):
            return chosen
        lost = tied[(self.words(len(tied)) >> np.uint64(16)) >= np.uint64(tail)]
        return np.delete(chosen, lost)

    def normal(self, count: int, deviation: float = 1.0) -> NDArray[np.float64]:
        """Independent normal numbers of that deviation, float64 [count] (Box and Muller 1958)."""
        drawn = np.empty(count + count % 2)
        for start in range(0, len(drawn), 2 * PAIRS_PER_CHUNK):
            pairs = min(2 * PAIRS_PER_CHUNK, len(drawn) - start) // 2
            bits = (self.words(2 * pairs) >> np.uint64(11)).view(np.int64).astype(np.float64)
            # (0, 1], so that the logarithm is finite; the smallest 2^-53 reaches out to 8.57.
            radius = bits[:pairs]
            radius += 1.0
            radius *= UNIT
            np.log(radius, out=radius)
            radius *= -2.0 * deviation * deviation
            np.sqrt(radius, out=radius)
            angle = bits[pairs:]
            angle *= 2.0 * math.pi * UNIT
            # torch's cosine of doubles takes a third of numpy's time; its logarithm takes three times as long.
            turned = torch.from_numpy(angle)
            np.multiply(radius, torch.cos(turned).numpy(), out=drawn[start : start + pairs])
            np.multiply(radius, turned.sin_().numpy(), out=drawn[start + pairs : start + 2 * pairs])
        return drawn[:count]
