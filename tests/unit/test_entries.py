"""The form of every entry of the state, its key, and the genesis are fixed by golden bytes: proofs are made of them.

`python -m tests.unit.test_entries` prints the vectors anew, for a change of format that is meant.
"""

import inspect
import json
from dataclasses import is_dataclass
from pathlib import Path

import pytest

from ledger import entries, league_entries, protection_entries
from ledger.codec import decode, encode
from tests.support.entry_examples import EXAMPLES, GENESIS

VECTORS = Path(__file__).parents[1] / "vectors" / "entries.json"
NAMES = [type(entry).__name__ for _, entry in EXAMPLES]
# What lies inside an entry, never under a key of its own.
PARTS = {"Seat", "Provider", "Participant", "ReceiptLine", "ScheduledParameters", "ScheduledProtocol"}
PARTS |= {"MaskMember", "IndexedShare", "MaskedMember"}


def golden() -> dict[str, dict[str, str]]:
    vectors = {type(entry).__name__: {"key": key.hex(), "bytes": encode(entry).hex()} for key, entry in EXAMPLES}
    founding = {"bytes": encode(GENESIS).hex(), "id": GENESIS.chain_id.hex(), "committee": GENESIS.committee.hash.hex()}
    return {**vectors, "Genesis": founding}


def test_every_entry_has_an_example():
    kinds = {
        name
        for module in (entries, league_entries, protection_entries)
        for name, kind in inspect.getmembers(module, inspect.isclass)
        if is_dataclass(kind) and kind.__module__ == module.__name__
    }
    assert kinds - PARTS == set(NAMES) - {"LeagueParameters", "Protection"}


@pytest.mark.parametrize("name", NAMES)
def test_an_entry_and_its_key_are_the_bytes_they_were(name: str):
    vector = json.loads(VECTORS.read_text())[name]
    [(key, entry)] = [each for each in EXAMPLES if type(each[1]).__name__ == name]
    assert key.hex() == vector["key"]
    assert encode(entry).hex() == vector["bytes"]
    assert decode(type(entry), bytes.fromhex(vector["bytes"])) == entry


def test_a_genesis_and_what_follows_from_it_are_the_bytes_they_were():
    assert golden()["Genesis"] == json.loads(VECTORS.read_text())["Genesis"]


def test_no_two_entries_share_a_key_or_lie_where_others_are_looked_for():
    keys = [key for key, _ in EXAMPLES]
    prefixes = (entries.MEMBERS, entries.CANDIDATES, entries.REQUESTS, league_entries.FORMERS)
    prefixes += (league_entries.BALLOTS, league_entries.DECISIONS, b"account/", b"key/", b"usage/", b"standing/")
    prefixes += (b"protection/", b"charge/", b"excluded/", b"masking/", b"dealing/", b"revealed/", b"unmasking/")
    assert len(set(keys)) == len(keys)
    for prefix in prefixes:
        assert sum(key.startswith(prefix) for key in keys) == 1


if __name__ == "__main__":
    print(json.dumps(golden(), indent=1))
