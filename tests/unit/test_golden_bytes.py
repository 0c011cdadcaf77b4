"""Every byte format is what it was: a change that nobody meant fails here, one that is meant is written down anew.

`python -m tests.support.golden --write` writes the vectors; say so in the changelog when you do.
"""

import pytest

from ledger.codec import decode, decode_union, encode
from node.pkcs8 import seed_from_pem
from tests.support.formats import example, types, unions, unknown_reads
from tests.support.golden import KEY, golden_layouts, golden_unions, stored

RENEW = "python -m tests.support.golden --write, if it is meant"


def test_every_type_that_is_read_has_a_golden_example():
    """A type without one, or one that is left over, means that somebody changed a format without saying so."""
    assert unknown_reads() == [], "say in tests/support/formats.py what these read"
    vectors = stored()["types"]
    assert sorted(types().keys() - vectors.keys()) == [], f"without an example: {RENEW}"
    assert sorted(vectors.keys() - types().keys()) == [], f"gone, and with it what was written in it: {RENEW}"


@pytest.mark.parametrize("name", types())
def test_a_type_is_the_bytes_it_was(name: str):
    kind, vector = types()[name], stored()["types"].get(name, "")
    assert encode(example(kind)).hex() == vector, RENEW
    assert decode(kind, bytes.fromhex(vector)) == example(kind)


def test_members_of_unions_have_the_kinds_they_had():
    assert golden_unions() == stored()["unions"], RENEW
    for name, vector in stored()["unions"].items():
        union, _, member = name.partition(" ")
        if len(vector) <= 512 and "SHA" not in vector:
            assert type(decode_union(unions()[union], bytes.fromhex(vector))).__name__ == member


def test_layouts_are_the_bytes_they_were():
    assert golden_layouts() == stored()["layouts"], RENEW


def test_key_files_of_before_are_read():
    vectors = stored()
    plain = vectors["layouts"]["key file"].encode()
    assert seed_from_pem(plain, None) == KEY.seed
    sealed = vectors["sealed keys"]
    assert seed_from_pem(sealed["key file"].encode(), sealed["passphrase"]) == KEY.seed
