"""A model's file: it comes back exactly, says where it came from, and damage is refused."""

import json
import struct

import numpy as np
import pytest
from safetensors.numpy import save

from fl.export import ExportError, export_model, read_model

SHAPES = (("layers.1.weight", (2, 3)), ("layers.0.bias", (4,)), ("alpha", ()))


@pytest.fixture
def encoded():
    return np.array([*range(-5, 5), 2**29], np.int32)


def test_a_model_comes_back_in_parameter_order_whatever_its_names(encoded):
    data = export_model(encoded, 20, SHAPES, {"digest": "ab12", "request": "9f"})
    model = read_model(data)
    assert [(name, tensor.shape) for name, tensor in model.tensors.items()] == list(SHAPES)
    assert model.vector.tolist() == [*(q * 2.0**-20 for q in range(-5, 5)), 512.0]
    assert model.metadata == {"digest": "ab12", "request": "9f"}
    assert model.matches(encoded)


def test_the_same_model_is_the_same_bytes(encoded):
    """Whatever order its words come in: the library alone writes its head in another order every time."""
    noted = {f"word-{at}": str(at) for at in range(12)}
    data = export_model(encoded, 20, SHAPES, noted)
    assert data == export_model(encoded, 20, SHAPES, dict(reversed(noted.items())))
    length = struct.unpack_from("<Q", data)[0]
    assert length % 8 == 0
    assert list(json.loads(data[8 : 8 + length])["__metadata__"])[-12:] == sorted(noted)


def test_one_changed_coordinate_is_another_model(encoded):
    model = read_model(export_model(encoded, 20, SHAPES, {}))
    changed = encoded.copy()
    changed[3] += 1
    assert not model.matches(changed)
    assert not model.matches(encoded[:-1])


@pytest.mark.parametrize(
    ("shapes", "metadata"),
    [(SHAPES[:2], {}), ((*SHAPES[:2], SHAPES[0]), {}), (SHAPES, {"order": "mine"})],
)
def test_shapes_and_words_that_do_not_fit_are_refused(encoded, shapes, metadata):
    with pytest.raises(ExportError):
        export_model(encoded, 20, shapes, metadata)


def foreign(**changed):
    head = {"format": "hanse-model-1", "order": '["w"]', "scale_bits": "20", **changed}
    return save({"w": np.zeros(2, np.float32)}, head)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 40,
        struct.pack("<Q", 2**40) + b"{}",
        foreign(format="other"),
        foreign(order="[]"),
        foreign(order="not json"),
        foreign(order='["w", 3]'),
        foreign(scale_bits="many"),
        save({"w": np.zeros(2, np.float32)}),
        save(
            {"w": np.zeros(2, np.float64)},
            {"format": "hanse-model-1", "order": json.dumps(["w"]), "scale_bits": "20"},
        ),
    ],
)
def test_bytes_that_are_no_exported_model_are_refused(data):
    with pytest.raises(ExportError):
        read_model(data)


def test_a_file_cut_short_anywhere_is_refused(encoded):
    data = export_model(encoded, 20, SHAPES, {})
    for length in range(len(data)):
        with pytest.raises(ExportError):
            read_model(data[:length])
