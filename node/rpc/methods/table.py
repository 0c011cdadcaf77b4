"""The table of all methods: a topic's file lists its own, nothing else is callable."""

from collections.abc import Mapping

from node.rpc.method import Method
from node.rpc.methods import (
    anchors,
    blocks,
    disputes,
    league,
    membership,
    node,
    privacy,
    proofs,
    requests,
    state,
    storage,
    transactions,
)

TOPICS = (
    node,
    blocks,
    transactions,
    league,
    membership,
    requests,
    privacy,
    anchors,
    disputes,
    proofs,
    state,
    storage,
)
METHODS: Mapping[str, Method] = {method.name: method for topic in TOPICS for method in topic.METHODS}
