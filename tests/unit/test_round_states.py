"""From what a round goes on: an update that nobody counted is taken back where the aggregate carries its sum."""

from dataclasses import replace

import pytest

from ledger.entries import Fate, Receipt, ReceiptLine, receipt_key
from ledger.types import OrgId
from node.round_states import state_to_begin_with
from node.training_memory import TrainingRecord
from tests.support.open_requests import TERMS, announcement, vector_blob

REQUEST = bytes([5]) * 32
ME, OTHER = OrgId(bytes([1]) * 32), OrgId(bytes([2]) * 32)
KNOWN = TrainingRecord(REQUEST, 2, 1, b"before", b"after", announcement(REQUEST, vector_blob(1.0), 2, 1), 900_000)
SCAFFOLD = replace(TERMS, strategy="scaffold", strategy_settings=())


class Receipts:
    """A chain of one receipt, of attempt 1 at round 2."""

    def __init__(self, fate, model=bytes(32)):
        lines = (ReceiptLine(OTHER, Fate.DELIVERED, "", b"", (), 1, 1, 1), ReceiptLine(ME, fate, "", b"", (), 1, 1, 1))
        self.entries = {receipt_key(REQUEST, 2, 1): Receipt(REQUEST, 2, 1, 9, bytes(32), 0, model, ME, lines)}

    def read(self, kind, key):
        return self.entries.get(key)


@pytest.mark.parametrize("fate", list(Fate))
def test_a_control_variate_moves_only_where_the_common_one_did(fate):
    wanted = b"after" if fate is Fate.DELIVERED else b"before"
    assert state_to_begin_with(Receipts(fate), ME, SCAFFOLD, 3, KNOWN) == wanted
    # Another attempt at the same round begins where it began, and who keeps no part of a sum goes on from its last.
    assert state_to_begin_with(Receipts(fate), ME, SCAFFOLD, 2, KNOWN) == b"before"
    assert state_to_begin_with(Receipts(fate), ME, TERMS, 3, KNOWN) == b"after"


def test_a_round_that_came_to_nothing_moved_nothing():
    assert state_to_begin_with(Receipts(Fate.DELIVERED, b""), ME, SCAFFOLD, 3, KNOWN) == b"before"


def test_without_memory_or_receipt_nothing_is_made_up():
    receipts = Receipts(Fate.LATE)
    assert state_to_begin_with(receipts, ME, SCAFFOLD, 3, None) is None
    assert state_to_begin_with(receipts, ME, replace(SCAFFOLD, strategy="unheard-of"), 3, KNOWN) == b"after"
    receipts.entries.clear()
    assert state_to_begin_with(receipts, ME, SCAFFOLD, 3, KNOWN) == b"after"
