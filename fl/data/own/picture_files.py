"""One picture out of a file, in the form that was asked for, or refused with the form it has."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fl.data.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

# How pillow calls what eight bits or fewer of grey, or of red, green and blue, are stored as.
GREY_MODES = ("L", "1")
COLOUR_MODES = ("RGB",)
# These turn into eight bits a channel without a choice anybody had to make: paper, film and palettes.
CONVERTIBLE_MODES = (*GREY_MODES, *COLOUR_MODES, "P", "PA", "LA", "La", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")


@dataclass(frozen=True, slots=True)
class PixelForm:
    """What every picture has to be; `resize` and `convert`: whether it may be made so."""

    height: int
    width: int
    grey: bool
    resize: bool = False
    convert: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (1 if self.grey else 3, self.height, self.width)

    @property
    def bytes(self) -> int:
        return self.shape[0] * self.height * self.width


def read_picture(path: Path, form: PixelForm) -> NDArray[np.uint8]:
    """uint8 [channels, height, width], turned upright as the camera's note (EXIF) says.

    Raises DataError when pillow is not installed, for what is no picture, has several frames, more than eight bits a
    channel, or another size or colour than `form` lets it have.
    """
    try:
        from PIL import Image, ImageOps
    except ImportError:
        raise DataError.of_file(path, "is a picture, want pillow to read it: pip install 'hanse[data]'") from None
    try:
        with Image.open(path) as opened:
            if getattr(opened, "n_frames", 1) != 1:
                raise DataError.of_file(path, f"has {opened.n_frames} frames, want one picture a file")
            _check_size(path, opened, form)
            upright = ImageOps.exif_transpose(opened)
            return _pixels(path, upright, form)
    except (OSError, ValueError, SyntaxError, TypeError, Image.DecompressionBombError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError.of_file(path, f"cannot be read as a picture: {error}") from None


def _check_size(path: Path, image: "Image.Image", form: PixelForm) -> None:
    """Before it is decoded: lying down as well as upright, for what the camera notes is not known yet."""
    wanted = {(form.width, form.height), (form.height, form.width)}
    if not form.resize and image.size not in wanted:
        _refuse_size(path, image, form)


def _refuse_size(path: Path, image: "Image.Image", form: PixelForm) -> None:
    width, height = image.size
    reason = f"is {height}x{width} pixels, want {form.height}x{form.width} (resize = true makes it so)"
    raise DataError.of_file(path, reason)


def _pixels(path: Path, image: "Image.Image", form: PixelForm) -> NDArray[np.uint8]:
    from PIL import Image

    wanted, mode = (GREY_MODES if form.grey else COLOUR_MODES), "L" if form.grey else "RGB"
    if image.mode not in CONVERTIBLE_MODES:
        raise DataError.of_file(path, f"is stored as {image.mode}, want eight bits a channel, grey or colour")
    # A palette of colours, without one that shines through, is but a way to write colours down.
    as_written = image.mode in wanted or (not form.grey and image.mode == "P" and "transparency" not in image.info)
    if not as_written and not form.convert:
        what = "grey" if form.grey else "rgb"
        raise DataError.of_file(path, f"is stored as {image.mode}, want {what} (convert = true makes it so)")
    if image.mode in ("P", "PA", "LA", "La", "RGBA", "RGBa"):
        # On black, and never as the colour that happens to stand behind what shines through.
        seen = image.convert("RGBA")
        image = Image.new("RGB", seen.size)
        image.paste(seen, mask=seen.getchannel("A"))
    image = image.convert(mode)
    if image.size != (form.width, form.height):
        if not form.resize:
            _refuse_size(path, image, form)
        # Every pixel of a smaller picture is the mean of what it covers; a larger one is interpolated.
        smaller = image.size[0] >= form.width and image.size[1] >= form.height
        image = image.resize((form.width, form.height), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC)
    pixels: NDArray[Any] = np.asarray(image)
    return pixels[None] if form.grey else pixels.transpose(2, 0, 1)
