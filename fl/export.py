"""A model as a `safetensors` file for people to use, and back: names, shapes, and where it came from. No torch.

The tensors are float32, which holds 24 bits of a coordinate; the exact integers are the blob's. So a file is checked
against a blob by decoding the blob (`matches`), never by encoding the file.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fl.fixed_point import Floats, Ints, decode

Shapes: TypeAlias = Sequence[tuple[str, tuple[int, ...]]]
"""(name, shape) of every parameter, in the order of the vector."""

FORMAT = "hanse-model-1"
# Reserved words of the head; everything else in it is the caller's.
OURS = ("format", "order", "scale_bits")
# The head of the file states its own length; ours names some dozens of tensors.
HEAD_BYTES_MAX = 1 << 20


class ExportError(ValueError):
    """A model and shapes that do not belong together, or bytes that are no exported model."""


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """vector: float32 [n] in parameter order; tensors: name to float32 array; metadata: what its writer noted."""

    vector: Floats
    tensors: Mapping[str, Floats]
    scale_bits: int
    metadata: Mapping[str, str]

    def matches(self, encoded: Ints) -> bool:
        """Whether this is the model whose exact integers are `encoded`, int32 [n], bit for bit."""
        return encoded.shape == self.vector.shape and bool(
            np.array_equal(decode(encoded, self.scale_bits), self.vector)
        )


def export_model(encoded: Ints, scale_bits: int, shapes: Shapes, metadata: Mapping[str, str]) -> bytes:
    """The file of a model: `encoded` int32 [n] cut into tensors of `shapes`.

    `metadata` says where it came from (digest of the blob, request, round). Raises ExportError when the shapes do
    not add up to n, a name comes twice, or a word of OURS is used.
    """
    names = [name for name, _ in shapes]
    if len(set(names)) != len(names):
        raise ExportError(f"{len(names)} tensors with {len(set(names))} names, want one name each")
    taken = sorted(set(OURS) & metadata.keys())
    if taken:
        raise ExportError(f"metadata has {', '.join(taken)}, which this format writes itself")
    count = sum(prod(shape) for _, shape in shapes)
    if encoded.shape != (count,):
        raise ExportError(f"vector of shape {encoded.shape}, want [{count}] for these {len(names)} tensors")
    vector = decode(encoded, scale_bits)
    tensors: dict[str, NDArray[np.float32]] = {}
    start = 0
    for name, shape in shapes:
        tensors[name] = vector[start : start + prod(shape)].reshape(shape)
        start += prod(shape)
    head = {"format": FORMAT, "order": json.dumps(names), "scale_bits": str(scale_bits)}
    return _in_order(save(tensors, {**metadata, **head}))


def read_model(data: bytes) -> ExportedModel:
    """What `export_model` wrote. Raises ExportError for anything else."""
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ExportError(f"{len(data)} bytes that are no safetensors file: {error}") from None
    noted = _metadata(data)
    if noted.get("format") != FORMAT:
        raise ExportError(f"format is {noted.get('format')!r}, want {FORMAT!r}")
    try:
        order = json.loads(noted["order"])
        scale_bits = int(noted["scale_bits"])
    except (KeyError, ValueError) as error:
        raise ExportError(f"the head lacks its order or scale: {error!r}") from None
    if not isinstance(order, list) or sorted(map(str, order)) != sorted(tensors):
        raise ExportError(f"the head orders {str(order)[:80]}, the file holds {sorted(tensors)[:5]}")
    odd = [name for name in order if tensors[name].dtype != np.float32]
    if odd:
        raise ExportError(f"tensor {odd[0]} is {tensors[odd[0]].dtype}, want float32")
    parts = [tensors[name].reshape(-1) for name in order]
    vector = np.concatenate(parts) if parts else np.empty(0, np.float32)
    rest = {word: text for word, text in noted.items() if word not in OURS}
    return ExportedModel(vector, {name: tensors[name] for name in order}, scale_bits, rest)


def with_notes(data: bytes, notes: Mapping[str, str]) -> bytes:
    """The same model with more metadata. Raises ExportError for bytes that are none, and for a word that is there."""
    model = read_model(data)
    taken = sorted(notes.keys() & (set(OURS) | model.metadata.keys()))
    if taken:
        raise ExportError(f"the file says {', '.join(taken)} already")
    return _in_order(save(dict(model.tensors), {**_metadata(data), **notes}))


def _in_order(data: bytes) -> bytes:
    """The same file with its head in alphabetical order: the library's own order is another one every time."""
    length = int.from_bytes(data[:8], "little")
    head = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # The tensors begin at a multiple of eight bytes; blanks fill up the head.
    ordered = head.encode()
    ordered += b" " * (-len(ordered) % 8)
    return len(ordered).to_bytes(8, "little") + ordered + data[8 + length :]


def _metadata(data: bytes) -> dict[str, str]:
    # The library reads metadata from files only. The head is its length, u64 LE, and then JSON.
    length = int.from_bytes(data[:8], "little")
    if length > min(HEAD_BYTES_MAX, len(data) - 8):
        raise ExportError(f"a head of {length} bytes, want at most {HEAD_BYTES_MAX}")
    head = json.loads(data[8 : 8 + length])
    noted = head.get("__metadata__") or {}
    return {str(word): str(text) for word, text in noted.items()}
