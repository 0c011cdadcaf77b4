"""[ANCHOR] Fig. 4: the Merkle tree of a period, and how long the ledger takes to hold its root and a contribution.

The paper wrote to Ethereum's proof of work; here a league runs, a process a node on this machine, and nobody else uses
it. A tree is built from a period's values: canonical salted bytes, leaves, tree; its time is the processor's, which
other work on the machine hardly changes. A root's time is the caller's, from handing it in to its finality. A
contribution's is the ledger's: from the block that holds the last update of a round to the one that holds its model
and everybody's payment; the committee fetches and recomputes the model in between. Times are of one machine on one day:
seeds are repetitions.
"""

import os
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import ClassVar

from node.plots.groups import Group
from node.plots.lines import Line
from node.reproduce import published
from node.reproduce.experiment import Asked, Experiment, Published, Report, ReportTable, Run, Tell
from node.reproduce.plot import Panel, Plot, bar
from node.reproduce.results import Keys, Measured, Results

TREE, LEAGUE = "tree", "league"
TREE_MS, ROOT_S, CONTRIBUTION_S = "tree_ms", "root_final_s", "contribution_final_s"
CORES = "cores"
# Eight channels of float32, as [ANCHOR]'s records have.
CHANNELS = 8


@dataclass(frozen=True, slots=True)
class AnchorSize:
    """`records`: of a period, for each tree; `roots`: anchored one after the other; `rounds`: with contributions."""

    records: tuple[int, ...]
    roots: int
    rounds: int
    factories: int = 3
    factory_records: int = 200
    builds: int = 5


class AnchorTime(Experiment):
    name = "anchor-time"
    summary = "[ANCHOR] Fig. 4: a period's Merkle tree, and how long the ledger takes to hold its root"
    source = "[ANCHOR] section 3.4.1, Fig. 4"
    alone = True
    minutes_quick = 2.0
    sizes: ClassVar[Mapping[str, object]] = {
        "quick": AnchorSize(records=(1_000, 10_000, 100_000), roots=20, rounds=3),
        "full": AnchorSize(records=(1_000, 10_000, 100_000, 1_000_000), roots=100, rounds=20, factories=6),
    }
    size: AnchorSize

    def runs(self, asked: Asked) -> Sequence[Run]:
        settings = {"size": {**asdict(self.size), "records": list(self.size.records)}, "tree": "processor time"}
        runs = []
        for seed in asked.seeds:
            for records in self.size.records:
                measure = partial(self._tree, records, seed)
                runs.append(Run({"what": TREE, "records": str(records)}, seed, settings, measure))
            runs.append(Run({"what": LEAGUE, "records": "-"}, seed, settings, self._league))
        return runs

    def _tree(self, records: int, seed: int, tell: Tell) -> Measured:
        times = [build_seconds(records, seed + at) for at in range(self.size.builds)]
        return Measured({TREE_MS: 1000 * statistics.median(times)})

    def _league(self, tell: Tell) -> Measured:
        from node.reproduce.leagues import bearing_league, final_seconds, train

        size = self.size
        tell("founding a league")
        with bearing_league(size.factories, size.factory_records) as league:
            customer = league.nodes[0]
            waited = []
            for at in range(size.roots):
                tell(f"root {at + 1} of {size.roots}")
                waited.append(final_seconds(league, customer, anchor_body(at + 1)))
            tell(f"training {size.rounds} rounds")
            trained = train(league, size.rounds, epochs=1)
        paid = [(each.paid_ms - each.announced_ms) / 1000 for each in trained.rounds]
        return Measured(
            {
                ROOT_S: statistics.median(waited),
                CONTRIBUTION_S: statistics.median(paid),
                CORES: float(os.cpu_count() or 1),
            }
        )

    def published(self, keys: Keys, figure: str) -> Published | None:
        value = {TREE_MS: published.TREE_MS, ROOT_S: published.ANCHOR_S, CONTRIBUTION_S: published.CONTRIBUTION_S}
        if figure not in value:
            return None
        return Published(value[figure], "[ANCHOR] Fig. 4" if figure != TREE_MS else "[ANCHOR] 3.4.1")

    def report(self, results: Results) -> Report:
        rows = [
            (f"Merkle tree of {int(records):,} records".replace(",", " "), "250 ms", f"{found.text(1)} ms")
            for records in results.where(what=TREE).named("records")
            for found in [results.spread(TREE_MS, what=TREE, records=records)]
        ]
        for figure, what in ((ROOT_S, "a root on the ledger"), (CONTRIBUTION_S, "contributions of a round, and paid")):
            printed = self.published({}, figure)
            assert printed is not None, "both were printed"
            rows.append((what, f"{printed.value:.0f} s", f"{results.spread(figure, what=LEAGUE).text(3)} s"))
        writes = (ROOT_S, CONTRIBUTION_S)
        panels = (
            Panel(
                "Time until the ledger holds it",
                "seconds",
                groups=(
                    Group("printed (proof of work)", [(published.ANCHOR_S, 0.0), (published.CONTRIBUTION_S, 0.0)]),
                    Group("a league here", [bar(results.spread(figure, what=LEAGUE)) for figure in writes]),
                ),
                places=("a root", "contributions"),
                log=True,
            ),
        )
        by_seed: dict[int, dict[int, float]] = {}
        for each in results.where(what=TREE).all:
            by_seed.setdefault(each.seed, {})[int(each.keys["records"])] = each.measured.figures[TREE_MS]
        tree = Panel("A period's Merkle tree", "ms", "records", lines=(Line("tree", list(by_seed.values())),), log=True)
        members = self.size.factories + 1
        return Report(
            f"A league of {members} nodes, a process each, all on one machine with "
            f"{results.mean(CORES, what=LEAGUE):.0f} cores; {self.size.roots} roots one after the other, "
            f"{self.size.rounds} rounds of training. A tree is built from the values of records of {CHANNELS} float32: "
            "canonical bytes with a salt, leaves, all levels; that is processor time, the others pass on a clock.",
            (ReportTable("Times; medians, mean over repetitions", ("what", "printed", "here"), tuple(rows)),),
            (Plot("ledger", panels), Plot("tree", (tree,))),
            anchor_verdict(results, members),
        )


def anchor_body(period: int) -> dict[str, object]:
    """A root over a period's records, as the local interface takes it; each period is a second of long ago."""
    return {
        "kind": "anchor_records",
        "period": period,
        "record_count": 1,
        "root": os.urandom(32).hex(),
        "begins": period * 1000,
        "ends": period * 1000 + 1000,
    }


def build_seconds(records: int, seed: int) -> float:
    """Of processor, from a period's values to its tree: canonical salted bytes, leaves, tree, as a node makes them."""
    import numpy as np

    from ledger.merkle import MerkleTree, leaf_hashes
    from ledger.records import SALT_BYTES, ValueType, packed_records

    rng = np.random.default_rng(seed)
    values = [row.tobytes() for row in rng.normal(size=(records, CHANNELS)).astype("<f4")]
    salts = [rng.bytes(SALT_BYTES) for _ in range(records)]
    began = time.process_time()
    rows = ((at, 1_700_000_000_000 + at, value, at % 4) for at, value in enumerate(values))
    packed = packed_records(1, ValueType.FLOAT32, (CHANNELS,), rows, salts.__getitem__)
    tree = MerkleTree(leaf_hashes(packed))
    assert len(tree.root) == 32, "a root has 32 bytes"
    return time.process_time() - began


def anchor_verdict(results: Results, members: int) -> str:
    """The paragraph."""
    root, paid = (results.spread(figure, what=LEAGUE).mean for figure in (ROOT_S, CONTRIBUTION_S))
    trees = {int(n): results.mean(TREE_MS, what=TREE, records=n) for n in results.where(what=TREE).named("records")}
    within = [records for records, ms in trees.items() if ms <= published.TREE_MS]
    if within:
        first = f"The printed {published.TREE_MS:.0f} ms build a tree over {max(within)} records and more here"
        if max(within) < max(trees):
            over = min(records for records in trees if records > max(within))
            first = (
                f"The printed {published.TREE_MS:.0f} ms are enough here for a tree over {max(within)} records "
                f"({trees[max(within)]:.0f} ms) and not for {over} ({trees[over]:.0f} ms)"
            )
    else:
        first = f"No tree that was built here took as little as the printed {published.TREE_MS:.0f} ms"
    sentences = [first + "; how many records the paper's period had is not said."]
    for name, ours, theirs in (
        ("A root is final", root, published.ANCHOR_S),
        ("A round's contributions are counted and paid", paid, published.CONTRIBUTION_S),
    ):
        if ours < theirs:
            sentences.append(
                f"{name} after {ours:.2f} s in a league of {members} nodes on one machine, against the printed "
                f"{theirs:.0f} s: {theirs / ours:.0f} times sooner."
            )
        else:
            sentences.append(f"{name} after {ours:.2f} s here, not sooner than the printed {theirs:.0f} s.")
    sentences.append(
        "The printed times are those of a public chain that waits for proof of work; here members sign. On one machine "
        "nothing travels far: between organisations the delay of three messages is to be added to each write."
    )
    return " ".join(sentences)
