"""What image sources share: making pictures smaller. Readers of files are elsewhere."""

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.tables import PIXEL_MAX


def shrink(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """uint8 [n, channels, h, w] -> float32 [n, channels, h / factor, w / factor] in 0..1, the mean of every block.

    With factor 1 the pictures come back as they are. Raises DataError when the sides are no multiples of it.
    """
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    if height % factor or width % factor:
        raise DataError(f"downscale is {factor}, pictures are {height}x{width}: want a factor of both sides")
    small = np.zeros((count, channels, height // factor, width // factor), dtype=np.float32)
    # One pixel of every block at a time: sums of whole numbers, exact in float32.
    for row in range(factor):
        for column in range(factor):
            small += images[:, :, row::factor, column::factor]
    small /= np.float32(factor * factor * PIXEL_MAX)
    return small
