"""A simulated league from its first block to the end: all faults, then healing, then everybody must agree.

`run.py` starts it. Safety is the referee's, at every step; here is who does what when, and what must come to pass
once nothing goes wrong any more. A failure names its seed, and the same seed is the same run to the last message.
"""

from dataclasses import dataclass
from pathlib import Path
from random import Random

import trio

from ledger.chain import Chain
from ledger.codec import digest
from ledger.entries import FINAL_STAGES, Request, request_key
from ledger.genesis import Genesis, GenesisMember
from ledger.keys import KeyPair
from ledger.parameters import LeagueParameters
from ledger.protocols import NEWEST
from ledger.transactions import Transfer
from ledger.types import NodeKey
from node.metrics import Metrics
from node.network.memory_transport import MemoryNetwork
from node.simulation.assembly import Agenda, Assembly
from node.simulation.clients import Clients
from node.simulation.faults import Faults, Lie
from node.simulation.harm import Harm
from node.simulation.member import START_MS, Member
from node.simulation.network import Weather
from node.simulation.referee import Referee, differing_rows
from node.simulation.twins import open_twin_transports

# After the last fault everything must be final everywhere within so much virtual time: three rounds tried three times
# (20 s to train, 20 s to attest), and views that had grown long before.
SETTLE_S = 600.0
# Virtual time between two looks at whether it is over.
LOOK_S = 0.5
# A transfer among members that agree; one whose key was just rotated may have to be found first.
LAST_TRANSFER_S = 180.0


@dataclass(frozen=True, slots=True)
class Report:
    """What a run saw. `settled_ms`: virtual time from healing to agreement. `trace`: equal for equal runs."""

    seed: int
    members: int
    heights: int
    transactions_final: int
    refused: int
    messages: int
    crashes: int
    power_cuts: int
    disk_faults: int
    aggregates: int
    decisions: int
    settled_ms: int
    trace: str


class World:
    """One run. `members` organisations; faulty ones are the first of `Random(seed)`'s order."""

    def __init__(
        self,
        seed: int,
        members: int,
        faults: Faults,
        agenda: Agenda,
        transfers: int,
        requests: int,
        folder: Path,
        masked: bool = False,
    ) -> None:
        self.faults = faults
        self._agenda = agenda
        self._seed = seed
        self._transfers = transfers
        self._requests = requests
        self._folder = folder
        self._rng = Random(f"world/{seed}")
        founders = sorted((self._keys(at) for at in range(members)), key=lambda pair: pair[0].org)
        self.genesis = self._genesis(founders)
        self.weather = Weather(faults, self._rng)
        self.network = MemoryNetwork(self.weather.fate)
        self.metrics = Metrics()
        liars = self._rng.sample([node for _, node in founders], len(faults.lies))
        assert len(liars) <= (members - 1) // 3, f"{len(liars)} liars among {members}: nothing holds then"
        self.referee = Referee(f"seed {seed}, {members} members", frozenset(node.public for node in liars))
        lies = {node.public: [lie] for node, lie in zip(liars, faults.lies, strict=True)}
        self.members = [self._member(pair, lies.get(pair[1].public, [])) for pair in founders]
        self.twins = [
            self._member((each.identity, each.key), [Lie.TWINS], "-twin")
            for each in self.members
            if each.liar is not None and Lie.TWINS in each.liar.lies
        ]
        self.newcomers = [self._member(self._keys(members + at), []) for at in range(agenda.newcomers)]
        self.clients = Clients(list(self.members), self.referee, self._rng, masked=masked)
        self.members += self.newcomers
        self.assembly = Assembly(self.members, self._rng, self._may_go)
        self.harm = Harm(self, self._rng)

    def _keys(self, number: int) -> tuple[KeyPair, KeyPair]:
        """Identity and node key. Where there is nothing to decide an organisation keeps one key for both."""
        identity = KeyPair.from_seed(digest("sim", bytes([number])))
        apart = not self._agenda.is_empty and self._rng.random() < 0.7
        return identity, KeyPair.from_seed(digest("sim/node", bytes([number]))) if apart else identity

    def _genesis(self, founders: list[tuple[KeyPair, KeyPair]]) -> Genesis:
        members = tuple(
            GenesisMember(identity.org, f"founder {at}", (), 1_000_000, b"" if node is identity else node.public)
            for at, (identity, node) in enumerate(founders)
        )
        protocol = NEWEST - 1 if self._agenda.upgrades else NEWEST
        return Genesis("simulated", START_MS, members, LeagueParameters(), protocol)

    def _member(self, pair: tuple[KeyPair, KeyPair], lies: list[Lie], suffix: str = "") -> Member:
        identity, node = pair
        folder = self._folder / (identity.public.hex()[:16] + suffix)
        member = Member(self, identity, node, folder, Random(f"{self._seed}/{folder.name}"), lies)
        member.skew_ms = self._rng.randint(-self.faults.skew_ms, self.faults.skew_ms) if member.correct else 0
        if member.correct:
            member.disk.faults.cut_short = self.faults.cut_short
            member.disk.faults.power = self.faults.power
            member.disk.faults.failing = self.faults.failing_call
        return member

    def repeats(self) -> bool:
        return self.weather.repeats()

    def bootstrap(self) -> dict[NodeKey, tuple[str, ...]]:
        """Whoever is furthest: that is whom an operator asks."""
        inside = [member for member in self.members if member.correct and member.alive and member.is_inside]
        furthest = max(inside, key=lambda member: member.acknowledged, default=None)
        return {} if furthest is None else {furthest.presented.public: ()}

    @property
    def correct(self) -> list[Member]:
        return [member for member in self.members if member.correct and not member.gone]

    @property
    def tolerated(self) -> int:
        """How many more members may fail at once, the liars counted: by the smallest committee that anybody has."""
        faults = [member.alive.chain.committee().faults for member in self.correct if member.alive is not None]
        return min(faults, default=0) - len(self.faults.lies)

    def _may_go(self) -> bool:
        """Whether the league bears its faulty members with one member less, and nobody is waiting for it to go on."""
        inside = len(self.members) - len(self.newcomers) - sum(member.leaving for member in self.members)
        return (inside - 2) // 3 >= len(self.faults.lies) and not any(each.forgetful for each in self.correct)

    # --- one run

    async def run(self) -> Report:
        """Raises SimulationFailed, or whatever bug came up first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._keep_time)
            for member in self.members:
                if member.liar is None or Lie.TWINS not in member.liar.lies:
                    nursery.start_soon(member.live_on)
            for twin in self.twins:
                nursery.start_soon(self._run_twins, twin)
            until_s = self.faults.until_ms / 1000
            cancels = int(self._rng.random() < 0.3) if self._requests else 0
            nursery.start_soon(self.assembly.run, self._agenda, self.newcomers, until_s)
            nursery.start_soon(self.clients.run, self._transfers, self._requests, cancels, until_s)
            with trio.move_on_after(until_s):
                await self.harm.run()
            self._heal()
            healed = trio.current_time()
            await self._settle()
            settled_ms = int((trio.current_time() - healed) * 1000)
            self._compare()
            await self._pay_once_more()
            nursery.cancel_scope.cancel()
        return self._report(settled_ms)

    async def _keep_time(self) -> None:
        while True:
            self.referee.now_ms = int(trio.current_time() * 1000)
            await trio.sleep(0.1)

    async def _run_twins(self, second: Member) -> None:
        first = next(member for member in self.members if member.org == second.org)
        async with open_twin_transports(self.network, first.key.public, first._mouth, self._rng) as transports:
            first.twin_transport, second.twin_transport = transports
            async with trio.open_nursery() as nursery:
                nursery.start_soon(first.live_on)
                nursery.start_soon(second.live_on)

    # --- phase two

    def _heal(self) -> None:
        """Nothing goes wrong any more, but that the faulty stay faulty; some may be gone for good."""
        self.weather.clear(self.network)
        for member in self.correct:
            member.disk.faults.cut_short = member.disk.faults.failing = 0.0
            member.disk.faults.full = False
            member.down_s = 0.5
        if self.faults.dead_at_end:
            remembering = [member for member in self.correct if not member.forgetful]
            # Who may not vote yet is a loss too until the others have gone on.
            spare = self.tolerated - sum(member.forgetful for member in self.correct)
            for member in self._rng.sample(remembering, max(0, spare)):
                member.stays_down = True
                member.crash(False, 0.5)

    @property
    def _core(self) -> list[Member]:
        """Correct members that are there to the end."""
        return [member for member in self.correct if not member.stays_down]

    async def _settle(self) -> None:
        """Wait until everything that was asked for is final, or refused with a reason, at everybody in the core."""
        with trio.move_on_after(SETTLE_S):
            while not self._is_settled():
                await trio.sleep(LOOK_S)
            return
        self.referee.fail(f"not settled {SETTLE_S:.0f} s after healing: {self._what_is_open()}")

    def _is_settled(self) -> bool:
        return not self._what_is_open()

    def _what_is_open(self) -> str:
        chains = self._chains()
        if len(chains) < len(self._core):
            return f"{len(self._core) - len(chains)} members do not come up"
        if len({(chain.height, chain.head_id) for chain in chains}) > 1:
            return f"heights {sorted(chain.height for chain in chains)}"
        if not self.assembly.is_idle():
            return "what was put to the members has not come to pass"
        core = set(map(id, self._core))
        waiting = [key for key, (member, _) in self.clients.promised.items() if id(member) in core]
        if waiting:
            return f"{len(waiting)} statements of clients are neither final nor refused"
        stages = [request.stage for _, request in chains[0].scan(Request, request_key(b""))]
        if any(stage not in FINAL_STAGES for stage in stages):
            return f"requests are {', '.join(stage.name for stage in stages)}"
        return ""

    def _chains(self) -> list[Chain]:
        return [member.alive.chain for member in self._core if member.alive is not None]

    def _compare(self) -> None:
        """Byte for byte, but for which certificate a member happens to hold (S11)."""
        chains = self._chains()
        for chain in chains[1:]:
            rows = differing_rows(chains[0], chain)
            if rows:
                self.referee.fail(f"S11: members differ in {len(rows)} rows of the store, {rows[0]} among them")
        for member in self._core:
            life = member.alive
            if life is not None:
                for blob in life.blobs.store:
                    life.blobs.store.read(blob)
        both = self.clients.refused & self.referee.final.keys()
        if both:
            self.referee.fail("a statement that its client was told is refused is final")
        never_down = {id(member) for member in self._core if not member.crashes}
        for transaction_id in self.clients.refused & self.clients.taken.keys():
            member = self.clients.taken[transaction_id]
            if id(member) in never_down and self._was_gentle:
                self.referee.fail("a statement was lost though its node never crashed")

    @property
    def _was_gentle(self) -> bool:
        """No crash can have taken what a node had accepted."""
        faults = self.faults
        return not (
            self._agenda.rotations or faults.cut_short or faults.failing_call or faults.full_every_ms or faults.lies
        )

    async def _pay_once_more(self) -> None:
        """The league is not only at rest, it works."""
        core = self._core
        paid = self.clients.say(core[0], Transfer(core[-1].org, 1, "last"))
        if paid is None:
            self.referee.fail("a settled league refuses a transfer")
        with trio.move_on_after(LAST_TRANSFER_S):
            while not all(chain.find_transaction(paid.id) for chain in self._chains()):
                await trio.sleep(LOOK_S)
            return
        self.referee.fail(f"a settled league does not make a transfer final within {LAST_TRANSFER_S:.0f} s")

    def _report(self, settled_ms: int) -> Report:
        return Report(
            seed=self._seed,
            members=len(self.members),
            heights=self.referee.heights,
            transactions_final=len(self.referee.final),
            refused=len(self.clients.refused),
            messages=self.weather.messages,
            crashes=sum(member.crashes for member in self.members),
            power_cuts=sum(member.disk.power_cuts for member in self.members),
            disk_faults=sum(member.disk.faults_met for member in self.members),
            aggregates=len(self.referee.aggregates),
            decisions=self._decisions(),
            settled_ms=settled_ms,
            trace=self.referee.trace,
        )

    def _decisions(self) -> int:
        done = self.assembly
        return done.rotated + done.joined + done.left + done.expelled + done.decided
