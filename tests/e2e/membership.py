"""Members come, go and decide together during a run: said on the ledger by the organisations' own keys.

Statements are signed here and handed in like any client's, for they share the account's nonces with the transfers and
with the node's own duties; what lost its nonce to one of these is signed again.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from ledger.league_entries import decision_key
from ledger.motions import ActivateProtocol, Expel, Motion
from ledger.statements import ApproveMember, OpenBallot, Support
from ledger.transactions import Body, sign_transaction
from ledger.types import Hash32
from node.rpc.client import NodeUnreachable
from node.rpc.errors import RpcError
from tests.e2e.asking import Asker, Silence
from tests.e2e.league import LOOK_EVERY_S, RunLeague
from tests.e2e.run_node import RunFailed, RunNode
from tests.support.identities import register
from tests.support.processes import hanse

# A statement is final within a second; a leader may be dead, and the machine busy.
SAID_S = 60.0
JOINED_S = 90.0
# A change of rules is put so many heights ahead: the ledger wants eight from the block in which it is put, and the
# league goes on while this is signed.
AHEAD_HEIGHTS = 40
# The daemon's word for: this program does not know the league's protocol (docs/running.md).
EXIT_OUTDATED = 9


def say(league: RunLeague, node: RunNode, body: Body, moot: Callable[[], bool] = lambda: False) -> Hash32 | None:
    """`body` signed with the node's key, final on the ledger; the transaction's id. Raises RunFailed.

    A node may refuse what rests on a block that it has not seen yet, so what is refused is said again until it is taken
    or `moot`; then None.
    """
    chain_id, org, said = league.dev.genesis.chain_id, node.inner.org.hex(), ""
    ends = time.monotonic() + SAID_S
    patient = Asker(node.folder, SAID_S)
    while time.monotonic() < ends and not moot():
        try:
            nonce = int(patient.call("account", org=org)["next_nonce"])
            signed = sign_transaction(league.key_of(node), chain_id, nonce, body)
            patient.call("submit_tx", transaction=signed.encoded.hex(), mode="final", timeout_s=int(SAID_S / 2))
            return signed.id
        except (RpcError, Silence) as error:
            said = str(error)
        time.sleep(LOOK_EVERY_S)
    if moot():
        return None
    raise RunFailed(f"{node.name} could not say {type(body).__name__}: {said}")


def join(league: RunLeague, name: str) -> RunNode:
    """A new organisation with a node of its own registers, is approved by all, and follows the ledger."""
    node = league.add_newcomer(name)
    node.start()
    addresses = [node.inner.address]
    ends = time.monotonic() + JOINED_S
    while not _registered(node, addresses):
        if time.monotonic() > ends:
            raise RunFailed(f"{name} could not register{node.inner.log_tail()}")
        time.sleep(LOOK_EVERY_S)
    asked = league.asked()[0]

    def status() -> str:
        with suppress(Silence, RpcError):
            return str(asked.ask("member", org=node.inner.org.hex())["status"])
        return ""

    league.wait(lambda: status() in ("candidate", "member"), f"{name} is a candidate", JOINED_S)
    for member in league.honest:
        if member is not node and not member.standing.dead:
            say(league, member, ApproveMember(node.inner.org), lambda: status() == "member")
    league.wait(lambda: status() == "member", f"{name} is a member", JOINED_S)
    return node


def _registered(node: RunNode, addresses: Sequence[str]) -> bool:
    try:
        register(node.inner, addresses=list(addresses))
    except (Silence, NodeUnreachable, RpcError):
        # Its network is coming up, or no bootstrap peer has answered yet.
        return False
    return True


def decide(league: RunLeague, voters: Sequence[RunNode], motion: Motion) -> None:
    """All `voters` support a motion: it passes."""
    first, *others = voters
    ballot = say(league, first, OpenBallot(motion))
    assert ballot is not None, "nothing makes an opening moot"
    for voter in others:
        # The last ones may find that it has passed without them.
        say(league, voter, Support(ballot), lambda: _is_decided(league, ballot))


def _is_decided(league: RunLeague, ballot: Hash32) -> bool:
    try:
        return bool(league.asked()[0].ask("state.get", key=decision_key(ballot).hex())["present"])
    except (Silence, RpcError):
        return False


def expel(league: RunLeague, node: RunNode) -> None:
    """The others put a member out; its node learns it and is then stopped, which it must let happen in order."""
    voters = [each for each in league.honest if each is not node and not each.standing.dead]
    decide(league, voters, Expel(node.inner.org, "seen to be careless"))
    league.wait(lambda: not _is_member(league, node), f"{node.name} is out", SAID_S)
    league.part_with(node)


def _is_member(league: RunLeague, node: RunNode) -> bool:
    try:
        return str(league.asked()[0].ask("member", org=node.inner.org.hex())["status"]) == "member"
    except RpcError as error:
        return error.kind.word != "not_found"
    except Silence:
        return True


def rotate(league: RunLeague, node: RunNode, notes: list[str]) -> None:
    """Its operator replaces the node's key while it runs, with the identity that is at hand."""
    before = node.inner.key.hex()
    done = hanse("keys", "rotate", "-c", node.folder, "--json", timeout_s=JOINED_S)
    if done.code:
        raise RunFailed(
            f"{node.name}: hanse keys rotate ended with code {done.code}: {done.err}{node.inner.log_tail()}"
        )
    after = node.inner.key.hex()
    if before == after:
        raise RunFailed(f"{node.name} has the key that it had")
    league.wait(lambda: _key_of(league, node) == after, "the league knows the new key", SAID_S)
    notes.append(f"{node.name}: {before[:16]} is now {after[:16]}")


def _key_of(league: RunLeague, node: RunNode) -> str:
    try:
        return str(league.asked()[0].ask("member", org=node.inner.org.hex())["member"]["key"])
    except (Silence, RpcError):
        return ""


def upgrade(league: RunLeague, notes: list[str]) -> None:
    """All activate the next protocol; builds that do not know it stop at its height and are replaced by newer ones."""
    voters = [each for each in league.honest if not each.standing.dead]
    version = league.manifest.league.protocol + 1
    goal = league.height() + AHEAD_HEIGHTS
    decide(league, voters, ActivateProtocol(version, goal))
    old = [node for node in league.nodes if node.rules.outdated]
    for node in old:
        # It may end at any moment from now on, and not otherwise than it says.
        node.standing.dead = True
    ends = time.monotonic() + JOINED_S + AHEAD_HEIGHTS
    for node in old:
        _wait_outdated(league, node, ends, notes)
    league.wait(lambda: league.height() > goal + 1, f"blocks of protocol {version}", JOINED_S)
    notes.append(f"protocol {version} from height {goal} or soon after; the league is at {league.height()}")
    for node in old:
        node.inner.process = None
        node.program = ("-m", "node.cli.main")
        node.start()


def _wait_outdated(league: RunLeague, node: RunNode, ends: float, notes: list[str]) -> None:
    ended: Callable[[], int | None] = node.ended
    while (code := ended()) is None:
        if time.monotonic() > ends:
            raise RunFailed(f"{node.name} runs on by a protocol it does not know{node.inner.log_tail()}")
        time.sleep(LOOK_EVERY_S)
    if code != EXIT_OUTDATED:
        raise RunFailed(f"{node.name} ended with code {code}, want {EXIT_OUTDATED}{node.inner.log_tail()}")
    notes.append(f"{node.name}: {node.last_line()}")
