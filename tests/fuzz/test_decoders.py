"""Every decoder is fed what liars make of good bytes: it names the fault in its own word, or gives a value that is
written as these very bytes; and it never takes much more memory than what came.

`make fuzz` goes on for as long as it is told to; a failure names the decoder and the bytes.
"""

import json
import random
import re
import time
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.decoders import Decoder, decoders, feed
from tests.support.hostile_bytes import WORDS, mutated, mutated_json

ROOT = Path(__file__).parents[2]
# Damaged inputs of each decoder in one run of the suite; hypothesis draws the seeds.
SEEDS, INPUTS_A_SEED = 6, 25
# What reading may take beside the input: interpreters of TOML and JSON make objects of some twenty times their text.
MEMORY_FACTOR, MEMORY_FREE = 40, 2_000_000
# For one input of some kilobytes, on a busy machine. A quadratic parser takes minutes.
SECONDS_MAX = 10.0
# What reads bytes, and where nothing but the node's own or its operator's bytes come from: nobody else writes there.
READS = re.compile(
    r"json\.loads?\(|tomllib\.|unpackb\(|Unpacker\(|load_pem|frombuffer\(|unpack_from\(|\.unpack\(|int\.from_bytes\("
    r"|from ledger\.codec import .*\bdecode"
)
COVERED = {
    "consensus/messages.py": "message",
    "fl/delta_blob.py": "changes to a model",
    "fl/fixed_point.py": "blob",
    "fl/gradient_blob.py": "gradient",
    "fl/mask_keys.py": "sealed share",
    "fl/masked_blob.py": "masked blob",
    "fl/shamir.py": "share of a secret",
    "fl/strategies/kept_vector.py": "kept vector",
    "fl/strategies/own_model.py": "own model",
    "ledger/chain_file.py": "exported ledger",
    "ledger/codec.py": "any Message",
    "ledger/genesis.py": "genesis",
    "ledger/json_form.py": "proof",
    "ledger/proof_parts.py": "proof",
    "ledger/proof_check.py": "proof",
    "ledger/records.py": "record",
    "ledger/snapshots.py": "ledger.snapshots.Chunk",
    "ledger/state_keys.py": "key of the state",
    "ledger/transactions.py": "transaction",
    "node/admission.py": "node.admission.Standing",
    "node/chain_file.py": "exported ledger",
    "node/journal_file.py": "journal",
    "node/masking_memory.py": "masking secrets",
    "node/network/address_book.py": "address book",
    "node/network/addresses.py": "address",
    "node/network/blob_exchange.py": "node.network.blob_exchange.Wanted",
    "node/network/link.py": "a link",
    "node/network/snapshot_exchange.py": "ledger.snapshots.Snapshot",
    "node/network/wire.py": "frames of a sender",
    "node/pkcs8.py": "key in PEM",
    "node/privacy_budget.py": "privacy budget",
    "node/rpc/jsonrpc.py": "JSON",
    "node/statement_file.py": "statement",
    "node/toml_rules.py": "configuration",
    "node/training_memory.py": "training memory",
    "node/worker_protocol.py": "worker job",
}
OWN_BYTES = {
    "fl/data": "data sources are the owner's own files",
    "fl/draws.py": "digests that become seeds",
    "fl/masking.py": "key streams, and words that fl/masked_blob.py has read",
    "fl/privacy": "randomness of the system",
    "fl/round_job.py": "digests that become seeds",
    "fl/export.py": "what it has just written, to be sure",
    "fl/models/torch_model.py": "a file of an installed package, which is code as well",
    "fl/onnx_export.py": "what it has just written, to be sure",
    "fl/simulate": "digests that become seeds",
    "fl/strategies/corrections.py": "within what fl/strategies/kept_vector.py has read",
    "fl/strategies/gradient_tracking.py": "within what fl/strategies/kept_vector.py has read",
    "ledger/bundles.py": "through ledger/proof_parts.py",
    "ledger/chain.py": "our own store, where what is damaged is CorruptStore",
    "ledger/chain_rows.py": "our own store, where what is damaged is CorruptStore",
    "ledger/state.py": "our own state, whose root is agreed",
    "ledger/state_tree.py": "our own store, whose root is agreed",
    "ledger/light_path.py": "values that were decoded",
    "ledger/protection.py": "values that were decoded",
    "node/audit_subject.py": "files the user names, read through fl/export.py",
    "node/cli": "answers of our own node, files the user names, read through the readers above",
    "node/daemon.py": "our own store",
    "node/data_sets": "files that are pinned by their SHA-256, and its own list of what it made of them",
    "node/devnet": "answers of nodes it started itself",
    "node/federations": "results that it has written itself, and refuses where they are damaged",
    "node/happenings.py": "our own state",
    "node/ledger_check.py": "a store of our own kind, checked row by row",
    "node/leveldb.py": "our own store",
    "node/model_formats.py": "models that the node has written itself, read through fl/export.py",
    "node/model_export.py": "models that it has just written, to be sure",
    "node/reproduce": "results that it has written itself, and refuses where they are damaged",
    "node/record_reader.py": "our own record store",
    "node/record_store.py": "our own record store",
    "node/rpc/auth.py": "compares, in constant time",
    "node/rpc/client.py": "answers of our own node",
    "node/rpc/methods": "our own state; parameters are tried in test_rpc_calls.py",
    "node/simulation": "its own nodes",
    "node/snapshot_store.py": "files it has written itself",
    "node/snapshot_sync.py": "our own store",
    "node/training_terms.py": "digests that become seeds",
    "node/vote_memory.py": "our own file",
}


JSON_FILES = [decoder for decoder in decoders() if decoder.examples[0][:1] == b"{"]
# All types are read by the same few readers, one a form of annotation: bombs are tried on what peers send.
BOMBED = [decoder for decoder in decoders() if not decoder.name.startswith(("ledger.", "node."))]


def test_every_module_that_reads_bytes_is_fed_here_or_reads_its_own():
    names = {decoder.name for decoder in decoders()}
    assert {decoder for decoder in COVERED.values() if decoder not in names} == set()
    unknown = []
    for package in ("ledger", "consensus", "node", "fl"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            own = any(name == known or name.startswith(f"{known}/") for known in OWN_BYTES)
            if READS.search(path.read_text()) and name not in COVERED and not own:
                unknown.append(name)
    assert unknown == [], "add a row to tests/support/decoders.py, or say why nobody else writes what these read"


@pytest.mark.parametrize("decoder", decoders(), ids=lambda decoder: decoder.name)
def test_good_bytes_are_read_and_written_again(decoder: Decoder):
    for data in decoder.examples:
        try:
            value = decoder.read(data)
        except decoder.faults:
            # Some are only nearly good: a configuration without its keys, sealed keys without their passphrase.
            continue
        if decoder.again is not None and decoder.name != "JSON":
            assert decoder.again(value) == data


@pytest.mark.parametrize("decoder", decoders(), ids=lambda decoder: decoder.name)
def test_damaged_bytes_are_refused_by_name_or_mean_what_they_say(decoder: Decoder):
    @settings(max_examples=SEEDS, deadline=None, database=None)
    @given(st.integers(0, 2**32 - 1))
    def holds(seed: int) -> None:
        rng = random.Random(seed)
        for _ in range(INPUTS_A_SEED):
            feed(decoder, mutated(rng.choice(decoder.examples), rng))

    holds()


@pytest.mark.parametrize("decoder", BOMBED, ids=lambda decoder: decoder.name)
def test_bombs_cost_their_sender_only(decoder: Decoder):
    body = decoder.examples[0]
    bombs = [word * 1_000 for word in WORDS]
    bombs += [body[:at] + word * 500 for word in WORDS for at in (len(body) // 2,)]
    bombs += [body * 50, bytes(100_000), b"\x92" * 50_000, b"\xdc\xff\xff" * 20_000]
    for bomb in bombs:
        tracemalloc.start()
        began = time.monotonic()
        try:
            feed(decoder, bomb)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < MEMORY_FREE + MEMORY_FACTOR * len(bomb), f"{peak} bytes for {len(bomb)}: {bomb[:80]!r}"
        assert time.monotonic() - began < SECONDS_MAX, bomb[:80]


@pytest.mark.parametrize("decoder", JSON_FILES, ids=lambda decoder: decoder.name)
def test_damaged_json_is_refused_by_name_or_means_what_it_says(decoder: Decoder):
    rng = random.Random(3)
    plains = [json.loads(data) for data in decoder.examples]
    for _ in range(300):
        damaged = mutated_json(rng.choice(plains), rng)
        feed(decoder, json.dumps(damaged).encode())
        # Infinities and NaN are what Python writes and JSON does not know.
        feed(decoder, json.dumps(damaged).replace("1.5", "NaN").replace("1e+308", "Infinity").encode())
