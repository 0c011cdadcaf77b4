"""What this organisation tells of the classes of its records when it offers them: nothing, unless its owner says so.

Shares of classes, rounded, go on the ledger for good with an offer; `hanse request advise` reads them there. Rounding
hides exact counts and rare classes. It is not covered by any epsilon: docs/privacy.md.
"""

from typing import TYPE_CHECKING

import structlog

from fl.label_mix import LabelMixError, told_shares
from ledger.transactions import Setting

if TYPE_CHECKING:
    from node.record_store import RecordStore

log = structlog.get_logger(__name__)

# The name of the attribute of an offer.
ATTRIBUTE = "label-shares"
# By what `[privacy] disclose_labels` says: rounded to so many percent.
STEPS = {"tenths": 10, "percents": 1}
NOTHING = "no"
CHOICES = (NOTHING, *STEPS)


def label_attributes(records: "RecordStore | None", disclose: str) -> tuple[Setting, ...]:
    """What is said beside an offer. Blocks: it counts in the store."""
    if records is None or disclose == NOTHING:
        return ()
    try:
        return (Setting(ATTRIBUTE, told_shares(records.label_counts(), STEPS[disclose])),)
    except LabelMixError as error:
        log.warning("labels_not_disclosed", reason=str(error))
        return ()
