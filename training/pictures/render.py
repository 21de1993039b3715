"""Vector and raster pictures to sprites: premultiplied RGBA of one size, cropped to what is drawn.

SVG is rendered by resvg (the ``resvg-py`` package): one wheel with no system library, where CairoSVG needs a
Cairo to be installed, and it draws the gradients, masks and clip paths that the sets use.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtr.errors import BackendError, UsageError

from .sources import Drawing

SIDE = 128  # pixels of a sprite
MARGIN = 2  # transparent pixels around it, so that turned edges stay smooth
RENDERED = 256  # SVGs are drawn at this size first


def sprite(drawing: Drawing) -> NDArray[np.uint8]:
    """Premultiplied RGBA, uint8 ``[SIDE, SIDE, 4]``: the longer side of what is drawn fills the square."""
    data = _rasterised(drawing.data) if drawing.vector else drawing.data
    with Image.open(io.BytesIO(data)) as opened:
        image = opened.convert("RGBA")
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None:
        raise UsageError("expected a picture, got one that is transparent all over")
    image = image.crop(box)
    scale = (SIDE - 2 * MARGIN) / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = np.asarray(image.convert("RGBa").resize(size, Image.Resampling.LANCZOS))
    # Ringing of the filter can leave colour above alpha, which no premultiplied picture may have.
    small = np.minimum(small, small[..., 3:])
    square = np.zeros((SIDE, SIDE, 4), np.uint8)
    left, top = (SIDE - size[0]) // 2, (SIDE - size[1]) // 2
    square[top : top + size[1], left : left + size[0]] = small
    return square


def _rasterised(svg: bytes) -> bytes:
    try:
        import resvg_py
    except ImportError as error:
        raise BackendError("rendering SVG needs resvg-py: pip install resvg-py==0.5.0") from error
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg.decode(), width=RENDERED, height=RENDERED, skip_system_fonts=True
        )
    )
