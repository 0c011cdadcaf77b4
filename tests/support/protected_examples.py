"""Golden proofs of protected rounds: `python -m tests.support.protected_examples` writes them anew, deliberately.

Readers of older files are then left behind. The blobs lie in the file too: what comes out of them must stay as it is.
"""

import json
from pathlib import Path

from ledger.genesis import genesis_to_json
from ledger.proofs import proof_to_json
from node.network.blob_store import blob_digest
from node.proving import Reader, prove_aggregate
from tests.support.masked_league import BASE, MaskedLeague
from tests.support.sealed_league import SealedLeague

VECTORS = Path(__file__).parents[1] / "vectors" / "protected_proofs.json"


def examples() -> dict[str, dict[str, object]]:
    """Of a sealed and of a masked round: the genesis, the proof, and the blobs in hex."""
    sealed = SealedLeague()
    for _ in range(2):
        sealed.play_round()
    masked = MaskedLeague(3)
    masked.run()
    blobs = {blob_digest(BASE): BASE} | masked.models
    blobs |= {blob_digest(blob): blob for party in masked.parties for blob in party.blobs.values()}
    found = {}
    for name, chain, request, number, known in (
        ("sealed", sealed.sealed.chain, sealed.request, 2, sealed.blobs),
        ("masked", masked.sealed.chain, masked.request, 1, blobs),
    ):
        proof, wanted = prove_aggregate(chain, Reader(), request, number)
        found[name] = {
            "genesis": json.loads(genesis_to_json(chain.genesis)),
            "proof": json.loads(proof_to_json(proof)),
            "blobs": [{**known}[each].hex() for each in wanted],
        }
    return found


def main() -> None:
    VECTORS.write_text(json.dumps(examples(), indent=1) + "\n")


if __name__ == "__main__":
    main()
