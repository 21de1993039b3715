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

    The short side is brought to ``size`` and the crop's offsets are rounded half to even. PIL filters rows
    first and then columns, with 8 bits in between, so columns outside the square may go after the first
    pass. They cannot go before it: PIL's ``box`` argument is float32 and shifts the phase of the filter.
    """
    width, height = resized_size(*image.size, size)
    if width * height > most_pixels:
        raise DecodeError(
            f"expected at most {most_pixels} pixels once the short side is {size}, "
            f"got {width}x{height} from a picture of {image.width}x{image.height}"
        )
    left, top = round((width - size) / 2), round((height - size) / 2)
    image = image.resize((width, image.height), Image.Resampling.BICUBIC)
    image = image.crop((left, 0, left + size, image.height))
    image = image.resize((size, height), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((0, top, size, top + size)))
