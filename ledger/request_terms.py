"""What a request may ask for: terms and protection that fit together, the league, and a blob."""

from ledger.errors import InvalidTransaction
from ledger.parameters import LeagueParameters
from ledger.protection import MASKED_PROVIDERS_MAX, MASKED_PROVIDERS_MIN
from ledger.transactions import Protection, RequestTerms, Settings
from ledger.types import BLOB_BYTES_MAX

# The head of an update's blob beside what it has for each parameter.
BLOB_OVERHEAD_BYTES_MAX = 64
# The id of the provider at the end of a sealed update.
SEAL_BYTES = 32
# Rules that need no more of the updates than their sum; every other has to see each of them.
MASKED_RULES = ("mean", "noisy-step")


def model_bytes_max(parameters: int) -> int:
    """Bytes of the longest blob of a model, or of an update that everybody may see."""
    return 4 * parameters + BLOB_OVERHEAD_BYTES_MAX


def update_bytes_max(parameters: int, protection: Protection | None) -> int:
    """Bytes of the longest blob of an update: plain, with its provider's id, or masked, 64 bits for each parameter and
    for the weight."""
    if protection is None:
        return model_bytes_max(parameters)
    if protection.masked:
        return 8 * (parameters + 1) + BLOB_OVERHEAD_BYTES_MAX
    return model_bytes_max(parameters) + SEAL_BYTES


def check_terms(terms: RequestTerms, limits: LeagueParameters) -> None:
    """Raises InvalidTransaction ("terms") for terms that contradict themselves or the league's parameters."""
    if terms.providers_min > terms.providers_max:
        raise InvalidTransaction("terms", f"{terms.providers_min} providers at least, {terms.providers_max} at most")
    if terms.limit << terms.scale_bits >= 2**31:
        # Parameters travel as int32: terms that no vector fits would only cost the providers a round.
        raise InvalidTransaction("terms", f"limit {terms.limit} with {terms.scale_bits} binary places exceeds 32 bits")
    if model_bytes_max(terms.parameters) > BLOB_BYTES_MAX:
        raise InvalidTransaction("terms", f"{terms.parameters} parameters fit no blob of {BLOB_BYTES_MAX} bytes")
    for settings in (terms.model_arguments, terms.strategy_settings, terms.privacy_settings, terms.training_settings):
        _check_settings(settings)
    if terms.price < limits.reward_min:
        raise InvalidTransaction("terms", f"price {terms.price}, the league pays {limits.reward_min} a record at least")
    for name in ("join_window", "round_deadline", "attest_window"):
        asked, least = getattr(terms, name), getattr(limits, f"{name}_min")
        if not least <= asked <= limits.duration_max:
            raise InvalidTransaction("terms", f"{name} {asked} ms, want {least} to {limits.duration_max}")


def check_protection(terms: RequestTerms, protection: Protection, limits: LeagueParameters) -> None:
    """Raises InvalidTransaction ("terms") for a protection that contradicts the terms or the league's parameters."""
    _check_settings(protection.aggregation_settings)
    if update_bytes_max(terms.parameters, protection) > BLOB_BYTES_MAX:
        raise InvalidTransaction(
            "terms", f"protected updates of {terms.parameters} parameters fit no blob of {BLOB_BYTES_MAX} bytes"
        )
    window = protection.exchange_window
    if not protection.masked:
        if window != 1:
            raise InvalidTransaction("terms", f"exchange_window {window}, want 1 where nothing is masked")
        return
    if terms.aggregation not in MASKED_RULES:
        raise InvalidTransaction(
            "terms",
            f"rule {terms.aggregation!r} has to see single updates, which masking hides: want "
            + " or ".join(MASKED_RULES),
        )
    if not MASKED_PROVIDERS_MIN <= terms.providers_min <= terms.providers_max <= MASKED_PROVIDERS_MAX:
        raise InvalidTransaction(
            "terms",
            f"{terms.providers_min} to {terms.providers_max} providers mask their updates, want "
            f"{MASKED_PROVIDERS_MIN} to {MASKED_PROVIDERS_MAX}",
        )
    # A step of the exchange is a message each, as an attestation is.
    if not limits.attest_window_min <= window <= limits.duration_max:
        raise InvalidTransaction(
            "terms", f"exchange_window {window} ms, want {limits.attest_window_min} to {limits.duration_max}"
        )


def _check_settings(settings: Settings) -> None:
    names = [setting.name for setting in settings]
    if names != sorted(set(names)):
        raise InvalidTransaction("terms", f"settings are not ascending and distinct: {', '.join(names)}")
