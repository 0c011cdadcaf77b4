"""The types a method's parameters may have: each reads one JSON value strictly and says its JSON Schema.

A method says `height: Height | None = None`; `method.py` finds the reader in the annotation.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Protocol

from ledger.types import AMOUNT_MAX, TRANSACTION_BYTES_MAX, OrgId
from node.events import TOPICS
from node.rpc.node import Node
from node.rpc.views import Json, integer, unhex

# Longer lists are asked for page by page (research: nobody reads more, and an answer stays small).
PAGE_MAX = 100
TEXT_CHARS_MAX = 1024


class Reader(Protocol):
    @property
    def schema(self) -> dict[str, Json]: ...

    def read(self, plain: Json, node: Node) -> Any:
        """The value; raises ValueError saying what came and what was wanted."""


@dataclass(frozen=True)
class Integer:
    least: int
    most: int

    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def read(self, plain: Json, node: Node) -> int:
        value = integer(plain, "value")
        if not self.least <= value <= self.most:
            raise ValueError(f"got {value}, want {self.least} to {self.most}")
        return value


@dataclass(frozen=True)
class Hex:
    least: int
    most: int

    @property
    def schema(self) -> dict[str, Json]:
        return {
            "type": "string",
            "pattern": "^[0-9a-fA-F]*$",
            "minLength": 2 * self.least,
            "maxLength": 2 * self.most,
        }

    def read(self, plain: Json, node: Node) -> bytes:
        if not isinstance(plain, str):
            raise ValueError(f"got {type(plain).__name__}, want hex text")
        if not 2 * self.least <= len(plain) <= 2 * self.most:
            want = f"{2 * self.least}" if self.least == self.most else f"{2 * self.least} to {2 * self.most}"
            raise ValueError(f"got {len(plain)} characters, want {want} hex digits")
        return unhex(plain)


@dataclass(frozen=True)
class Organisation:
    schema: dict[str, Json] = field(
        default_factory=lambda: {"type": "string", "description": "64 hex digits, a peer id, a unique member name, me"}
    )

    def read(self, plain: Json, node: Node) -> OrgId:
        if not isinstance(plain, str):
            raise ValueError(f"got {type(plain).__name__}, want text")
        return node.resolve_org(plain)

    def __hash__(self) -> int:
        return hash(type(self))


@dataclass(frozen=True)
class Word:
    """Text, one of `choices` where there are any."""

    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "string", "enum": list(self.choices)} if self.choices else {"type": "string"}

    def read(self, plain: Json, node: Node) -> str:
        if not isinstance(plain, str) or len(plain) > TEXT_CHARS_MAX:
            raise ValueError(f"got {type(plain).__name__}, want text of at most {TEXT_CHARS_MAX} characters")
        if self.choices and plain not in self.choices:
            raise ValueError(f"got {plain[:64]!r}, want one of {', '.join(self.choices)}")
        return plain


@dataclass(frozen=True)
class Boolean:
    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "boolean"}

    def read(self, plain: Json, node: Node) -> bool:
        if not isinstance(plain, bool):
            raise ValueError(f"got {type(plain).__name__}, want true or false")
        return plain


@dataclass(frozen=True)
class Object:
    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "object"}

    def read(self, plain: Json, node: Node) -> Mapping[str, Json]:
        if not isinstance(plain, dict):
            raise ValueError(f"got {type(plain).__name__}, want an object")
        return plain


@dataclass(frozen=True)
class Words:
    """A list of texts, out of `choices` where there are any."""

    choices: tuple[str, ...] = ()
    most: int = 64

    @property
    def schema(self) -> dict[str, Json]:
        return {"type": "array", "items": Word(self.choices).schema, "maxItems": self.most}

    def read(self, plain: Json, node: Node) -> tuple[str, ...]:
        if not isinstance(plain, list) or len(plain) > self.most:
            raise ValueError(f"got {type(plain).__name__}, want a list of at most {self.most} texts")
        return tuple(Word(self.choices).read(each, node) for each in plain)


Height = Annotated[int, Integer(0, AMOUNT_MAX)]
Count = Annotated[int, Integer(0, AMOUNT_MAX)]
Positive = Annotated[int, Integer(1, AMOUNT_MAX)]
Page = Annotated[int, Integer(1, PAGE_MAX)]
Seconds = Annotated[int, Integer(1, 86_400)]
Hash = Annotated[bytes, Hex(32, 32)]
RawTransaction = Annotated[bytes, Hex(1, TRANSACTION_BYTES_MAX)]
StateKey = Annotated[str, Word()]
Org = Annotated[OrgId, Organisation()]
Flag = Annotated[bool, Boolean()]
Text = Annotated[str, Word()]
Mode = Annotated[str, Word(("async", "final"))]
Topics = Annotated[tuple[str, ...], Words(tuple(sorted(TOPICS)))]
JsonObject = Annotated[Mapping[str, Json], Object()]
