"""Every way to damage a proof's file a little: a value changed, a field missing or too many, an item gone or twice."""

import json
import re
from collections.abc import Iterator
from typing import Any

from ledger.certificates import VoteKind
from ledger.disputes import Finding

Path = tuple[str | int, ...]


def leaves_of(plain: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value in a JSON tree that is no object or list, with where it is."""
    if isinstance(plain, dict):
        for name, each in plain.items():
            yield from leaves_of(each, (*path, name))
    elif isinstance(plain, list):
        for at, each in enumerate(plain):
            yield from leaves_of(each, (*path, at))
    else:
        yield path, plain


def damaged(value: Any) -> list[Any]:
    """Other values of the same kind, and some of others."""
    if value is None:
        return [{"path": "00" * 32, "value_hash": "00" * 32}, "", "00", 0]
    if isinstance(value, bool):
        return [not value, int(value), None]
    if isinstance(value, int):
        return [value + 1, value - 1, -1, 2**63, str(value), float(value), bool(value)]
    for names in (Finding.__members__, VoteKind.__members__):
        if value in names:
            return [name for name in names if name != value]
    if not value:
        return ["00", "00" * 32]
    others = [value[:-2], value + "00", value.upper() + "A", None]
    if re.fullmatch("[0-9a-f]+", value):
        others += [f"{int(value[:2], 16) ^ 1:02x}{value[2:]}", f"{value[:-2]}{int(value[-2:], 16) ^ 0x80:02x}"]
    return others


def put(plain: Any, path: Path, value: Any) -> None:
    for step in path[:-1]:
        plain = plain[step]
    plain[path[-1]] = value


def at(plain: Any, path: Path) -> Any:
    for step in path:
        plain = plain[step]
    return plain


def changed_values(text: str) -> Iterator[tuple[str, str]]:
    """(what was done, the file) for every value, changed in every way."""
    for path, value in leaves_of(json.loads(text)):
        for other in damaged(value):
            plain = json.loads(text)
            put(plain, path, other)
            yield f"{path}: {value!r} became {other!r}"[:300], json.dumps(plain)


def changed_shapes(text: str) -> Iterator[tuple[str, str]]:
    """(what was done, the file) for every object and list: a field gone, one too many, an item gone, twice, moved."""
    for path in _branches(json.loads(text)):
        branch = at(json.loads(text), path)
        for key in branch if isinstance(branch, dict) else range(len(branch)):
            plain = json.loads(text)
            del at(plain, path)[key]
            yield f"{path}: without {key}", json.dumps(plain)
        plain = json.loads(text)
        target = at(plain, path)
        if isinstance(target, dict):
            target["extra"] = 1
            yield f"{path}: one field more", json.dumps(plain)
        elif target:
            target.append(target[-1])
            yield f"{path}: the last twice", json.dumps(plain)
            if len(branch) > 1 and branch[0] != branch[-1]:
                plain = json.loads(text)
                at(plain, path).reverse()
                yield f"{path}: backwards", json.dumps(plain)


def _branches(plain: Any, path: Path = ()) -> Iterator[Path]:
    if isinstance(plain, dict | list):
        yield path
        for key in plain if isinstance(plain, dict) else range(len(plain)):
            yield from _branches(plain[key], (*path, key))
