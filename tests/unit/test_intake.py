"""What is let into the pool: a client's mistake is told at once, a peer's early word is kept, nothing runs twice."""

import pytest

from consensus import intake as intake_module
from consensus.intake import (
    BESIDE_OTHERS_MAX,
    BLOCK_SHARE_MAX,
    PARKED_HEIGHTS,
    REST_BESIDE_OTHERS_MS_EACH,
    REST_MS_EACH,
    SENDER_PER_BLOCK_MAX,
    Intake,
    SignatureMemory,
)
from ledger.errors import InvalidTransaction
from ledger.keys import KeyPair
from ledger.statements import ApproveMember, RegisterMember
from ledger.transactions import (
    AggregateRound,
    Body,
    ReportForDuty,
    SkipNonce,
    Transaction,
    Transfer,
    UpdateScore,
    sign_transaction,
)
from tests.support.league import BALANCE, League, anchored, key_of
from tests.support.members import factory, let_in


class Desk:
    """A league and the intake of one of its nodes."""

    def __init__(self, **parameters: int) -> None:
        self.league = League(4, **parameters)
        self.alice, self.bob, self.carol, self.dave = self.league.keys
        self.intake = Intake(self.league.chain, SignatureMemory(self.league.chain.chain_id), self.league.now)

    def signed(self, key: KeyPair, nonce: int, body: Body) -> Transaction:
        return sign_transaction(key, self.league.chain.chain_id, nonce, body)

    def transfer(self, nonce: int = 0, amount: int = 1, key: KeyPair | None = None) -> Transaction:
        return self.signed(key or self.alice, nonce, Transfer(self.bob.org, amount, ""))

    def refusal(self, transaction: Transaction) -> str:
        before = len(self.intake.pool)
        with pytest.raises(InvalidTransaction) as caught:
            self.intake.submit(transaction)
        assert len(self.intake.pool) == before, "a refused transaction stayed"
        return caught.value.code

    def block(self, *transactions: Transaction) -> list[tuple[Transaction, InvalidTransaction]]:
        """A block of these becomes the head; what the intake drops."""
        final = self.league.commit(transactions)
        return self.intake.new_head(final.block.transactions, self.league.now)


def test_what_is_submitted_waits_and_is_chosen_in_nonce_order():
    desk = Desk()
    first, second = desk.transfer(0), desk.transfer(1)
    assert desk.intake.submit(first)
    assert desk.intake.submit(second)
    assert not desk.intake.submit(first), "it waits already"
    assert desk.intake.has_runnable
    assert desk.intake.choose() == [first, second]
    assert desk.intake.next_nonce(desk.alice.org) == 2
    assert desk.block(first, second) == []
    assert not desk.intake.has_runnable
    assert len(desk.intake.pool) == 0


@pytest.mark.parametrize(
    ("nonce", "amount", "code"), [(0, BALANCE + 1, "balance"), (5_000, 1, "nonce"), (0, BALANCE, "accepted")]
)
def test_a_client_is_told_its_mistake_at_once(nonce: int, amount: int, code: str):
    desk = Desk()
    if code == "accepted":
        assert desk.intake.submit(desk.transfer(nonce, amount))
    else:
        assert desk.refusal(desk.transfer(nonce, amount)) == code


def test_a_forged_transaction_a_stranger_and_an_aggregate_are_refused():
    desk = Desk()
    forged = Transaction(desk.alice.org, 0, Transfer(desk.bob.org, 1, ""), bytes(64))
    assert desk.refusal(forged) == "signature"
    with pytest.raises(InvalidTransaction, match="signed"):
        desk.intake.receive(forged)
    stranger = desk.league.stranger("eve")
    assert desk.refusal(desk.signed(stranger, 0, anchored(1))) == "member"
    aggregate = AggregateRound(bytes(32), 1, 0, bytes(32), 24, (UpdateScore(desk.alice.org, 1),))
    assert desk.refusal(desk.signed(desk.alice, 1, aggregate)) == "author"
    with pytest.raises(InvalidTransaction, match="never sent"):
        desk.intake.receive(desk.signed(desk.alice, 1, aggregate))


def test_what_was_final_is_not_taken_again():
    desk = Desk()
    paid = desk.transfer(0)
    desk.intake.submit(paid)
    desk.block(paid)
    assert desk.refusal(paid) == "nonce"
    assert not desk.intake.receive(paid), "a peer may be behind: that is no crime"


def test_a_second_statement_with_the_same_nonce_is_refused_while_the_first_waits():
    desk = Desk()
    desk.intake.submit(desk.transfer(0, 1))
    assert desk.refusal(desk.transfer(0, 2)) == "nonce"
    assert not desk.intake.receive(desk.transfer(0, 2))


def test_what_waits_counts_when_the_next_is_judged():
    desk = Desk()
    desk.intake.submit(desk.transfer(0, BALANCE))
    assert desk.refusal(desk.transfer(1, 1)) == "balance"


def test_transactions_that_overtook_each_other_run_when_the_gap_closes():
    desk = Desk()
    assert desk.intake.receive(desk.transfer(1))
    assert not desk.intake.has_runnable
    assert desk.intake.gap(desk.alice.org) == 0
    assert desk.intake.receive(desk.transfer(0))
    assert desk.intake.gap(desk.alice.org) is None
    assert [each.nonce for each in desk.intake.choose()] == [0, 1]


def test_a_peers_transaction_that_overtook_its_block_is_parked_and_runs_after_it():
    desk = Desk()
    rich = desk.transfer(
        0, BALANCE
    )  # bob gets all of alice's tokens, and his transfer of more than he has arrives first
    early = desk.signed(desk.bob, 0, Transfer(desk.carol.org, 2 * BALANCE, ""))
    assert not desk.intake.receive(early)
    assert not desk.intake.has_runnable
    assert not desk.intake.receive(early), "it is parked, and not looked at again for every copy"
    assert desk.block(rich) == []
    assert desk.intake.has_runnable
    assert desk.intake.choose() == [early]


def test_a_parked_transaction_is_dropped_after_some_heights_with_the_reason():
    desk = Desk()
    hopeless = desk.transfer(0, BALANCE + 1)
    desk.intake.receive(hopeless)
    for _ in range(PARKED_HEIGHTS):
        assert desk.block() == []
    ((dropped, reason),) = desk.block()
    assert dropped == hopeless
    assert reason.code == "balance"


def test_parked_transactions_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake_module, "PARKED_MAX", 3)
    desk = Desk()
    early = desk.transfer(0, BALANCE + 1, key=desk.carol)
    desk.intake.receive(early)
    for amount in range(9):
        desk.intake.receive(desk.transfer(0, BALANCE + 1 + amount))
    assert len(desk.intake._parked) == 3
    assert early.id in desk.intake._parked, "who floods pushes out its own"


def test_strangers_hold_no_places_in_the_pool():
    # A key pair costs nothing. Each of these once left something that could never run, until no member could speak.
    desk = Desk(registrations_per_block_max=2)
    for number in range(20):
        stranger = KeyPair.from_seed(bytes([number]) * 32)
        name = RegisterMember(f"works {number}", ())
        for nonce, body in ((1, name), (7, SkipNonce()), (0, SkipNonce()), (0, name)):
            desk.intake.receive(desk.signed(stranger, nonce, body))
    assert len(desk.intake.pool) == 2, "as many registrations as the ledger would take"
    assert len(desk.intake._parked) == 0
    stranger = desk.league.stranger("eve")
    assert desk.refusal(desk.signed(stranger, 1, RegisterMember("eve", ()))) == "nonce"
    assert desk.intake.submit(desk.transfer(0))


def test_a_registration_waits_once_and_its_sender_speaks_when_it_is_let_in():
    desk = Desk()
    eve = desk.league.stranger("eve")
    assert desk.intake.receive(desk.signed(eve, 0, RegisterMember("eve", ())))
    assert not desk.intake.receive(desk.signed(eve, 1, anchored(1)))
    desk.block(desk.signed(eve, 0, RegisterMember("eve", ())))
    desk.block(*(desk.signed(key, 0, ApproveMember(eve.org)) for key in (desk.alice, desk.bob, desk.carol)))
    assert desk.intake.receive(desk.signed(eve, 1, anchored(1)))
    assert desk.intake.has_runnable


def test_a_refused_statement_does_not_take_those_behind_it_along():
    # An attestation that came too late held a client's transfer up, and then lost it.
    desk = Desk()
    anchor, transfer = desk.signed(desk.alice, 0, anchored(5)), desk.transfer(1)
    desk.intake.submit(anchor)
    desk.intake.submit(transfer)
    other = desk.signed(desk.alice, 0, anchored(9))  # another machine of alice's was quicker with the first nonce
    dropped = desk.block(other)
    assert [(each, error.code) for each, error in dropped] == [(anchor, "nonce")], "and its sender is told"
    assert desk.intake.choose() == [transfer]


def test_what_only_waits_for_its_turn_keeps_its_place():
    desk = Desk()
    spend, transfer = desk.transfer(0, BALANCE), desk.signed(desk.alice, 1, anchored(1))
    desk.intake.submit(spend)
    desk.intake.submit(transfer)
    desk.intake.refused([(spend, InvalidTransaction("balance", "spent")), (transfer, InvalidTransaction("nonce", "1"))])
    assert list(desk.intake.pool) == [transfer]
    assert not desk.intake.has_runnable
    assert desk.intake.gap(desk.alice.org) == 0, "whoever uses this one frees it"
    # What is parked here may be final elsewhere: what alice says next does not compete with it.
    assert desk.intake.next_nonce(desk.alice.org) == 2


def test_a_good_signature_is_checked_once_and_a_copy_with_another_is_not_believed(monkeypatch: pytest.MonkeyPatch):
    desk = Desk()
    memory = SignatureMemory(desk.league.chain.chain_id)
    good = desk.transfer(0)
    checked = []
    check = Transaction.check_signature
    monkeypatch.setattr(
        Transaction, "check_signature", lambda self, chain_id: (checked.append(self.id), check(self, chain_id))
    )
    for _ in range(3):
        memory.check(good)
    assert len(checked) == 1
    forged = Transaction(good.sender, good.nonce, good.body, bytes(64))
    assert forged.id == good.id
    with pytest.raises(InvalidTransaction, match="not signed"):
        memory.check(forged)


def test_remembered_signatures_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake_module, "SIGNATURES_KEPT_MAX", 2)
    desk = Desk()
    memory = SignatureMemory(desk.league.chain.chain_id)
    for nonce in range(5):
        memory.check(desk.transfer(nonce))
    assert len(memory._good) == 2


def test_a_block_is_filled_up_to_its_bytes_and_no_further(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(intake_module, "BLOCK_BYTES_MAX", intake_module.BLOCK_MARGIN_BYTES + 500)
    desk = Desk()
    for nonce in range(6):
        desk.intake.submit(desk.transfer(nonce))
    chosen = desk.intake.choose()
    assert 0 < len(chosen) < 6
    assert sum(len(each.encoded) for each in chosen) <= 500


def test_only_a_duty_takes_the_nonce_of_a_parked_duty():
    # What is parked here may be final elsewhere. A client's transfer with the same nonce would then be lost.
    desk = Desk()
    stale = desk.signed(desk.alice, 0, ReportForDuty(1))
    desk.intake.receive(stale)
    assert desk.intake.is_refused_duty(desk.alice.org, 0)
    assert desk.intake.next_nonce(desk.alice.org, Transfer(desk.bob.org, 1, "")) == 1
    assert desk.intake.next_nonce(desk.alice.org, SkipNonce()) == 0


def test_a_parked_statement_of_a_client_keeps_its_nonce_against_all():
    desk = Desk()
    desk.intake.receive(desk.transfer(0, BALANCE + 1))
    assert not desk.intake.is_refused_duty(desk.alice.org, 0)
    assert desk.intake.next_nonce(desk.alice.org, SkipNonce()) == 1
    assert desk.intake.next_nonce(desk.alice.org) == 1


def test_what_one_key_of_an_organisation_said_uses_up_the_nonce_of_its_other_key():
    desk = Desk()
    eve = let_in(desk.league, factory("eve"))
    desk.intake.new_head([], desk.league.now)
    lost = desk.signed(eve.node, 1, anchored(1))
    assert desk.intake.submit(lost)
    rotation = desk.signed(eve.identity, 1, eve.rotation(desk.league, key_of("next")))
    assert desk.intake.receive(rotation), "it waits beside the other: which of them is first the leader says"
    assert [(each.id, error.code) for each, error in desk.block(rotation)] == [(lost.id, "nonce")]
    assert len(desk.intake.pool) == 0


def test_who_stole_a_nodes_key_cannot_use_up_the_nonce_of_its_rotation():
    """Whatever it had waiting, and for how long: the identity's word is the first that the next block tries."""
    desk = Desk()
    eve = let_in(desk.league, factory("eve"))
    desk.intake.new_head([], desk.league.now)
    for nonce in range(1, 40):
        assert desk.intake.receive(desk.signed(eve.node, nonce, anchored(nonce)))
    assert desk.intake.submit(desk.transfer(desk.league.chain.next_nonce(desk.alice.public)))
    rotation = desk.signed(eve.identity, 1, eve.rotation(desk.league, key_of("next")))
    assert desk.intake.receive(rotation)
    chosen = desk.intake.choose()
    assert chosen[0].id == rotation.id
    assert [each.sender for each in chosen[1:3]] == [eve.node.public, desk.alice.public], "others stay as they came"
    desk.block(*chosen[:1])
    assert desk.league.chain.key_of(eve.org) == key_of("next").public


def test_what_was_signed_with_a_key_that_is_gone_is_let_go():
    desk = Desk()
    eve = let_in(desk.league, factory("eve"))
    desk.intake.new_head([], desk.league.now)
    late = desk.signed(eve.node, 2, anchored(1))
    assert desk.intake.receive(late)
    desk.block(desk.signed(eve.identity, 1, eve.rotation(desk.league, key_of("next"))))
    # It has the next nonce now, and nobody to say it.
    assert not desk.intake.has_runnable
    assert desk.refusal(desk.signed(eve.node, 2, anchored(2))) == "key"
    assert [(each.id, error.code) for each, error in desk.block()] == [(late.id, "key")]
    new = key_of("next")
    desk.league.keys.append(new)
    assert desk.intake.submit(desk.signed(new, 2, anchored(1)))


def test_an_identity_that_says_what_only_the_node_says_is_told_at_once():
    desk = Desk()
    eve = let_in(desk.league, factory("eve"))
    desk.intake.new_head([], desk.league.now)
    assert desk.refusal(desk.signed(eve.identity, 1, anchored(1))) == "key"


def test_who_had_many_in_a_block_rests_and_the_others_do_not():
    """Else block would follow block, and everybody else's transaction would wait for one of them first."""
    desk = Desk()
    many = [desk.transfer(nonce) for nonce in range(2 * BLOCK_SHARE_MAX)]
    for each in many:
        desk.intake.submit(each)
    desk.block(*many[:BLOCK_SHARE_MAX])
    assert not desk.intake.has_runnable
    assert desk.intake.choose() == []
    assert desk.intake.rest_ms(desk.league.now) == BLOCK_SHARE_MAX * REST_MS_EACH
    other = desk.transfer(0, key=desk.carol)
    desk.intake.submit(other)
    assert desk.intake.has_runnable
    assert desk.intake.choose() == [other]
    desk.intake.rested(desk.league.now + BLOCK_SHARE_MAX * REST_MS_EACH - 1)
    assert desk.intake.choose() == [other]
    desk.intake.rested(desk.league.now + BLOCK_SHARE_MAX * REST_MS_EACH)
    assert desk.intake.rest_ms(desk.league.now) is None
    assert len(desk.intake.choose()) == BLOCK_SHARE_MAX + 1


def test_who_had_few_in_a_block_does_not_rest():
    desk = Desk()
    few = [desk.transfer(nonce) for nonce in range(BLOCK_SHARE_MAX)]
    for each in few:
        desk.intake.submit(each)
    desk.block(*few[: BLOCK_SHARE_MAX - 1])
    assert desk.intake.rest_ms(desk.league.now) is None
    assert desk.intake.choose() == few[BLOCK_SHARE_MAX - 1 :]


def test_who_had_many_in_a_block_rests_longer_while_others_say_a_little():
    desk = Desk()
    for each in (many := [desk.transfer(nonce) for nonce in range(BLOCK_SHARE_MAX)]):
        desk.intake.submit(each)
    desk.block(*many, desk.transfer(0, key=desk.carol))
    assert desk.intake.rest_ms(desk.league.now) == BLOCK_SHARE_MAX * REST_BESIDE_OTHERS_MS_EACH


def test_the_last_few_of_who_had_many_make_nobody_else_rest_longer():
    desk = Desk()
    many = [desk.transfer(nonce) for nonce in range(2 * BLOCK_SHARE_MAX + 1)]
    theirs = [desk.transfer(nonce, key=desk.carol) for nonce in range(BLOCK_SHARE_MAX)]
    for each in (*many, *theirs):
        desk.intake.submit(each)
    desk.block(*many[:BLOCK_SHARE_MAX])
    desk.block(*many[BLOCK_SHARE_MAX : BLOCK_SHARE_MAX + 1], *theirs)
    desk.intake.rested(desk.league.now + BLOCK_SHARE_MAX * REST_MS_EACH)
    assert desk.intake.rest_ms(desk.league.now) is None


def test_a_block_takes_fewer_of_a_busy_sender_while_others_say_a_little():
    desk = Desk()
    for nonce in range(BLOCK_SHARE_MAX + 2 * SENDER_PER_BLOCK_MAX):
        desk.intake.submit(desk.transfer(nonce))
    assert len(desk.intake.choose()) == SENDER_PER_BLOCK_MAX
    desk.block(*[desk.transfer(nonce) for nonce in range(BLOCK_SHARE_MAX)], desk.transfer(0, key=desk.carol))
    desk.intake.rested(desk.league.now + BLOCK_SHARE_MAX * REST_BESIDE_OTHERS_MS_EACH)
    assert len(desk.intake.choose()) == BESIDE_OTHERS_MAX
