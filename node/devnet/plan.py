"""What a devnet league trains: the factories' data and the request, from the few options of `hanse devnet`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

from fl.data import registry
from node.devnet.league import NodePlan
from node.request_file import RequestDraft, load_request, parse_request
from node.request_strategy import Contradiction, agree, left_to_strategy

# What tells a folder's data set. The first that fits is taken.
_RECOGNISED = (
    ("cwru", "cwru_12k_load0hp.npz"),
    ("cifar10", "test_batch.bin"),
    ("cifar10", "train_00.webp"),
    ("fashion-mnist", "../fashion-mnist/train-images-idx3-ubyte.gz"),
    ("mnist", "train-images-idx3-ubyte.gz"),
)
# Requests by source, with what was found to train well there without any noise; options of the command line override.
_COMMON = """
[payment]
price = 1
budget = 1_000_000

[rounds]
join_window_s = 60
round_deadline_s = 60
attest_window_s = 20
"""
_BEARINGS = """
title = "Bearing faults"
data_type = "bearing-simulator"

[model]
name = "mlp"
arguments = { layers = "8,150,150,4" }

[training]
epochs = 5
batch = 32
learning_rate = 0.05
momentum = 0.8
"""
_CWRU = """
title = "Bearing faults at four motor loads"
data_type = "cwru"

[model]
name = "mlp"
arguments = { layers = "8,150,150,4" }

[training]
epochs = 10
batch = 32
learning_rate = 0.1
momentum = 0.8
"""
# Pictures are divided so that each factory knows two of the ten classes: one pass a round drifts least.
_PICTURES = """
title = "Pictures of {source}"
data_type = "{source}"

[model]
name = "mlp"
arguments = {{ layers = "196,64,10" }}

[training]
epochs = 1
batch = 32
learning_rate = 0.05
momentum = 0.8
"""
_REQUESTS = {
    "bearing-simulator": _BEARINGS,
    "cwru": _CWRU,
    "mnist": _PICTURES.format(source="mnist"),
    "fashion-mnist": _PICTURES.format(source="fashion-mnist"),
}


@dataclass(frozen=True, slots=True)
class _Noised:
    """How a source trains well under noise: few large batches."""

    epochs: int
    batch: int
    learning_rate: str


_NOISED = {
    "bearing-simulator": _Noised(5, 128, "0.15"),
    "cwru": _Noised(5, 128, "0.15"),
    "mnist": _Noised(2, 128, "0.2"),
    "fashion-mnist": _Noised(2, 128, "0.2"),
}
# Modes of privacy that a devnet can be asked for; the others need more than one option says: give them with --request.
PRIVACY_MODES = ("sound", "none")
EPSILON = 8.0
# Enough for some minutes of training, few enough that a round of five factories takes seconds on two cores. The more
# records there are, the less noise hides one of them.
PICTURES, PICTURES_NOISED, TEST_PICTURES = 6_000, 30_000, 2_000


class CannotPlan(Exception):
    """Options that make no league. The text says which and what is wanted."""


@dataclass(frozen=True, slots=True)
class Plan:
    """`providers`: settings of the source, by factory. `customer`: whether one more node, without data, publishes.
    `common_test`: whether all factories hold the same test records, and differ in their training records only.
    `grants`: what each factory's own configuration allows the request."""

    source: str
    path: Path | None
    providers: tuple[Mapping[str, str], ...]
    customer: bool
    common_test: bool
    draft: RequestDraft
    grants: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    @property
    def nodes(self) -> tuple[NodePlan, ...]:
        """The requester first."""
        factories = tuple(
            NodePlan(f"factory-{at}", self.source, self.path, settings, period_records=250, settings=self.grants)
            for at, settings in enumerate(self.providers)
        )
        return (NodePlan("customer"), *factories) if self.customer else factories

    @property
    def training(self) -> tuple[Mapping[str, str], ...]:
        """Settings of those who train: a requester with data of its own does not pay itself."""
        return self.providers if self.customer else self.providers[1:]


def plan_devnet(
    *,
    factories: int,
    data: str,
    split: str | None,
    rounds: int,
    epochs: int | None,
    target: float | None,
    strategy: str | None,
    privacy: str | None,
    epsilon: float | None,
    request_path: Path | None,
) -> Plan:
    """Raises CannotPlan, DataError, RequestFileError."""
    source, path = recognise(data)
    # Without files a factory publishes and the others train; recorded data is too little to leave a part unused.
    customer = path is not None
    training = factories if customer else factories - 1
    if training < 1:
        raise CannotPlan("--factories 1 leaves nobody to train: the one that publishes does not train for itself")
    draft = load_request(request_path) if request_path else _request(source)
    draft = _protected(draft, source, privacy, epsilon, from_file=request_path is not None)
    if strategy is not None and strategy != draft.strategy:
        draft = _with_strategy(draft, strategy)
    pictures = PICTURES if draft.privacy == "none" else PICTURES_NOISED
    providers = tuple(_settings(source, at, factories, split, pictures) for at in range(factories))
    draft = replace(
        draft,
        data_type=source,
        rounds_max=rounds,
        epochs=epochs or draft.epochs,
        target_accuracy=draft.target_accuracy if target is None else round(target * 1_000_000),
        providers_min=max(1, training - training // 3),
        providers_max=training,
    )
    common_test = any("partition" in settings for settings in providers)
    return Plan(source, path, providers, customer, common_test, draft, _grants(draft))


def _with_strategy(draft: RequestDraft, strategy: str) -> RequestDraft:
    """The request with another strategy, aggregated by that one's own rule unless the request named one for itself."""
    try:
        rule, settings = left_to_strategy(
            draft.strategy, draft.strategy_settings, draft.aggregation, draft.aggregation_settings
        )
        agreed = agree(strategy, (), rule, settings, privacy=draft.privacy, masked=draft.masked)
    except Contradiction as error:
        raise CannotPlan(f"--strategy {strategy}: {error}") from None
    return replace(
        draft,
        strategy=agreed.strategy,
        strategy_settings=agreed.strategy_settings,
        aggregation=agreed.rule,
        aggregation_settings=agreed.rule_settings,
    )


def _protected(
    draft: RequestDraft, source: str, privacy: str | None, epsilon: float | None, *, from_file: bool
) -> RequestDraft:
    """The request in the mode of privacy that was asked for; a file of one's own keeps what it says unless told."""
    if from_file and privacy is None:
        if epsilon is not None:
            raise CannotPlan(f"--epsilon {epsilon:g} is for --privacy sound; the file of --request says its own")
        return draft
    if privacy == "none":
        if epsilon is not None:
            raise CannotPlan(f"--privacy none spends no epsilon, but --epsilon {epsilon:g} is given")
        return replace(draft, privacy="none", privacy_settings=())
    # The noisy accuracy costs a little of epsilon, and is what a target is judged by.
    settings = (("accuracy", "noisy"), ("epsilon", f"{epsilon or EPSILON:g}"))
    draft = replace(draft, privacy="sound", privacy_settings=settings)
    noised = None if from_file else _NOISED.get(source)
    if noised is None:
        return draft
    training = dict(draft.training_settings) | {"learning_rate": noised.learning_rate}
    return replace(
        draft,
        epochs=noised.epochs,
        batch=noised.batch,
        training_settings=tuple(sorted(training.items())),
    )


def _grants(draft: RequestDraft) -> dict[str, dict[str, object]]:
    """Every factory of a devnet has agreed to its request: it allows the epsilon, and modes that prove nothing."""
    if draft.privacy == "paper":
        return {"privacy": {"allow_no_guarantee": True}}
    asked = dict(draft.privacy_settings).get("epsilon")
    # A millionth more, for the figure that counts is rounded up.
    return {"privacy": {"epsilon_max": Decimal(asked) + Decimal("0.000001")}} if asked is not None else {}


def recognise(data: str) -> tuple[str, Path | None]:
    """Source and path that `--data` means."""
    path = Path(data).expanduser()
    if not path.exists():
        if data in registry.names():
            if registry.describe(data).path:
                raise CannotPlan(f"--data {data}: want the path of {registry.describe(data).path}")
            return data, None
        raise CannotPlan(f"--data {data}: neither a path nor a source; sources: {', '.join(registry.names())}")
    path = path.resolve()
    if path.suffix == ".toml":
        return registry.OWN, path
    for source, mark in _RECOGNISED:
        if (path / mark).exists() and not (mark.startswith("..") and path.name != source):
            return source, path
    known = ", ".join(dict.fromkeys(name for name, _ in _RECOGNISED))
    raise CannotPlan(
        f"--data {data}: no data set is recognised in it; want one of {known}, or the TOML file of a block"
    )


def _settings(source: str, at: int, factories: int, split: str | None, pictures: int) -> dict[str, str]:
    own = {
        "bearing-simulator": {"factory": str(at), "factories": str(factories)},
        "cwru": {"load": str(at % 4)},
        "mnist": {"downscale": "2", "limit": str(pictures), "test_limit": str(TEST_PICTURES)},
        "fashion-mnist": {"downscale": "2", "limit": str(pictures), "test_limit": str(TEST_PICTURES)},
    }.get(source, {})
    if source == "cwru" and factories > 4:
        raise CannotPlan(f"--factories {factories}: there are four motor loads, want at most 4")
    how = _partition(split) if split else "" if source in ("bearing-simulator", "cwru") else "class(2)"
    if not how:
        return own
    if source == "cwru":
        own["load"] = "all"
    return {**own, "partition": how, "parts": str(factories), "part": str(at)}


def _partition(split: str) -> str:
    """class2 and class(2) mean the same, and so for dirichlet; site is the source's own division."""
    if split in ("site", "iid", "group"):
        return "" if split == "site" else split
    for name in ("class", "dirichlet"):
        value = split.removeprefix(name).strip("()")
        if split.startswith(name) and value:
            return f"{name}({value})"
    raise CannotPlan(f"--split {split}, want iid, site, classK or dirichletA")


def _request(source: str) -> RequestDraft:
    known = _REQUESTS.get(source)
    if known is None:
        raise CannotPlan(f"source {source} has no request of its own: give one with --request FILE")
    return parse_request(known + _COMMON, f"devnet {source}")
