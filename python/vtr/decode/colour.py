"""From a decoded frame to an RGB image, pixel for pixel as OpenCV's ``VideoCapture`` (4.13 and later) does.

That is libswscale to BGR with its bicubic flags, by the matrix and range the frame declares; pictures of
wide gamut (BT.2020, P3) or high dynamic range (PQ, HLG) are mapped to BT.709. OpenCV up to 4.12 took every
stream for BT.601 and mapped nothing, so pictures tagged BT.709 come out with slightly other colours there.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, cast

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorPrimaries, ColorTrc, Interpolation, VideoReformatter
from PIL import Image

from vtr.errors import DecodeError

# H.273 codes of the primaries that libswscale leaves alone when the destination declares none: unspecified,
# BT.709, BT.470M, BT.470BG, SMPTE 170M and 240M. It maps every other gamut to BT.709.
PLAIN_PRIMARIES = frozenset({0, 1, 2, 4, 5, 6, 7})
HDR_CURVES = frozenset({16, 18})  # PQ (SMPTE 2084) and HLG (ARIB STD-B67)

_local = threading.local()  # a converter is not to be shared between threads


def to_image(frame: VideoFrame) -> Image.Image:
    """The whole frame as an RGB image, not turned by its metadata."""
    # BGR and not RGB: for 10-bit input libswscale's vector code differs by up to 5 levels between the two.
    plane = _to_bgr(frame).planes[0]
    size = (frame.width, frame.height)
    return Image.frombuffer("RGB", size, cast(Any, plane), "raw", "BGR", plane.line_size, 1)


def mapped_colours(primaries: int, curve: int) -> dict[str, int]:
    """Which primaries and transfer curve to ask of libswscale, as H.273 codes; empty to change neither."""
    if primaries in PLAIN_PRIMARIES and curve not in HDR_CURVES:
        return {}
    return {
        "dst_color_primaries": primaries if primaries in PLAIN_PRIMARIES else ColorPrimaries.BT709.value,
        "dst_color_trc": ColorTrc.BT709.value if curve in HDR_CURVES else curve,
    }


def _to_bgr(frame: VideoFrame) -> VideoFrame:
    if frame.interlaced_frame:
        frame = _unflagged(frame)
    primaries, curve = int(frame.color_primaries), int(frame.color_trc)
    key = (
        frame.width,
        frame.height,
        frame.format.name,
        frame.colorspace,
        frame.color_range,
        primaries,
        curve,
    )
    try:
        return _reformatter(key).reformat(
            frame,
            format="bgr24",
            interpolation=Interpolation.BICUBIC,
            threads=1,
            **mapped_colours(primaries, curve),
        )
    except (FFmpegError, OSError) as error:
        raise DecodeError(
            f"expected colours that libswscale converts to RGB, got pixel format {frame.format.name}, "
            f"matrix {frame.colorspace}, primaries {primaries}, transfer {curve} (H.273 codes): "
            f"{error.strerror}"
        ) from None


def _unflagged(frame: VideoFrame) -> VideoFrame:
    """A copy without the mark "interlaced", for which libswscale would convert each field by itself.

    OpenCV up to 4.12 converts the whole picture; later versions return memory that nothing was written to.
    """
    copy = VideoFrame(frame.width, frame.height, frame.format.name)
    for old, new in zip(frame.planes, copy.planes, strict=True):
        rows_in = np.frombuffer(cast(Any, old), np.uint8).reshape(-1, old.line_size)
        rows_out = np.frombuffer(cast(Any, new), np.uint8).reshape(-1, new.line_size)
        width = min(old.line_size, new.line_size)
        rows_out[:, :width] = rows_in[:, :width]
    copy.colorspace, copy.color_range = frame.colorspace, frame.color_range
    copy.color_primaries, copy.color_trc = frame.color_primaries, frame.color_trc
    return copy


def _reformatter(key: tuple[object, ...]) -> VideoReformatter:
    """A converter that met such frames before, if there is one: preparing to map HDR takes seconds."""
    if not hasattr(_local, "reformatters"):
        _local.reformatters = OrderedDict()
    reformatters: OrderedDict[tuple[object, ...], VideoReformatter] = _local.reformatters
    reformatter = reformatters.pop(key, None) or VideoReformatter()
    reformatters[key] = reformatter
    if len(reformatters) > 4:
        reformatters.popitem(last=False)
    return reformatter
