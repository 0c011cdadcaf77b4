"""Feeds all decoders for as long as it is told to: `python -m tests.support.fuzzer SECONDS [--seed N] [--guided]`.

Without more it damages good bytes at random, each decoder in its turn. `--guided` needs the extra `fuzz` (atheris): it
follows which lines of ours an input reaches, and takes the first byte for the choice of the decoder. A failure prints
decoder and bytes; the same seed finds it again.
"""

import argparse
import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence

PACKAGES = ("ledger", "consensus", "node", "fl")


def at_random(seconds: float, seed: int) -> Counter[str]:
    """Inputs tried, by decoder. Raises what a decoder must not."""
    from tests.support.decoders import decoders, feed
    from tests.support.hostile_bytes import mutated

    rng = random.Random(seed)
    tried: Counter[str] = Counter()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for decoder in decoders():
            for _ in range(20):
                data = mutated(rng.choice(decoder.examples), rng)
                try:
                    feed(decoder, data)
                except BaseException:
                    print(f"seed {seed}, {decoder.name}: {data.hex()}", file=sys.stderr)
                    raise
                tried[decoder.name] += 1
    return tried


def guided(seconds: int, seed: int) -> None:
    """Never returns: the library ends the process."""
    import atheris

    with atheris.instrument_imports(include=PACKAGES):
        from tests.support.decoders import decoders, feed

    rows = decoders()

    def one(data: bytes) -> None:
        if data:
            feed(rows[data[0] % len(rows)], data[1:])

    atheris.Setup([sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=65536"], one)
    atheris.Fuzz()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fuzzer")
    parser.add_argument("seconds", type=int)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 2**31)
    parser.add_argument("--guided", action="store_true")
    given = parser.parse_args(arguments)
    # A torn journal is worth a line to an operator, not a line an input here.
    logging.disable(logging.CRITICAL)
    if given.guided:
        guided(given.seconds, given.seed)
    tried = at_random(given.seconds, given.seed)
    print(f"{tried.total():,} inputs, {len(tried)} decoders, {tried.total() / given.seconds:,.0f} a second, no fault")


if __name__ == "__main__":
    main()
