"""The square: equal to PIL's resize and crop of the whole picture."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vtr.decode.resize import centre_square, resized_size
from vtr.decode.rotate import upright
from vtr.errors import DecodeError


def pil(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """torchvision's Resize(size, BICUBIC) and CenterCrop(size), written out for PIL images."""
    width, height = image.size
    wide = width > height
    target = (int(size * width / height), size) if wide else (size, int(size * height / width))
    image = image.resize(target, Image.BICUBIC)
    left = round((target[0] - size) / 2.0)
    top = round((target[1] - size) / 2.0)
    return np.asarray(image.crop((left, top, left + size, top + size)))


SIZES = [(640, 272), (320, 180), (1280, 720), (180, 320), (333, 111), (111, 333), (224, 224), (224, 300)]


@pytest.mark.parametrize(
    ("width", "height"), [*SIZES, (301, 224), (225, 224), (1, 1), (3, 1), (19, 111), (7, 8)]
)
@pytest.mark.parametrize("size", [224, 32, 97])
def test_equals_pil(width: int, height: int, size: int) -> None:
    rng = np.random.default_rng(width * 1000 + height)
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    square = centre_square(image, size, 1 << 24)
    assert square.shape == (size, size, 3) and square.dtype == np.uint8
    np.testing.assert_array_equal(square, pil(image, size))


def test_long_side_is_truncated() -> None:
    assert resized_size(640, 272, 224) == (527, 224)  # 527.06
    assert resized_size(272, 640, 224) == (224, 527)
    assert resized_size(1279, 720, 224) == (397, 224)  # 397.91


def test_a_sliver_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(DecodeError, match="224x448000 from a picture of 1x2000"):
        centre_square(Image.new("RGB", (1, 2000)), 224, 1 << 20)


@pytest.mark.parametrize("rotation", [0, 90, 180, -180, -90, 37])
def test_quarter_turns_are_counter_clockwise(rotation: int) -> None:
    picture = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    turned = np.asarray(upright(Image.fromarray(picture), rotation))
    quarters = rotation // 90 if rotation % 90 == 0 else 0  # other angles are left alone
    np.testing.assert_array_equal(turned, np.rot90(picture, quarters))
