"""What masks cost, for models of three sizes: `python -m bench.masking`. Prints medians of CPU time.

A provider's own work is a mask for every other one; the committee takes off a mask for everybody who delivered and one
for every pair of a deliverer and a vanished one. Then the noise of mode distributed, and dealing shares.
"""

import os
import statistics
import time
from collections.abc import Callable

import numpy as np

from fl.mask_keys import MaskContext, public_key, seed_commitment
from fl.masking import MaskMember, MaskSecrets, expand, mask_update, unmask
from fl.privacy.discrete_gaussian import discrete_gaussian
from fl.privacy.secure_random import SecureRandom
from fl.shamir import combine, split, threshold

# The reference's perceptron, a small convolutional network, and the largest that is meant to be trained.
COUNTS = (24_604, 550_000, 11_000_000)
REPEATS = 5
PROVIDERS = 7


def median_cpu_ms(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """Median CPU milliseconds of so many runs, after one that does not count."""
    work()
    spent = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        spent.append(1000 * (time.process_time() - start))
    return statistics.median(spent)


def league(context: MaskContext, providers: int) -> tuple[list[MaskSecrets], dict[bytes, bytes]]:
    secrets = [MaskSecrets(bytes([at]) * 32, os.urandom(32), os.urandom(32)) for at in range(1, providers + 1)]
    return secrets, {each.org: public_key(each.mask_private) for each in secrets}


def member(context: MaskContext, secrets: MaskSecrets, blob: bytes | None) -> MaskMember:
    least = threshold(PROVIDERS)
    shares = split(secrets.seed if blob is not None else secrets.mask_private, least, range(1, least + 1), os.urandom)
    commitment = seed_commitment(secrets.seed, context, secrets.org)
    return MaskMember(secrets.org, public_key(secrets.mask_private), commitment, blob, tuple(shares.items()))


def measure(count: int) -> None:
    context = MaskContext(bytes(32), bytes(32), 0, 0, count)
    secrets, keys = league(context, PROVIDERS)
    values = np.random.default_rng(1).integers(-(2**29), 2**29, count, dtype=np.int32)
    repeats = REPEATS if count < 1_000_000 else 2
    seed = os.urandom(32)
    pair = median_cpu_ms(lambda: expand(seed, count), repeats)
    whole = median_cpu_ms(lambda: mask_update(context, secrets[0], keys, values, 1000, 1000), repeats)
    blobs = [mask_update(context, each, keys, values, 1000, 1000) for each in secrets]
    all_here = [member(context, each, blob) for each, blob in zip(secrets, blobs, strict=True)]
    two_gone = [member(context, each, None if at < 2 else blobs[at]) for at, each in enumerate(secrets)]
    here = median_cpu_ms(lambda: unmask(context, all_here), repeats)
    gone = median_cpu_ms(lambda: unmask(context, two_gone), repeats)
    noise = median_cpu_ms(lambda: discrete_gaussian(2**50, count, SecureRandom()), repeats)
    print(f"{count:>12,} {pair:>10.2f} {whole:>10.1f} {here:>12.1f} {gone:>12.1f} {noise:>12.1f}")


def main() -> None:
    print(f"CPU milliseconds, {PROVIDERS} providers")
    heads = ("coordinates", "one mask", "masking", "unmask all", "two gone", "noise")
    print(" ".join(f"{head:>{width}}" for head, width in zip(heads, (12, 10, 10, 12, 12, 12), strict=True)))
    for count in COUNTS:
        measure(count)
    secret = os.urandom(32)
    for providers in (7, 31):
        least = threshold(providers)
        shares = split(secret, least, range(1, providers + 1), os.urandom)
        few = dict(list(shares.items())[:least])
        dealt = median_cpu_ms(lambda n=providers, t=least: split(secret, t, range(1, n + 1), os.urandom))  # type: ignore[misc]
        combined = median_cpu_ms(lambda some=few: combine(some))  # type: ignore[misc]
        print(f"{providers} shares of a secret: dealt in {dealt:.2f} ms, combined in {combined:.2f} ms")


if __name__ == "__main__":
    main()
