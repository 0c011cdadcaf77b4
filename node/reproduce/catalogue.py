"""The experiments by name. A file is imported when its experiment is asked for: a list needs no torch."""

from difflib import get_close_matches
from importlib import import_module

from node.reproduce.experiment import CannotReproduce, Experiment

# By name: where the class is, and its `summary`, which a test holds equal.
EXPERIMENTS: dict[str, tuple[str, str]] = {
    "dlmu-cifar": (
        "node.reproduce.dlmu_cifar:DlmuCifar",
        "[DLMU] Fig. 2 and Table 1: FedAvg and DLMU on CIFAR-10, from IID to two classes a client",
    ),
    "dlmu-text": (
        "node.reproduce.dlmu_text:DlmuText",
        "[DLMU] Fig. 3b: FedAvg and DLMU on Shakespeare's plays, a client a speaker",
    ),
    "dpsgd-tables": (
        "node.reproduce.dpsgd_tables:DpsgdTables",
        "[DLMU] Tables 2 to 4: clipping thresholds under noise, as published and at an epsilon that holds",
    ),
    "bearing": (
        "node.reproduce.bearing:Bearing",
        "[ANCHOR] Fig. 5: federated and centralised on every factory's test records",
    ),
    "anchor-time": (
        "node.reproduce.anchor_time:AnchorTime",
        "[ANCHOR] Fig. 4: a period's Merkle tree, and how long the ledger takes to hold its root",
    ),
    "communication": (
        "node.reproduce.communication:Communication",
        "[ANCHOR] 3.4.3: what travels in 100 rounds with one to five clients",
    ),
    "recommend": (
        "node.reproduce.recommend:Recommend",
        "what Hanse recommends where factories differ: strategies side by side, and the bars they have to pass",
    ),
    "recommend-elsewhere": (
        "node.reproduce.recommend_elsewhere:RecommendElsewhere",
        "whether what Hanse recommends holds with other models and data: convolutions, bearings, text",
    ),
}


def experiment(name: str) -> type[Experiment]:
    """Raises CannotReproduce for an unknown one."""
    if name not in EXPERIMENTS:
        near = get_close_matches(name, list(EXPERIMENTS), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"want one of {', '.join(EXPERIMENTS)}"
        raise CannotReproduce(f"there is no experiment {name[:80]!r}, {hint}")
    module, _, attribute = EXPERIMENTS[name][0].partition(":")
    found: type[Experiment] = getattr(import_module(module), attribute)
    return found
