"""Whether a model takes the records of a factory, told from what everybody may know of them. No record is looked at.

A record that a model cannot take ends a round, and everybody sees that it ended. So in the private modes what might end
it is tried before, on a record that is none: the answer is the same whatever the records are.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from fl.batches import UnusableTable, as_input


def check_fit(model: nn.Module, shape: tuple[int, ...], dtype: np.dtype[Any], classes: int) -> None:
    """Raises UnusableTable unless `model` takes records of this shape and type and has an answer for each class.

    `classes`: as many as the factory has declared, whether it has records of each or not. Codes are below it too.
    """
    if classes < 1:
        raise UnusableTable(f"{classes} classes are declared, want at least 1")
    # The largest code there may be: a model with fewer than that cannot look it up.
    record = torch.from_numpy(np.full((1, *shape), classes - 1 if dtype == np.int64 else 0, dtype))
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            answers = model(as_input(record))
    except (IndexError, RuntimeError) as error:
        raise UnusableTable(f"the model cannot take records of shape {list(shape)}: {error}") from error
    finally:
        model.train(training)
    if answers.ndim < 2 or answers.shape[1] < classes:
        answered = answers.shape[1] if answers.ndim > 1 else 0
        raise UnusableTable(f"the model tells {answered} classes apart, the records here have {classes}")
