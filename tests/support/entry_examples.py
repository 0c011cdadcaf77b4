"""One example of every entry of the state, under its key, and a genesis: what golden bytes are made of."""

from ledger import entries, league_entries, protection_entries
from ledger.codec import digest
from ledger.entries import (
    Account,
    Anchor,
    AnchorTotals,
    Candidate,
    Election,
    Fate,
    League,
    Member,
    OpenRequests,
    Participant,
    Provider,
    Receipt,
    ReceiptLine,
    Request,
    Round,
    Seat,
    Stage,
    Standing,
)
from ledger.genesis import Genesis, GenesisMember
from ledger.league_entries import (
    Ballot,
    Cause,
    Decision,
    Former,
    KeyOwner,
    Protocol,
    Schedule,
    ScheduledParameters,
    ScheduledProtocol,
    Usage,
)
from ledger.motions import Expel
from ledger.parameters import LeagueParameters
from ledger.protection import Charge, OpenedShare, RevealedShare, SealedShare
from ledger.protection_entries import (
    Dealing,
    Exclusion,
    IndexedShare,
    MaskedInputs,
    MaskedMember,
    MaskMember,
    MaskRound,
    Revealed,
    Spent,
)
from ledger.transactions import Protection, Setting
from tests.support.league import START_MS, key_of, terms

_ORG, _OTHER = sorted((key_of("golden org").org, key_of("golden other").org))
_KEY = key_of("golden node").public
_REQUEST, _BLOB, _MODEL = (digest("test", name) for name in (b"request", b"blob", b"model"))
_PARAMETERS = LeagueParameters(reward_min=2, jail_epochs=5)
_PART = Participant(_ORG, 90, Fate.DELIVERED, "", _BLOB, 24, 80, 912_345, 10, (1, 2), (_ORG, _OTHER), ())

EXAMPLES: tuple[tuple[bytes, object], ...] = (
    (entries.LEAGUE, League("Kugellager Süd", 9_000, 5, 4, 2, 1, 77)),
    (entries.account_key(_ORG), Account(1_234, 56)),
    (entries.member_key(_ORG), Member("Kranbau Nord", ("/ip4/192.0.2.1/tcp/4001",), 7, 2, _KEY, 3, START_MS)),
    (entries.candidate_key(_OTHER), Candidate("Presswerk", (), _KEY, 2, 10_007, (_ORG,))),
    (entries.standing_key(_ORG), Standing(512_345, 70, 12, 66, 9, 1, 4_500)),
    (
        entries.ELECTION,
        Election(3, 71, (Seat(_ORG, _KEY, 512_345, 70, True), Seat(_OTHER, _OTHER, 0, 0, False)), (_OTHER,)),
    ),
    (entries.anchor_key(_ORG, 9), Anchor(3_600, digest("test", b"root"), START_MS, START_MS + 3_600_000, 42)),
    (entries.anchor_totals_key(_ORG), AnchorTotals(9, 32_400, 9)),
    (
        entries.request_key(_REQUEST),
        Request(
            requester=_OTHER,
            terms=terms(training_settings=(Setting("rate", "0.01"),)),
            published_height=40,
            stage=Stage.TRAINING,
            deadline=START_MS + 5_000,
            round=2,
            attempt=1,
            void_rounds=1,
            providers=(Provider(_ORG, "vibration", 100, (Setting("machine", "press"),), 41),),
            escrow=9_800,
            paid=200,
            model=_MODEL,
            model_round=1,
            judged_model=_BLOB,
            judged_round=0,
            accuracy=750_000,
            outcome="",
            ending=False,
            aggregation_max=259_200_000,
            void_rounds_max=3,
        ),
    ),
    (entries.round_key(_REQUEST), Round(2, 1, _MODEL, 44, START_MS + 5_000, (_PART,), (_OTHER,), 800_000, 30)),
    (
        entries.receipt_key(_REQUEST, 1, 0),
        Receipt(
            _REQUEST,
            1,
            0,
            43,
            _BLOB,
            700_000,
            _MODEL,
            _OTHER,
            (ReceiptLine(_ORG, Fate.DELIVERED, "", _BLOB, (1, 2), 100, 999_000, 200),),
        ),
    ),
    (entries.OPEN_REQUESTS, OpenRequests((_REQUEST,))),
    (league_entries.key_owner_key(_KEY), KeyOwner(_ORG, 8, 0)),
    (league_entries.former_key(_OTHER), Former("Walzwerk", _KEY, 64, Cause.EXPELLED)),
    (
        league_entries.ballot_key(_REQUEST),
        Ballot(_ORG, Expel(_OTHER, "sells records"), 60, 10_060, (_ORG,), digest("test", b"basis")),
    ),
    (league_entries.decision_key(_BLOB), Decision(_ORG, Expel(_OTHER, "sells records"), 60, 64, (_ORG, _OTHER), "")),
    (league_entries.PARAMETERS, _PARAMETERS),
    (league_entries.SCHEDULE, Schedule((ScheduledParameters(100, _PARAMETERS),))),
    (league_entries.PROTOCOL, Protocol(1, 1, ScheduledProtocol(200, 2))),
    (league_entries.usage_key(_ORG), Usage(123_456, START_MS)),
    (protection_entries.protection_key(_REQUEST), Protection((Setting("trim", "1"),), True, 30_000)),
    (
        protection_entries.charge_key(_REQUEST, _ORG),
        Spent(3, Charge("sound", "record", 1_234_567, 32, 480, 150, 0, 2_500_000, 10_000_000)),
    ),
    (protection_entries.exclusion_key(_REQUEST, _OTHER), Exclusion(2, 1, 45, "did not open the shares")),
    (
        protection_entries.masking_key(_REQUEST),
        MaskRound(2, 1, 3, (MaskMember(_ORG, _BLOB, _MODEL, _REQUEST, True, (_OTHER,), True, True, False, 2),)),
    ),
    (
        protection_entries.dealing_key(_REQUEST, _ORG),
        Dealing(
            (SealedShare(_OTHER, bytes(range(114)), _BLOB, _MODEL),),
            (OpenedShare(_OTHER, bytes(range(33)), bytes(16), bytes(33), bytes(range(16))),),
        ),
    ),
    (
        protection_entries.revealed_key(_REQUEST, _ORG),
        Revealed((RevealedShare(_OTHER, bytes(range(33)), bytes(range(16))),)),
    ),
    (
        protection_entries.unmasking_key(_REQUEST, 2, 1),
        MaskedInputs(1, (MaskedMember(_ORG, _BLOB, _MODEL, True, (IndexedShare(2, bytes(range(33))),)),)),
    ),
)

GENESIS = Genesis(
    "Kugellager Süd",
    START_MS,
    (
        GenesisMember(_ORG, "Kranbau Nord", ("/ip4/192.0.2.1/tcp/4001",), 5_000, _KEY, 1),
        GenesisMember(_OTHER, "Presswerk", (), 4_000),
    ),
    _PARAMETERS,
    1,
)
