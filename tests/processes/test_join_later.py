"""By hand: four founders in four terminals, and a fifth factory that joins the league later, trains and is paid.

Everything here is said to `hanse`, as its users say it; nothing is set up behind its back.
"""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from node.cli.exit_codes import Exit
from node.devnet.league import free_ports
from tests.support.processes import Said, eventually, hanse, hanse_process

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

FOUNDERS = ("alice", "bob", "carol", "dave")
TOKENS = 1_000_000
# Each question is a process, and without a pause between them they take a core from the nodes that are waited for.
ASK_EVERY_S = 0.5
RECORDS = 120
REQUEST = """
title = "Small bearings"
data_type = "bearing-simulator"

[model]
name = "mlp"
arguments = { layers = "8,16,4" }

[training]
epochs = 2

# Two requests fit into what a factory spends on its records unless told otherwise.
[privacy]
settings = { epsilon = 4 }

[payment]
price = 1
budget = 10_000

[rounds]
rounds_max = 2
providers_min = 2
providers_max = PROVIDERS
join_window_s = 60
"""


class Terminals:
    """A folder and a running `hanse start` for each factory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def hanse(self, name: str, *arguments: str | Path) -> Said:
        return hanse(*arguments, "-c", self.directory / name, "--json")

    def ask(self, name: str, *arguments: str | Path) -> Any:
        said = self.hanse(name, *arguments)
        assert said.code == Exit.OK, (arguments, said)
        return said.json

    def init(self, name: str, at: int, *more: str | Path) -> str:
        """A new folder; the peer id."""
        (port,) = free_ports(1)
        settings = {"factory": at, "factories": 5, "train_records": RECORDS, "test_records": 60}
        data = [part for key, value in settings.items() for part in ("--data-setting", f"{key}={value}")]
        said = hanse(
            *("init", self.directory / name, "--name", name, "--listen", f"/ip4/127.0.0.1/tcp/{port}"),
            *("--rpc", "127.0.0.1:0", "--data", "bearing-simulator", *data, "--offer", "all", *more, "--json"),
        )
        assert said.code == Exit.OK, said
        return str(said.json["peer_id"])

    def start(self, name: str) -> None:
        self.processes[name] = hanse_process(self.directory / f"{name}.log", "start", "-c", self.directory / name)

    def sees(self, name: str, wanted: Callable[[Any], bool], *arguments: str) -> None:
        """Ask until the answer is as wanted."""

        def looked() -> bool:
            assert self.processes[name].poll() is None, self.log(name)
            said = self.hanse(name, *arguments)
            return said.code == Exit.OK and wanted(said.json)

        eventually(looked, f"{name}: {' '.join(arguments)}", lambda: self.log(name), ASK_EVERY_S)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()[-2000:]

    def train(self, name: str, providers: int) -> str:
        """Publish a request and watch it to its end; its id."""
        file = self.directory / f"for-{providers}.toml"
        file.write_text(REQUEST.replace("PROVIDERS", str(providers)))
        request = str(self.ask(name, "request", "publish", file)["request"])
        watched = self.hanse(name, "request", "watch", request, "--timeout", "60")
        assert watched.code == Exit.OK, (watched, self.log(name))
        return request


@pytest.fixture(scope="module")
def terminals(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminals]:
    """A league of four that has trained one request."""
    opened = Terminals(tmp_path_factory.mktemp("terminals"))
    members: list[str] = []
    for at, name in enumerate(FOUNDERS):
        opened.init(name, at)
        line = hanse("genesis", "member", "-c", opened.directory / name, "--balance", str(TOKENS))
        assert line.code == Exit.OK, line
        members += ["--member", line.out.strip()]
    genesis = opened.directory / "genesis.json"
    made = hanse("genesis", "create", "--name", "nordsee", *members, "-o", genesis)
    assert made.code == Exit.OK, made
    for name in FOUNDERS:
        (opened.directory / name / "genesis.json").write_bytes(genesis.read_bytes())
    try:
        for name in FOUNDERS:
            opened.start(name)
        for name in FOUNDERS:
            opened.sees(
                name, lambda told: bool(told["totals"]) and told["totals"]["records"] == RECORDS, "anchor", "list"
            )
        yield opened
    finally:
        for process in opened.processes.values():
            process.terminate()
        for process in opened.processes.values():
            process.wait()


def test_a_fifth_factory_joins_catches_up_trains_and_is_paid(terminals: Terminals) -> None:
    first = terminals.train("alice", providers=3)
    height = terminals.ask("alice", "status")["head"]["height"]

    listening = terminals.ask("alice", "members", "list")["members"]
    known = next(member for member in listening if member["name"] == "bob")
    bootstrap = f"{known['addresses'][0]}/p2p/{known['peer_id']}"
    genesis = terminals.directory / "genesis.json"
    peer = terminals.init("erin", 4, "--genesis", genesis, "--bootstrap", bootstrap)
    terminals.start("erin")
    terminals.sees("erin", lambda told: told["node"]["peer_id"] == peer, "status")
    joining = hanse_process(
        terminals.directory / "joining.log",
        *("join", "league", "--wait", "--timeout", "200", "-c", terminals.directory / "erin", "--json"),
    )
    terminals.sees("alice", lambda told: [each["peer_id"] for each in told["candidates"]] == [peer], "members", "list")

    for name in FOUNDERS[:2]:
        terminals.ask(name, "members", "approve", peer)
    # Two of four are no two thirds: an outsider is shown no block and no request, it may only ask.
    shown = terminals.ask("erin", "status")
    assert (shown["head"]["height"], shown["node"]["member"]) == (0, False)
    assert terminals.ask("erin", "request", "list")["requests"] == []
    assert terminals.hanse("erin", "request", "get", first).code == Exit.NOT_FOUND
    assert terminals.hanse("erin", "ledger", "transfer", "bob", "1").code == Exit.REFUSED
    assert joining.poll() is None, "it still waits"

    terminals.ask("carol", "members", "approve", peer)
    assert joining.wait(60) == Exit.OK, (terminals.directory / "joining.log").read_text()
    terminals.sees("erin", lambda told: told["head"]["height"] > height and told["node"]["member"], "status")
    terminals.sees("erin", lambda told: bool(told["totals"]) and told["totals"]["records"] == RECORDS, "anchor", "list")
    old = terminals.ask("erin", "request", "get", first)["request"]
    assert old == terminals.ask("alice", "request", "get", first)["request"], "what was before it came is the same"

    request = terminals.train("alice", providers=4)
    receipts = terminals.ask("bob", "request", "receipts", request)["receipts"]
    assert len(receipts) == 2
    org = terminals.ask("erin", "members", "show", "erin")["member"]["org"]
    for receipt in receipts:
        assert len(receipt["lines"]) == 4
        (own,) = [line for line in receipt["lines"] if line["org"] == org]
        assert (own["fate"], own["weight"], own["paid"]) == ("delivered", RECORDS, RECORDS)
    assert terminals.ask("dave", "ledger", "account", "erin")["balance"] == 2 * RECORDS
    done = terminals.ask("erin", "model", "info", request)
    assert done["stage"] == "done"
    terminals.sees("alice", lambda told: bool(told["export"]), "model", "info", request)

    heads = set()
    for name in (*FOUNDERS, "erin"):
        status = terminals.ask(name, "status")
        heads.add((status["head"]["height"], status["head"]["id"], status["state_root"]))
        assert terminals.hanse(name, "stop").code == Exit.OK
        assert terminals.processes[name].wait(20) == Exit.OK
    assert len(heads) == 1
