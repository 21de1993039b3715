"""Light changes to drawn frames, so that a model does not lean on exact colours and places."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

GRAIN = 64  # pixels of the noise tile


def augmented(frames: Pixels, rng: np.random.Generator) -> Pixels:
    """Frames ``[n, size, size, 3]`` with other brightness, contrast and colour balance; some shifted, some
    blurred as by a low bit rate, some with grain. All frames of the clip change alike; left stays left.
    """
    shift = rng.integers(-4, 5, 2) * frames.shape[1] // 112
    if rng.random() < 0.5:
        frames = _shifted(frames, int(shift[0]), int(shift[1]))
    if rng.random() < 0.3:
        frames = _blurred(frames, float(rng.uniform(0.5, 0.8)))
    gain = rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    offset = rng.uniform(-12, 12)
    levels = np.arange(256)[:, None]
    tables = np.clip((levels - 128) * gain + 128 + offset, 0, 255).astype(np.uint8)  # [256, 3]
    tall = Image.fromarray(frames.reshape(-1, *frames.shape[2:]))  # one picture: PIL's tables are the fastest
    out = np.array(tall.point(tables.T.ravel().tolist())).reshape(frames.shape)
    if rng.random() < 0.3:
        _add_grain(out, rng)
    return out


def _shifted(frames: Pixels, down: int, right: int) -> Pixels:
    """Moved by some pixels; the border is repeated."""
    size = frames.shape[1]
    padded = np.pad(frames, ((0, 0), (abs(down), abs(down)), (abs(right), abs(right)), (0, 0)), "edge")
    top, left = abs(down) - down, abs(right) - right
    return np.ascontiguousarray(padded[:, top : top + size, left : left + size])


def _blurred(frames: Pixels, scale: float) -> Pixels:
    """Made smaller and larger again."""
    size = frames.shape[1]
    small = max(8, round(size * scale))
    out = np.empty_like(frames)
    for number, frame in enumerate(frames):
        reduced = Image.fromarray(frame).resize((small, small), Image.Resampling.BILINEAR)
        out[number] = np.asarray(reduced.resize((size, size), Image.Resampling.BILINEAR))
    return out


def _add_grain(frames: Pixels, rng: np.random.Generator) -> None:
    """Noise of a few levels, in place: one tile, laid at another place on every frame."""
    size = frames.shape[1]
    tile = rng.integers(0, 9, (GRAIN, GRAIN, 1), np.uint8)
    repeats = -(-(size + GRAIN) // GRAIN)
    field = np.tile(tile, (repeats, repeats, 1))
    np.minimum(frames, 247, out=frames)
    for frame, (top, left) in zip(frames, rng.integers(0, GRAIN, (len(frames), 2)), strict=True):
        frame += field[top : top + size, left : left + size]
