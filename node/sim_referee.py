"""What must hold in every run of `sim.py`: one history, no member that contradicts itself, no token out of nothing."""

from typing import NoReturn

from consensus.messages import Message, VoteMessage
from ledger.blocks import FinalBlock
from ledger.certificates import Vote, VoteKind, check_certificate, contradicts
from ledger.chain import Chain, Outcome
from ledger.rewards import supply, tokens_in_circulation
from ledger.transactions import ReportEquivocation
from ledger.types import NodeKey


class SimulationFailed(AssertionError):
    """An invariant broke. The message begins with the seed that replays it."""


class Referee:
    """Of one run. `now_ms` is kept by who runs it. `final`: the height of every final transaction."""

    def __init__(self, seed: int, members: int) -> None:
        self._seed = seed
        self._members = members
        self._decided: dict[int, tuple[bytes, bytes]] = {}
        self._said: dict[tuple[NodeKey, int, int], dict[VoteKind, Vote]] = {}
        self.final: dict[bytes, int] = {}
        self.now_ms = 0

    def fail(self, reason: str) -> NoReturn:
        """Raises SimulationFailed."""
        raise SimulationFailed(f"seed {self._seed}, {self._members} members, {self.now_ms} ms: {reason}")

    def check_said(self, org: NodeKey, message: Message) -> None:
        """Nobody here lies, so nobody may contradict a vote it sent, not even across a crash (simplex rule 14)."""
        if not isinstance(message, VoteMessage) or message.vote.voter != org:
            return
        vote, subject = message.vote, message.vote.subject
        said = self._said.setdefault((org, subject.height, subject.view), {})
        if any(contradicts(vote, other) for other in said.values()):
            self.fail(f"{org.hex()[:8]} contradicts itself at height {subject.height}, view {subject.view}")
        said[subject.kind] = vote

    def check_final(self, chain: Chain, final: FinalBlock, outcome: Outcome) -> None:
        """What a member has just appended to its chain."""
        block = final.block
        seen = self._decided.setdefault(block.height, (block.id, outcome.state_root))
        if seen != (block.id, outcome.state_root):
            self.fail(f"two blocks or states at height {block.height}")
        committee = chain.committee_at(block.height)
        if committee is None:
            self.fail(f"no committee is known for height {block.height}")
        check_certificate(chain.chain_id, committee, final.certificate)
        if tokens_in_circulation(chain.state()) != supply(chain.state()):
            self.fail(f"tokens appeared or vanished at height {block.height}")
        for transaction in block.transactions:
            if isinstance(transaction.body, ReportEquivocation):
                self.fail("a correct member was accused")
            height = self.final.setdefault(transaction.id, block.height)
            if height != block.height:
                self.fail(f"a transaction is final twice, at {height} and {block.height}")
