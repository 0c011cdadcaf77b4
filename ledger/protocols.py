"""The versions of the protocol that this program knows, and what differs between them.

A league names its version in the genesis and goes on to the next by a ballot, from a height on; blocks of earlier
heights are replayed by the rules of their own version. A new rule is a new field here, read where it applies.
"""

from dataclasses import dataclass

from ledger.errors import UnknownProtocol


@dataclass(frozen=True, slots=True)
class ProtocolRules:
    """`storage_quota`: an organisation puts so many bytes a day on the ledger, see `quota.py`. `protection`: requests
    may be protected, see `protection.py`. `attributes_bytes_max`: of names and values that a provider says about its
    data when it joins. `ballot_expiry_least`: in heights, what a ballot may make of `ballot_expiry_heights`.
    """

    version: int
    storage_quota: bool
    protection: bool
    attributes_bytes_max: int
    ballot_expiry_least: int


# What the form of a transaction lets through anyway.
_AS_WRITTEN = 32 * (64 + 256)
# All providers' attributes lie in one entry of the state, that is written anew with every word about its request: 256
# of them make a megabyte of it.
_ATTRIBUTES_BYTES_MAX = 4096
# A busy league makes some block a second. In a quarter of an hour people can be asked; with ballots of seconds, which
# only programs answer in time, nothing could ever be decided again, this parameter included.
_BALLOT_EXPIRY_LEAST = 1_000

_RULES = {
    rules.version: rules
    for rules in (
        ProtocolRules(
            1, storage_quota=False, protection=False, attributes_bytes_max=_AS_WRITTEN, ballot_expiry_least=8
        ),
        ProtocolRules(2, storage_quota=True, protection=False, attributes_bytes_max=_AS_WRITTEN, ballot_expiry_least=8),
        ProtocolRules(
            3,
            storage_quota=True,
            protection=True,
            attributes_bytes_max=_ATTRIBUTES_BYTES_MAX,
            ballot_expiry_least=_BALLOT_EXPIRY_LEAST,
        ),
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
