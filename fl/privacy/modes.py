"""The privacy modes by name, what each one promises, and who must allow it. Decides; trains nothing.

A mode that gives no guarantee says so wherever it is shown: its epsilon is null, never a number.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated

from fl.settings import Number, SettingNote, parse_settings, setting_notes


class PrivacyRefused(Exception):
    """These privacy terms are not carried out here: unknown, not available, or not allowed by this provider."""


@dataclass(frozen=True, slots=True)
class PrivacyReport:
    """What may be said about a round's update. Never thresholds, losses or norms: they are raw data statistics."""

    mode: str
    guarantee: str
    epsilon: float | None
    statement: str


@dataclass(frozen=True, slots=True)
class NoSettings:
    pass


@dataclass(frozen=True, slots=True)
class PaperSettings:
    """[DLMU] 4.2. `clip_floor` is needed: the published threshold is zero or less when norms fall 2.618-fold."""

    sigma: Annotated[float, Number(0.0, 1000.0, "noise multiplier of the last epoch")] = 1.0
    clip_floor: Annotated[float, Number(1e-12, 1e6, "least clipping threshold C_r")] = 1e-6


@dataclass(frozen=True, slots=True)
class Mode:
    """`needs_permission`: a provider must allow it in its own configuration, whatever a request says."""

    name: str
    settings: type
    report: PrivacyReport
    available: bool
    needs_permission: bool

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
                "DDP-SGD as published: un-noised epochs reach the released weights, so no guarantee holds",
            ),
            available=True,
            needs_permission=True,
        ),
        Mode(
            "sound",
            NoSettings,
            PrivacyReport("sound", "record-level (eps, delta)", None, "every step clipped and noised, accounted for"),
            available=False,
            needs_permission=False,
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


def paper_settings(settings: Mapping[str, str]) -> PaperSettings:
    """The settings of `paper`. Raises PrivacyRefused for one it does not have or allow."""
    return parse_settings(PaperSettings, "privacy mode paper", settings, PrivacyRefused)


def notes(name: str) -> tuple[SettingNote, ...]:
    """The settings of a mode for people to read."""
    kind = MODES[name].settings
    return setting_notes(kind) if fields(kind) else ()
