"""What is drawn from a seed that several may know: each draw from the seed, its purpose and its place alone."""

import hashlib


def drawn(seed: int, what: str, *places: int) -> int:
    """53 bits that depend on the seed, on what they are for and on whom."""
    text = f"{what} {seed} {places}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11


def order_of(seed: int, place: int) -> int:
    """What orders the mini-batches of the client at this place: in a simulation, and in a league whose request says
    the seed in public, where places are those of the request's providers by id."""
    return drawn(seed, "batches", place)
