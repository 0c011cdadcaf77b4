"""Whether anybody will ever say how good a request's model is: a target that nobody measures ends no training."""

from collections.abc import Mapping

from fl.privacy.terms import distributed_settings, sound_settings


def target_refusal(privacy: str, settings: Mapping[str, str], target_micro: int, requester_tests: bool) -> str | None:
    """Why a request with this target cannot be meant; None where somebody may measure it.

    `requester_tests`: the requester keeps test records of its own, and reports on them. Raises PrivacyRefused.
    """
    if not target_micro or requester_tests or privacy not in ("sound", "distributed"):
        return None
    chosen = sound_settings(settings) if privacy == "sound" else distributed_settings(settings)
    if chosen.accuracy != "none":
        return None
    return (
        f"target_accuracy is {target_micro / 10**6:g} and nobody would measure it: accuracy is none in [privacy] and "
        "this node has no anchored test records; want accuracy noisy, test records here, or target_accuracy 0"
    )
