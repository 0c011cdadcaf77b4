"""What a liar makes of good bytes, from a seed: bits, pieces and lengths changed; in JSON values, types and shapes.

No structure is known here of what is damaged, but msgpack's and JSON's own dangerous words are among what is put in.
"""

import copy
import json
import random
from typing import Any

# Tokens that ask for room, nest, or stand for what our formats do not have: msgpack's, DER's, JSON's, TOML's, HTTP's.
WORDS = (
    b"\xdd\xff\xff\xff\xff",
    b"\xdf\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xdb\xff\xff\xff\xff",
    b"\xdc\xff\xff",
    b"\x91" * 200,
    b"\x81" * 50,
    b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
    b"\xcf" + b"\xff" * 8,
    b"\xd3\x80" + b"\x00" * 7,
    b"\xc0",
    b"\xc1",
    b"\xc2",
    b"\xc7\x00\x05",
    b"\xd6\xff\x00\x00\x00\x00",
    b"\xcc\x05",
    b"\xd9\x01a",
    b"\xff" * 16,
    b"\x00" * 16,
    b"\x30\x84\xff\xff\xff\xff",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 400,
    b"[" * 300,
    b'{"a":1,"a":2}',
    b'"\\ud800"',
    b"\xed\xa0\x80",
    b"\r\n\r\n",
    b"Content-Length: -1\r\n",
    b"\xe2\x80\xae",
    b"\x1b[2J",
)
NUMBERS = (0, -1, 1, 2**31, 2**53, 2**63 - 1, 2**63, -(2**63), 2**64, 10**40, -(10**40))
_OTHERS: tuple[Any, ...] = (None, True, False, "", "\0", "a" * 5_000, "\ud800", 1.5, 1e308, [], {}, [[[[]]]], {"": ""})


def mutated(data: bytes, rng: random.Random) -> bytes:
    """`data` damaged in one to four places."""
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(damaged) + 1)
        match rng.randrange(9):
            case 0 if damaged:
                damaged[at % len(damaged)] ^= 1 << rng.randrange(8)
            case 1 if damaged:
                damaged[at % len(damaged)] = rng.randrange(256)
            case 2:
                del damaged[at:]
            case 3:
                damaged[at:at] = rng.randbytes(rng.choice((1, 2, 9, 100)))
            case 4:
                del damaged[at : at + rng.choice((1, 2, 8, 33))]
            case 5:
                piece = damaged[at : at + rng.choice((1, 4, 40, 400))]
                where = rng.randrange(len(damaged) + 1)
                damaged[where:where] = piece
            case 6:
                damaged[at:at] = rng.choice(WORDS)
            case 7:
                word = rng.choice(WORDS)
                damaged[at : at + len(word)] = word
            case _ if damaged:
                end = min(len(damaged), at + rng.choice((1, 2, 4, 8)))
                damaged[at:end] = bytes([rng.choice((0x00, 0x7F, 0x80, 0xFF))]) * (end - at)
    return bytes(damaged)


def mutated_json(plain: Any, rng: random.Random) -> Any:
    """A copy of a JSON value with one to three values of it exchanged, dropped, doubled or moved."""
    copied = json.loads(json.dumps(plain))
    for _ in range(rng.choice((1, 1, 2, 3))):
        copied = _damage(copied, rng)
    return copied


def _damage(plain: Any, rng: random.Random) -> Any:
    """One change, somewhere in the tree: deeper with every second step."""
    if isinstance(plain, dict) and plain and rng.random() < 0.8:
        name = rng.choice(list(plain))
        match rng.randrange(6):
            case 0:
                del plain[name]
            case 1:
                plain[name + rng.choice(("x", " ", "\0"))] = plain.pop(name)
            case 2:
                plain[rng.choice(("extra", "__class__", "", "jsonrpc"))] = rng.choice(NUMBERS)
            case _:
                plain[name] = _damage(plain[name], rng)
        return plain
    if isinstance(plain, list) and plain and rng.random() < 0.8:
        at = rng.randrange(len(plain))
        match rng.randrange(5):
            case 0:
                del plain[at]
            case 1:
                plain[at:at] = [plain[at]] * rng.choice((1, 3, 300))
            case _:
                plain[at] = _damage(plain[at], rng)
        return plain
    if isinstance(plain, str) and rng.random() < 0.5:
        return mutated(plain.encode(errors="replace"), rng).decode(errors="replace")
    if type(plain) is int and rng.random() < 0.5:
        return plain + rng.choice((-1, 1, 2**32, -(2**32)))
    # A copy: what is put in here may be damaged in turn, and must not grow from one input to the next.
    other = copy.deepcopy(rng.choice(_OTHERS))
    return rng.choice((rng.choice(NUMBERS), other, str(plain), [plain], {"value": plain}))
