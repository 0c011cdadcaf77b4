"""From a request's terms to a job for the training process, and whether this provider takes such terms at all. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from fl.aggregate import vectors_seen
from fl.delta_blob import SPREAD_BYTES_MAX, may_be_changes
from fl.draws import order_of
from fl.fixed_point import limit_in_steps
from fl.masked_aggregate import check_open_rule, masked_vectors_seen
from fl.models.errors import ModelError
from fl.models.shapes import parameter_count
from fl.privacy.modes import PrivacyRefused, privacy_mode
from fl.privacy.shared_noise import check_distributed
from fl.privacy.strategies import check_strategy_privacy
from fl.settings import Number, Whole, parse_settings
from fl.strategies.agreed_rule import check_agreed
from fl.strategies.base import Strategy, StrategyError, check_in_league
from fl.strategies.registry import strategy
from ledger.charges import CHARGED_MODES
from ledger.codec import digest
from ledger.keys import KeyPair
from ledger.request_terms import update_bytes_max
from ledger.transactions import Protection, RequestTerms
from ledger.types import AMOUNT_MAX
from node.rounds import RoundId, settings_dict
from node.worker_protocol import ModelForm, TrainingTerms

# A quorum of the committee has to fetch an update and say so while the window is open: some hops, and the bytes at
# 10 MB/s. In less, work is delivered, read, and never paid.
ATTEST_MS_MIN = 1_000
ATTEST_BYTES_PER_MS = 10_000


class TermsRefused(ValueError):
    """This provider cannot or does not want to train under these terms; `short_reason` fits it to a DeclineRound."""


class BadTrainingSettings(ValueError):
    """Training settings that do not exist or are out of range."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What `RequestTerms.training_settings` may say."""

    learning_rate: Annotated[float, Number(1e-9, 1000.0, "step length of SGD")] = 0.01
    momentum: Annotated[float, Number(0.0, 0.999999, "momentum of SGD")] = 0.0
    order_seed: Annotated[int, Whole(-1, AMOUNT_MAX, "public seed of the mini-batches' order; -1: each its own")] = -1


def training_settings(terms: Mapping[str, str]) -> TrainingSettings:
    """Raises BadTrainingSettings naming the setting."""
    return parse_settings(TrainingSettings, "training", terms, BadTrainingSettings)


def model_form(terms: RequestTerms) -> ModelForm:
    return ModelForm(terms.model, terms.model_arguments, terms.scale_bits, terms.limit, terms.parameters)


def training_terms(
    terms: RequestTerms,
    number: int,
    key: KeyPair,
    request: bytes,
    allow: bool,
    noise: float = 0.0,
    accuracy: str = "none",
    query_noise: float = 0.0,
    units: int = 0,
    place: int = 0,
) -> TrainingTerms:
    """The job of round `number` (counted from 1). `allow`: this provider trains in a mode that proves nothing too.
    `place`: among the request's providers by id, which is what a public order of mini-batches goes by.

    `noise`, `query_noise`, `units`: what was charged for. `accuracy`: what is told of the test records.

    Raises BadTrainingSettings.
    """
    chosen = training_settings(settings_dict(terms.training_settings))
    return TrainingTerms(
        form=model_form(terms),
        strategy=terms.strategy,
        strategy_settings=terms.strategy_settings,
        privacy=terms.privacy,
        privacy_settings=terms.privacy_settings,
        epochs=terms.epochs,
        batch=terms.batch,
        learning_rate=repr(chosen.learning_rate),
        momentum=repr(chosen.momentum),
        round_number=number - 1,
        seed=training_seed(key, request) if chosen.order_seed < 0 else order_of(chosen.order_seed, place),
        allow_no_guarantee=allow,
        noise=repr(noise),
        accuracy=accuracy,
        query_noise=repr(query_noise),
        units=units,
        deadline=repr(terms.round_deadline / 1000),
    )


def training_seed(key: KeyPair, request: bytes) -> int:
    """53 bits that order this factory's mini-batches: the same after a restart, unknown to everybody else."""
    return int.from_bytes(digest("hanse/training-seed", key.seed + request)[:8], "big") >> 11


def check_terms(
    terms: RequestTerms,
    allow_no_guarantee: bool,
    require_guarantee: bool = False,
    protection: Protection | None = None,
) -> None:
    """Whether these terms can be trained here, as far as that can be said without torch. Raises TermsRefused.

    `require_guarantee`: only in modes whose cost in privacy is counted. `protection`: of the request's updates.
    """
    try:
        limit_in_steps(terms.limit, terms.scale_bits)
        chosen = training_settings(settings_dict(terms.training_settings))
        rule = strategy(terms.strategy, settings_dict(terms.strategy_settings))
        check_in_league(rule)
        mode = privacy_mode(terms.privacy, allow_no_guarantee)
        mode.check(settings_dict(terms.privacy_settings))
        check_strategy_privacy(rule, mode, terms.epochs)
        if mode.accounted and chosen.order_seed >= 0:
            raise PrivacyRefused(f"order_seed with privacy {mode.name}: what a batch holds must stay unknown to others")
        if require_guarantee and not mode.accounted:
            raise PrivacyRefused(f"privacy {mode.name} has no guarantee, this provider wants one")
        count = parameter_count(terms.model, settings_dict(terms.model_arguments))
        _check_aggregation(rule, terms, protection)
    except (ValueError, ModelError, StrategyError, PrivacyRefused) as error:
        raise TermsRefused(str(error)) from None
    window_ms = ATTEST_MS_MIN + update_bytes_max(terms.parameters, protection) // ATTEST_BYTES_PER_MS
    if terms.attest_window < window_ms:
        raise TermsRefused(f"attest window {terms.attest_window} ms, want at least {window_ms}")
    if protection is not None and protection.masked and protection.exchange_window < ATTEST_MS_MIN:
        # Each step of the exchange is a word of everybody's, and of the next block.
        raise TermsRefused(f"exchange window {protection.exchange_window} ms, want at least {ATTEST_MS_MIN}")
    if rule.seconds * 1000 >= terms.round_deadline:
        raise TermsRefused(f"training of {rule.seconds:g} s in rounds of {terms.round_deadline / 1000:g} s")
    if rule.vectors * count != terms.parameters:
        told = f"model has {count} parameters, terms say {terms.parameters}"
        raise TermsRefused(told if rule.vectors == 1 else f"{told}, want {rule.vectors} times as many for {rule.name}")


def _check_aggregation(rule: Strategy, terms: RequestTerms, protection: Protection | None) -> None:
    """Raises AggregateError, PrivacyRefused, StrategyError: nobody could make a model of what we would deliver."""
    settings = settings_dict(protection.aggregation_settings) if protection is not None else {}
    check_agreed(rule, terms.aggregation, settings)
    masked = protection is not None and protection.masked
    if masked and rule.sends_changes:
        raise StrategyError(f"strategy {rule.name} sends changes of a model, and only a whole one can be masked")
    if rule.sends_changes and not may_be_changes(terms.parameters, terms.providers_max):
        raise StrategyError(
            f"strategy {rule.name} sends changes; {terms.providers_max} updates of {terms.parameters} parameters take "
            f"{4 * terms.parameters * terms.providers_max >> 20} MiB to be summed, want {SPREAD_BYTES_MAX >> 20} at "
            "most: fewer providers or a smaller model"
        )
    if masked and rule.remembers and terms.privacy in CHARGED_MODES:
        raise PrivacyRefused(
            f"strategy {rule.name} goes on from what its factory kept, and with privacy {terms.privacy} nothing is "
            "kept of a masked update, for only the sum is released: want fedavg, or updates that are not masked"
        )
    if masked:
        seen = masked_vectors_seen(terms.aggregation, settings)
    else:
        check_open_rule(terms.aggregation)
        seen = vectors_seen(terms.aggregation, settings)
    if seen != rule.vectors:
        raise StrategyError(
            f"rule {terms.aggregation} takes an update for {seen} vectors, strategy {rule.name} sends {rule.vectors}"
        )
    check_distributed(terms.privacy, terms.strategy, terms.aggregation, masked)


def short_reason(text: str) -> str:
    """As much of `text` as a DeclineRound takes: 64 bytes of UTF-8, at least one."""
    return text.encode()[:64].decode(errors="ignore").strip() or "refused"


def round_name(round_id: RoundId) -> str:
    return f"{round_id.request.hex()[:16]}/{round_id.number}.{round_id.attempt}"
