"""One run of one manifest: found the league, load it, carry out the steps, mend everything, check everything.

`python -m tests.e2e.play MANIFEST RESULT` is what the runner starts for each manifest, in namespaces where it must be;
what came of it is written to RESULT as JSON. Exit code 0: all held; 1: something did not.
"""

import json
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from node.devnet.league import LeagueFailed
from node.rpc.errors import RpcError
from tests.e2e import checks
from tests.e2e.asking import Asker, Silence
from tests.e2e.bookkeeping import Books
from tests.e2e.checks import Verdict, Witness
from tests.e2e.league import LOOK_EVERY_S, START_S, RunLeague, founded
from tests.e2e.load import Client, Payer
from tests.e2e.manifest import Manifest, read_manifest
from tests.e2e.namespaces import NotPermitted
from tests.e2e.perturb import Perturber, Seen
from tests.e2e.run_node import RunFailed, RunNode
from tests.support.processes import terms

# After everything is mended: until all are at one head, and until the last transfer is settled.
CONVERGE_S = 60.0
SETTLE_S = 60.0
REQUEST_S = 120.0
# Whole answers of a long run are large.
WITNESS_PATIENCE_S = 30.0
# A league under no load makes no blocks: the last check brings its own.
PROBES, PROBE_S = 1, 30.0
FAILURES = (RunFailed, LeagueFailed, NotPermitted, RpcError, Silence)


@dataclass
class Result:
    """What came of a run. `fault`: why it could not be carried out to its end; empty when it was."""

    name: str
    title: str
    nodes: int
    faults: int
    seconds: float = 0.0
    height: int = 0
    signed: int = 0
    final: int = 0
    refused: int = 0
    unsettled: int = 0
    median_wait_s: float | None = None
    steps: list[Seen] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    fault: str = ""
    skipped: str = ""

    @property
    def held(self) -> bool:
        return not self.fault and all(verdict.held for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "held": self.held}


def play(manifest: Manifest, directory: Path) -> Result:
    """Run it. Nothing is raised for what goes wrong in the league: it is in the result."""
    result = Result(manifest.name, manifest.title, manifest.league.nodes, manifest.league.faults)
    began = time.monotonic()
    books = Books()
    try:
        with founded(manifest, directory) as league:
            _run(league, books, result)
    except FAILURES as error:
        result.fault = f"{type(error).__name__}: {error}"
    result.seconds = round(time.monotonic() - began, 1)
    waits = books.waits_s()
    result.median_wait_s = round(waits[len(waits) // 2], 3) if waits else None
    result.signed = len(books.attempts)
    result.final = sum(1 for _ in books.finals())
    result.unsettled = len(books.unsettled())
    result.refused = result.signed - result.final - result.unsettled
    return result


def _run(league: RunLeague, books: Books, result: Result) -> None:
    _say(f"{league.manifest.name}: {league.manifest.title}")
    _start(league)
    before = _balances(league)
    request = _publish(league) if league.manifest.load.request else None
    perturber = Perturber(
        league,
        books,
        league.manifest.load.transfers_per_second > 0,
        league.manifest.checks.recovery_s_max,
    )
    with _paying(league, books) as payers:
        for step in league.manifest.steps:
            _note(result, perturber.step(step))
        mended = perturber.mend_all()
        if mended is not None:
            _note(result, mended)
        for node in league.nodes:
            node.speed_up()
        if request is not None:
            _wait_request(league, request)
        _settle(league, payers)
    result.height = _converge(league)
    witnesses = [_witness(node) for node in league.honest]
    orgs = {node.name: node.inner.org.hex() for node in league.nodes}
    supply = sum(founder.balance for founder in league.dev.genesis.members)
    rules = league.manifest.checks
    result.verdicts += [
        checks.one_history(witnesses, result.height),
        checks.supply_is_kept(witnesses, orgs, supply),
        checks.transfers_are_settled(books),
        checks.transfers_are_final_once(books, witnesses),
        checks.convictions(rules, witnesses),
    ]
    if request is None and not rules.convicted and not rules.may_be_convicted:
        # Rewards and penalties move tokens that are in no client's books.
        result.verdicts.append(checks.balances_are_paid(books, before, orgs, witnesses))
    if request is not None:
        result.verdicts.append(checks.request_ended(rules, request, witnesses))
    if rules.by_snapshot:
        result.verdicts.append(checks.began_with_snapshots(rules, witnesses))
    result.verdicts.append(_progress(league))
    for verdict in result.verdicts:
        _say(f"  {'holds' if verdict.held else 'FAILS'}  {verdict.what}")
        for line in verdict.against[:10]:
            _say(f"         {line}")


def _start(league: RunLeague) -> None:
    began = time.monotonic()
    for node in league.nodes:
        node.start()

    def standing(node: RunNode) -> bool:
        if node.honest:
            return league.is_ready(node)
        try:
            node.ask("health")
        except Silence:
            return False
        return True

    league.wait(lambda: all(standing(node) for node in league.nodes), "all nodes are ready", START_S)
    league.slow_again()
    _say(f"  {len(league.nodes)} nodes up in {time.monotonic() - began:.1f} s")


def _balances(league: RunLeague) -> dict[str, int]:
    members = league.honest[0].ask("members")["members"]
    return {str(member["name"]): int(member["balance"]) for member in members}


def _publish(league: RunLeague) -> str:
    manifest = league.manifest
    wanted = len(league.nodes) - 1
    least = max(1, wanted - manifest.league.faults)
    draft = terms(
        rounds_max=manifest.load.rounds,
        providers_min=least,
        providers_max=wanted,
        join_window=20_000,
        round_deadline=20_000,
        attest_window=8_000,
        epochs=5,
    )
    publisher = league.nodes[0]
    answer = _Patient(publisher).ask("request.publish", request=draft, mode="final", timeout_s=60)
    return str(answer["request"])


def _wait_request(league: RunLeague, request: str) -> None:
    def over() -> bool:
        try:
            return bool(league.honest[0].ask("request.get", request=request)["request"]["over"])
        except Silence:
            return False

    league.wait(over, "the request is over", REQUEST_S)


@contextmanager
def _paying(league: RunLeague, books: Books) -> Iterator[list[Payer]]:
    """The clients of honest nodes pay each other; liars neither pay nor are handed anything."""
    load = league.manifest.load
    clients = []
    for node in league.honest:
        if node.name in load.without:
            continue
        shown = node.ask("status")["node"]
        clients.append(Client(node.name, league.key_of(node), bytes.fromhex(shown["org"])))  # type: ignore[arg-type]
    chain_id = league.dev.genesis.chain_id
    payers = []
    if load.transfers_per_second and len(clients) > 1:
        every_s = len(clients) / load.transfers_per_second
        for client in clients:
            others = [each for each in clients if each is not client]
            rng = random.Random(league.rng.getrandbits(64))
            payers.append(Payer(client, others, chain_id, books, league.gateways, every_s, load.in_flight, rng))
    for payer in payers:
        payer.start()
    try:
        yield payers
    finally:
        for payer in payers:
            payer.sign_no_more()


def _settle(league: RunLeague, payers: Sequence[Payer]) -> None:
    ends = time.monotonic() + SETTLE_S
    for payer in payers:
        payer.sign_no_more()
    for payer in payers:
        # Those that do not settle are named by the check of the books.
        payer.join(max(0.0, ends - time.monotonic()))
    league.check_alive()


def _converge(league: RunLeague) -> int:
    """All honest nodes at one head; its height."""

    def agreed() -> bool:
        try:
            heads = [node.ask("status") for node in league.honest]
        except Silence:
            return False
        return len({(head["head"]["id"], head["state_root"]) for head in heads}) == 1

    league.wait(agreed, "all nodes hold the same block and state", CONVERGE_S)
    return league.height()


def _progress(league: RunLeague) -> Verdict:
    """A transfer handed in at each node becomes final: nobody was left behind."""
    against = []
    names = [node.name for node in league.honest]
    for at, node in enumerate(league.honest):
        # To the one that is asked next: a newcomer has nothing else to give.
        body = {"kind": "transfer", "to": names[(at + 1) % len(names)], "amount": PROBES, "memo": "last"}
        if len(names) > 1 and (fault := _send(node, body)):
            against.append(f"{node.name}: {fault}")
    return Verdict("a new transfer through each node is final", tuple(against))


def _send(node: RunNode, body: dict[str, Any]) -> str:
    """Why it did not become final, empty when it did. What a node refuses may rest on a block on its way to it."""
    ends, said = time.monotonic() + PROBE_S, "not tried"
    while time.monotonic() < ends:
        try:
            _Patient(node).ask("send", body=body, mode="final", timeout_s=int(PROBE_S))
            return ""
        except (RpcError, Silence) as error:
            said = str(error)
        time.sleep(LOOK_EVERY_S)
    return said


class _Patient:
    """A node asked for what takes it a while."""

    def __init__(self, node: RunNode) -> None:
        self._asker = Asker(node.folder, 2 * WITNESS_PATIENCE_S)

    def ask(self, method: str, **parameters: Any) -> Any:
        try:
            return self._asker.call(method, **parameters)
        finally:
            self._asker.forget()


def _witness(node: RunNode) -> Witness:
    asker = Asker(node.folder, WITNESS_PATIENCE_S)
    return Witness(node.name, asker.call, asker.batch)


def _note(result: Result, seen: Seen) -> None:
    result.steps.append(seen)
    times = []
    if seen.outage_s is not None:
        times.append(f"next final after {seen.outage_s:.2f} s")
    if seen.back_s is not None:
        times.append(f"all back after {seen.back_s:.2f} s")
    _say(f"  {seen.what}: {', '.join(times) or 'done'}")
    for note in seen.notes:
        _say(f"      {note}")


def _say(line: str) -> None:
    print(line, flush=True)


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main(arguments: Sequence[str]) -> int:
    path, answer, folder = Path(arguments[0]), Path(arguments[1]), arguments[2] if len(arguments) > 2 else ""
    signal.signal(signal.SIGTERM, _interrupted)
    manifest = read_manifest(path)
    if folder:
        kept = Path(folder) / manifest.name
        kept.mkdir(parents=True)
        result = play(manifest, kept)
    else:
        with tempfile.TemporaryDirectory(prefix="hanse-e2e-") as temporary:
            result = play(manifest, Path(temporary))
    if result.fault:
        _say(f"  FAILS  {result.fault}")
    answer.write_text(json.dumps(result.as_json()))
    return 0 if result.held else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.exit(130)
