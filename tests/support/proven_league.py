"""A league with a past worth proving: anchors, a trained round with real blobs, transfers, committees that changed."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fl.aggregate import aggregate_blobs
from fl.fixed_point import limit_in_steps, pack
from ledger.aggregation import aggregation_task, awaiting_aggregate
from ledger.codec import encode
from ledger.entries import account_key, anchor_key
from ledger.genesis import genesis_to_json
from ledger.keys import KeyPair
from ledger.light import NO_SKIPPING
from ledger.merkle import MerkleTree
from ledger.proofs import Proof, proof_to_json
from ledger.records import SensorRecord, ValueType
from ledger.statements import RotateKey, prove_key
from ledger.transactions import AggregateRound, AnchorRecords, Transfer, UpdateScore
from ledger.types import ZERO_HASH, Hash32
from node.network.blob_store import blob_digest
from node.proving import (
    Reader,
    prove_aggregate,
    prove_entry,
    prove_headers,
    prove_record,
    prove_reward,
    prove_transaction,
)
from tests.support.league import League, terms

RECORDS, PARAMETERS = 13, 6
VECTORS = Path(__file__).parents[1] / "vectors" / "proofs.json"


def record_of(period: int, index: int) -> SensorRecord:
    return SensorRecord(period, index, 1_000 + index, ValueType.UINT8, (2,), bytes([period, index]), index % 3)


def vector(fill: int) -> bytes:
    """The blob of a small model."""
    return pack(np.arange(fill, fill + PARAMETERS, dtype=np.int32) * 1_000, 20)


@dataclass
class ProvenLeague:
    """`owner` anchored `tree`; `requester` paid three providers for a round of `request`, its blobs are in `blobs`."""

    league: League = field(default_factory=lambda: League(7))
    blobs: dict[Hash32, bytes] = field(default_factory=dict)
    request: Hash32 = ZERO_HASH
    leaves: list[Hash32] = field(default_factory=list)

    @property
    def owner(self) -> KeyPair:
        return self.league.keys[0]

    @property
    def requester(self) -> KeyPair:
        return self.league.keys[6]

    @property
    def tree(self) -> MerkleTree:
        return MerkleTree(self.leaves)

    def keep(self, blob: bytes) -> Hash32:
        digest = blob_digest(blob)
        self.blobs[digest] = blob
        return digest

    def anchor(self) -> None:
        """Three members anchor a period; the owner's records are real ones."""
        self.leaves = [record_of(1, index).leaf for index in range(RECORDS)]
        bodies = [(self.owner, AnchorRecords(1, RECORDS, self.tree.root, 0, 3_600_000))]
        bodies += [
            (key, AnchorRecords(1, 20, Hash32(bytes([at + 1]) * 32), 0, 9)) for at, key in enumerate(self.others)
        ]
        self.league.say(*bodies)

    @property
    def others(self) -> list[KeyPair]:
        return self.league.keys[1:3]

    def train(self, rounds: int = 1) -> None:
        """Rounds of a request, each aggregated for real."""
        league, providers = self.league, [self.owner, *self.others]
        asked = terms(initial_model=self.keep(vector(0)), parameters=PARAMETERS, rounds_max=rounds, providers_min=2)
        self.request = league.publish(self.requester, asked)
        league.join(self.request, providers, records=12)
        for number in range(1, rounds + 1):
            for at, key in enumerate(providers):
                blob = vector(10 * number + at)
                body = league.announcement(self.request, key, blob=self.keep(blob), blob_bytes=len(blob))
                league.say((key, body))
            league.attest(self.request, providers)
            league.say((league.key(league.chain.leaders()[0]), self.aggregate()))

    def aggregate(self) -> AggregateRound:
        [(request_id, request, current)] = awaiting_aggregate(self.league.chain.state())
        task = aggregation_task(request_id, request, current)
        result = aggregate_blobs(
            task.aggregation,
            {},
            self.blobs[task.base_model],
            [(self.blobs[each.blob], each.weight) for each in task.contributions],
            task.parameters,
            task.scale_bits,
            limit_in_steps(task.limit, task.scale_bits),
        )
        scores = tuple(
            UpdateScore(each.org, quality) for each, quality in zip(task.contributions, result.qualities, strict=True)
        )
        model = self.keep(result.blob)
        return AggregateRound(task.request, task.round, task.attempt, model, len(result.blob), scores)

    def idle(self, heights: int) -> None:
        for _ in range(heights):
            self.league.say((self.owner, Transfer(self.requester.org, 1, "")))

    def rotate(self) -> None:
        """A member's node signs with another key from here on: the committee has the same seats and other keys."""
        old, new = self.league.keys[3], self.league.stranger("the second key of a founder")
        self.league.say((old, RotateKey(new.public, prove_key(new, self.league.chain.chain_id, old.org))))

    def change_committee(self, times: int = 1) -> None:
        """Somebody equivocates and is not seated in the next epoch."""
        for _ in range(times):
            chain = self.league.chain
            # The owner pays for the idle blocks, so it stays.
            guilty = next(self.league.key(each) for each in chain.leaders() if each != self.owner.public)
            before = chain.committee().hash
            self.league.say((self.owner, self.league.equivocation(guilty)))
            while chain.committee().hash == before:
                self.idle(1)


def proven_league(changes: int = 2) -> ProvenLeague:
    """A league that did all of it, with so many changes of its committee since."""
    made = ProvenLeague()
    made.anchor()
    made.train()
    made.rotate()
    made.change_committee(changes)
    made.idle(3)
    return made


def rows_of(league: League, first: int, last: int) -> list[bytes]:
    """The canonical bytes of final blocks, as an export holds them."""
    return [encode(league.chain.final_block(height)) for height in range(first, last + 1)]


def examples() -> dict[str, Proof]:
    """A proof of every kind but the dispute's, each as it always was: `tests/vectors/proofs.json`."""
    made = proven_league()
    chain, reader, owner = made.league.chain, Reader(), made.owner.org
    record = prove_record(chain, reader, owner, 1, 4, encode(record_of(1, 4)), made.tree.inclusion_proof(4))
    final = chain.final_block(chain.height)
    assert final is not None
    return {
        "headers": prove_headers(chain, Reader(0, NO_SKIPPING)),
        "balance": prove_entry(chain, reader, account_key(owner)),
        "absence": prove_entry(chain, reader, anchor_key(owner, 9)),
        "record": record,
        "transaction": prove_transaction(chain, reader, final.block.transactions[0].id),
        "reward": prove_reward(chain, reader, made.request, 1, provider=owner),
        "aggregate": prove_aggregate(chain, reader, made.request, 1)[0],
    }


def main() -> None:
    """Write the golden proofs anew, deliberately: readers of older files are left behind."""
    genesis = json.loads(genesis_to_json(ProvenLeague().league.genesis))
    proofs = {name: json.loads(proof_to_json(proof)) for name, proof in examples().items()}
    VECTORS.write_text(json.dumps({"genesis": genesis, "proofs": proofs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
