"""What stands side by side in the search for a default: strategies with every setting said, for defaults change."""

from collections.abc import Mapping

Method = tuple[str, Mapping[str, str]] | tuple[str, Mapping[str, str], str]
"""Strategy, its settings, and the rule where it is another than the strategy's own or the mean."""

_MIX = {"serve": "mix", "tau": "0.8", "unseen": "0"}
_FITTED = {"serve": "mix", "tau": "0.8", "unseen": "0.01"}
_DLMU = {"tau": "0.8", "serve": "mix", "unseen": "0"}

FEDAVG, DLMU, DRIFT, SELECTIVE = "fedavg", "dlmu as published", "dlmu, drift form", "dlmu, selective"
FITTED, SCAFFOLD, RECOMMENDED = "fedavg, fitted", "scaffold, fitted", "gradient tracking, fitted"
SAMPLED = "scaffold, fitted, a tenth takes part"

METHODS: Mapping[str, Method] = {
    FEDAVG: ("fedavg", _MIX),
    FITTED: ("fedavg", _FITTED),
    DLMU: ("dlmu", {"strict": "true", **_DLMU}),
    DRIFT: ("dlmu", {"form": "drift", **_DLMU}),
    SCAFFOLD: ("scaffold", _FITTED),
    RECOMMENDED: ("gradient-tracking", {"strength": "0.9", **_FITTED}, "even-mean"),
    "gradient tracking, strength 1": ("gradient-tracking", {"strength": "1", **_FITTED}, "even-mean"),
    "dlmu, capped": ("dlmu", {"cap": "0.5", "selective": "true", **_DLMU}),
    "fedprox": ("fedprox", {"mu": "0.01", **_FITTED}),
    "fedavgm, 0.3 and 0.9": ("fedavgm", {"lr": "0.3", "momentum": "0.9", **_FITTED}),
    "fedavgm, 1 and 0.8": ("fedavgm", {"lr": "1", "momentum": "0.8", **_FITTED}),
    "fedadam": ("fedadam", {"serve": "mix", "mix_tau": "0.8", "unseen": "0.01"}),
    "ditto": ("ditto", {"mu": "0.1"}),
    "fedper": ("fedper", {"layers": "1"}),
    SELECTIVE: ("dlmu", {"cap": "1", "selective": "true", **_DLMU}),
    SAMPLED: ("scaffold", {"participation": "0.1", **_FITTED}),
}
# In every setting; and in the hardest, where factories have two classes each.
MAIN = (FEDAVG, DLMU, DRIFT, SCAFFOLD, RECOMMENDED)
OTHERS = (
    FITTED,
    "gradient tracking, strength 1",
    "dlmu, capped",
    "fedprox",
    "fedavgm, 0.3 and 0.9",
    "fedavgm, 1 and 0.8",
    "fedadam",
    "ditto",
    "fedper",
)
# With few of many clients in a round.
WITH_FEW = (FEDAVG, SELECTIVE, SAMPLED)
