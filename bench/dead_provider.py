"""What a provider that dies costs a round: `python -m bench.dead_provider`.

The reference league with a round deadline of 10 s. One factory, node and trainer, is killed while the second round
trains and does not come back. A round may then last as long as its deadline and the blocks that close it; what came on
top of the deadline is printed.
"""

import statistics
import tempfile
from itertools import pairwise
from pathlib import Path

from bench.leagues import OVER, PROVIDERS, anchored, reference_request, round_ends_ms, training_plans, write_tables
from node.devnet.league import DevLeague

DEADLINE_S, ROUNDS = 10, 4


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hanse-bench-") as temporary:
        folder = Path(temporary)
        with DevLeague(folder / "league", training_plans(write_tables(folder))) as league:
            league.start()
            league.wait_until(lambda: all(map(anchored, league.nodes[1:])), "all records are anchored")
            customer, victim = league.nodes[0], league.nodes[-1]
            wanted = reference_request(ROUNDS, round_deadline_s=DEADLINE_S, providers_min=PROVIDERS - 1)
            request = customer.call("request.publish", request={**wanted, "join_window": 60_000}, mode="final")[
                "request"
            ]

            def closed() -> int:
                return len(customer.call("receipts", request=request)["receipts"])

            league.wait_until(lambda: closed() >= 1, "the first round is over")
            victim.kill()
            league.nodes.remove(victim)

            def over() -> bool:
                return str(customer.call("request.get", request=request)["request"]["stage"]).lower() in OVER

            league.wait_until(over, "the request is over", 60.0 * ROUNDS)
            final = customer.call("request.get", request=request)["request"]
            assert final["model_round"] == ROUNDS, f"{final['model_round']} rounds of {ROUNDS}: {final['outcome']}"
            seconds = [(end - begin) / 1000 for begin, end in pairwise(round_ends_ms(customer, request))][1:]
    above = [each - DEADLINE_S for each in seconds]
    print(
        f"dead provider  rounds of {', '.join(f'{each:.1f}' for each in seconds)} s   "
        f"over the deadline of {DEADLINE_S} s: median {statistics.median(above):.2f} s, most {max(above):.2f} s"
    )


if __name__ == "__main__":
    main()
