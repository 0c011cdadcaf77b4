"""`hanse devnet` from start to end: found, publish, watch, compare, check. Exit code 0 only if all of it held."""

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from fl.comparison import Compared
from fl.data.errors import DataError
from node.cli.exit_codes import Exit
from node.cli.output import print_json
from node.devnet.league import DevLeague, LeagueFailed
from node.devnet.plan import CannotPlan, Plan, plan_devnet
from node.devnet.privacy import privacy_lines
from node.devnet.report import Check, Watched, check_league, factory_table, line_of, member_table, report_json
from node.devnet.sigterm import ended_by_sigterm
from node.request_file import RequestFileError
from node.rpc.errors import RpcError

LOOK_EVERY_S = 0.2
OVER = ("done", "failed", "cancelled")


def run_devnet(
    *,
    factories: int,
    data: str,
    split: str | None,
    rounds: int,
    epochs: int | None,
    target: float | None,
    strategy: str | None,
    privacy: str | None,
    epsilon: float | None,
    request_path: Path | None,
    directory: Path | None,
    keep: bool,
    timeout_s: float,
    as_json: bool,
) -> int:
    """The whole of `hanse devnet`. Returns the exit code."""
    console = Console(quiet=as_json)
    ends = time.monotonic() + timeout_s
    try:
        plan = plan_devnet(
            factories=factories,
            data=data,
            split=split,
            rounds=rounds,
            epochs=epochs,
            target=target,
            strategy=strategy,
            privacy=privacy,
            epsilon=epsilon,
            request_path=request_path,
        )
    except (CannotPlan, DataError, RequestFileError) as error:
        Console(stderr=True).print(f"hanse: {error}", style="red", highlight=False)
        return Exit.CONFIGURATION
    try:
        with ended_by_sigterm(), _folder(directory, keep) as folder, DevLeague(folder, plan.nodes) as league:
            console.print(f"{len(plan.nodes)} organisations, a process each, in {folder}")
            watched = _train(league, plan, console, ends)
            compared = _compare(league, plan, watched, console)
            checks = check_league(league, plan, watched.request, watched.final, compared, ends)
            _show(league, plan, watched, compared, checks, console)
            if as_json:
                print_json(report_json(league, plan, watched, compared, checks))
            exported = _take_out(league, watched, keep)
            if exported is not None:
                console.print(f"The model: {exported}", soft_wrap=True)
            if keep:
                console.print(f"The league's folders stay in {folder}.", soft_wrap=True)
    except (LeagueFailed, RpcError) as error:
        Console(stderr=True).print(f"hanse: {error}", style="red", highlight=False)
        return Exit.INTERNAL if time.monotonic() < ends else Exit.TIMED_OUT
    return Exit.OK if all(check.held for check in checks) else Exit.NOT_VERIFIED


@contextmanager
def _folder(directory: Path | None, keep: bool) -> Iterator[Path]:
    if directory is not None and keep:
        # Each league in a folder of its own, so that a second run does not meet the first one's.
        mine = directory.absolute() / time.strftime("%Y%m%d-%H%M%S")
        mine.mkdir(parents=True)
        yield mine
        return
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hanse-", dir=directory) as temporary:
        yield Path(temporary)


def _train(league: DevLeague, plan: Plan, console: Console, ends: float) -> Watched:
    """Up to the end of the request. Raises LeagueFailed, RpcError."""

    def left() -> float:
        return max(1.0, ends - time.monotonic())

    with console.status("Starting the nodes, which find each other through two bootstrap peers"):
        league.start(left())
    providers = league.nodes[1:]
    with console.status("Collecting records and anchoring their Merkle roots"):
        league.wait_until(lambda: all(map(_has_anchored, providers)), "every provider has anchored its records", left())
    requester = league.nodes[0]
    began = time.monotonic()
    published = requester.call("request.publish", request={**plan.draft.as_json()}, mode="final")
    watched = Watched(published["request"])
    console.print(f"{requester.name} published {plan.draft.title!r}: request {watched.request[:16]}")
    with Live(console=console, refresh_per_second=4, transient=False) as live:

        def look() -> bool:
            answer = requester.call("request.get", request=watched.request)
            watched.final = answer["request"]
            watched.receipts = requester.call("receipts", request=watched.request)["receipts"]
            live.update(line_of(league, plan, answer, watched.receipts, requester.call("status")))
            return watched.final["stage"].lower() in OVER

        league.wait_until(look, "the request is over", left())
    if not console.is_terminal:
        # Without a terminal to redraw, the last picture comes without its line end.
        console.print()
    watched.seconds = time.monotonic() - began
    _settle(league, watched.request, left)
    return watched


def _has_anchored(node: Any) -> bool:
    """Whether all records that the node has collected are under anchors on the ledger."""
    records = node.call("anchor.list", org="me")
    status = node.call("health")
    collected = status.get("records", {}).get("collected") if isinstance(status.get("records"), dict) else None
    anchored = int(records["totals"]["records"]) if records.get("totals") else 0
    return anchored > 0 and (collected is None or anchored >= collected)


def _settle(league: DevLeague, request: str, left: Callable[[], float]) -> None:
    """All nodes at one height, every model on its shelf."""
    league.wait_until(league.is_agreed, "all nodes hold the same block and state", min(30.0, left()))

    def shelved() -> bool:
        return all((node.folder / "models" / f"{request}.json").exists() for node in league.nodes)

    league.wait_until(shelved, "every node has put its final model on the shelf", min(60.0, left()))


def _take_out(league: DevLeague, watched: Watched, keep: bool) -> Path | None:
    """Where the exported model can be found afterwards: its place, or a copy here when the folders go."""
    exported = league.nodes[0].folder / "models" / f"{watched.request}.safetensors"
    if keep or not exported.exists():
        return exported if exported.exists() else None
    copy = Path(f"hanse-{watched.request[:16]}.safetensors").absolute()
    shutil.copyfile(exported, copy)
    return copy


def _compare(league: DevLeague, plan: Plan, watched: Watched, console: Console) -> Compared | None:
    """None when the request came to nothing."""
    if watched.final["stage"].lower() != "done" or not watched.final["model_round"]:
        return None
    from node.devnet.comparing import compare_with_centralised

    with console.status("Training one model on all records in one place, and each factory alone"):
        return compare_with_centralised(
            league.nodes[0].folder, plan, watched.request, watched.final["judged_round"] + 1
        )


def _show(
    league: DevLeague,
    plan: Plan,
    watched: Watched,
    compared: Compared | None,
    checks: list[Check],
    console: Console,
) -> None:
    console.print(member_table(league))
    if compared is not None:
        console.print(factory_table(league, plan, watched.request, compared))
        console.print(
            f"On the {compared.federated.records} pooled test records: federated "
            f"{compared.federated.accuracy:.2%} (macro F1 {compared.federated.macro_f1:.3f}), centralised "
            f"{compared.centralised.accuracy:.2%}, each alone {compared.local_mean:.2%} in the mean"
        )
        for line in privacy_lines(league, watched.request, compared):
            console.print(line, highlight=False)
    console.print(f"{watched.final['model_round']} rounds in {watched.seconds:.1f} s: {watched.final['outcome']}")
    for check in checks:
        console.print(f"{'[green]holds[/]' if check.held else '[red]FAILS[/]'}  {check.what}", highlight=False)
