"""The square a model sees: PIL's bicubic filter and a centre crop, as torchvision defines them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtr.errors import DecodeError


def resized_size(width: int, height: int, size: int) -> tuple[int, int]:
    """Width and height once the short side is ``size``; the long side is truncated."""
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def centre_square(image: Image.Image, size: int, most_pixels: int) -> NDArray[np.uint8]:
    """The centre of an RGB image, uint8 [size, size, 3].

    The short side is brought to ``size`` and the crop's offsets are rounded half to even. The whole image
    is resized although only a square stays: PIL's ``box`` argument is float32 and shifts the phase of the
    filter, and which of its two passes comes first, with 8 bits in between, is PIL's choice.
    """
    width, height = resized_size(*image.size, size)
    if width * height > most_pixels:
        raise DecodeError(
            f"expected at most {most_pixels} pixels once the short side is {size}, "
            f"got {width}x{height} from a picture of {image.width}x{image.height}"
        )
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))
