"""What a member takes part in. On the ledger a sum of these, 0 .. 3; who has no role is an observer."""

from collections.abc import Iterable
from enum import IntFlag


class Role(IntFlag):
    """An observer follows, audits, transfers and leaves: it holds no seat and has no vote on members and rules."""

    OBSERVER = 0
    REQUESTER = 1
    PROVIDER = 2


EVERY_ROLE = int(Role.REQUESTER | Role.PROVIDER)
_NAMED = {"requester": Role.REQUESTER, "provider": Role.PROVIDER}


def role_names(roles: int) -> tuple[str, ...]:
    """`("requester", "provider")`, either of them, or `("observer",)`."""
    return tuple(name for name, role in _NAMED.items() if roles & role) or ("observer",)


def roles_of(names: Iterable[str]) -> int:
    """The sum of named roles; "observer" stands alone. Raises ValueError saying what is known."""
    wanted = list(names)
    if wanted == ["observer"]:
        return int(Role.OBSERVER)
    if not wanted or not set(wanted) <= _NAMED.keys():
        raise ValueError(f"roles {', '.join(map(repr, wanted)) or 'none'}, want requester, provider, both, or observer")
    return int(sum(role for name, role in _NAMED.items() if name in wanted))
