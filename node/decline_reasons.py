"""What everybody is told of why a round was declined: never what a fault says of the records, or of this machine.

A requester chooses the terms. If a refusal's words, or whether there is one, depended on the records, it could ask them
questions that no budget counts. The whole text is for our own people: the log and the events.
"""

from ledger.errors import CorruptStore
from node.privacy_budget import BudgetDamaged
from node.record_errors import RecordStoreError
from node.training_process import JobRefused, WorkerCrashed
from node.training_terms import short_reason

# What the training process says under these words is told from the request and from what was released.
TOLD_WHOLE = frozenset({"model", "strategy", "privacy", "diverged", "late", "settings"})


def public_reason(error: Exception) -> str:
    """A reason that fits a DeclineRound."""
    if isinstance(error, BudgetDamaged):
        return "privacy budget damaged or of another version"
    if isinstance(error, (RecordStoreError, CorruptStore)):
        return "the records here cannot be read"
    if isinstance(error, WorkerCrashed):
        return "the training process crashed"
    if isinstance(error, JobRefused) and error.code not in TOLD_WHOLE:
        return "the model does not fit the records here" if error.code == "data" else f"not trained: {error.code}"
    return short_reason(str(error))
