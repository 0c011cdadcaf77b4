"""Whether a model takes records is told without records, for every model and every kind of value."""

import numpy as np
import pytest

from fl.batches import UnusableTable
from fl.fitting import check_fit
from fl.models.registry import build

FITTING = [
    ("mlp", {"layers": "12,6,4"}, (3, 4), np.float32, 4),
    ("mlp", {"layers": "12,6,9"}, (12,), np.uint8, 4),
    ("cnn", {"input": "1x28x28", "classes": "10"}, (1, 28, 28), np.uint8, 10),
    ("cnn1d", {"channels": "1", "length": "512", "classes": "4"}, (1, 512), np.float32, 4),
    ("char-lstm", {"vocabulary": "65"}, (20,), np.int64, 65),
]


@pytest.mark.parametrize(("name", "arguments", "shape", "dtype", "classes"), FITTING)
def test_a_model_for_such_records_fits_and_one_for_fewer_classes_does_not(name, arguments, shape, dtype, classes):
    model = build(name, arguments, 0)
    before = model.training
    check_fit(model, shape, np.dtype(dtype), classes)
    assert model.training is before
    with pytest.raises(UnusableTable):
        check_fit(model, shape, np.dtype(dtype), classes + 9)


def test_records_of_another_shape_do_not_fit():
    with pytest.raises(UnusableTable, match=r"cannot take records of shape \[5\]"):
        check_fit(build("mlp", {"layers": "12,4"}, 0), (5,), np.dtype(np.float32), 4)
