"""The golden round of masking: a second implementation, from the documents alone, gives the same bytes as `fl` does."""

import numpy as np
import pytest

from fl.mask_keys import MaskContext, public_key, seed_commitment
from fl.masking import MaskMember, MaskSecrets, expand, mask_update, unmask
from fl.shamir import combine
from tests.support.plain_masking import chacha_words, stored, vectors, x25519

GOLDEN = stored()
PROVIDERS = GOLDEN["providers"]
KEYS = {bytes.fromhex(each["org"]): bytes.fromhex(each["mask_public"]) for each in PROVIDERS}
WHERE = MaskContext(
    bytes.fromhex(GOLDEN["league"]), bytes.fromhex(GOLDEN["request"]), GOLDEN["round"], GOLDEN["attempt"], 4
)


def test_the_golden_round_is_what_the_documents_say():
    assert vectors() == GOLDEN, "python -m tests.support.plain_masking --write, if it is meant"


@pytest.mark.parametrize("given", PROVIDERS, ids=lambda given: given["org"][:8])
def test_a_golden_provider_masks_as_it_did(given):
    secrets = MaskSecrets(*(bytes.fromhex(given[name]) for name in ("org", "mask_private", "seed")))
    assert public_key(secrets.mask_private).hex() == given["mask_public"]
    assert seed_commitment(secrets.seed, WHERE, secrets.org).hex() == given["seed_commitment"]
    values = np.array(given["values"], np.int32)
    assert mask_update(WHERE, secrets, KEYS, values, given["weight"], given["weight"]).hex() == given["masked"]


@pytest.mark.parametrize("kind", ["seed", "key"])
def test_golden_shares_give_their_secrets_back(kind):
    for given in PROVIDERS:
        shares = {at + 1: bytes.fromhex(share) for at, share in enumerate(given[f"{kind}_shares"])}
        del shares[2]
        assert combine(shares).hex() == given["seed" if kind == "seed" else "mask_private"]


def test_the_golden_round_is_unmasked_to_its_sum():
    members = []
    for given in PROVIDERS:
        gone = given["org"] == GOLDEN["vanished"]
        shares = given["key_shares" if gone else "seed_shares"]
        members.append(
            MaskMember(
                bytes.fromhex(given["org"]),
                bytes.fromhex(given["mask_public"]),
                bytes.fromhex(given["seed_commitment"]),
                None if gone else bytes.fromhex(given["masked"]),
                tuple((place, bytes.fromhex(shares[place - 1])) for place in (1, 2, 4)),
            )
        )
    found = unmask(WHERE, members)
    assert found.sums.tolist() == GOLDEN["sums"]
    assert found.weight == GOLDEN["weight"]


def test_the_second_implementation_keeps_to_the_documents_too():
    nine = (9).to_bytes(32, "little")
    # RFC 7748, section 5.2, after one iteration.
    assert x25519(nine, nine).hex() == "422c8e7a6227d7bca1350b3e2bb7279f7897b87bb6854b783c60e80311ae3079"
    assert chacha_words(bytes(32), 9) == expand(bytes(32), 9).tolist()
