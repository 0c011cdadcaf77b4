"""`hanse start` as a test build: the same daemon with a clock that can be set, and a driver that lies if it is told to.

Run as `python -m tests.e2e.node_build [--clock] [--byzantine KIND] [--newest-protocol N] start -c FOLDER`. Everything
that is not named on the command line is the daemon as it is released.
"""

import argparse
import sys
from pathlib import Path

from tests.e2e.clock import follow_clock
from tests.e2e.manifest import BYZANTINE


def forget_protocols(newest: int) -> None:
    """From now on this process knows protocols up to `newest` only, as the program did before the next was written."""
    from ledger import protocols

    protocols._RULES = {version: rules for version, rules in protocols._RULES.items() if version <= newest}
    protocols.VERSIONS = tuple(sorted(protocols._RULES))
    protocols.NEWEST = newest


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--clock", action="store_true", help="the clock is set by the file in the folder")
    parser.add_argument("--byzantine", choices=BYZANTINE, default="")
    parser.add_argument("--newest-protocol", type=int, help="the newest protocol that this build knows")
    parser.add_argument("verb", choices=("start",))
    parser.add_argument("-c", dest="folder", type=Path, required=True)
    given = parser.parse_args()
    if given.clock:
        # Before anything of the node is imported that could keep the true clock.
        follow_clock(given.folder)
    if given.newest_protocol is not None:
        forget_protocols(given.newest_protocol)
    if given.byzantine:
        from tests.e2e.byzantine import corrupt

        corrupt(given.byzantine)
    from node.cli.main import main as hanse

    sys.argv = ["hanse", given.verb, "-c", str(given.folder)]
    hanse()


if __name__ == "__main__":
    main()
