"""The comparison at the end of a devnet: the federation's model against one on all records, and each factory alone.

Reads the exported model from the requester's folder, as its owner would. torch is imported here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fl.comparison import Compared, compare
from fl.data import registry
from fl.data.tables import Split, Table
from fl.evaluate import Evaluation, own_accuracy
from fl.export import read_model
from fl.fixed_point import encode
from fl.simulate.federation import Federation, Terms
from fl.train import LocalPlan
from ledger.types import MICRO
from node.devnet.plan import Plan


def compare_with_centralised(folder: Path, plan: Plan, request: str, rounds: int) -> Compared:
    """`folder`: the requester's. `rounds`: how many the federation trained. Raises DataError, ExportError."""
    torch.set_num_threads(1)
    draft = plan.draft
    splits = [registry.load(plan.source, settings, plan.path) for settings in plan.training]
    pooled = registry.pooled_test(plan.source, plan.training[0], plan.path)
    exported = read_model((folder / "models" / f"{request}.safetensors").read_bytes())
    training = dict(draft.training_settings)
    local_plan = LocalPlan(
        epochs=draft.epochs * rounds,
        batch=draft.batch,
        lr=float(training["learning_rate"]),
        momentum=float(training["momentum"]),
        seed=draft.seed,
    )
    global_q = encode(exported.vector, draft.scale_bits, draft.limit)
    compared = compare(
        draft.model,
        dict(draft.model_arguments),
        draft.seed,
        local_plan,
        splits,
        pooled,
        global_q,
        draft.scale_bits,
        plan.common_test,
    )
    if draft.privacy == "none":
        return compared
    return replace(compared, without_noise=_without_noise(plan, splits, pooled, rounds))


def _without_noise(plan: Plan, splits: Sequence[Split], pooled: Table, rounds: int) -> float:
    """Accuracy of the same rounds by the same code, in this process, in which nobody protects anything."""
    draft = plan.draft
    training = dict(draft.training_settings)
    terms = Terms(
        draft.model,
        rounds,
        draft.epochs,
        draft.batch,
        float(training["learning_rate"]),
        float(training["momentum"]),
        dict(draft.model_arguments),
        draft.strategy,
        dict(draft.strategy_settings),
        scale_bits=draft.scale_bits,
        limit=draft.limit,
    )
    with Federation(terms, splits, pooled, draft.seed) as federation:
        return federation.run().mean_accuracy(last=1)


def served_accuracy(plan: Plan, at: int, own_test: Mapping[str, Any]) -> float:
    """What a factory measured of the model it would itself use, on its own mix of classes."""
    if not plan.common_test:
        return int(own_test["accuracy_micro"]) / MICRO
    train = registry.load(plan.source, plan.training[at], plan.path).train
    classes = len(train.classes)
    confusion = np.array(own_test["confusion"], dtype=np.int64).reshape(classes, classes)
    return own_accuracy(Evaluation(0.0, confusion), train.class_counts())
