"""What the state holds about the league itself: whose keys are whose, who left, ballots, decisions, what changes when.

Accounts, members, requests and what else a round needs are in `entries.py`. All of it is under the authenticated tree.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from ledger.codec import Size
from ledger.fields import Amount, Count, Digest, Key, Name, Org, Orgs, Text, Version
from ledger.motions import Motion
from ledger.parameters import LeagueParameters

# Changes that passed and wait for their height; each took more than two thirds of the members.
SCHEDULED_MAX = 16


@dataclass(frozen=True, slots=True)
class KeyOwner:
    """Whose node signs, or signed, with a key. `until_height`: its last height, 0 while it is the current one.

    Rows of retired keys stay: evidence under them still counts, and nobody takes them again.
    """

    org: Org
    since_height: Count
    until_height: Count


class Cause(IntEnum):
    """Why a member is one no more."""

    LEFT = 0
    EXPELLED = 1


@dataclass(frozen=True, slots=True)
class Former:
    """Who was a member. Its account and standing stay, its name is kept for it, and `key` it may bring again."""

    name: Name
    key: Key
    left_height: Count
    cause: Cause


@dataclass(frozen=True, slots=True)
class Ballot:
    """A motion that is put to the members. `supporters` ascending. `basis`: what the motion would change, as it was."""

    opener: Org
    motion: Motion
    opened_height: Count
    expires_height: Count
    supporters: Orgs
    basis: Digest


@dataclass(frozen=True, slots=True)
class Decision:
    """A ballot that passed, and who carried it. `moot`: why nothing came of it; empty when it was carried out."""

    opener: Org
    motion: Motion
    opened_height: Count
    decided_height: Count
    supporters: Orgs
    moot: Text


@dataclass(frozen=True, slots=True)
class ScheduledParameters:
    from_height: Count
    parameters: LeagueParameters


@dataclass(frozen=True, slots=True)
class Schedule:
    """Parameters that were decided and wait for their height, ascending by it."""

    changes: Annotated[tuple[ScheduledParameters, ...], Size(0, SCHEDULED_MAX)]


@dataclass(frozen=True, slots=True)
class ScheduledProtocol:
    from_height: Count
    version: Version


@dataclass(frozen=True, slots=True)
class Protocol:
    """The version whose rules the next height runs by, and what follows it."""

    version: Version
    since_height: Count
    scheduled: ScheduledProtocol | None


@dataclass(frozen=True, slots=True)
class Usage:
    """What an organisation has put on the ledger and time has not yet made up for: `stored` bytes at time `at`."""

    stored: Count
    at: Amount


PARAMETERS = b"parameters"
SCHEDULE = b"schedule"
PROTOCOL = b"protocol"
FORMERS = b"former/"
BALLOTS = b"ballot/"
DECISIONS = b"decision/"


def key_owner_key(key: bytes) -> bytes:
    return b"key/" + key


def former_key(org: bytes) -> bytes:
    return FORMERS + org


def ballot_key(ballot: bytes) -> bytes:
    return BALLOTS + ballot


def decision_key(ballot: bytes) -> bytes:
    return DECISIONS + ballot


def usage_key(org: bytes) -> bytes:
    return b"usage/" + org
