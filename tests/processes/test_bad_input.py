"""Bad input to a running league: each gets a clear error in the right place, the league goes on, nothing is lost.

Four honest nodes, and mallory: a member whose key a test-only process holds (tests/support/hostile_member.py). What
peers may try below our protocols is in tests/net/test_hostile_peers.py, what a source's file may hold in
tests/unit/test_tabular.py, every misspelt setting in tests/unit/test_config.py, torn and full stores in
tests/unit/test_leveldb.py and tests/net/test_trainer.py.
"""

import os
import resource
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.messages import Transactions, encode_message
from fl.fixed_point import pack
from ledger.codec import digest
from ledger.keys import KeyPair
from ledger.statements import RegisterMember
from ledger.transactions import (
    AnchorRecords,
    AnnounceProtected,
    AnnounceUpdate,
    Body,
    JoinRequest,
    Transaction,
    Transfer,
    sign_transaction,
)
from node.cli.exit_codes import Exit
from node.daemon import EXIT_DISK_FULL
from node.devnet.league import DevLeague, DevNode, free_ports
from node.network.addresses import parse_address
from node.network.blob_store import blob_digest
from node.rpc.errors import RpcError
from node.sealed import seal
from tests.support.hostile_member import HostileMember, hostile_member
from tests.support.processes import (
    Watch,
    eventually,
    factory,
    hanse,
    publish,
    receipts_of,
    request_of,
    restart,
    running_league,
    supply_is_kept,
    wait,
    wait_agreed,
)

pytestmark = [pytest.mark.processes, pytest.mark.timeout(300)]

NAMES = ("alice", "bob", "carol", "dave")
POCKET = 10_000
RECORDS = 120
# 8-16-4 with biases.
PARAMETERS = 8 * 16 + 16 + 16 * 4 + 4
SCALE_BITS, LIMIT = 20, 512


@dataclass
class Besieged:
    """The league and the member that means it ill."""

    league: DevLeague
    mallory: KeyPair
    port: int

    @property
    def alice(self) -> DevNode:
        return self.league.nodes[0]

    def signed(self, body: Body, nonce: int | None = None) -> Transaction:
        """Mallory's word, with its next nonce."""
        own = self.alice.call("nonce", org=self.mallory.org.hex())["nonce"] if nonce is None else nonce
        return sign_transaction(self.mallory, self.league.genesis.chain_id, own, body)

    def say(self, body: Body) -> Transaction:
        """Final when this returns."""
        transaction = self.signed(body)
        self.alice.call("submit_tx", transaction=transaction.encoded.hex(), mode="final")
        return transaction

    def goes_on(self) -> None:
        """Every node takes a transaction and makes it final, and no token has come or gone."""
        for node in self.league.nodes:
            other = next(each for each in self.league.nodes if each is not node)
            body = {"kind": "transfer", "to": other.org.hex(), "amount": 1, "memo": "still here"}
            assert node.call("send", body=body, mode="final")["status"] == "final"
        wait_agreed(self.league)
        assert supply_is_kept(self.league, self.alice)


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    directory = tmp_path_factory.mktemp("besieged")
    mallory = KeyPair.from_seed(digest("test/key", b"mallory"))
    (port,) = free_ports(1)
    with running_league(directory, [factory(name, at, len(NAMES)) for at, name in enumerate(NAMES)]) as league:
        siege = Besieged(league, mallory, port)
        siege.say(RegisterMember("mallory", (f"/ip4/127.0.0.1/tcp/{port}",)))
        for node in league.nodes[:3]:
            body = {"kind": "approve_member", "candidate": mallory.org.hex()}
            node.call("send", body=body, mode="final")
        siege.alice.call("send", body={"kind": "transfer", "to": mallory.org.hex(), "amount": POCKET, "memo": ""})
        yield siege


@pytest.fixture
def hostile(besieged: Besieged) -> Iterator[HostileMember]:
    members = {node.key: node.address for node in besieged.league.nodes}
    with hostile_member(besieged.mallory, besieged.league.genesis.chain_id, besieged.port, members) as member:
        for node in besieged.league.nodes:
            wait_connected(besieged, member, node)
        yield member


def wait_connected(besieged: Besieged, member: HostileMember, node: DevNode) -> None:
    wait(
        besieged.league, lambda: bool(member.tell(connected=node.key.hex())["connected"]), f"mallory meets {node.name}"
    )


def refusal(act: Callable[[], Any]) -> str:
    """The ledger's word for why not."""
    with pytest.raises(RpcError) as refused:
        act()
    assert refused.value.kind.word == "refused", refused.value
    return str(refused.value.details["rule"])


# --- strangers


def test_garbage_on_the_port_is_cut_off(besieged: Besieged) -> None:
    at = parse_address(besieged.alice.address)
    noise = np.random.default_rng(7).bytes(4096)
    words = (noise, b"GET / HTTP/1.1\r\n\r\n", b"\x13/multistream/1.0.0\n" + noise, b"\x00" * 200_000, b"")
    with ExitStack() as open_sockets:
        peers = [open_sockets.enter_context(socket.create_connection((at.host, at.port), timeout=20)) for _ in words]
        # Reset in the midst of it is as good as closed.
        for peer, said in zip(peers, words, strict=True):
            with suppress(ConnectionError):
                peer.sendall(said)
        for peer in peers:
            with suppress(ConnectionError):
                while peer.recv(4096):
                    pass
    besieged.goes_on()


def test_who_is_no_member_may_only_ask_to_join(besieged: Besieged) -> None:
    stranger = KeyPair.from_seed(digest("test/key", b"stranger"))
    with hostile_member(stranger, besieged.league.genesis.chain_id, free_ports(1)[0], {}) as peer:
        address = besieged.alice.multiaddr
        assert "answer" in peer.tell(ask=address, kind="league.standing")
        assert peer.tell(ask=address, kind="league.register") == {"refused": "bytes"}
        for kind in ("blob.get", "addresses", "no.such.kind"):
            assert "answer" not in peer.tell(ask=address, kind=kind), kind
        transfer = sign_transaction(stranger, besieged.league.genesis.chain_id, 0, Transfer(stranger.org, 1, ""))
        assert refusal(lambda: submit(besieged.alice, transfer)) == "member"
    besieged.goes_on()


# --- transactions


def submit(node: DevNode, transaction: Transaction, mode: str = "final") -> Any:
    return node.call("submit_tx", transaction=transaction.encoded.hex(), mode=mode)


def test_a_forged_signature_is_refused_at_every_door(besieged: Besieged, hostile: HostileMember) -> None:
    alice, bob = besieged.league.nodes[:2]
    good = besieged.signed(Transfer(besieged.mallory.org, 1, ""))
    # Bob's money, in mallory's words.
    next_nonce = alice.call("nonce", org=bob.org.hex())["nonce"]
    forged = Transaction(bob.key, next_nonce, Transfer(besieged.mallory.org, 5_000, ""), good.signature)
    assert refusal(lambda: submit(alice, forged)) == "signature"
    hostile.tell(post=alice.key.hex(), bytes=encode_message(Transactions((forged,))).hex())
    wait(besieged.league, lambda: "transaction: signature" in alice.log_tail(), "alice complains of mallory")
    with pytest.raises(RpcError):
        alice.call("tx", id=forged.id.hex())
    besieged.goes_on()


def test_what_ran_once_does_not_run_again(besieged: Besieged, hostile: HostileMember) -> None:
    league, alice = besieged.league, besieged.alice
    paid = besieged.say(Transfer(alice.org, 100, "once"))
    balance = alice.call("account", org=besieged.mallory.org.hex())["balance"]
    for node in league.nodes:
        again = submit(node, paid)
        assert (again["status"], again["id"]) == ("final", paid.id.hex()), "it is told where it ran, and does not run"
        hostile.tell(post=node.key.hex(), bytes=encode_message(Transactions((paid, paid))).hex())
    besieged.goes_on()
    assert alice.call("account", org=besieged.mallory.org.hex())["balance"] == balance


def test_one_balance_is_spent_once(besieged: Besieged) -> None:
    """Two transfers of all it has, handed in to two nodes at the same moment."""
    league, alice = besieged.league, besieged.alice
    bob, carol = league.nodes[1:3]
    org = besieged.mallory.org.hex()
    account = alice.call("account", org=org)
    everything, nonce = account["balance"], account["next_nonce"]
    before = {node.name: alice.call("account", org=node.org.hex())["balance"] for node in (bob, carol)}
    spent = {node.name: besieged.signed(Transfer(node.org, everything, ""), nonce) for node in (bob, carol)}

    def hand_in(node: DevNode) -> None:
        try:
            submit(node, spent[node.name], mode="async")
        except RpcError as error:
            # The other one was here already: said at once is better than dropped later.
            assert error.details.get("rule") == "nonce", error  # noqa: PT017

    with ThreadPoolExecutor() as both:
        list(both.map(hand_in, (bob, carol)))
    wait(league, lambda: alice.call("account", org=org)["balance"] == 0, "one of them is final")
    wait_agreed(league)
    gained = [alice.call("account", org=node.org.hex())["balance"] - before[node.name] for node in (bob, carol)]
    assert sorted(gained) == [0, everything]
    assert refusal(lambda: submit(alice, besieged.signed(Transfer(bob.org, 1, "")))) == "balance"
    besieged.goes_on()
    alice.call("send", body={"kind": "transfer", "to": org, "amount": POCKET, "memo": ""}, mode="final")


# --- frames


def test_bytes_that_are_no_message_are_named(besieged: Besieged, hostile: HostileMember) -> None:
    alice = besieged.alice
    hostile.tell(post=alice.key.hex(), bytes=b"\xc1\xff\x00garbage".hex())
    who = besieged.mallory.org.hex()[:16]
    wait(besieged.league, lambda: f"refused from {who}" in alice.log.read_text(), "alice names mallory")
    besieged.goes_on()


# --- updates


def blob_of(values: np.ndarray[Any, np.dtype[np.int32]]) -> bytes:
    return pack(values, SCALE_BITS)


def vector(fill: int = 0) -> np.ndarray[Any, np.dtype[np.int32]]:
    return np.full(PARAMETERS, fill, dtype=np.int32)


def not_a_number() -> bytes:
    """The bits of float32 NaN where a fixed-point coordinate should be."""
    values = vector()
    values[17] = np.array([np.nan], dtype=np.float32).view(np.int32)[0]
    return blob_of(values)


UPDATES: dict[str, tuple[bytes, str, str]] = {
    "one coordinate beyond the limit": (
        blob_of(vector() + np.eye(1, PARAMETERS, 3, dtype=np.int32)[0] * (LIMIT * 2**SCALE_BITS + 1)),
        "refused",
        "out of range",
    ),
    "the least number there is": (blob_of(vector(-(2**31))), "refused", "out of range"),
    "NaN": (not_a_number(), "refused", "out of range"),
    "a coordinate short": (blob_of(vector()[:-1]), "refused", "malformed"),
    "no vector at all": (b"not a vector", "refused", "malformed"),
    # Under the name of something else: nobody can hold what it announced.
    "other bytes than announced": (blob_of(vector(1)), "unavailable", "held by 0"),
}


def test_bad_updates_are_refused_with_the_reason_unpaid_and_cost_the_others_nothing(
    besieged: Besieged, hostile: HostileMember
) -> None:
    league, alice, me = besieged.league, besieged.alice, besieged.mallory.org
    besieged.say(AnchorRecords(1, RECORDS, digest("test/root", b""), 1, 2))
    request = publish(
        alice, rounds_max=len(UPDATES), epochs=1, providers_max=4, providers_min=2, attest_window=2_000, batch=120
    )
    besieged.say(JoinRequest(bytes.fromhex(request), "bearing-simulator", RECORDS, ()))
    watch = Watch(alice, "round")
    for number, (name, (data, _, _)) in enumerate(UPDATES.items(), start=1):
        wait(league, lambda at=number: request_of(alice, request)["round"] == at, f"round {number}")  # type: ignore[misc]
        sealed = seal(data, me)
        announced = digest("blob", b"something else") if name.startswith("other") else blob_digest(sealed)
        hostile.tell(serve=announced.hex(), bytes=sealed.hex())
        update = AnnounceUpdate(
            bytes.fromhex(request), number, 0, announced, len(sealed), RECORDS, (1,), 1_000_000, 1_000
        )
        besieged.say(AnnounceProtected(update, ()))
        watch.until(lambda _, receipt, at=number: receipt["round"] == at, f"round {number} is closed")  # type: ignore[misc]
    wait(league, lambda: bool(request_of(alice, request)["over"]), "the request is over")
    assert request_of(alice, request)["stage"] == "done"
    receipts = receipts_of(alice, request)
    assert len(receipts) == len(UPDATES)
    for receipt, (name, (_, fate, reason)) in zip(receipts, UPDATES.items(), strict=True):
        lines = {line["org"]: line for line in receipt["lines"]}
        assert len(lines) == 4
        line = lines.pop(me.hex())
        assert (line["fate"], line["paid"], line["quality"]) == (fate, 0, 0), (name, line)
        assert reason in line["reason"].replace("_", " ").lower(), (name, line)
        assert all((each["fate"], each["paid"]) == ("delivered", RECORDS) for each in lines.values()), (name, receipt)
    besieged.goes_on()


# --- this machine

SCHEMA = """
label = "fault"
classes = ["0", "1"]

[[features]]
column = "temperature"
low = 0
high = 50

[[features]]
column = "pressure"
low = 0
high = 2
"""


def test_a_misspelt_setting_stops_the_node_and_names_itself(besieged: Besieged, tmp_path: Path) -> None:
    config = (besieged.alice.folder / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(config.replace("view_timeout_ms", "view_timout_ms"))
    said = hanse("start", "-c", tmp_path)
    assert said.code == Exit.CONFIGURATION, said
    assert "view_timout_ms" in said.err
    assert "[consensus]" in said.err


def test_a_table_with_other_columns_stops_the_node_and_names_them(besieged: Besieged, tmp_path: Path) -> None:
    (tmp_path / "readings.csv").write_text("temperature,presure,fault\n20.5,1.0,0\n21.0,1.1,1\n")
    (tmp_path / "readings.csv.schema.toml").write_text(SCHEMA)
    made = hanse(
        *("init", tmp_path / "erin", "--name", "erin", "--listen", f"/ip4/127.0.0.1/tcp/{free_ports(1)[0]}"),
        *("--rpc", "127.0.0.1:0", "--genesis", besieged.alice.folder / "genesis.json"),
        *("--data", "table", "--data-path", tmp_path / "readings.csv", "--json"),
    )
    assert made.code == Exit.OK, made
    said = hanse("start", "-c", tmp_path / "erin")
    assert said.code == Exit.CONFIGURATION, said
    assert said.err.startswith("hanse: ")
    assert "pressure" in said.err
    assert "readings.csv" in said.err


def test_a_full_disk_stops_its_node_in_plain_words_and_loses_nothing(besieged: Besieged) -> None:
    """As with a quota: no file of bob's can grow any more. The league goes on without him, and he comes back to it."""
    league, alice, bob = besieged.league, besieged.alice, besieged.league.nodes[1]
    assert bob.process is not None
    process = bob.process
    log_began = bob.log.stat().st_size
    # Larger than his log, which must still say what happened, and less than his journal after the next votes.
    room = (bob.folder / "journal").stat().st_size + 64
    assert log_began + 4096 < room, "there is room to complain"
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (room, room))
    body = {"kind": "transfer", "to": bob.org.hex(), "amount": 1, "memo": ""}

    def ended() -> bool:
        alice.call("send", body=body, mode="final")
        return process.poll() is not None

    eventually(ended, "bob stops", bob.log_tail)
    assert process.returncode == EXIT_DISK_FULL
    complaint = bob.log.read_bytes()[log_began:].decode()
    assert "hanse: stopped: " in complaint, complaint
    assert os.strerror(27) in complaint, "File too large: the reason as the system gives it"
    others = [node for node in league.nodes if node is not bob]
    balance = alice.call("account", org=bob.org.hex())["balance"]
    for node in others[1:]:
        assert node.call("send", body=body, mode="final")["status"] == "final"
    restart(league, bob)
    wait_agreed(league)
    assert bob.call("account")["balance"] == balance + len(others) - 1
    besieged.goes_on()


# --- last, for who does this is refused from then on


def test_a_frame_beyond_every_bound_costs_its_sender_and_nobody_else(
    besieged: Besieged, hostile: HostileMember
) -> None:
    """It is never acknowledged, so it comes again with every connection: each time it is garbage."""
    league, alice, mallory = besieged.league, besieged.alice, besieged.mallory.org.hex()

    def conduct(node: DevNode) -> dict[str, Any]:
        (shown,) = [peer for peer in node.call("peers")["peers"] if peer["org"] == mallory]
        found: dict[str, Any] = shown
        return found

    hostile.tell(frame=alice.key.hex(), bytes=32 * 2**20)
    wait(league, lambda: f"the link of {mallory[:16]} ended" in alice.log.read_text(), "alice says why she hung up")
    assert "bytes, want at most" in alice.log.read_text()
    wait(league, lambda: conduct(alice)["banned_s"] > 0, "alice refuses mallory for a while")
    besieged.goes_on()
    assert not conduct(alice)["connected"]
    assert all(conduct(node)["banned_s"] == 0 for node in league.nodes[1:]), "the others judge for themselves"
    assert hostile.tell(ask=alice.multiaddr, kind="league.standing").keys() == {"failed"}
