"""Ledger values as JSON and back: bytes are hex, enums lower-case names, settings objects, bodies carry their `kind`.

Generic over the codec's dataclasses, so a new transaction is shown and read without a line here. An integer beyond
2^53-1, which JavaScript would round, is shown as a string.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from enum import IntEnum
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, NewType, TypeVar, Union, get_args, get_origin, get_type_hints

from ledger.blocks import Block, FinalBlock, FinalHeader, Header
from ledger.certificates import Certificate
from ledger.codec import Range, Size
from ledger.transactions import Body, Setting, Transaction

Json = Any
T = TypeVar("T")

SAFE_INTEGER_MAX = 2**53 - 1
# What holds an organisation, among the 32-byte fields of transactions: these take a peer id or a name as well.
ORG_FIELDS = frozenset(
    {"to", "beneficiary", "candidate", "provider", "org", "voter", "sender", "requester", "author", "dealer", "holder"}
)

ResolveOrg = Callable[[str], bytes]


class InvalidView(ValueError):
    """JSON that does not describe the value asked for. The caller's fault; the text names the field."""


@cache
def kind_name(kind: Any) -> str:
    """`PublishRequest` -> `publish_request`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()


@cache
def _field_names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def to_json(value: object) -> Json:
    """A ledger value as JSON-ready Python."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, int):
        return value if -SAFE_INTEGER_MAX <= value <= SAFE_INTEGER_MAX else str(value)
    if isinstance(value, tuple):
        return _settings(value) or [to_json(each) for each in value]
    if is_dataclass(value):
        kind: Any = type(value)
        shown = {name: to_json(getattr(value, name)) for name in _field_names(kind)}
        return {"kind": kind_name(kind), **shown} if hasattr(kind, "KIND") else shown
    raise TypeError(f"{type(value).__name__} has no JSON view")


def _settings(value: tuple[Any, ...]) -> dict[str, str] | None:
    """Settings as one object; None where that would lose something: none at all, a name said twice, another order."""
    if not value or not all(isinstance(each, Setting) for each in value):
        return None
    names = [each.name for each in value]
    return {each.name: each.value for each in value} if names == sorted(set(names)) else None


def header_view(header: Header) -> dict[str, Json]:
    return {"id": header.id.hex(), **to_json(header)}


def certificate_view(certificate: Certificate) -> dict[str, Json]:
    shown: dict[str, Json] = to_json(certificate)
    return shown


def transaction_view(transaction: Transaction) -> dict[str, Json]:
    return {"id": transaction.id.hex(), "bytes": len(transaction.encoded), **to_json(transaction)}


def block_summary(final: FinalBlock) -> dict[str, Json]:
    """A line of a list of blocks: the header and counts, no bodies."""
    block = final.block
    return {
        **header_view(block.header),
        "transactions": len(block.transactions),
        "bytes": len(block.encoded),
        "signatures": len(final.certificate.signatures),
    }


def block_view(block: Block, certificate: Certificate) -> dict[str, Json]:
    return {
        "header": header_view(block.header),
        "nullified": [certificate_view(each) for each in block.nullified],
        "transactions": [transaction_view(each) for each in block.transactions],
        "bytes": len(block.encoded),
        "certificate": certificate_view(certificate),
    }


def final_header_view(final: FinalHeader) -> dict[str, Json]:
    return {
        "header": header_view(final.header),
        "certificate": certificate_view(final.certificate),
        "committee": to_json(final.committee.members),
    }


# --- JSON -> values ---


def body_from_json(plain: Json, resolve_org: ResolveOrg) -> Body:
    """The transaction body that `{"kind": "transfer", ...}` describes. Raises InvalidView."""
    kinds = {kind_name(kind): kind for kind in get_args(Body)}
    if not isinstance(plain, Mapping):
        raise InvalidView(f"body: got {_type_name(plain)}, want an object with a kind")
    kind = kinds.get(plain.get("kind", ""))
    if kind is None:
        raise InvalidView(f"body.kind: got {plain.get('kind')!r}, want one of {', '.join(sorted(kinds))}")
    body: Body = from_json(kind, {name: each for name, each in plain.items() if name != "kind"}, "body", resolve_org)
    return body


def from_json(kind: type[T], plain: Json, where: str, resolve_org: ResolveOrg) -> T:
    """The dataclass `kind` from a JSON object with exactly its fields. Raises InvalidView naming the field.

    A field that may be empty (text, a tuple, settings) may be left out.
    """
    if not isinstance(plain, Mapping):
        raise InvalidView(f"{where}: got {_type_name(plain)}, want an object")
    described: Any = kind
    names, hints = _field_names(described), _hints(described)
    # A statement inside another, as an update in its announcement, is shown with its kind.
    if hasattr(described, "KIND") and plain.get("kind") == kind_name(described):
        plain = {name: each for name, each in plain.items() if name != "kind"}
    unknown = sorted(plain.keys() - set(names))
    if unknown:
        raise InvalidView(f"{where}: no field {', '.join(map(repr, unknown))}; there are {', '.join(names)}")
    values = {}
    for name in names:
        inner, limits = _bare(hints[name])
        if name in plain:
            values[name] = _value(hints[name], plain[name], f"{where}.{name}", resolve_org, name in ORG_FIELDS)
        elif any(isinstance(limit, Size) and limit.least == 0 for limit in limits):
            values[name] = () if get_origin(inner) is tuple else inner()
        else:
            raise InvalidView(f"{where}.{name} is missing")
    return kind(**values)


def _bare(hint: Any) -> tuple[Any, list[Any]]:
    """A type without its annotations, and these."""
    limits: list[Any] = []
    while True:
        if isinstance(hint, NewType):
            hint = hint.__supertype__
        elif get_origin(hint) is Annotated:
            hint, *more = get_args(hint)
            limits += more
        else:
            return hint, limits


def _value(hint: Any, plain: Json, where: str, resolve_org: ResolveOrg, is_org: bool = False) -> Any:
    inner, limits = _bare(hint)
    value = _unbounded(inner, plain, where, resolve_org, is_org)
    for limit in limits:
        size = value if isinstance(limit, Range) else len(value.encode() if isinstance(value, str) else value)
        if not limit.least <= size <= limit.most:
            what = "" if isinstance(limit, Range) else "bytes " if isinstance(value, str | bytes) else "items "
            raise InvalidView(f"{where}: got {what}{size}, want {limit.least} to {limit.most}")
    return value


def _unbounded(inner: Any, plain: Json, where: str, resolve_org: ResolveOrg, is_org: bool) -> Any:
    if inner is bytes:
        return _bytes(plain, where, resolve_org if is_org else None)
    if inner is bool or inner is str:
        if type(plain) is not inner:
            raise InvalidView(f"{where}: got {_type_name(plain)}, want {'true or false' if inner is bool else 'text'}")
        return plain
    if inner is int:
        return integer(plain, where)
    if get_origin(inner) is tuple:
        return _tuple(get_args(inner)[0], plain, where, resolve_org, is_org)
    if get_origin(inner) in (Union, UnionType):
        members = [each for each in get_args(inner) if each is not NoneType]
        if len(members) < len(get_args(inner)) and plain is None:
            return None
        return _one_of(members, plain, where, resolve_org, is_org)
    if isinstance(inner, type) and issubclass(inner, IntEnum):
        names = {member.name.lower(): member for member in inner}
        if not isinstance(plain, str) or plain.lower() not in names:
            raise InvalidView(f"{where}: got {plain!r}, want one of {', '.join(names)}")
        return names[plain.lower()]
    return from_json(inner, plain, where, resolve_org)


def _one_of(members: list[Any], plain: Json, where: str, resolve_org: ResolveOrg, is_org: bool) -> Any:
    """The only member, or of several the one that `plain` names as its kind."""
    if len(members) == 1:
        return _value(members[0], plain, where, resolve_org, is_org)
    kinds = {kind_name(member): member for member in members}
    if not isinstance(plain, Mapping) or plain.get("kind") not in kinds:
        got = plain.get("kind") if isinstance(plain, Mapping) else _type_name(plain)
        raise InvalidView(f"{where}.kind: got {got!r}, want one of {', '.join(sorted(kinds))}")
    body = {name: each for name, each in plain.items() if name != "kind"}
    return from_json(kinds[plain["kind"]], body, where, resolve_org)


def _bytes(plain: Json, where: str, resolve_org: ResolveOrg | None) -> bytes:
    if not isinstance(plain, str):
        raise InvalidView(f"{where}: got {_type_name(plain)}, want hex text")
    try:
        return resolve_org(plain) if resolve_org else unhex(plain)
    except ValueError as error:
        raise InvalidView(f"{where}: {error}") from None


def _tuple(item: Any, plain: Json, where: str, resolve_org: ResolveOrg, is_org: bool) -> tuple[Any, ...]:
    if item is Setting and isinstance(plain, Mapping):
        # The ledger wants settings ascending by name; an object has no order of its own.
        plain = [{"name": name, "value": plain[name]} for name in sorted(plain)]
    if not isinstance(plain, list):
        raise InvalidView(f"{where}: got {_type_name(plain)}, want a list")
    return tuple(_value(item, each, f"{where}[{at}]", resolve_org, is_org) for at, each in enumerate(plain))


def integer(plain: Json, where: str) -> int:
    """An integer, or a string of one (as integers beyond 2^53-1 are shown). Raises InvalidView."""
    if type(plain) is int:
        return plain
    if isinstance(plain, str) and re.fullmatch(r"-?[0-9]{1,19}", plain):
        return int(plain)
    raise InvalidView(f"{where}: got {_type_name(plain)}, want an integer")


def unhex(text: str) -> bytes:
    """Bytes of hex text, nothing else in it (bytes.fromhex would skip spaces). Raises ValueError."""
    if len(text) % 2 or not re.fullmatch(r"[0-9a-fA-F]*", text):
        raise ValueError(f"got {text[:80]!r}, want pairs of hex digits")
    return bytes.fromhex(text)


def _type_name(plain: Json) -> str:
    names = {
        NoneType: "null",
        bool: "true or false",
        dict: "an object",
        list: "a list",
        str: "text",
        float: "a fraction",
    }
    return names.get(type(plain), type(plain).__name__)


# --- JSON Schema, for the OpenRPC description ---


def schema_of(kind: Any) -> dict[str, Json]:
    """JSON Schema of what `to_json` makes of a codec type."""
    inner, limits = _bare(kind)
    if inner is bytes:
        sizes = {2 * each for limit in limits if isinstance(limit, Size) for each in (limit.least, limit.most)}
        exact = {"minLength": min(sizes), "maxLength": max(sizes)} if sizes else {}
        return {"type": "string", "pattern": "^[0-9a-f]*$", **exact}
    if inner is bool or inner is str:
        return {"type": "boolean" if inner is bool else "string"}
    if inner is int:
        bounds = [limit for limit in limits if isinstance(limit, Range)]
        return {"type": "integer", **({"minimum": bounds[0].least, "maximum": bounds[0].most} if bounds else {})}
    if get_origin(inner) is tuple:
        item = get_args(inner)[0]
        if item is Setting:
            return {"type": ["object", "array"], "description": "settings: name to text"}
        return {"type": "array", "items": schema_of(item)}
    if get_origin(inner) in (Union, UnionType):
        return {"oneOf": [{"type": "null"} if each is NoneType else schema_of(each) for each in get_args(inner)]}
    if isinstance(inner, type) and issubclass(inner, IntEnum):
        return {"type": "string", "enum": [member.name.lower() for member in inner]}
    properties = {name: schema_of(_hints(inner)[name]) for name in _field_names(inner)}
    if hasattr(inner, "KIND"):
        properties = {"kind": {"const": kind_name(inner)}, **properties}
    return {"type": "object", "title": inner.__name__, "properties": properties}
