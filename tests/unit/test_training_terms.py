"""Which terms a provider trains under: what cannot come to anything is refused before it costs an epoch."""

from dataclasses import replace

import pytest

from node.training_terms import TermsRefused, check_terms
from tests.support.open_requests import TERMS


def test_terms_that_can_be_trained_are_taken():
    check_terms(TERMS, allow_no_guarantee=True)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"aggregation": "magic"}, "magic"),
        ({"attest_window": 1}, "attest window 1 ms"),
        ({"strategy": "magic"}, "magic"),
        ({"parameters": TERMS.parameters + 1}, "parameters"),
        ({"limit": 2**20, "scale_bits": 30}, "limit"),
    ],
)
def test_terms_that_cannot_come_to_anything_are_refused_by_name(changes: dict[str, object], named: str):
    with pytest.raises(TermsRefused, match=named):
        check_terms(replace(TERMS, **changes), allow_no_guarantee=True)  # type: ignore[arg-type]
