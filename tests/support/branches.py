"""Which branches of the machine the adversary never takes: `python -m tests.support.branches`.

A branch that no attack reaches is a branch of which nothing is known. Those that cannot be reached here stand below,
each with its reason; any other that is missing fails.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import coverage

ROOT = Path(__file__).parents[2]
LEAVES = (
    "acceptance", "bodies", "evidence", "heard", "journal", "machine", "outbox", "proofs", "stragglers", "votes",
)  # fmt: skip

REFUSED = "test_S3_a_journal_that_no_correct_member_wrote_stops_it"
RAISES_NO_BLOCK = 'raise CorruptStore(f"vote journal: a proposal of view {subject.view} without its block before it")'
RAISES_CONTRADICTION = (
    'raise CorruptStore(f"vote journal: {kind.name} and {vote.subject.kind.name} of view {view} contradict")'
)

# (file, the line that branches, the line it goes to) -> why it is not taken here.
EXCEPTIONS = {
    ("evidence", "if len(self._first) < VOTES_REMEMBERED_MAX:", "return None"): (
        "takes 7 936 votes of one height: test_S14_what_is_remembered_of_a_height_is_bounded"
    ),
    ("votes", "if len(self._good) >= SIGNATURES_REMEMBERED_MAX:", "self._good.clear()"): (
        "takes 16 384 signatures of one height: test_S2_signatures_remembered_are_bounded"
    ),
    ("journal", "if fresh and body is None:", RAISES_NO_BLOCK): f"no member wrote it: {REFUSED}",
    ("journal", "if before is not None and contradicts(before, vote):", RAISES_CONTRADICTION): (
        f"no member wrote it: {REFUSED}"
    ),
    ("journal", "case CertificateHeld(certificate):", "for record in records:"): "there is no other kind of record",
    ("stragglers", "case CertificateMessage(certificate):", "if subject.kind is VoteKind.NULLIFY:"): (
        "there is no other kind of message"
    ),
    ("machine", "case ResendDue():", "exit"): "there is no other kind of event",
}

Branch = tuple[str, str, str]


def missing(seeds: int) -> tuple[int, list[Branch]]:
    """How many branches there are, and which ones no run took. Imports what is measured only once it is watched."""
    paths = [ROOT / "consensus" / f"{leaf}.py" for leaf in LEAVES]
    watch = coverage.Coverage(data_file=None, branch=True, include=[str(path) for path in paths], config_file=False)
    watch.start()
    from tests.support.lockstep import attempt
    from tests.support.lockstep_plan import Plan

    # Only where too many lie do certificates contradict each other; that takes many runs, so small ones.
    plans = [Plan(seed) for seed in range(seeds // 4)]
    plans += [Plan(seed, members=4, style="halves", overrun=True) for seed in range(seeds - len(plans))]
    for plan in plans:
        broken = attempt(plan)
        assert broken is None, f"{plan}: {broken}"
    watch.stop()
    with tempfile.NamedTemporaryFile("r", suffix=".json") as report:
        watch.json_report(outfile=report.name)
        files = json.load(report)["files"]
    assert len(files) == len(LEAVES), f"measured {sorted(files)}"
    found: list[Branch] = []
    for name, content in files.items():
        lines = [line.strip() for line in (ROOT / name).read_text().splitlines()]
        for at, to in content["missing_branches"]:
            found.append((Path(name).stem, lines[at - 1], lines[to - 1] if to > 0 else "exit"))
    return sum(content["summary"]["num_branches"] for content in files.values()), found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=1_000)
    options = parser.parse_args()
    total, found = missing(options.seeds)
    unknown = [branch for branch in found if branch not in EXCEPTIONS]
    print(f"{total - len(found)} of {total} branches taken, {len(found) - len(unknown)} excused")
    for leaf, line, target in unknown:
        print(f"never taken: {leaf}.py: {line}  ->  {target}")
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
