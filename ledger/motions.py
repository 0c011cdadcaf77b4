"""What members can decide together, by more than two thirds of those who vote: a motion each, data only.

How ballots run is `ballots.py`'s business, what a motion does when it passes `governance.py`'s.
"""

from dataclasses import dataclass
from typing import ClassVar

from ledger.fields import Count, Name, Org, Roles, Version
from ledger.parameters import LeagueParameters


@dataclass(frozen=True, slots=True)
class Expel:
    """A member has to go. It has no say in it; its account and its record stay."""

    KIND: ClassVar[int] = 1
    org: Org
    reason: Name


@dataclass(frozen=True, slots=True)
class ChangeParameters:
    """These parameters, all of them, from a height on."""

    KIND: ClassVar[int] = 2
    parameters: LeagueParameters
    from_height: Count


@dataclass(frozen=True, slots=True)
class ChangeRoles:
    """A member's roles, as a sum of `roles.Role`; 0 makes it an observer."""

    KIND: ClassVar[int] = 3
    org: Org
    roles: Roles


@dataclass(frozen=True, slots=True)
class ActivateProtocol:
    """The next version of the protocol, from a height on. Programs that do not know it stop there."""

    KIND: ClassVar[int] = 4
    version: Version
    from_height: Count


@dataclass(frozen=True, slots=True)
class Pardon:
    """A jailed organisation may be seated again."""

    KIND: ClassVar[int] = 5
    org: Org


Motion = Expel | ChangeParameters | ChangeRoles | ActivateProtocol | Pardon
