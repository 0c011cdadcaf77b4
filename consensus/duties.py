"""What a member says by itself because the league asks for it: evidence, that it is back, and skips of lost nonces.

Each comes signed and is in the pool when it is yielded; who asked sends it to the others before it asks for the next.
"""

from collections.abc import Iterator

from consensus.intake import Intake
from ledger.chain import Chain
from ledger.entries import ELECTION, Election
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.transactions import Body, ReportForDuty, SkipNonce, Transaction, sign_transaction


class Duties:
    """`key`: None for an observer, which owes nothing and says nothing."""

    def __init__(self, chain: Chain, intake: Intake, key: KeyPair | None) -> None:
        self._chain = chain
        self._intake = intake
        self._key = key
        self._duty_reported = -1
        self._gap: int | None = None

    def say(self, body: Body, nonce: int | None = None) -> Iterator[Transaction]:
        """One statement with the next nonce, or this one; nothing when the head has no use for it."""
        if self._key is None:
            return
        nonce = self._intake.next_nonce(self._key.public, body) if nonce is None else nonce
        transaction = sign_transaction(self._key, self._chain.chain_id, nonce, body)
        try:
            self._intake.submit(transaction)
        except InvalidTransaction:
            return  # somebody else was first: evidence is reported once, a skip is lifted once
        yield transaction

    def report_for_duty(self) -> Iterator[Transaction]:
        """That this member leads again, when elections skip it. For who is not behind; once a height."""
        election = self._chain.read(Election, ELECTION)
        org = None if self._key is None else self._chain.org_of(self._key.public)
        if election is None or org not in election.skipped:
            return
        if self._duty_reported != self._chain.height:
            self._duty_reported = self._chain.height
            yield from self.say(ReportForDuty(self._chain.height))

    def fill_gap(self) -> Iterator[Transaction]:
        """A statement of ours that is refused or lost holds up all that we signed after it: let that one go.

        Only when the same one is missing for a second time: it may be on its way back from those who had it.
        """
        gap = None if self._key is None else self._intake.gap(self._key.public)
        if self._key is not None and gap is not None and gap == self._gap:
            me = self._key.public
            waiting = {each.nonce for each in self._intake.pool if each.sender == me}
            yield from self.say(SkipNonce(), gap)
            # What was signed on top of it can be tried now. What of that is refused goes with it at once: a dozen
            # statements of one mistake, each let go after two looks, would hold up the next one for a minute.
            while (gap := self._intake.gap(me)) in waiting:
                waiting.remove(gap)
                yield from self.say(SkipNonce(), gap)
        self._gap = gap

    def skip_refused(self) -> Iterator[Transaction]:
        """A duty that the new head has no use for must not hold up what we signed after it."""
        gap = None if self._key is None else self._intake.gap(self._key.public)
        if self._key is not None and gap is not None and self._intake.is_refused_duty(self._key.public, gap):
            yield from self.say(SkipNonce(), gap)
