"""A request on a sealed chain, brought to the stage a test wants: small, fast terms for the four-class sensor table."""

from dataclasses import replace
from typing import Any

import numpy as np

from fl.fixed_point import encode, pack
from fl.models.shapes import parameter_count
from ledger.entries import Round, round_key
from ledger.transactions import (
    AnchorRecords,
    AnnounceUpdate,
    JoinRequest,
    PublishRequest,
    RequestTerms,
    Setting,
)
from ledger.types import Hash32
from node.network.blob_store import blob_digest
from tests.support.sealed_chain import SealedChain

LAYERS = "8,12,4"
SCALE_BITS = 20
LIMIT = 512
PARAMETERS = parameter_count("mlp", {"layers": LAYERS})

TERMS = RequestTerms(
    title="bearings",
    model="mlp",
    model_arguments=(Setting("layers", LAYERS),),
    parameters=PARAMETERS,
    initial_model=bytes(32),
    scale_bits=SCALE_BITS,
    limit=LIMIT,
    strategy="dlmu",
    strategy_settings=(),
    aggregation="mean",
    privacy="none",
    privacy_settings=(),
    data_type="bearing",
    epochs=3,
    batch=16,
    training_settings=(Setting("learning_rate", "0.05"), Setting("momentum", "0.8")),
    price=1,
    budget=1_000_000,
    target_accuracy=0,
    rounds_max=2,
    providers_min=1,
    providers_max=2,
    join_window=1_000,
    round_deadline=60_000,
    attest_window=10_000,
)


def vector_blob(value: float, parameters: int = PARAMETERS) -> bytes:
    """A well-formed blob whose every parameter is `value`."""
    return pack(encode(np.full(parameters, value, np.float32), SCALE_BITS, LIMIT), SCALE_BITS)


def publish(sealed: SealedChain, requester: str, initial_model: bytes, **changes: Any) -> Hash32:
    """Publish and seal; the request's id. `initial_model`: the blob's bytes."""
    terms = replace(TERMS, initial_model=blob_digest(initial_model), **changes)
    transaction = sealed.say(requester, PublishRequest(terms))
    sealed.seal()
    assert not sealed.refused, sealed.refused
    return transaction.id


def anchor(sealed: SealedChain, name: str, records: int = 60, root: bytes = bytes(32)) -> None:
    sealed.say(name, AnchorRecords(1, records, root, 0, 1))


def join(sealed: SealedChain, name: str, request: bytes, records: int = 60) -> None:
    sealed.say(name, JoinRequest(request, TERMS.data_type, records, ()))


def announcement(request: bytes, blob: bytes, number: int = 1, attempt: int = 0) -> AnnounceUpdate:
    return AnnounceUpdate(request, number, attempt, blob_digest(blob), len(blob), 60, (1,), 0, 0)


def round_of(sealed: SealedChain, request: bytes) -> Round:
    current = sealed.chain.read(Round, round_key(request))
    assert current is not None
    return current
