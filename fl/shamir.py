"""A 32-byte secret in shares of which any t give it back and fewer say nothing (Shamir 1979).

The field is the integers modulo 2^256 + 297, the least prime above every 32-byte secret, so a secret is a field element
as it stands and a share is 33 bytes, big endian. Who holds which index is the caller's business, as is the randomness.
"""

from collections.abc import Callable, Iterable, Mapping

PRIME = 2**256 + 297
SECRET_BYTES = 32
SHARE_BYTES = 33
# A uniform number of 257 bits lies below the prime every second time: 128 misses in a row are a broken source.
DRAWS_MAX = 128


class WrongShare(ValueError):
    """Bytes that are no share, or shares that combine to no secret."""


def threshold(members: int) -> int:
    """How many shares give a secret back: more than two thirds, so a third that colludes learns nothing and a third
    that vanishes stops nothing ([ledger research 6.2]; Bonawitz et al. 2017)."""
    return 2 * members // 3 + 1


def split(secret: bytes, least: int, indices: Iterable[int], random: Callable[[int], bytes]) -> dict[int, bytes]:
    """The share of every index (1 or more, each once): the values there of a random polynomial with `secret` at 0.

    `random(n)` gives n bytes nobody can predict (os.urandom). Raises ValueError for anything that cannot be shared.
    """
    places = tuple(indices)
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"secret of {len(secret)} bytes, want {SECRET_BYTES}")
    if len(set(places)) != len(places) or any(place < 1 for place in places) or not 1 <= least <= len(places):
        raise ValueError(f"{least} of the indices {places}, want 1 to as many as there are, from 1 on, each once")
    coefficients = [int.from_bytes(secret, "big"), *(_element(random) for _ in range(least - 1))]
    shares = {}
    for place in places:
        value = 0
        for coefficient in reversed(coefficients):
            value = (value * place + coefficient) % PRIME
        shares[place] = value.to_bytes(SHARE_BYTES, "big")
    return shares


def combine(shares: Mapping[int, bytes]) -> bytes:
    """The secret whose polynomial goes through these shares; `shares` must be exactly as many as its threshold.

    Shares that do not belong together give another secret or WrongShare: compare what comes out with what was said of
    it. Raises WrongShare for a share that is not canonical too.
    """
    if not shares or any(place < 1 for place in shares):
        raise WrongShare(f"shares at {sorted(shares)}, want at least one, from 1 on")
    values = {place: _value(place, share) for place, share in shares.items()}
    total = 0
    for place, value in values.items():
        above, below = 1, 1
        for other in values:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        total = (total + value * above * pow(below, -1, PRIME)) % PRIME
    if total >= 1 << (8 * SECRET_BYTES):
        raise WrongShare("the shares combine to no 32-byte secret")
    return total.to_bytes(SECRET_BYTES, "big")


def check_share(share: bytes) -> None:
    """Raises WrongShare unless these are the bytes of a field element, in the one way it can be written."""
    _value(0, share)


def _value(place: int, share: bytes) -> int:
    if len(share) != SHARE_BYTES:
        raise WrongShare(f"share {place} has {len(share)} bytes, want {SHARE_BYTES}")
    value = int.from_bytes(share, "big")
    if value >= PRIME:
        raise WrongShare(f"share {place} is not below 2^256 + 297")
    return value


def _element(random: Callable[[int], bytes]) -> int:
    for _ in range(DRAWS_MAX):
        drawn = int.from_bytes(random(SHARE_BYTES), "big") >> (8 * SHARE_BYTES - 257)
        # Taking the rest modulo the prime instead would favour small coefficients.
        if drawn < PRIME:
            return drawn
    raise RuntimeError(f"{DRAWS_MAX} random numbers in a row above 2^256 + 297: the source is not random")
