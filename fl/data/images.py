"""What image sources share: making pictures smaller. Readers of files are elsewhere."""

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError
from fl.data.tables import PIXEL_MAX

# Pictures are averaged in stretches: the float copy of 60,000 at once would be 190 MB.
STRETCH = 4096


def shrink(images: NDArray[np.uint8], factor: int) -> NDArray[np.uint8] | NDArray[np.float32]:
    """uint8 [n, channels, h, w] -> float32 [n, channels, h / factor, w / factor] in 0..1, the mean of every block.

    With factor 1 the pictures come back as they are. Raises DataError when the sides are no multiples of it.
    """
    if factor == 1:
        return images
    count, channels, height, width = images.shape
    if height % factor or width % factor:
        raise DataError(f"downscale is {factor}, pictures are {height}x{width}: want a factor of both sides")
    small = np.empty((count, channels, height // factor, width // factor), dtype=np.float32)
    for start in range(0, count, STRETCH):
        part = images[start : start + STRETCH]
        blocks = part.reshape(len(part), channels, height // factor, factor, width // factor, factor)
        small[start : start + STRETCH] = blocks.mean(axis=(3, 5), dtype=np.float32) / PIXEL_MAX
    return small
