"""What each rule of a round and the inspection before it cost, for models of three sizes: `python -m bench.robust`.

Ten updates, as far from one another as honest ones are. Medians of CPU time.
"""

from functools import partial

import numpy as np

from bench.masking import COUNTS, median_cpu_ms
from fl.aggregate import RULES, Rule, Updates
from fl.inspection import inspect

UPDATES = 10
SCALE_BITS, LIMIT_Q = 20, 512 << 20


def measure(count: int) -> None:
    rng = np.random.default_rng(1)
    previous = rng.integers(-(2**20), 2**20, count).astype(np.int32)
    base = previous + rng.integers(-(2**10), 2**10, count).astype(np.int32)
    vectors = [base + rng.integers(-(2**13), 2**13, count).astype(np.int32) for _ in range(UPDATES)]
    updates = Updates(base, vectors, [1000] * UPDATES, SCALE_BITS, LIMIT_Q)
    repeats = 5 if count < 1_000_000 else 2
    spent = [median_cpu_ms(partial(rule.run, rule.settings(), updates), repeats) for rule in _open_rules()]
    spent.append(median_cpu_ms(lambda: inspect(base, vectors, previous), repeats))
    print(f"{count:>12,}" + "".join(f"{ms:>14.1f}" for ms in spent))


def _open_rules() -> list[Rule]:
    return [rule for rule in RULES.values() if rule.robust or rule is RULES["mean"]]


def main() -> None:
    print(f"CPU milliseconds, {UPDATES} updates")
    names = [name for name, rule in RULES.items() if rule in _open_rules()]
    print(f"{'coordinates':>12}" + "".join(f"{name:>14}" for name in (*names, "inspection")))
    for count in COUNTS:
        measure(count)


if __name__ == "__main__":
    main()
