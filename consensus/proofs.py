"""The certificates a member holds of one height, and what they entitle to: its view, and the proof of a view.

PROOF(v) is a notarization of one view u < v, or none (u = -1), and a nullification of every view in u+1 .. v-1.
"""

from ledger.certificates import Certificate, VoteKind


class Proofs:
    """Verified certificates of one height, one a view and kind. They are never revoked."""

    def __init__(self) -> None:
        self.notarized: dict[int, Certificate] = {}
        self.nullified: dict[int, Certificate] = {}
        # Members may hold finalizations of different views; all name one block (simplex section 4), so one is enough.
        self.final: Certificate | None = None

    def known(self, certificate: Certificate) -> Certificate | None:
        """The certificate held of this view and kind, if any."""
        subject = certificate.subject
        if subject.kind is VoteKind.NOTARIZE:
            return self.notarized.get(subject.view)
        if subject.kind is VoteKind.NULLIFY:
            return self.nullified.get(subject.view)
        return self.final

    def add(self, certificate: Certificate) -> None:
        """Hold a verified certificate of which no other of this view and kind is known."""
        subject = certificate.subject
        if subject.kind is VoteKind.NOTARIZE:
            self.notarized[subject.view] = certificate
        elif subject.kind is VoteKind.NULLIFY:
            self.nullified[subject.view] = certificate
        else:
            self.final = certificate

    def conflict(self, certificate: Certificate) -> str | None:
        """Why this verified certificate cannot be beside those held unless more than f members lie (simplex section 4).

        None, as it always is, when there is no contradiction.
        """
        subject, final = certificate.subject, self.final
        if subject.kind is VoteKind.NOTARIZE:
            other = self.notarized.get(subject.view)
            if other is not None and other.subject.block != subject.block:
                return f"two blocks are notarized in view {subject.view}"
            return None if final is None else _rival(final, certificate)
        if subject.kind is VoteKind.NULLIFY:
            if final is not None and final.subject.view == subject.view:
                return f"view {subject.view} is final and nullified"
            return None
        if final is not None and final.subject.block != subject.block:
            return f"two blocks are final, in views {final.subject.view} and {subject.view}"
        if subject.view in self.nullified:
            return f"view {subject.view} is nullified and final"
        return next((rival for held in self.notarized.values() if (rival := _rival(certificate, held))), None)

    def view(self) -> int:
        """The highest view whose proof is held (simplex rule 4). A gap in the nullifications is not jumped over."""
        view = max(self.notarized, default=-1) + 1
        while view in self.nullified:
            view += 1
        return view

    def proof(self, view: int) -> tuple[Certificate, ...]:
        """PROOF(view) with the newest notarization there is, ascending: work already verified, and the shortest.

        `view` is at most `self.view()`.
        """
        certificates: list[Certificate] = []
        below = view - 1
        while below >= 0 and below not in self.notarized:
            certificates.append(self.nullified[below])
            below -= 1
        if below >= 0:
            certificates.append(self.notarized[below])
        return tuple(reversed(certificates))


def _rival(final: Certificate, notarized: Certificate) -> str | None:
    """From the view on in which a block is final, no other is notarized, whichever of the two is heard first."""
    view, later = final.subject.view, notarized.subject.view
    if later < view or final.subject.block == notarized.subject.block:
        return None
    return f"a block is final in view {view} and another notarized in view {later}"
