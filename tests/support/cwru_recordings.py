"""The university's .mat files as scipy writes them, made of signals that a test chooses."""

from pathlib import Path

import numpy as np
from scipy.io import savemat

from node.data_sets.cwru import Recording


def write_mat(path: Path, recording: Recording, steps: dict[str, np.ndarray], **other: np.ndarray) -> None:
    """`steps` int [samples] by channel, written in g as float64 [samples, 1]."""
    arrays = {
        f"X{recording.number:03}_{channel}_time": (each.astype(np.float64) * recording.step(channel))[:, None]
        for channel, each in steps.items()
    }
    savemat(path, arrays | other, do_compression=True)
