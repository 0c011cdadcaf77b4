"""The faults that the adversary must find, and the variants that it must not: what each is against, where it shows.

Kept apart from what is shipped. A fault is looked for in the style in which it shows most; `seeds` is how many of them
the gate runs, at least eight times what the fault takes on average (docs/adversary.md has the rates).
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from consensus.journal import BodyHeld, CertificateHeld, JournalRecord, OwnProposal, OwnVote
from consensus.machine import HeightMachine
from ledger.certificates import Committee
from tests.support import mutants_machine as machines
from tests.support import mutants_patches as patches
from tests.support.lockstep import attempt
from tests.support.lockstep_plan import Plan


class TwoFPlusOne(Committee):
    """Against rule 1: forks with 5 or 6 members."""

    @property
    def quorum(self) -> int:
        return 2 * self.faults + 1


def keeps_all(record: JournalRecord) -> bool:
    return True


def loses(*kinds: type[JournalRecord]) -> Callable[[JournalRecord], bool]:
    """A journal without records of these kinds. A fresh proposal cannot be read without its body."""
    return lambda record: not isinstance(record, kinds)


@dataclass(frozen=True)
class Mutant:
    """`rule`: which one of docs/protocol.md it breaks. `blind`: checks that it is exempt from, as a variant.

    `seeds`: within how many it must be noticed, and `seeds_blind` by its consequences alone; 0 where they are too rare.
    """

    rule: str
    members: int = 4
    style: str | None = None
    machine: Callable[..., HeightMachine] = HeightMachine
    committee: Callable[[tuple[bytes, ...]], Committee] = Committee
    keeps: Callable[[JournalRecord], bool] = keeps_all
    planted: patches.Planted = patches.nothing
    blind: Collection[str] = ()
    seeds: int = 250
    seeds_blind: int = 250

    def plan(self, seed: int, blind: Collection[str] = ()) -> Plan:
        return Plan(
            seed,
            self.members,
            self.style,
            machine=self.machine,
            committee=self.committee,
            keeps=self.keeps,
            without=frozenset(self.blind) | frozenset(blind),
        )


def noticed(mutant: Mutant, seeds: Iterable[int], blind: Collection[str] = ()) -> Iterator[tuple[int, str]]:
    """The seeds that show the fault, with what they show. A machine that stumbles shows it too."""
    with mutant.planted():
        for seed in seeds:
            broken = attempt(mutant.plan(seed, blind))
            if broken is not None:
                yield seed, broken


MUTANTS: dict[str, Mutant] = {
    "quorum of 2f + 1, 5 members": Mutant("S1", members=5, style="halves", committee=TwoFPlusOne),
    "quorum of 2f + 1, 6 members": Mutant("S1", members=6, style="halves", committee=TwoFPlusOne),
    "signers not told apart": Mutant("S2", style="noise", planted=patches.not_distinct),
    "signatures in certificates not verified": Mutant("S2", style="noise", planted=patches.not_verified),
    "certificates under the cap for votes": Mutant("S2", style="halves", planted=patches.capped_certificates),
    "certificates not passed on": Mutant("S2", style="withheld", machine=machines.PassesNoCertificates),
    "no journal": Mutant("S3", style="crashes", keeps=lambda record: False, blind={"DISK"}),
    "votes not journaled": Mutant("S3", style="crashes", keeps=loses(OwnVote), blind={"DISK"}),
    "only votes journaled": Mutant(
        "S3", style="crashes", keeps=lambda record: isinstance(record, OwnVote), blind={"DISK"}
    ),
    "certificates not journaled": Mutant(
        "S3", style="crashes", keeps=loses(CertificateHeld), blind={"DISK"}, seeds_blind=0
    ),
    "bodies not journaled": Mutant("S3", style="crashes", keeps=loses(BodyHeld, OwnProposal), blind={"DISK"}),
    "proposals not journaled": Mutant("S3", style="crashes", keeps=loses(OwnProposal), blind={"DISK"}, seeds_blind=0),
    "sends before it writes": Mutant("S3", style="crashes", planted=patches.sends_first, blind={"DISK"}),
    "writes what depends before what it depends on": Mutant(
        "S3", style="crashes", planted=patches.backwards, blind={"DISK"}
    ),
    "active for own work only": Mutant("S5", style="silent", machine=machines.WakesForOwnWorkOnly),
    "one timer a height": Mutant("S6", style="silent", machine=machines.TimesOneView),
    "leader proposes fresh over a notarized block": Mutant(
        "S7", style="stale", machine=machines.ProposesFreshOverNotarized
    ),
    "anybody leads": Mutant("S7", style="halves", machine=machines.LeadsAnyView),
    "no proof check": Mutant("S8", style="two notarized", planted=patches.no_proof),
    "fresh block over a notarized one accepted": Mutant("S8", style="two notarized", planted=patches.gaps_in_fresh),
    "re-proposal with gaps accepted": Mutant("S8", style="two notarized", planted=patches.gaps_in_reproposals),
    "one gap in a proof accepted": Mutant("S8", style="two notarized", planted=patches.one_gap),
    "notarization of another block accepted": Mutant("S8", style="two notarized", planted=patches.wrong_block),
    "lock on own finalize vote": Mutant(
        "S8", members=7, style="stale", machine=machines.LocksOnFinalize, seeds_blind=0
    ),
    "notarizes twice a view": Mutant("S9", style="halves", machine=machines.NotarizesTwice, seeds_blind=400),
    "notarizes unchecked": Mutant("S9", style="halves", machine=machines.NotarizesUnchecked),
    "nullifies an old view": Mutant("S10", style="stale", machine=machines.NullifiesOldViews),
    "nullifies and then finalizes": Mutant("S11", style="stale", machine=machines.NullifiesAndFinalizes),
    "nullifies and then finalizes, 7 members": Mutant(
        "S11", members=7, style="stale", machine=machines.NullifiesAndFinalizes
    ),
    "finalizes its own notarize vote": Mutant("S11", style="halves", machine=machines.FinalizesWhatItNotarized),
    "commits a notarization": Mutant("S12", style="halves", machine=machines.CommitsNotarizations),
    "decides in its view only": Mutant("S12", style="stale", machine=machines.DecidesInItsViewOnly),
    "commits any body under the right header": Mutant("S12", style="withheld", planted=patches.any_body),
    "nothing sent again": Mutant("S13", style="withheld", machine=machines.ResendsNothing),
    "proof not sent again": Mutant("S13", style="withheld", machine=machines.ResendsNoProof),
    "votes not sent again": Mutant(
        "S13", style="withheld", machine=machines.ResendsNoVotes, seeds=400, seeds_blind=400
    ),
    "silent when decided": Mutant("S13", style="withheld", machine=machines.SilentWhenDecided),
    "nullify after notarize is called a crime": Mutant(
        "S14", planted=patches.accuses_of_nullify_after_notarize, seeds_blind=0
    ),
    "finalizing another block is called a crime": Mutant(
        "S14", style="halves", planted=patches.accuses_of_finalizing_another, seeds_blind=0
    ),
    "no crime is reported": Mutant("S14", style="halves", planted=patches.forgives, seeds_blind=0),
}

# Other ways to be right. An adversary that accuses them would find fault with anything.
HARMLESS: dict[str, Mutant] = {
    "enters a view over a gap": Mutant(
        "S4", style="stale", machine=machines.ProposesUnbrokenOnly, planted=patches.enters_by_gap, blind={"L5"}
    ),
    "prefers nullifications": Mutant("S7", style="stale", machine=machines.PrefersNullifications),
    "fetches the body before it votes": Mutant("S9", style="halves", machine=machines.FetchesBodyFirst, blind={"S6"}),
    "no notarize vote after a nullify vote": Mutant(
        "S9", style="stale", machine=machines.NoNotarizeAfterNullify, blind={"S6"}
    ),
    "nullifies without asking whether it finalized": Mutant(
        "S10", style="withheld", machine=machines.NullifiesWithoutLooking
    ),
    "finalizes the newest view only": Mutant("S11", style="stale", machine=machines.FinalizesNewestViewOnly),
    "proposal not sent again": Mutant("S13", style="withheld", machine=machines.ResendsNoProposal),
}
