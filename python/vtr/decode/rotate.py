"""Showing a picture upright, as its display matrix says. OpenCV does so too, in quarter turns only."""

from __future__ import annotations

from av.video.frame import VideoFrame
from PIL import Image

# Degrees counter-clockwise, as libavutil reads them off the matrix.
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    -180: Image.Transpose.ROTATE_180,
    -90: Image.Transpose.ROTATE_270,
}


def upright(image: Image.Image, rotation: int) -> Image.Image:
    """Turn an image by ``rotation`` degrees counter-clockwise where that is a quarter turn."""
    turn = _TURNS.get(rotation)
    return image if turn is None else image.transpose(turn)


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """Width and height of a frame as displayed, the pixel aspect ratio left out as in OpenCV."""
    return (frame.height, frame.width) if frame.rotation in (90, -90) else (frame.width, frame.height)
