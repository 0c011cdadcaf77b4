"""The privacy modes by name, what each one promises, and who must allow it. Decides; trains nothing.

A mode that gives no guarantee says so wherever it is shown: its epsilon is null, never a number. What a request may
set: terms.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from fl.privacy.terms import (
    DistributedSettings,
    PaperSettings,
    PrivacyRefused,
    SoundSettings,
    distributed_settings,
    group_column,
    paper_settings,
    sound_settings,
)
from fl.settings import NoSettings, SettingNote, parse_settings, setting_notes

__all__ = [
    "MODES",
    "DistributedSettings",
    "Mode",
    "PaperSettings",
    "PrivacyRefused",
    "PrivacyReport",
    "SoundSettings",
    "check_privacy",
    "distributed_settings",
    "group_column",
    "notes",
    "paper_settings",
    "privacy_mode",
    "sound_settings",
    "unit_column",
]


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What may be said about a round's update. Never thresholds, losses or norms: they are raw data statistics.

    `epsilon`: of this one round, at the delta of the terms; None where no number holds.
    """

    mode: str
    guarantee: str
    epsilon: float | None
    statement: str


@dataclass(frozen=True, slots=True)
class Mode:
    """`needs_permission`: a provider must allow it in its own configuration, whatever a request says.

    `accounted`: every round is charged to the provider's budget before it is trained. `masked_only`: the update is no
    private one by itself, only the sum of all is.
    """

    name: str
    settings: type
    report: PrivacyReport
    available: bool
    needs_permission: bool
    accounted: bool = False
    masked_only: bool = False

    def check(self, settings: Mapping[str, str]) -> None:
        """Raises PrivacyRefused for a setting that the mode does not have or allow."""
        parse_settings(self.settings, f"privacy mode {self.name}", settings, PrivacyRefused)


MODES = {
    mode.name: mode
    for mode in (
        Mode(
            "none",
            NoSettings,
            PrivacyReport("none", "none", None, "plain training: the update is not protected by any noise"),
            available=True,
            needs_permission=False,
        ),
        Mode(
            "paper",
            PaperSettings,
            PrivacyReport(
                "paper",
                "none",
                None,
                "DDP-SGD as published: un-noised epochs reach the released weights, so no guarantee holds; a "
                "reproduction, with the threshold read as the mean norm of two clean epochs and kept above a floor",
            ),
            available=True,
            needs_permission=True,
        ),
        Mode(
            "sound",
            SoundSettings,
            PrivacyReport(
                "sound",
                "(epsilon, delta) for every unit of every provider, under zeroing it out, its number of units public",
                None,
                "Poisson batches, every step clipped and noised, every round charged before it is trained; it holds "
                "against everybody outside the provider, who sees every update",
            ),
            available=True,
            needs_permission=False,
            accounted=True,
        ),
        Mode(
            "distributed",
            DistributedSettings,
            PrivacyReport(
                "distributed",
                "(epsilon, delta) for every unit of every provider, in the sum of all updates only",
                None,
                "one clipped step a round, noised by all providers together and summed under masks; it holds against "
                "whoever sees the sum, as long as at most a third of the providers collude or add no noise",
            ),
            available=True,
            needs_permission=False,
            accounted=True,
            masked_only=True,
        ),
    )
}


def privacy_mode(name: str, allow_no_guarantee: bool) -> Mode:
    """The mode to carry out. Raises PrivacyRefused."""
    mode = MODES.get(name)
    if mode is None:
        raise PrivacyRefused(f"unknown privacy mode {name[:80]!r}, want one of {', '.join(MODES)}")
    if not mode.available:
        raise PrivacyRefused(f"privacy mode {name} is not available in this version")
    if mode.needs_permission and not allow_no_guarantee:
        raise PrivacyRefused(
            f"privacy mode {name} gives no guarantee and this provider does not allow it "
            "(privacy.allow_no_guarantee in its own configuration)"
        )
    return mode


def check_privacy(name: str, settings: Mapping[str, str]) -> None:
    """Raises PrivacyRefused unless the terms name a known, available mode with settings it has.

    For a request's publisher and for the ledger's edge; whether a provider allows the mode is its own affair.
    """
    privacy_mode(name, allow_no_guarantee=True).check(settings)


def unit_column(name: str, settings: Mapping[str, str]) -> str | None:
    """The column whose values are the units of privacy; None when every record is one. Raises PrivacyRefused."""
    if name == "sound":
        return group_column(sound_settings(settings).unit)
    return group_column(distributed_settings(settings).unit) if name == "distributed" else None


def notes(name: str) -> tuple[SettingNote, ...]:
    """The settings of a mode for people to read."""
    kind = MODES[name].settings
    return setting_notes(kind) if fields(kind) else ()
