"""One example of every transaction, the same in every run: what golden bytes are made of."""

from ledger.certificates import Committee, Equivocation, Subject, VoteKind, cast
from ledger.codec import digest
from ledger.motions import ActivateProtocol, ChangeParameters, ChangeRoles, Expel, Motion, Pardon
from ledger.parameters import LeagueParameters
from ledger.protection import (
    AcceptShares,
    Charge,
    OfferMaskKeys,
    OpenedShare,
    OpenShares,
    Rejection,
    RevealedShare,
    RevealShares,
    SealedShare,
    ShareMaskSecrets,
)
from ledger.roles import Role
from ledger.statements import ApproveMember, LeaveLeague, OpenBallot, RegisterMember, RotateKey, Support, prove_key
from ledger.transactions import (
    AggregateProtected,
    AggregateRound,
    AnchorRecords,
    AnnounceProtected,
    AnnounceUpdate,
    Attestation,
    AttestBlobs,
    Body,
    CancelRequest,
    DeclineRound,
    JoinRequest,
    Protection,
    PublishProtected,
    PublishRequest,
    ReportAccuracy,
    ReportEquivocation,
    ReportForDuty,
    Setting,
    SkipNonce,
    Transfer,
    UpdateScore,
    Verdict,
)
from tests.support.league import key_of, terms

CHAIN_ID = digest("test", b"golden chain")
SENDER = key_of("golden sender")
_REQUEST, _BLOB = digest("test", b"request"), digest("test", b"blob")
_OTHER = key_of("golden other").org


def _equivocation() -> Equivocation:
    committee = Committee((SENDER.org,))
    blocks = (digest("test", b"one"), digest("test", b"two"))
    votes = [cast(SENDER, CHAIN_ID, Subject(7, committee.hash, 1, VoteKind.NOTARIZE, block)) for block in blocks]
    return Equivocation(votes[0], votes[1])


_NODE = key_of("golden node")

EXAMPLES: tuple[Body, ...] = (
    RegisterMember(
        "Kranbau Nord",
        ("/ip4/192.0.2.1/tcp/4001", "/dns4/kranbau.example/tcp/4001"),
        _NODE.public,
        prove_key(_NODE, CHAIN_ID, SENDER.org),
        int(Role.PROVIDER),
    ),
    ApproveMember(_OTHER),
    PublishRequest(terms(model_arguments=(Setting("hidden", "150"),), training_settings=(Setting("rate", "0.01"),))),
    JoinRequest(_REQUEST, "vibration", 1_000, (Setting("machine", "press"),)),
    AnnounceUpdate(_REQUEST, 2, 1, _BLOB, 24, 1_000, (1, 2, 300), 912_345, 250),
    AttestBlobs(_REQUEST, 2, 1, (Attestation(_OTHER, _BLOB, Verdict.OUT_OF_RANGE),)),
    AnchorRecords(9, 3_600, digest("test", b"root"), 1_700_000_000_000, 1_700_003_600_000),
    Transfer(_OTHER, 2**53 - 1, "für die Wälzlager"),
    CancelRequest(_REQUEST),
    AggregateRound(_REQUEST, 2, 1, _BLOB, 24, (UpdateScore(_OTHER, 999_999),)),
    ReportEquivocation(_equivocation()),
    ReportForDuty(123_456),
    DeclineRound(_REQUEST, 2, 1, "privacy budget spent"),
    ReportAccuracy(_REQUEST, 2, 1, 875_000, 4_000),
    SkipNonce(),
    RotateKey(_NODE.public, prove_key(_NODE, CHAIN_ID, SENDER.org)),
    LeaveLeague(_OTHER),
    OpenBallot(Expel(_OTHER, "sells records that are not its own")),
    Support(digest("test", b"ballot")),
    PublishProtected(terms(privacy="sound"), Protection((Setting("trim", "1"),), True, 30_000)),
    AnnounceProtected(
        AnnounceUpdate(_REQUEST, 2, 1, _BLOB, 56, 1_000, (1, 2, 300), 0, 0),
        (Charge("sound", "group:machine", 1_234_567, 32, 480, 150, 0, 2_500_000, 10_000_000),),
    ),
    OfferMaskKeys(_REQUEST, 2, 1, digest("test", b"mask key"), digest("test", b"exchange key")),
    ShareMaskSecrets(
        _REQUEST,
        2,
        1,
        digest("test", b"seed"),
        (SealedShare(_OTHER, bytes(range(114)), digest("test", b"one"), digest("test", b"two")),),
    ),
    AcceptShares(_REQUEST, 2, 1, (_OTHER,)),
    OpenShares(_REQUEST, 2, 1, (OpenedShare(_OTHER, bytes(range(33)), bytes(16), bytes(33), bytes(range(16))),)),
    RevealShares(_REQUEST, 2, 1, (RevealedShare(_OTHER, bytes(range(33)), bytes(range(16))),)),
    AggregateProtected(_REQUEST, 2, 1, _BLOB, 24, (UpdateScore(SENDER.org, 999_999),), (Rejection(_OTHER, "a copy"),)),
)

# `OpenBallot` holds one motion of several: each has bytes of its own to keep.
MOTIONS: tuple[Motion, ...] = (
    Expel(_OTHER, "sells records that are not its own"),
    ChangeParameters(LeagueParameters(reward_min=3, jail_epochs=4), 1_000),
    ChangeRoles(_OTHER, int(Role.REQUESTER)),
    ActivateProtocol(3, 2_000),
    Pardon(_OTHER),
)
