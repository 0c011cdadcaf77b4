"""One provider's next word in a masked round, step by step: what it rests on, and when there is none."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from fl.mask_keys import MaskContext, public_key
from fl.shamir import threshold
from ledger.entries import Stage
from ledger.protection import AcceptShares, OfferMaskKeys, OpenShares, RevealShares, ShareMaskSecrets
from ledger.protection_entries import Dealing, MaskMember, MaskRound
from node.masking_memory import BothSecrets, RoundSecrets
from node.masking_steps import MaskView, SecretsLost, Step, fresh_secrets, next_step
from node.rounds import RoundId

ORGS = tuple(bytes([at]) * 32 for at in range(1, 5))
ALICE, BOB, CAROL, DAVE = ORGS
ROUND = RoundId(bytes([9]) * 32, 1, 0)
CONTEXT = MaskContext(bytes(32), *ROUND, 3)


class Exchange:
    """Four providers' secrets, and what the ledger shows of them."""

    def __init__(self) -> None:
        self.random = Random(1).randbytes
        self.secrets = {org: fresh_secrets(ROUND, self.random) for org in ORGS}
        self.members = tuple(member(org, self.secrets[org]) for org in ORGS)
        self.dealings: dict[bytes, Dealing] = {}

    def view(self, stage: Stage, me: bytes = ALICE, delivered: Iterable[bytes] = ()) -> MaskView:
        masks = MaskRound(1, 0, threshold(len(self.members)), self.members)
        return MaskView(ROUND, CONTEXT, stage, me, masks, self.dealings, frozenset(delivered))

    def step(self, stage: Stage, me: bytes = ALICE, delivered: Iterable[bytes] = ()) -> Step | None:
        step = next_step(self.view(stage, me, delivered), self.secrets[me], self.random)
        if step is not None and step.keep is not None:
            self.secrets[me] = step.keep
        return step

    def change(self, org: bytes, **changes: Any) -> None:
        self.members = tuple(replace(each, **changes) if each.org == org else each for each in self.members)

    def deal(self) -> None:
        for org in ORGS:
            step = self.step(Stage.SHARES, org)
            assert step is not None
            assert isinstance(step.say, ShareMaskSecrets)
            self.dealings[org] = Dealing(step.say.shares, ())
            self.change(org, seed_commitment=step.say.seed_commitment)

    def accept(self) -> None:
        for org in ORGS:
            self.step(Stage.CONTEST, org)
            self.change(org, accepted=True, counted=True)


def member(org: bytes, secrets: RoundSecrets) -> MaskMember:
    keys = public_key(secrets.mask_key), public_key(secrets.exchange_key)
    return MaskMember(org, *keys, b"", False, (), False, False, False, 0)


@pytest.fixture
def exchange() -> Exchange:
    return Exchange()


def test_keys_are_drawn_kept_and_offered_and_then_only_offered_again() -> None:
    view = MaskView(ROUND, CONTEXT, Stage.KEYS, ALICE, MaskRound(1, 0, 0, ()), {}, frozenset())
    first = next_step(view, None, Random(1).randbytes)
    assert first is not None
    assert first.keep is not None
    assert next_step(view, first.keep, Random(2).randbytes) == Step(None, first.say)


def test_who_finds_its_keys_offered_by_another_stays_by_them(exchange: Exchange) -> None:
    """A provider that reads an offer on its way and makes it first would have its victim change keys that the ledger
    is about to take."""
    thief = replace(exchange.members[1], mask_key=exchange.members[0].mask_key)
    before = exchange.secrets[ALICE]
    for stolen in (thief, replace(thief, mask_key=bytes(32), exchange_key=exchange.members[0].exchange_key)):
        exchange.members = (stolen,)
        own = public_key(before.mask_key), public_key(before.exchange_key)
        assert exchange.step(Stage.KEYS) == Step(None, OfferMaskKeys(*ROUND, *own))


def test_what_was_dealt_is_dealt_again_and_no_other(exchange: Exchange) -> None:
    first = exchange.step(Stage.SHARES)
    again = exchange.step(Stage.SHARES)
    assert first is not None
    assert again == Step(None, first.say)


def test_all_that_opens_and_fits_is_accepted_and_the_rest_named(exchange: Exchange) -> None:
    exchange.deal()
    bob, carol = exchange.dealings[BOB], exchange.dealings[CAROL]
    exchange.dealings[BOB] = replace(bob, shares=(replace(bob.shares[0], sealed=bytes(114)), *bob.shares[1:]))
    lying = replace(carol.shares[0], key_share_commitment=bytes(32))
    exchange.dealings[CAROL] = replace(carol, shares=(lying, *carol.shares[1:]))
    step = exchange.step(Stage.CONTEST)
    assert step is not None
    assert step.say == AcceptShares(*ROUND, (BOB, CAROL))
    assert [each.dealer for each in exchange.secrets[ALICE].held] == [ALICE, DAVE]
    assert exchange.step(Stage.CONTEST) == Step(None, step.say)


def test_complaints_are_answered_with_what_was_dealt(exchange: Exchange) -> None:
    exchange.deal()
    assert exchange.step(Stage.ANSWERING) is None, "nobody complains"
    exchange.change(ALICE, accepted=True, complaints=(BOB, DAVE))
    step = exchange.step(Stage.ANSWERING)
    assert step is not None
    assert isinstance(step.say, OpenShares)
    dealt = {each.holder: each for each in exchange.secrets[ALICE].dealt}
    assert [(each.holder, each.seed_share) for each in step.say.opened] == [
        (org, dealt[org].seed_share) for org in (BOB, DAVE)
    ]


def test_an_opened_share_serves_for_one_that_did_not_open(exchange: Exchange) -> None:
    exchange.deal()
    bob = exchange.dealings[BOB]
    exchange.dealings[BOB] = replace(bob, shares=(replace(bob.shares[0], sealed=bytes(114)), *bob.shares[1:]))
    exchange.accept()
    exchange.change(BOB, complaints=(ALICE,))
    opened = exchange.step(Stage.ANSWERING, BOB)
    assert opened is not None
    assert isinstance(opened.say, OpenShares)
    exchange.dealings[BOB] = replace(exchange.dealings[BOB], opened=opened.say.opened)
    step = exchange.step(Stage.UNMASKING, delivered=ORGS)
    assert step is not None
    assert isinstance(step.say, RevealShares)
    assert [each.dealer for each in step.say.shares] == list(ORGS)
    assert step.say.shares[1].share == opened.say.opened[0].seed_share


def test_another_ledger_does_not_hear_the_other_secret(exchange: Exchange) -> None:
    """Whoever can show a node two histories gets of each provider what the first one asks for, and no more."""
    exchange.deal()
    exchange.accept()
    first = exchange.step(Stage.UNMASKING, delivered=(ALICE, BOB, CAROL))
    assert first is not None
    assert isinstance(first.say, RevealShares)
    dealt = {each.holder: each for each in exchange.secrets[DAVE].dealt}
    assert first.say.shares[3].share == dealt[ALICE].key_share, "of who did not deliver the key"
    with pytest.raises(BothSecrets):
        exchange.step(Stage.UNMASKING, delivered=ORGS)
    assert exchange.step(Stage.UNMASKING, delivered=(ALICE, BOB, CAROL)) == Step(None, first.say)


def test_without_the_secrets_that_a_word_rests_on_there_is_no_word(exchange: Exchange) -> None:
    exchange.deal()
    other, spent = fresh_secrets(ROUND, exchange.random), exchange.secrets[ALICE].spent()
    for lost in (None, other, spent):
        with pytest.raises(SecretsLost):
            next_step(exchange.view(Stage.CONTEST), lost, exchange.random)
    exchange.accept()
    with pytest.raises(SecretsLost, match="shares"):
        next_step(exchange.view(Stage.UNMASKING), spent, exchange.random)


def test_who_is_not_in_the_round_says_nothing(exchange: Exchange) -> None:
    stranger = bytes([7]) * 32
    for stage in (Stage.SHARES, Stage.CONTEST, Stage.ANSWERING, Stage.TRAINING, Stage.UNMASKING):
        assert next_step(exchange.view(stage, stranger), None, exchange.random) is None
    assert exchange.step(Stage.UNMASKING) is None, "its masks do not count"
