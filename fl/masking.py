"""Masks that hide every single update and vanish from the sum: secure aggregation (Bonawitz et al. 2017) in Z_2^64.

Provider i sends y_i = factor_i * q_i + PRG(b_i) + sum over j > i of PRG(s_ij) - sum over j < i of PRG(s_ij), with b_i
its own secret and s_ij = s_ji what it shares with j; one more word carries its weight in the same way. For those who
delivered the others reveal b_i, for those who did not the key behind s_ij, never both; then everybody computes the same
sum. Who may reveal what is decided elsewhere; keys and shares are in `fl.mask_keys` and `fl.shamir`. No float.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms
from numpy.typing import NDArray

from fl.fixed_point import Bytes, Ints
from fl.mask_keys import MaskContext, pair_seed, public_key, seed_commitment, self_seed
from fl.masked_blob import Words, check_masked, new_masked
from fl.shamir import WrongShare, combine

Longs: TypeAlias = NDArray[np.int64]

# 64 Ki words: a chunk and its key stream (512 KiB each) stay in the processor's cache.
CHUNK = 1 << 16


class WrongShares(Exception):
    """The shares that `dealer` dealt are no shares of what it said it shared: it is to blame, nobody else is."""

    def __init__(self, dealer: bytes, reason: str) -> None:
        super().__init__(f"{dealer.hex()[:16]}: {reason}")
        self.dealer = dealer


@dataclass(frozen=True, slots=True)
class MaskSecrets:
    """What a provider keeps for one attempt: the X25519 mask key and the self mask's seed, 32 bytes each."""

    org: bytes
    mask_private: bytes
    seed: bytes


@dataclass(frozen=True, slots=True)
class MaskMember:
    """One whose masks count. `blob`: what it delivered, None when it did not. `shares`: (index, share) of its seed when
    it delivered, of its mask key when it did not, exactly as many as the threshold."""

    org: bytes
    mask_key: bytes
    seed_commitment: bytes
    blob: Bytes | None
    shares: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Unmasked:
    """`sums`: int64 [count], the sum of factor_i * q_i over those who delivered; `weight`: the sum of their weights."""

    sums: Longs
    weight: int


class _Streams:
    """Key streams that are added to or taken from words, a chunk at a time and each from its beginning on."""

    def __init__(self) -> None:
        self._added: list[CipherContext] = []
        self._taken: list[CipherContext] = []
        self._zeros = bytes(8 * CHUNK)
        self._buffer = bytearray(8 * CHUNK)

    def add(self, seed: bytes) -> None:
        self._added.append(_stream(seed))

    def take(self, seed: bytes) -> None:
        self._taken.append(_stream(seed))

    def apply(self, words: Words) -> None:
        """To the next `len(words)` words, at most CHUNK; modulo 2^64, as numpy's uint64 does."""
        for stream in self._added:
            words += self._next(stream, len(words))
        for stream in self._taken:
            words -= self._next(stream, len(words))

    def _next(self, stream: CipherContext, count: int) -> Words:
        stream.update_into(memoryview(self._zeros)[: 8 * count], self._buffer)
        return np.frombuffer(self._buffer, "<u8", count)


def expand(seed: bytes, count: int) -> Words:
    """The mask of a seed: the first `count` little-endian 64-bit words of ChaCha20's key stream, nonce 0 (RFC 8439)."""
    words = np.zeros(count, np.uint64)
    streams = _Streams()
    streams.add(seed)
    for start, stop in _chunks(count):
        streams.apply(words[start:stop])
    return words


def mask_update(
    context: MaskContext,
    secrets: MaskSecrets,
    keys: Mapping[bytes, bytes],
    values: Ints | Longs,
    weight: int,
    factor: int,
) -> bytes:
    """The masked blob of an update: `values` (integers [count]) times `factor`, and `weight` beside them.

    `keys`: the public mask key of everybody whose masks count, one's own included. Raises ValueError for inputs that
    are not of this round: our own mistake, for nothing here comes from others but keys.
    """
    if values.shape != (context.count,) or values.dtype not in (np.int32, np.int64):
        raise ValueError(f"values are {values.dtype} of shape {values.shape}, want integers of shape [{context.count}]")
    if keys.get(secrets.org) != public_key(secrets.mask_private):
        raise ValueError("the mask key announced for us is not the one we hold")
    if len(keys) < 2:
        raise ValueError("nobody to share a mask with: alone an update is not hidden")
    if not (1 <= weight < 2**63 and 1 <= factor < 2**63):
        raise ValueError(f"weight {weight} and factor {factor}, want 1 to 2^63 - 1")
    streams = _Streams()
    streams.add(self_seed(secrets.seed, context, secrets.org))
    for other, key in keys.items():
        if other != secrets.org:
            seed = pair_seed(secrets.mask_private, key, context, secrets.org, other)
            (streams.add if secrets.org < other else streams.take)(seed)
    blob, words = new_masked(context.count)
    for start, stop in _chunks(context.count):
        # Two's complement: the unsigned product is the signed one modulo 2^64.
        np.multiply(values[start:stop].astype(np.int64).view(np.uint64), np.uint64(factor), out=words[start:stop])
    words[context.count] = weight
    for start, stop in _chunks(context.count + 1):
        streams.apply(words[start:stop])
    return bytes(blob)


def unmask(context: MaskContext, members: Sequence[MaskMember]) -> Unmasked:
    """What the delivered updates sum to. Any set that covers the same masks in any order gives the same.

    The sum is right when everybody masked as told; a provider that did not makes it garbage, which the caller bounds.
    Raises WrongShares for the first member, in the order of organisations, whose shares do not combine to what it said;
    InvalidVector for a delivered blob of another form; ValueError when nobody delivered or somebody appears twice.
    """
    ordered = sorted(members, key=lambda member: member.org)
    if len({member.org for member in ordered}) != len(ordered):
        raise ValueError("an organisation appears twice among those whose masks count")
    here = [member for member in ordered if member.blob is not None]
    if not here:
        raise ValueError("nobody delivered: there is no sum")
    # All are combined before anything is summed: blame must not depend on blobs.
    secrets = {member.org: _secret(context, member) for member in ordered}
    blobs = [check_masked(member.blob, context.count) for member in here if member.blob is not None]
    streams = _Streams()
    for member in here:
        streams.take(self_seed(secrets[member.org], context, member.org))
    for absent in ordered:
        if absent.blob is None:
            for member in here:
                seed = pair_seed(secrets[absent.org], member.mask_key, context, absent.org, member.org)
                # What `member` added for a later one is taken away, what it took for an earlier one is added.
                (streams.take if member.org < absent.org else streams.add)(seed)
    words = np.zeros(context.count + 1, np.uint64)
    for start, stop in _chunks(len(words)):
        for blob in blobs:
            words[start:stop] += blob[start:stop]
        streams.apply(words[start:stop])
    return Unmasked(words[: context.count].view(np.int64), int(words[context.count]))


def wrong_dealers(context: MaskContext, members: Sequence[MaskMember]) -> tuple[bytes, ...]:
    """All whose shares `unmask` would refuse, ascending: each found at once, not one an attempt."""
    found = []
    for member in sorted(members, key=lambda each: each.org):
        try:
            _secret(context, member)
        except WrongShares as error:
            found.append(error.dealer)
    return tuple(found)


def _secret(context: MaskContext, member: MaskMember) -> bytes:
    """The seed of who delivered, the mask key of who did not."""
    shares = dict(member.shares)
    if len(shares) != len(member.shares):
        raise ValueError("a share appears twice")
    try:
        secret = combine(shares)
    except WrongShare as error:
        raise WrongShares(member.org, str(error)) from None
    if member.blob is not None:
        if seed_commitment(secret, context, member.org) != member.seed_commitment:
            raise WrongShares(member.org, "its shares combine to another seed than it committed to")
    elif public_key(secret) != member.mask_key:
        raise WrongShares(member.org, "its shares combine to another key than it offered")
    return secret


def _stream(seed: bytes) -> CipherContext:
    # Every seed is derived for one use, so the nonce (and the block counter before it) may start at zero.
    return Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()


def _chunks(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, CHUNK):
        yield start, min(start + CHUNK, count)
