"""The pictures on this machine: a folder with one file a style, written by ``training.fetch``."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vtr.errors import UsageError
from vtr.files import user_cache

FORMAT = 1
MANIFEST = "pictures.json"
LEVELS = 3  # each sprite is kept at full, half and quarter size

Pixels = NDArray[np.uint8]


def default_folder() -> Path:
    """``$VTR_PICTURES``, else ``vtr/pictures`` in the user's cache."""
    given = os.environ.get("VTR_PICTURES")
    if given:
        return Path(given)
    return user_cache() / "pictures"


class Pictures:
    """Sprites by style and code point.

    Args:
        sprites: style → code point → premultiplied RGBA, uint8 ``[side, side, 4]``.
    """

    def __init__(self, sprites: Mapping[str, Mapping[str, Pixels]]) -> None:
        self._sprites = sprites
        self._levels: dict[tuple[str, str], tuple[Image.Image, ...]] = {}
        self._colours: dict[tuple[str, str], tuple[int, int, int]] = {}

    @cached_property
    def styles(self) -> tuple[str, ...]:
        """Names of the drawing styles, sorted."""
        return tuple(sorted(self._sprites))

    def codes(self, style: str) -> frozenset[str]:
        """Code points that a style has a picture of."""
        return frozenset(self._of(style))

    def levels(self, style: str, code: str) -> tuple[Image.Image, ...]:
        """A sprite at full, half and quarter size, in PIL's premultiplied mode "RGBa"."""
        key = style, code
        if key not in self._levels:
            full = _premultiplied(self._sprite(style, code))
            self._levels[key] = (full, *(full.reduce(2**level) for level in range(1, LEVELS)))
        return self._levels[key]

    def colour(self, style: str, code: str) -> tuple[int, int, int]:
        """Mean colour along the outline of a sprite: what a background must differ from."""
        key = style, code
        if key not in self._colours:
            self._colours[key] = _outline_colour(self._sprite(style, code))
        return self._colours[key]

    def _of(self, style: str) -> Mapping[str, Pixels]:
        if style not in self._sprites:
            raise UsageError(f"expected one of the styles {', '.join(self.styles)}, got {style!r}")
        return self._sprites[style]

    def _sprite(self, style: str, code: str) -> Pixels:
        pictures = self._of(style)
        if code not in pictures:
            raise UsageError(
                f"the style {style} has no picture of U+{code.upper()}: draw it in another style"
            )
        return pictures[code]


def _premultiplied(pixels: Pixels) -> Image.Image:
    height, width = pixels.shape[:2]
    return Image.frombytes("RGBa", (width, height), np.ascontiguousarray(pixels).tobytes())


def _outline_colour(pixels: Pixels) -> tuple[int, int, int]:
    alpha = pixels[..., 3].astype(np.int64)
    solid = np.pad(alpha > 128, 4)
    side = len(alpha)
    inner = np.ones_like(alpha, bool)
    for down, right in ((0, 4), (8, 4), (4, 0), (4, 8)):
        inner &= solid[down : down + side, right : right + side]
    rim = solid[4:-4, 4:-4] & ~inner
    total = max(int(alpha[rim].sum()), 1)
    red, green, blue = (int(pixels[..., c][rim].astype(np.int64).sum() * 255 // total) for c in range(3))
    return min(red, 255), min(green, 255), min(blue, 255)


def save_pictures(
    folder: Path, sprites: Mapping[str, Mapping[str, Pixels]], about: Mapping[str, Any]
) -> None:
    """Write the cache: one compressed array a style, and a manifest with ``about`` the sources."""
    folder.mkdir(parents=True, exist_ok=True)
    for style, pictures in sprites.items():
        codes = sorted(pictures)
        partial = folder / f"{style}.part.npz"
        np.savez_compressed(partial, codes=np.array(codes), pixels=np.stack([pictures[c] for c in codes]))
        partial.replace(folder / f"{style}.npz")
    manifest = {"format": FORMAT, "styles": {style: len(sprites[style]) for style in sprites}, **about}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def load_pictures(folder: str | os.PathLike[str] | None = None) -> Pictures:
    """Read the cache (default: ``default_folder()``). Raises ``UsageError`` where there is none."""
    path = Path(folder) if folder is not None else default_folder()
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"expected pictures in {path}, found no readable {MANIFEST}: run `python -m vtr.training.fetch`"
        ) from error
    if manifest.get("format") != FORMAT:
        raise UsageError(
            f"{path}: expected pictures of format {FORMAT}, got {manifest.get('format')!r}: "
            "run `python -m vtr.training.fetch` again"
        )
    return Pictures({style: _load_style(path / f"{style}.npz") for style in manifest["styles"]})


def _load_style(path: Path) -> dict[str, Pixels]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            codes, pixels = arrays["codes"], arrays["pixels"]
    except (OSError, ValueError, KeyError) as error:
        raise UsageError(
            f"{path} cannot be read ({error}): run `python -m vtr.training.fetch` again"
        ) from error
    return dict(zip(codes.tolist(), pixels, strict=True))
