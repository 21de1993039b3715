"""What every decoding baseline gives, and the picture that a CLIP model sees of a frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class Sampled:
    """Frame numbers ``[n]``, and the frames as uint8 ``[n, size, size, 3]`` RGB."""

    indices: NDArray[np.int64]
    frames: NDArray[np.uint8]


def prepare(picture: Image.Image, size: int) -> NDArray[np.uint8]:
    """Short side to ``size`` with bicubic interpolation, then the centre crop: uint8 ``[size, size, 3]``."""
    width, height = picture.size
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(picture.crop((left, top, left + size, top + size)))
