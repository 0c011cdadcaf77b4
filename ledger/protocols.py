"""The versions of the protocol that this program knows, and what differs between them.

A league names its version in the genesis and goes on to the next by a ballot, from a height on; blocks of earlier
heights are replayed by the rules of their own version. A new rule is a new field here, read where it applies.
"""

from dataclasses import dataclass

from ledger.errors import UnknownProtocol


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """`storage_quota`: an organisation puts so many bytes a day on the ledger, see `quota.py`. `protection`: requests
    may be protected, see `protection.py`."""

    version: int
    storage_quota: bool
    protection: bool


_RULES = {
    rules.version: rules
    for rules in (
        ProtocolRules(1, storage_quota=False, protection=False),
        ProtocolRules(2, storage_quota=True, protection=False),
        ProtocolRules(3, storage_quota=True, protection=True),
    )
}
VERSIONS = tuple(sorted(_RULES))
NEWEST = max(_RULES)


def rules_of(version: int, from_height: int) -> ProtocolRules:
    """The rules of a version that is active since `from_height`. Raises UnknownProtocol."""
    rules = _RULES.get(version)
    if rules is None:
        raise UnknownProtocol(version, from_height, NEWEST)
    return rules
