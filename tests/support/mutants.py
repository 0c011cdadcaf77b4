"""Faults planted in the protocol, each of which the lockstep runs must notice. Kept apart from what is shipped."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import patch

from consensus import acceptance
from consensus.events import Event
from consensus.journal import BodyHeld, CertificateHeld, OwnProposal, OwnVote
from consensus.machine import HeightMachine
from consensus.messages import Proposal
from ledger.blocks import FinalBlock
from ledger.certificates import Committee, VoteKind
from tests.support.lockstep import Plan


class NullifiesAndFinalizes(HeightMachine):
    """Against rule 11: a nullify vote does not keep it from finalizing."""

    def _finalize(self) -> bool:
        hidden = {key: vote for key, vote in self._own.items() if key[1] is VoteKind.NULLIFY}
        for key in hidden:
            del self._own[key]
        try:
            return super()._finalize()
        finally:
            self._own.update(hidden)


class LocksOnFinalize(HeightMachine):
    """A tempting wrong rule: who finalized a block refuses others from then on."""

    def _notarize(self) -> bool:
        own = [vote.subject.block for (_, kind), vote in self._own.items() if kind is VoteKind.FINALIZE]
        if self._accepted is not None and own and self._accepted.block_id not in own:
            return False
        return super()._notarize()


class SilentWhenDecided(HeightMachine):
    """Against rule 13: who has decided lets the others wait."""

    def _answer(self, event: Event, final: FinalBlock) -> None:
        pass


class ResendsNothing(HeightMachine):
    """Against rule 13: what is lost once is lost for ever."""

    def _resend(self) -> None:
        pass


class TwoFPlusOne(Committee):
    """Against rule 1: forks with 5 or 6 members."""

    @property
    def quorum(self) -> int:
        return 2 * self.faults + 1


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def _any_proof(proposal: Proposal) -> None:
    """Rule 8 without the check of what is shown."""


def _any_block_of_the_view(proposal: Proposal) -> None:
    """Rule 8 without 'the notarization names the same block'."""
    named = replace(proposal.subject, block=proposal.proof[0].subject.block) if proposal.proof else proposal.subject
    _CHECK_UNBROKEN(replace(proposal, subject=named))


def _no_gap_check(certificates: object, first: int, end: int) -> None:
    """Rule 8 without 'every view in between'."""


_CHECK_UNBROKEN = acceptance._check_unbroken


@contextmanager
def _no_proof() -> Iterator[None]:
    with (
        patch.object(acceptance, "_check_unbroken", _any_proof),
        patch.object(acceptance, "_check_nullifications", _no_gap_check),
    ):
        yield


@contextmanager
def _wrong_block() -> Iterator[None]:
    with patch.object(acceptance, "_check_unbroken", _any_block_of_the_view):
        yield


@contextmanager
def _gaps() -> Iterator[None]:
    with patch.object(acceptance, "_check_nullifications", _no_gap_check):
        yield


def _plan(members: int, seed: int) -> Plan:
    return Plan(members, seed)


Mutant = tuple[Callable[[int, int], Plan], Callable[[], object], int]

# name -> (plan of a seed, what is patched meanwhile, members)
MUTANTS: dict[str, Mutant] = {
    "nullify and finalize both": (lambda n, s: Plan(n, s, machine=NullifiesAndFinalizes), _nothing, 4),
    "quorum 2f + 1 of 5": (lambda n, s: Plan(n, s, committee=TwoFPlusOne), _nothing, 5),
    "quorum 2f + 1 of 6": (lambda n, s: Plan(n, s, committee=TwoFPlusOne), _nothing, 6),
    "no proof check": (_plan, _no_proof, 4),
    "notarization of another block": (_plan, _wrong_block, 4),
    "gaps in the proof": (_plan, _gaps, 4),
    "no journal": (lambda n, s: Plan(n, s, keeps=lambda record: False), _nothing, 4),
    "votes not journaled": (lambda n, s: Plan(n, s, keeps=lambda r: not isinstance(r, OwnVote)), _nothing, 4),
    "proposals not journaled": (lambda n, s: Plan(n, s, keeps=lambda r: not isinstance(r, OwnProposal)), _nothing, 4),
    "bodies not journaled": (
        lambda n, s: Plan(n, s, keeps=lambda r: not isinstance(r, BodyHeld | OwnProposal)),
        _nothing,
        4,
    ),
    "certificates not journaled": (
        lambda n, s: Plan(n, s, keeps=lambda r: not isinstance(r, CertificateHeld)),
        _nothing,
        4,
    ),
    "lock on own finalize": (lambda n, s: Plan(n, s, machine=LocksOnFinalize), _nothing, 7),
    "silent when decided": (lambda n, s: Plan(n, s, machine=SilentWhenDecided), _nothing, 4),
    "nothing sent again": (lambda n, s: Plan(n, s, machine=ResendsNothing), _nothing, 4),
}
