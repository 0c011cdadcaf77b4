"""What the owners decide together while everything goes on: newcomers, key rotations, leaving, ballots, an upgrade.

A person at each member looks at the ledger now and then and says yes to what waits there; who wants something of its
own asks for it again until the ledger shows it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import trio

from ledger.chain import Chain
from ledger.entries import CANDIDATES, OPEN_REQUESTS, Candidate, OpenRequests, Request, Stage, request_key
from ledger.errors import InvalidTransaction, StoreUnavailable, UnknownProtocol
from ledger.keys import KeyPair
from ledger.league_entries import BALLOTS, Ballot
from ledger.motions import ActivateProtocol, ChangeParameters, Expel, Motion
from ledger.protocols import NEWEST
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember, RotateKey, Support, prove_key
from ledger.transactions import Body, sign_transaction
from node.simulation.disk import PowerCut
from node.simulation.life import Life
from node.simulation.member import Member

# How often somebody looks, and says again what has not come to pass.
LOOK_S = 2.0
# Heights from now on that a change takes effect at: the ledger wants eight at least.
NOTICE = 10
NODE_FAULTS = (StoreUnavailable, OSError, PowerCut, UnknownProtocol)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agenda:
    """What comes up in a run, each as often as said."""

    rotations: int = 0
    newcomers: int = 0
    leavers: int = 0
    expels_a_liar: bool = False
    changes_parameters: bool = False
    upgrades: bool = False

    @property
    def is_empty(self) -> bool:
        return self == Agenda()


def draw_agenda(seed: int, members: int) -> Agenda:
    """Half of all leagues of four and more have something to decide."""
    rng = Random(f"agenda/{seed}")
    if members < 4 or rng.random() < 0.5:
        return Agenda()
    return Agenda(
        rotations=rng.randint(0, 3),
        newcomers=rng.randint(0, 2),
        leavers=int(members > 5 and rng.random() < 0.5),
        expels_a_liar=rng.random() < 0.5,
        changes_parameters=rng.random() < 0.5,
        upgrades=rng.random() < 0.5,
    )


class Assembly:
    """`may_go` says whether the league can bear that one more correct member leaves it now."""

    def __init__(self, members: list[Member], rng: Random, may_go: Callable[[], bool]) -> None:
        self._members = members
        self._rng = rng
        self._may_go = may_go
        self._open = 0
        self.rotated = self.joined = self.left = self.expelled = self.decided = 0

    def is_idle(self) -> bool:
        """Whether everything that was begun has come to pass."""
        return self._open == 0

    async def run(self, agenda: Agenda, newcomers: list[Member], until_s: float) -> None:
        """Until cancelled; what is on the agenda is begun by `until_s`."""
        rng = self._rng
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._say_yes)
            for _ in range(agenda.rotations):
                nursery.start_soon(self._rotate, rng.uniform(0, until_s))
            for newcomer in newcomers:
                nursery.start_soon(self._join, newcomer, rng.uniform(0, until_s))
            for _ in range(agenda.leavers):
                nursery.start_soon(self._leave, rng.uniform(0, until_s))
            if agenda.expels_a_liar:
                nursery.start_soon(self._expel, rng.uniform(0, until_s))
            if agenda.changes_parameters:
                nursery.start_soon(self._decide, rng.uniform(0, until_s), _lighter_jail)
            if agenda.upgrades:
                nursery.start_soon(self._decide, rng.uniform(0, until_s), _newest_protocol)

    # --- everybody's part

    async def _say_yes(self) -> None:
        while True:
            await trio.sleep(LOOK_S)
            for member in self._members:
                life = member.alive
                if life is not None and member.correct and member.is_inside:
                    self._answer(life)

    def _answer(self, life: Life) -> None:
        pending = [each.body for each in life.pending_transactions() if each.sender == life.key.public]
        for org, candidate in life.chain.scan(Candidate, CANDIDATES):
            if life.org not in candidate.approvals:
                _say_once(life, ApproveMember(org), pending)
        for ballot_id, ballot in life.chain.scan(Ballot, BALLOTS):
            accused = ballot.motion.org if isinstance(ballot.motion, Expel) else None
            if life.org not in ballot.supporters and life.org != accused:
                _say_once(life, Support(ballot_id), pending)

    # --- what single ones want

    async def _rotate(self, at_s: float) -> None:
        await trio.sleep(at_s)
        able = [each for each in self._members if each.correct and each.is_inside and each.following is None]
        if not able:
            return
        member = self._rng.choice(able)
        member.following = following = KeyPair.from_seed(member.key.public)
        self._open += 1
        while member.following is following and not (member.gone or member.stays_down):
            life = member.alive
            if life is not None:
                chain = life.chain
                proof = prove_key(following, chain.chain_id, member.org)
                body = RotateKey(following.public, proof)
                _hand_in(life, member.identity, body)
            await trio.sleep(LOOK_S)
        self.rotated += 1
        self._open -= 1

    async def _join(self, newcomer: Member, at_s: float) -> None:
        """Its registration is handed in by members, as a bootstrap peer does it for a stranger."""
        await trio.sleep(at_s)
        self._open += 1
        while not self._is_member(newcomer):
            for member in self._members:
                life = member.alive
                if life is not None and member.correct and member is not newcomer:
                    proof = prove_key(newcomer.key, life.chain.chain_id, newcomer.org)
                    key = b"" if newcomer.key is newcomer.identity else newcomer.key.public
                    body = RegisterMember(newcomer.name, (), key, proof)
                    _hand_in(life, newcomer.identity, body)
            await trio.sleep(LOOK_S)
        self.joined += 1
        self._open -= 1

    def _is_member(self, one: Member) -> bool:
        lives = [member.alive for member in self._members if member.alive is not None and member.correct]
        return any(life.chain.key_of(one.org) is not None for life in lives)

    async def _leave(self, at_s: float) -> None:
        await trio.sleep(at_s)
        able = [member for member in self._members if member.correct and member.is_inside and not _asks(member)]
        if not able or not self._may_go():
            return
        member = self._rng.choice(able)
        member.leaving = True
        self._open += 1
        while self._is_member(member) and not member.stays_down:
            life = member.alive
            if life is not None:
                _hand_in(life, member.identity, LeaveLeague(member.org))
            await trio.sleep(LOOK_S)
        member.go()
        self.left += 1
        self._open -= 1

    async def _expel(self, at_s: float) -> None:
        """A faulty member is put out, if there is one; its node goes on knocking."""
        await trio.sleep(at_s)
        liars = [member for member in self._members if not member.correct]
        if not liars:
            return
        accused = self._rng.choice(liars)
        self._open += 1
        while self._is_member(accused):
            self._move(lambda chain: Expel(accused.org, "lies"))
            await trio.sleep(LOOK_S)
        self.expelled += 1
        self._open -= 1

    async def _decide(self, at_s: float, draft: Callable[[Chain], Motion | None]) -> None:
        """A ballot is opened until the ledger has what it asks for, or has it scheduled."""
        await trio.sleep(at_s)
        self._open += 1
        while self._move(draft):
            await trio.sleep(LOOK_S)
        self.decided += 1
        self._open -= 1

    def _move(self, draft: Callable[[Chain], Motion | None]) -> bool:
        """Open a ballot on a motion unless one waits; False once there is nothing left to ask for."""
        for member in self._members:
            life = member.alive
            if life is None or not member.correct or not member.is_inside:
                continue
            motion = draft(life.chain)
            if motion is None:
                return False
            waiting = [ballot.motion for _, ballot in life.chain.scan(Ballot, BALLOTS)]
            pending = [each.body for each in life.pending_transactions()]
            opened = [body.motion for body in pending if isinstance(body, OpenBallot)]
            if not any(type(each) is type(motion) for each in (*waiting, *opened)):
                _say_once(life, OpenBallot(motion), [])
            return True
        return True


def _lighter_jail(chain: Chain) -> Motion | None:
    parameters = chain.parameters()
    wanted = replace(parameters, jail_epochs=3, seats_max=10)
    scheduled = [each.parameters for each in chain.schedule().changes]
    if wanted in (parameters, *scheduled):
        return None
    return ChangeParameters(wanted, chain.height + NOTICE)


def _newest_protocol(chain: Chain) -> Motion | None:
    protocol = chain.protocol()
    if protocol.version == NEWEST or protocol.scheduled is not None:
        return None
    return ActivateProtocol(protocol.version + 1, chain.height + NOTICE)


def _asks(member: Member) -> bool:
    """Whether a request of its own is open: it would have to cancel first."""
    chain = member.alive.chain if member.alive else None
    ids = chain.read(OpenRequests, OPEN_REQUESTS) if chain else None
    requests = [chain.read(Request, request_key(each)) for each in ids.ids] if chain and ids else []
    return any(
        each is not None and each.requester == member.org and each.stage <= Stage.AGGREGATING for each in requests
    )


def _say_once(life: Life, body: Body, pending: list[Body]) -> None:
    if body in pending:
        return
    try:
        life.driver.submit_own(body)
    except (InvalidTransaction, *NODE_FAULTS):
        return


def _hand_in(life: Life, identity: KeyPair, body: Body) -> None:
    """Signed by an identity elsewhere, with the nonce the ledger wants now."""
    chain = life.chain
    nonce = chain.next_nonce(identity.public)
    if any(each.sender == identity.public and each.body == body for each in life.pending_transactions()):
        return
    try:
        life.driver.submit(sign_transaction(identity, chain.chain_id, nonce, body))
    except (InvalidTransaction, *NODE_FAULTS):
        return
