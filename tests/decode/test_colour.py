"""Colours: every pixel as OpenCV gives it, for every layout, range, matrix and odd size."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vtr.decode.colour import mapped_colours, to_image
from vtr.errors import DecodeError

cv2 = pytest.importorskip("cv2", reason="no OpenCV")
CURRENT = tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 13)

# True: OpenCV up to 4.12 gives other pixels. It ignores tags (matrices other than BT.601, full range outside
# yuvj), and its older libswscale filters chroma otherwise (10 bit, odd heights).
CASES = {
    "420": ({}, False),
    "height of no macroblock": ({"width": 66, "height": 50}, False),
    "422": ({"pixels": "yuv422p"}, False),
    "444 odd": ({"pixels": "yuv444p", "width": 65, "height": 49}, False),
    "yuvj420": ({"pixels": "yuvj420p"}, False),
    "full range": ({"color_range": 2}, False),
    "10 bit": ({"pixels": "yuv420p10le"}, True),
    "10 bit 422": ({"pixels": "yuv422p10le"}, True),
    "10 bit full range": ({"pixels": "yuv420p10le", "color_range": 2}, True),
    "BT.709": ({"colorspace": 1}, True),
    "BT.709 10 bit": ({"colorspace": 1, "pixels": "yuv420p10le"}, True),
    "BT.709 full range": ({"colorspace": 1, "color_range": 2}, True),
    "BT.2020 matrix": ({"colorspace": 9}, True),
    "SMPTE 240M": ({"colorspace": 7}, True),
    "mpeg4 odd": ({"codec": "mpeg4", "width": 65, "height": 49}, True),
    "vp8 odd": ({"codec": "libvpx", "width": 65, "height": 49, "name": "v.webm"}, False),
    "vp9 odd": ({"codec": "libvpx-vp9", "width": 65, "height": 49, "name": "v.webm"}, False),
    "vp9 full range": ({"codec": "libvpx-vp9", "color_range": 2, "name": "v.webm"}, True),
    "mjpeg odd": (
        {"codec": "mjpeg", "pixels": "yuvj420p", "width": 65, "height": 49, "name": "v.avi"},
        False,
    ),
    "mjpeg 422 odd": (
        {"codec": "mjpeg", "pixels": "yuvj422p", "width": 65, "height": 49, "name": "v.avi"},
        False,
    ),
    "gif": (
        {"codec": "gif", "pixels": "rgb8", "rate": 10, "width": 65, "height": 49, "name": "v.gif"},
        False,
    ),
    "ffv1 RGB": ({"codec": "ffv1", "pixels": "bgr0", "name": "v.mkv"}, False),
    "ffv1 grey": ({"codec": "ffv1", "pixels": "gray", "name": "v.mkv"}, False),
}


def opencv_frames(path: Path) -> list[NDArray[np.uint8]]:
    """Every frame in RGB, read one after the other."""
    capture, frames = cv2.VideoCapture(str(path)), []
    while True:
        ok, frame = capture.read()
        if not ok:
            return frames
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2RGB))


def assert_equal_to_opencv(path: Path) -> None:
    expected = opencv_frames(path)
    with av.open(str(path)) as container:
        frames = [np.asarray(to_image(frame)) for frame in container.decode(video=0)]
    assert len(frames) == len(expected) > 0
    np.testing.assert_array_equal(np.stack(frames), np.stack(expected))


@pytest.mark.parametrize("name", CASES)
def test_equals_opencv(make_video: Callable[..., Path], name: str) -> None:
    case, differs = CASES[name]
    if differs and not CURRENT:
        pytest.skip(f"OpenCV {cv2.__version__} has another idea of colours; 4.13 and later are followed")
    options = dict(case)
    assert_equal_to_opencv(make_video(options.pop("name", "v.mp4"), count=4, **options))


# Wide gamut and high dynamic range: libswscale prepares the mapping for seconds, in OpenCV and here.
@pytest.mark.skipif(not os.environ.get("VTR_TEST_SLOW"), reason="slow: set VTR_TEST_SLOW=1")
@pytest.mark.skipif(not CURRENT, reason=f"OpenCV {cv2.__version__} maps no colours")
@pytest.mark.parametrize(
    ("primaries", "curve", "matrix"),
    [
        ("bt2020", "smpte2084", "bt2020nc"),
        ("bt2020", "arib-std-b67", "bt2020nc"),
        ("smpte432", "iec61966-2-1", "bt709"),
        ("bt709", "smpte2084", "bt709"),
        ("smpte170m", "smpte170m", "smpte170m"),
    ],
)
def test_mapping_equals_opencv(
    make_video: Callable[..., Path], primaries: str, curve: str, matrix: str
) -> None:
    tags = f"colorprim={primaries}:transfer={curve}:colormatrix={matrix}"
    assert_equal_to_opencv(make_video("v.mp4", count=2, options={"x264-params": tags}))


@pytest.mark.parametrize(
    ("primaries", "curve", "expected"),
    [
        (2, 2, {}),  # unspecified
        (1, 1, {}),  # BT.709
        (6, 6, {}),  # SMPTE 170M
        (1, 13, {}),  # sRGB
        (9, 16, {"dst_color_primaries": 1, "dst_color_trc": 1}),  # BT.2020, PQ
        (9, 18, {"dst_color_primaries": 1, "dst_color_trc": 1}),  # BT.2020, HLG
        (9, 14, {"dst_color_primaries": 1, "dst_color_trc": 14}),  # BT.2020 of standard range
        (12, 13, {"dst_color_primaries": 1, "dst_color_trc": 13}),  # Display P3, sRGB
        (5, 16, {"dst_color_primaries": 5, "dst_color_trc": 1}),  # PQ alone
    ],
)
def test_what_is_mapped(primaries: int, curve: int, expected: dict[str, int]) -> None:
    assert mapped_colours(primaries, curve) == expected


def test_colours_that_cannot_be_converted(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=1, options={"x264-params": "colormatrix=YCgCo"})
    with av.open(str(path)) as container, pytest.raises(DecodeError, match="yuv420p, matrix 8"):
        to_image(next(container.decode(video=0)))
