"""A DeclineRound tells nothing that the records, or the disk of this machine, put into a fault's words."""

from pathlib import Path

import pytest

from ledger.errors import CorruptStore
from node.decline_reasons import public_reason
from node.privacy_budget import BudgetDamaged, BudgetSpent
from node.record_errors import RecordStoreError
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import TermsRefused

PLACE = Path("/srv/hanse/data/records.sqlite")


@pytest.mark.parametrize(
    "error",
    [
        RecordStoreError(f"{PLACE}: labels -1..7, want 0..9"),
        CorruptStore(f"{PLACE}: records that are not float32 [8]"),
        BudgetDamaged(f"privacy budget damaged: {PLACE} holds 7 bytes"),
        JobRefused("data", "the model cannot take features (784,) with labels up to 7: out of bounds"),
        JobRefused("store", f"{PLACE}: labels -1..7, want 0..9"),
        JobRefused("bug", "KeyError(7)"),
        JobRefused("memory", "7"),
        WorkerCrashed("the training process died: record 7"),
    ],
)
def test_a_decline_says_nothing_of_records_or_of_the_disk(error):
    told = public_reason(error)
    assert 0 < len(told.encode()) <= 64
    assert not [word for word in ("7", "label", str(PLACE.parent)) if word in told]


def test_what_terms_and_budgets_say_is_told():
    for error in (
        TermsRefused("no anchored records here"),
        BudgetSpent("privacy budget spent: epsilon 8.1 of 8 in all"),
        JobRefused("privacy", "layer 1 is BatchNorm1d: it mixes the records"),
    ):
        assert str(error).startswith(public_reason(error))
