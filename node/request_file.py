"""A data request as its author writes it: a TOML file, read strictly, into the terms that go on the ledger.

Everything of `RequestTerms` but the initial model, which the publishing node computes from the model, its arguments
and the seed. Times are seconds in the file and milliseconds on the ledger, ratios are millionths there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from ledger.codec import encode
from ledger.errors import InvalidBytes
from ledger.protection import MASKED_PROVIDERS_MAX, MASKED_PROVIDERS_MIN
from ledger.request_terms import MASKED_RULES
from ledger.transactions import SETTINGS_MAX, Protection, RequestTerms, Setting
from ledger.types import AMOUNT_MAX, MEMBERS_MAX, ZERO_HASH
from node.request_strategy import AUTO, Contradiction, agree
from node.toml_rules import (
    Flag,
    Number,
    Ratio,
    Seconds,
    TextTable,
    Whole,
    Words,
    parse_toml,
    read_section,
    read_toml,
    read_value,
    refuse_unknown,
)

Settings = tuple[tuple[str, str], ...]

YEAR_MS = 366 * 86_400_000
SECOND_MS = 1000


class RequestFileError(Exception):
    """A request file that says no publishable request. The text names the file, `[section] key`, came and wanted."""


@dataclass(frozen=True, slots=True)
class ModelSection:
    """The model that is trained: its name in the registry and its arguments; code never travels."""

    name: Annotated[str, Words(1, 64, "a model of the registry: mlp, cnn, cnn1d, char-lstm or a plug-in")]
    arguments: Annotated[Settings, TextTable(SETTINGS_MAX, "arguments of the model")] = ()
    seed: Annotated[int, Whole(0, AMOUNT_MAX, "draws the initial weights: the same seed gives the same weights")] = 1
    scale_bits: Annotated[int, Whole(1, 30, "binary places of a parameter on the ledger")] = 20
    limit: Annotated[int, Whole(1, 2**30, "every parameter lies between -limit and +limit")] = 512


@dataclass(frozen=True, slots=True)
class StrategySection:
    """The rule of a round: where a factory starts from, what it minimises, what it serves."""

    name: Annotated[str, Words(1, 64, "one of `hanse help strategies`; auto: what Hanse recommends here")] = AUTO
    settings: Annotated[Settings, TextTable(SETTINGS_MAX, "settings of the strategy")] = ()


@dataclass(frozen=True, slots=True)
class AggregationSection:
    """How the committee makes one model of all updates: exact integers, which every member of it computes again."""

    rule: Annotated[str, Words(1, 64, "mean, or a rule of `hanse help rules`; auto is the strategy's own")] = AUTO
    settings: Annotated[Settings, TextTable(SETTINGS_MAX, "settings of the rule")] = ()


@dataclass(frozen=True, slots=True)
class PrivacySection:
    """What protects the records in an update. No mode claims more than it proves; without a word it is `sound`."""

    mode: Annotated[
        str, Words(1, 64, "sound, distributed, paper or none; providers must allow modes that prove nothing")
    ] = "sound"
    settings: Annotated[Settings, TextTable(SETTINGS_MAX, "settings of the mode, as epsilon and delta")] = ()


@dataclass(frozen=True, slots=True)
class MaskingSection:
    """Whether anybody may see a single update, or their sum only (secure aggregation)."""

    enabled: Annotated[bool, Flag("mask every update: 3 providers at least, and no rule that looks at single ones")] = (
        False
    )
    exchange_window_s: Annotated[int, Seconds(1, YEAR_MS, "each step of the exchange of masks waits for so long")] = (
        10 * SECOND_MS
    )


@dataclass(frozen=True, slots=True)
class TrainingSection:
    """What each provider does in a round."""

    epochs: Annotated[int, Whole(1, 10_000, "passes over the provider's records in a round")] = 10
    batch: Annotated[int, Whole(1, 1_000_000, "records a step")] = 32
    learning_rate: Annotated[str, Number("0.000000001", "1000", "step length of SGD")] = "0.01"
    momentum: Annotated[str, Number("0", "0.999999", "momentum of SGD")] = "0.8"
    order_seed: Annotated[
        int,
        Whole(-1, AMOUNT_MAX, "-1: each provider orders its records by a secret of its own; else all by this seed"),
    ] = -1


@dataclass(frozen=True, slots=True)
class PaymentSection:
    """What is paid, in tokens. The budget leaves the balance when the request is published; the rest returns."""

    price: Annotated[int, Whole(1, AMOUNT_MAX, "tokens a record and finished round")]
    budget: Annotated[int, Whole(1, AMOUNT_MAX, "tokens set aside for the whole request")]


@dataclass(frozen=True, slots=True)
class RoundsSection:
    """When training ends and how long anybody is waited for."""

    target_accuracy: Annotated[int, Ratio("training ends when providers measure this; 0: run all rounds")] = 0
    rounds_max: Annotated[int, Whole(1, 10_000, "rounds at most")] = 10
    providers_min: Annotated[int, Whole(1, MEMBERS_MAX, "a round of fewer updates is void")] = 2
    providers_max: Annotated[int, Whole(1, MEMBERS_MAX, "further offers are refused")] = 16
    join_window_s: Annotated[int, Seconds(1, YEAR_MS, "offers are taken for so long")] = 30 * SECOND_MS
    round_deadline_s: Annotated[int, Seconds(1, YEAR_MS, "updates of a round are taken for so long")] = 60 * SECOND_MS
    attest_window_s: Annotated[int, Seconds(1, YEAR_MS, "the committee fetches updates for so long")] = 10 * SECOND_MS


_TITLE = Words(1, 64, "what the request is about, as others see it")
_DATA_TYPE = Words(1, 64, "the type of data that providers must have")
# What JSON may hold; the ledger's own bounds are checked afterwards on the whole.
_SETTINGS = TextTable(SETTINGS_MAX, "settings by name")
_ANY_TEXT = Words(1, 64, "a name")
_ANY_WHOLE = Whole(0, AMOUNT_MAX, "a count, an amount, or milliseconds")
_ANY_FLAG = Flag("yes or no")
# What the ledger wants of a request that masks nothing.
NO_WINDOW = 1
# Modes of privacy whose cost providers announce.
CHARGED = frozenset({"sound", "distributed"})
_JSON_RULES: dict[Any, Any] = {Settings: _SETTINGS, str: _ANY_TEXT, int: _ANY_WHOLE, bool: _ANY_FLAG}
REQUEST_SECTIONS: dict[str, type] = {
    "model": ModelSection,
    "strategy": StrategySection,
    "aggregation": AggregationSection,
    "privacy": PrivacySection,
    "masking": MaskingSection,
    "training": TrainingSection,
    "payment": PaymentSection,
    "rounds": RoundsSection,
}


@dataclass(frozen=True, slots=True)
class RequestDraft:
    """A request before its initial model is known. Fields and units are those of `RequestTerms` and `Protection`."""

    title: str
    model: str
    model_arguments: Settings
    seed: int
    scale_bits: int
    limit: int
    strategy: str
    strategy_settings: Settings
    aggregation: str
    aggregation_settings: Settings
    privacy: str
    privacy_settings: Settings
    masked: bool
    exchange_window: int
    data_type: str
    epochs: int
    batch: int
    training_settings: Settings
    price: int
    budget: int
    target_accuracy: int
    rounds_max: int
    providers_min: int
    providers_max: int
    join_window: int
    round_deadline: int
    attest_window: int

    def terms(self, initial_model: bytes, parameters: int) -> RequestTerms:
        """The terms with the digest of the initial model's blob and the length of its vector.

        Raises RequestFileError when a value breaks a bound of the ledger.
        """
        terms = RequestTerms(**self._values_of(RequestTerms), initial_model=initial_model, parameters=parameters)
        self._check_bounds(terms)
        return terms

    def protection(self) -> Protection:
        """What protects its updates beyond their noise. Raises RequestFileError for what no ledger takes."""
        protection = Protection(**self._values_of(Protection))
        self._check_bounds(protection)
        return protection

    @property
    def needs_protection(self) -> bool:
        """Whether an older league, which has no protected requests, could not carry it out."""
        return self.masked or bool(self.aggregation_settings) or self.aggregation != "mean" or self.privacy in CHARGED

    def _values_of(self, kind: type) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in {field.name for field in fields(kind)} & {field.name for field in fields(self)}:
            value = getattr(self, name)
            # The ledger wants settings in one order, whatever order they were written in.
            is_settings = isinstance(value, tuple)
            values[name] = tuple(Setting(key, text) for key, text in sorted(value)) if is_settings else value
        return values

    def _check_bounds(self, said: RequestTerms | Protection) -> None:
        try:
            encode(said)
        except InvalidBytes as error:
            raise RequestFileError(f"request {self.title!r}: {error}") from None

    def as_json(self) -> dict[str, Any]:
        """For `request.publish`: every field by name, settings as objects of texts."""
        return {
            field.name: dict(value) if isinstance(value := getattr(self, field.name), tuple) else value
            for field in fields(self)
        }


def load_request(path: Path) -> RequestDraft:
    """The request in a TOML file. Raises RequestFileError."""
    return _build(read_toml(path, RequestFileError), str(path), path.absolute().parent)


def parse_request(text: str, name: str = "request") -> RequestDraft:
    """The request in TOML text; `name` is what errors call it. Raises RequestFileError."""
    return _build(parse_toml(text.encode(), name, RequestFileError), name, Path())


def request_from_json(values: Mapping[str, object]) -> RequestDraft:
    """What `as_json` wrote, from an untrusted caller: every field there, of the right type. Raises RequestFileError."""
    known = {field.name: field.type for field in fields(RequestDraft)}
    refuse_unknown(values, known, "request:", RequestFileError)
    missing = [name for name in known if name not in values]
    if missing:
        raise RequestFileError(f"request: {', '.join(missing)} missing")
    read: dict[str, Any] = {}
    for name, kind in known.items():
        value = values[name]
        rule = _JSON_RULES[kind]
        read[name] = read_value(rule, value, Path(), f"request: {name}", RequestFileError)
    draft = RequestDraft(**read)
    _check(draft, "request")
    return draft


def check_known(draft: RequestDraft) -> None:
    """That this installation can do what the request asks: model, strategy, aggregation, privacy and their settings.

    Imports numpy, never torch. Raises RequestFileError.
    """
    from fl.models.errors import ModelError
    from fl.models.shapes import parameter_count
    from fl.strategies.base import StrategyError
    from fl.strategies.registry import strategy
    from node.training_terms import TermsRefused, check_terms

    try:
        vectors = strategy(draft.strategy, dict(draft.strategy_settings)).vectors
        parameters = vectors * parameter_count(draft.model, dict(draft.model_arguments))
        terms = draft.terms(ZERO_HASH, parameters)
        check_terms(terms, allow_no_guarantee=True, protection=draft.protection())
        if draft.masked and draft.aggregation not in MASKED_RULES:
            raise RequestFileError(
                f"rule {draft.aggregation} with masks, for which the ledger takes {' or '.join(MASKED_RULES)}: want "
                "one of these, or updates that are not masked"
            )
    except (ModelError, StrategyError, TermsRefused, RequestFileError) as error:
        raise RequestFileError(f"request {draft.title!r}: {error}") from None


def _build(tables: dict[str, Any], name: str, folder: Path) -> RequestDraft:
    refuse_unknown(tables, {"title": None, "data_type": None, **REQUEST_SECTIONS}, f"{name}:", RequestFileError)
    for key, rule in (("title", _TITLE), ("data_type", _DATA_TYPE)):
        if key not in tables:
            raise RequestFileError(f"{name}: {key} is missing, want {rule.wanted()} ({rule.meaning})")
    read: dict[str, Any] = {
        key: read_section(kind, tables.get(key, {}), folder, f"{name}: [{key}]", RequestFileError)
        for key, kind in REQUEST_SECTIONS.items()
    }
    model, strategy, privacy = read["model"], read["strategy"], read["privacy"]
    aggregation, masking = read["aggregation"], read["masking"]
    try:
        agreed = agree(
            strategy.name,
            strategy.settings,
            aggregation.rule,
            aggregation.settings,
            privacy=privacy.mode,
            masked=masking.enabled,
        )
    except Contradiction as error:
        raise RequestFileError(f"{name}: [strategy] {error}") from None
    training, payment, rounds = read["training"], read["payment"], read["rounds"]
    draft = RequestDraft(
        title=read_value(_TITLE, tables["title"], folder, f"{name}: title", RequestFileError),
        model=model.name,
        model_arguments=model.arguments,
        seed=model.seed,
        scale_bits=model.scale_bits,
        limit=model.limit,
        strategy=agreed.strategy,
        strategy_settings=agreed.strategy_settings,
        aggregation=agreed.rule,
        aggregation_settings=agreed.rule_settings,
        privacy=privacy.mode,
        privacy_settings=privacy.settings,
        masked=masking.enabled,
        exchange_window=masking.exchange_window_s if masking.enabled else NO_WINDOW,
        data_type=read_value(_DATA_TYPE, tables["data_type"], folder, f"{name}: data_type", RequestFileError),
        epochs=training.epochs,
        batch=training.batch,
        training_settings=_training_settings(training),
        price=payment.price,
        budget=payment.budget,
        target_accuracy=rounds.target_accuracy,
        rounds_max=rounds.rounds_max,
        providers_min=rounds.providers_min,
        providers_max=rounds.providers_max,
        join_window=rounds.join_window_s,
        round_deadline=rounds.round_deadline_s,
        attest_window=rounds.attest_window_s,
    )
    _check(draft, name)
    return draft


def _training_settings(training: TrainingSection) -> Settings:
    """What goes on the ledger; an order that nobody else can know is what an older node does as well."""
    said = (("learning_rate", training.learning_rate), ("momentum", training.momentum))
    return said if training.order_seed < 0 else (*said, ("order_seed", str(training.order_seed)))


def _check(draft: RequestDraft, name: str) -> None:
    """Refuse terms that are each allowed and cannot be meant together, and those the ledger would refuse."""
    if draft.providers_min > draft.providers_max:
        raise RequestFileError(
            f"{name}: [rounds] providers_min is {draft.providers_min}, want at most providers_max"
            f" ({draft.providers_max})"
        )
    if draft.masked and not MASKED_PROVIDERS_MIN <= draft.providers_min <= draft.providers_max <= MASKED_PROVIDERS_MAX:
        raise RequestFileError(
            f"{name}: [rounds] {draft.providers_min} to {draft.providers_max} providers mask their updates, want"
            f" {MASKED_PROVIDERS_MIN} at least (two know each other's from the sum) and {MASKED_PROVIDERS_MAX} at most"
        )
    least = draft.price * draft.providers_min
    if draft.budget < least:
        raise RequestFileError(
            f"{name}: [payment] budget is {draft.budget}, want at least {least}: one record of each of"
            f" {draft.providers_min} providers in one round costs that much"
        )
    if draft.limit << draft.scale_bits > 2**31 - 1:
        raise RequestFileError(
            f"{name}: [model] limit {draft.limit} at {draft.scale_bits} scale_bits takes more than 32 bits a parameter"
        )
    try:
        draft.terms(ZERO_HASH, 1)
        draft.protection()
    except RequestFileError as error:
        raise RequestFileError(f"{name}: {error}") from None
