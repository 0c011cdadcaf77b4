"""What `hanse dp audit` attacks, from its options: the claim, the records, or exported models. Trains nothing."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fl.batches import as_records
from fl.data import registry
from fl.data.errors import DataError
from fl.export import ExportedModel, ExportError, read_model
from fl.models.registry import build
from fl.privacy.canaries import Table, public_table
from fl.privacy.claims import Claim, claim, settings_of
from fl.privacy.exposure import ExposureReport, exposure
from fl.privacy.terms import PrivacyRefused, SoundSettings
from fl.round import RoundJob
from node.request_file import RequestDraft, load_request

# Made-up records by default: enough to learn from in an audit of minutes; so few with a model so large that it knows
# them by heart, and a guesser who finds nothing has found something out.
MADE_UP, MADE_UP_FOR_MEMBERSHIP = 500, 400
# A seed of the public records and of which records of a source are taken: repeatable, and no secret.
PUBLIC_SEED = 5
ROUNDS_FOR_MEMBERSHIP = 5
EPSILON = 2.0
HIDDEN_FOR_MEMBERSHIP = 64


@dataclass(frozen=True, slots=True)
class Subject:
    claim: Claim
    table: Table
    classes: int


def audit_subject(
    *,
    membership: bool,
    mode: str | None,
    epsilon: float | None,
    delta: float | None,
    trials: int,
    rounds: int | None,
    request_path: Path | None,
    data: str | None,
    data_path: Path | None,
    data_setting: Sequence[str],
    records: int | None,
    canary: str,
    **training: Any,
) -> Subject:
    """Raises PrivacyRefused, DataError, RequestFileError and ModelError for options that make no audit."""
    draft = load_request(request_path) if request_path is not None else None
    table, classes = _table(data, data_path, data_setting, records, membership)
    settings = {} if draft is None or mode not in (None, draft.privacy) else dict(draft.privacy_settings)
    settings |= _pairs("--privacy-setting", training.pop("privacy_setting"))
    if settings.get("unit", "record") != "record":
        raise PrivacyRefused(
            f"unit is {settings['unit']}: an audit plants single records, want --privacy-setting unit=record"
        )
    chosen = mode or (draft.privacy if draft is not None else "sound")
    # A request that names no epsilon asks for the mode's own default.
    usual = SoundSettings().epsilon if draft is not None and draft.privacy == chosen == "sound" else EPSILON
    wished, allowed = settings_of(epsilon, delta, settings, usual)
    # What is given on the command line overrules the request's.
    settings = {name: text for name, text in settings.items() if name not in ("epsilon", "delta")}
    hidden = (HIDDEN_FOR_MEMBERSHIP,) if membership and data is None else ()
    layers = (int(np.prod(table[0].shape[1:])), *hidden, classes)
    job = _job(draft, chosen, settings, layers, training)
    count = rounds or (draft.rounds_max if draft is not None else ROUNDS_FOR_MEMBERSHIP if membership else 1)
    return Subject(claim(job, wished, allowed, len(table[1]), count, trials), table, classes)


def _job(
    draft: RequestDraft | None,
    mode: str,
    privacy_settings: dict[str, str],
    layers: Sequence[int],
    training: dict[str, Any],
) -> RoundJob:
    """The request's round, or a perceptron of `layers` trained plainly; what `training` gives overrules either."""
    arguments = _pairs("--model-argument", training["model_argument"])
    if draft is None:
        plain = {"layers": ",".join(map(str, layers))}
        model, strategy, strategy_settings = training["model"] or "mlp", training["strategy"] or "fedavg", {}
        arguments = arguments or (plain if training["model"] is None else {})
        epochs, batch, rate, momentum, scale_bits, limit = 10, 32, 0.1, 0.0, 20, 512
    else:
        step = dict(draft.training_settings)
        model, strategy = training["model"] or draft.model, training["strategy"] or draft.strategy
        strategy_settings = dict(draft.strategy_settings) if strategy == draft.strategy else {}
        arguments = arguments or (dict(draft.model_arguments) if model == draft.model else {})
        epochs, batch = draft.epochs, draft.batch
        rate, momentum = float(step["learning_rate"]), float(step["momentum"])
        scale_bits, limit = draft.scale_bits, draft.limit
    return RoundJob(
        model,
        training["epochs"] or epochs,
        training["batch"] or batch,
        training["learning_rate"] or rate,
        momentum if training["momentum"] is None else training["momentum"],
        round_number=0,
        seed=PUBLIC_SEED,
        strategy=strategy,
        privacy=mode,
        arguments=arguments,
        strategy_settings=strategy_settings,
        privacy_settings=privacy_settings,
        allow_no_guarantee=True,
        scale_bits=scale_bits,
        limit=float(limit),
    )


def _table(
    data: str | None, path: Path | None, settings: Sequence[str], records: int | None, membership: bool
) -> tuple[Table, int]:
    if data is None:
        if path is not None or settings:
            raise DataError("--data-path and --data-setting need --data SOURCE")
        count = records or (MADE_UP_FOR_MEMBERSHIP if membership else MADE_UP)
        features, labels = public_table(PUBLIC_SEED, count)
        return (features, labels), 4
    train = registry.load(data, _pairs("--data-setting", settings), path).train
    if records is not None and records < len(train):
        rows = np.sort(np.random.default_rng(PUBLIC_SEED).permutation(len(train))[:records])
        train = train.take(rows)
    elif records is not None and records > len(train):
        raise DataError(f"--records {records}, but {data} has {len(train)} training records")
    return (train.features, train.labels), len(train.classes)


def _pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    pairs = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise DataError(f"{option} {text[:80]!r}, want NAME=VALUE")
        pairs[name] = value
    return pairs


def exposed_models(
    folder: Path, data: str | None, path: Path | None, settings: Sequence[str]
) -> list[tuple[str, ExposureReport]]:
    """(request, report) for every request whose global models lie in `folder` as `hanse model export` writes them.

    Raises ExportError for a file that is none, DataError, UnusableTable and ModelError for records that do not fit.
    """
    if data is None:
        raise DataError("--models needs --data SOURCE: the records that the models are asked about")
    split = registry.load(data, _pairs("--data-setting", settings), path)
    members = as_records(split.train.features, split.train.labels)
    others = as_records(split.test.features, split.test.labels)
    reports = []
    for request, models in sorted(_models(folder).items()):
        about = models[0].metadata
        net = build(about["model"], json.loads(about["arguments"]), 0)
        reports.append((request, exposure(net, [each.vector for each in models], members, others)))
    return reports


def _models(folder: Path) -> dict[str, list[ExportedModel]]:
    """By request, the oldest round first. What a factory serves to itself was never released, and is left out."""
    found: dict[str, list[ExportedModel]] = defaultdict(list)
    for file in sorted(folder.glob("*.safetensors")):
        try:
            model = read_model(file.read_bytes())
        except ExportError as error:
            raise ExportError(f"{file.name}: {error}") from None
        missing = sorted({"request", "round", "model", "arguments"} - model.metadata.keys())
        if missing:
            raise ExportError(f"{file.name}: the head lacks {', '.join(missing)}")
        if "served" not in model.metadata:
            found[model.metadata["request"]].append(model)
    if not found:
        raise ExportError("no exported global model in it, want NAME.safetensors as `hanse model export` writes it")
    for models in found.values():
        models.sort(key=lambda each: int(each.metadata["round"]))
    return dict(found)
