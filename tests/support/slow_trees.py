"""Slow twins of the two trees, written from RFC 9162 and from the definition, to check the fast ones against."""

from hashlib import sha256

from ledger.state_tree import key_path


def slow_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 9162, 2.1.1, over leaf *data*."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = largest_power_below(len(leaves))
    return sha256(b"\x01" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_path(m: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 9162, 2.1.3.1."""
    if len(leaves) == 1:
        return []
    k = largest_power_below(len(leaves))
    if m < k:
        return [*slow_path(m, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_path(m - k, leaves[k:]), slow_root(leaves[:k])]


def slow_proof(m: int, leaves: list[bytes]) -> list[bytes]:
    """PROOF of RFC 9162, 2.1.4.1, for 0 < m < n."""
    return _slow_subproof(m, leaves, True)


def _slow_subproof(m: int, leaves: list[bytes], whole: bool) -> list[bytes]:
    n = len(leaves)
    if m == n:
        return [] if whole else [slow_root(leaves)]
    k = largest_power_below(n)
    if m <= k:
        return [*_slow_subproof(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*_slow_subproof(m - k, leaves[k:], False), slow_root(leaves[:k])]


def largest_power_below(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def slow_state_root(items: dict[bytes, bytes]) -> bytes:
    """The state tree's root by its definition, over the whole map at once, paths as strings of 0 and 1."""
    leaves = {
        "".join(f"{byte:08b}" for byte in key_path(key)): b"\x00" + key_path(key) + sha256(value).digest()
        for key, value in items.items()
    }
    return _slow_subtree("", leaves)


def _slow_subtree(prefix: str, leaves: dict[str, bytes]) -> bytes:
    inside = {path: leaf for path, leaf in leaves.items() if path.startswith(prefix)}
    if not inside:
        return bytes(32)
    if len(inside) == 1:
        return sha256(next(iter(inside.values()))).digest()
    return sha256(b"\x01" + _slow_subtree(prefix + "0", inside) + _slow_subtree(prefix + "1", inside)).digest()
