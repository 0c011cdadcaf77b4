"""`make e2e`: play manifests one after the other, each in a process of its own, and say what came of it.

`python -m tests.e2e.run [MANIFEST ...] [--random SEED] [--report FILE] [--keep DIRECTORY]`; without a manifest, all in
`manifests/`. Exit code 0: all held (a run that this machine does not permit is skipped, and said to be); 1: one did
not; 2: a manifest cannot be read.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from node.devnet.league import environment
from tests.e2e import report
from tests.e2e.generate import manifest_text
from tests.e2e.manifest import InvalidManifest, Manifest, read_manifest
from tests.e2e.namespaces import NotPermitted, enclosed

MANIFESTS = Path(__file__).with_name("manifests")
# After its own time is up: to stop its nodes and take down its mounts.
GRACE_S = 30.0
LINE_CHARS = 160


def main(arguments: Sequence[str]) -> int:
    given = _parser().parse_args(arguments)
    console = Console(highlight=False)
    # Where nobody watches, a line is as long as it must be.
    console = console if console.is_terminal else Console(highlight=False, width=LINE_CHARS)
    with tempfile.TemporaryDirectory(prefix="hanse-e2e-") as folder:
        paths = list(given.manifests)
        for seed in given.random:
            drawn = Path(folder) / f"random-{seed}.toml"
            drawn.write_text(manifest_text(seed))
            console.print(f"# {drawn.name}, drawn from seed {seed}:\n{drawn.read_text()}", markup=False)
            paths.append(drawn)
        try:
            manifests = [(path, read_manifest(path)) for path in paths or sorted(MANIFESTS.glob("*.toml"))]
        except InvalidManifest as error:
            print(f"e2e: {error}", file=sys.stderr)
            return 2
        results = []
        for path, manifest in manifests:
            results.append(_play(path, manifest, Path(folder) / "result.json", given.keep))
            if given.report is not None:
                report.append(given.report, results[-1:])
    report.show(results, console)
    return 0 if all(result["held"] or result["skipped"] for result in results) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.run", description="Real daemons, real faults.")
    parser.add_argument("manifests", nargs="*", type=Path, help="default: all beside this program")
    parser.add_argument("--random", type=int, action="append", default=[], metavar="SEED", help="draw a manifest")
    parser.add_argument("--report", type=Path, metavar="FILE", help="append a JSON object a run")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave the nodes' folders there")
    return parser


def _play(path: Path, manifest: Manifest, answer: Path, keep: Path | None) -> dict[str, Any]:
    """One run in a process of its own; its result. Never raises for what the run does."""
    answer.unlink(missing_ok=True)
    command = [sys.executable, "-m", "tests.e2e.play", str(path), str(answer), *([str(keep)] if keep else [])]
    try:
        command = enclosed(command, network=manifest.network == "namespaces", mounts=manifest.needs_mounts)
    except NotPermitted as error:
        print(f"{manifest.name}: skipped: {error}", flush=True)
        return _unplayed(manifest, skipped=str(error))
    process = subprocess.Popen(command, env=environment())
    try:
        process.wait(manifest.within_s)
    except subprocess.TimeoutExpired:
        _end(process)
        return _unplayed(manifest, fault=f"it was not over within {manifest.within_s} s")
    except KeyboardInterrupt:
        _end(process)
        raise
    if not answer.exists():
        return _unplayed(manifest, fault=f"it ended with code {process.returncode} and no result")
    result: dict[str, Any] = json.loads(answer.read_text())
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let it stop its nodes; what does not end then is killed."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        os.kill(process.pid, number)
        try:
            process.wait(GRACE_S)
            return
        except subprocess.TimeoutExpired:
            continue


def _unplayed(manifest: Manifest, *, skipped: str = "", fault: str = "") -> dict[str, Any]:
    from tests.e2e.play import Result

    result = Result(manifest.name, manifest.title, manifest.league.nodes, manifest.league.faults)
    result.skipped, result.fault = skipped, fault
    if fault:
        print(f"{manifest.name}: FAILS: {fault}", flush=True)
    return result.as_json()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
