"""Masks written from the documents alone, in Python's integers: RFC 7748, RFC 5869, RFC 8439. Slow, and no library's.

`python -m tests.support.plain_masking` shows the golden vectors as this file makes them, `--write` keeps them.
"""

import hashlib
import hmac
import json
import struct
import sys
from pathlib import Path
from typing import Any

from tests.support.masked_round import MaskedRound, context, masked_round, org

VECTORS = Path(__file__).parents[1] / "vectors" / "masking.json"
P = 2**255 - 19
NAME = b"hanse masking 1 "


def x25519(secret: bytes, point: bytes) -> bytes:
    """RFC 7748, section 5: the ladder."""
    scalar = int.from_bytes(secret, "little") & ~7 & (2**254 - 1) | 2**254
    base = int.from_bytes(point, "little") % 2**255 % P
    x, z, other_x, other_z, swapped = 1, 0, base, 1, 0
    for at in reversed(range(255)):
        bit = scalar >> at & 1
        if bit != swapped:
            x, z, other_x, other_z = other_x, other_z, x, z
        swapped = bit
        total, difference = (x + z) ** 2 % P, (x - z) ** 2 % P
        crossed, crossed_back = (other_x - other_z) * (x + z), (other_x + other_z) * (x - z)
        other_x, other_z = (crossed + crossed_back) ** 2 % P, base * (crossed - crossed_back) ** 2 % P
        x, z = total * difference % P, (total - difference) * (total + 121665 * (total - difference)) % P
    if swapped:
        x, z = other_x, other_z
    return (x * pow(z, P - 2, P) % P).to_bytes(32, "little")


def hkdf(secret: bytes, info: bytes) -> bytes:
    """RFC 5869 without salt, the first 32 bytes."""
    extracted = hmac.digest(bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def chacha_words(key: bytes, count: int) -> list[int]:
    """RFC 8439, section 2.4, from block 0 with an all-zero nonce: `count` 64-bit words."""
    stream = b"".join(_block(key, block) for block in range(-(-count // 8)))
    return list(struct.unpack(f"<{count}Q", stream[: 8 * count]))


def _block(key: bytes, number: int) -> bytes:
    start = [*struct.unpack("<4I", b"expand 32-byte k"), *struct.unpack("<8I", key), number, 0, 0, 0]
    words = list(start)
    for _ in range(10):
        for a, b, c, d in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            _quarter(words, a, b, c, d)
        for a, b, c, d in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            _quarter(words, a, b, c, d)
    return struct.pack("<16I", *((now + then) & 0xFFFFFFFF for now, then in zip(words, start, strict=True)))


def _quarter(words: list[int], a: int, b: int, c: int, d: int) -> None:
    for into, source, mixed, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        words[into] = (words[into] + words[source]) & 0xFFFFFFFF
        turned = words[mixed] ^ words[into]
        words[mixed] = (turned << turn | turned >> (32 - turn)) & 0xFFFFFFFF


def bound(league: MaskedRound, purpose: bytes, *orgs: bytes) -> bytes:
    """What every key is bound to."""
    where = league.context
    numbers = struct.pack("<QQQ", where.round, where.attempt, where.count)
    return NAME + purpose + b"\0" + where.league + where.request + numbers + b"".join(orgs)


def plainly_masked(league: MaskedRound, at: int, values: list[int], weight: int, factor: int) -> bytes:
    """The masked blob of an update, word by word."""
    mine = league.secrets[at]
    count = len(values) + 1
    words = [factor * value for value in values] + [weight]
    masks = [(1, hkdf(mine.seed, bound(league, b"self", mine.org)))]
    for other in league.secrets:
        if other.org != mine.org:
            shared = x25519(mine.mask_private, x25519(other.mask_private, (9).to_bytes(32, "little")))
            pair = sorted((mine.org, other.org))
            masks.append((1 if mine.org < other.org else -1, hkdf(shared, bound(league, b"pair", *pair))))
    for sign, seed in masks:
        words = [word + sign * mask for word, mask in zip(words, chacha_words(seed, count), strict=True)]
    head = struct.pack("<3sB4xQ", b"HQM", 1, len(values))
    return head + b"".join((word % 2**64).to_bytes(8, "little") for word in words)


def vectors() -> dict[str, Any]:
    """A round of four providers with four coordinates: all that goes in, and what comes out."""
    league, rows, weights = golden_round()
    least, where = league.least, league.context
    named = {
        "league": where.league.hex(),
        "request": where.request.hex(),
        "round": where.round,
        "attempt": where.attempt,
        "threshold": least,
    }
    providers = []
    for at, each in enumerate(league.secrets):
        seeds, keys = league.shares[each.org]
        commitment = hashlib.sha256(bound(league, b"seed commitment", each.org) + each.seed)
        providers.append(
            {
                "org": each.org.hex(),
                "mask_private": each.mask_private.hex(),
                "mask_public": x25519(each.mask_private, (9).to_bytes(32, "little")).hex(),
                "seed": each.seed.hex(),
                "seed_commitment": commitment.hexdigest(),
                "seed_shares": [seeds[place].hex() for place in sorted(seeds)],
                "key_shares": [keys[place].hex() for place in sorted(keys)],
                "values": rows[at],
                "weight": weights[at],
                "masked": plainly_masked(league, at, rows[at], weights[at], weights[at]).hex(),
            }
        )
    here = [at for at in range(4) if at != 2]
    return {
        **named,
        "providers": providers,
        "vanished": org(2).hex(),
        "sums": [sum(weights[at] * rows[at][place] for at in here) for place in range(4)],
        "weight": sum(weights[at] for at in here),
    }


def golden_round() -> tuple[MaskedRound, list[list[int]], list[int]]:
    league = masked_round(4, 4, "golden", context(4, round=7, attempt=1))
    return league, [[1, -1, 2**29, -(2**29)], [0, 5, -5, 7], [3, 3, 3, 3], [-9, 8, 0, 2**29]], [10, 1, 4999, 7]


def stored() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(VECTORS.read_text())
    return found


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1) + "\n"
    if "--write" in sys.argv:
        VECTORS.write_text(text)
    else:
        print(text, end="")
