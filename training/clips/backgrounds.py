"""Backgrounds, drawn the same at every size: plain colours, patterns, textures and five kinds of place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .scene import COLOURS, Background

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

CELLS = 20  # of a texture's grid, over twice the short side each way

# Colours that fill a place, for judging whether an actor stands out against it.
PLACE_COLOURS = {
    "night": ((14, 18, 44), (28, 34, 52)),
    "sea": ((165, 212, 240), (24, 104, 158)),
    "meadow": ((150, 205, 245), (92, 162, 62)),
    "snow": ((190, 200, 214), (238, 242, 248)),
    "desert": ((250, 214, 160), (214, 164, 92)),
}


def main_colours(background: Background) -> tuple[tuple[int, int, int], ...]:
    """The colours that cover most of a background."""
    if background.kind in PLACE_COLOURS:
        return PLACE_COLOURS[background.kind]
    return tuple(COLOURS[name] for name in background.colours)


def draw_background(background: Background, width: int, height: int) -> Pixels:
    """A background, uint8 ``[height, width, 3]``."""
    rng = np.random.default_rng(background.seed)
    short = min(width, height)
    x = ((np.arange(width) + 0.5 - width / 2) / short).astype(np.float32)[None, :]
    y = ((np.arange(height) + 0.5 - height / 2) / short).astype(np.float32)[:, None]
    if background.kind == "plain":
        return np.broadcast_to(np.array(COLOURS[background.colours[0]], np.uint8), (height, width, 3)).copy()
    picture = _DRAWN[background.kind](background, rng, x, y)
    return np.ascontiguousarray((np.clip(picture, 0, 255) + 0.5).astype(np.uint8))


def _mix(first: Floats, second: Floats, share: Floats) -> Floats:
    """``first`` where ``share [h, w]`` is 0, ``second`` where it is 1; colours ``[3]`` or ``[h, w, 3]``."""
    return first + (second - first) * share[..., None]


def _colours(background: Background) -> tuple[Floats, Floats]:
    first, second = (np.array(COLOURS[name], np.float32) for name in background.colours)
    return first, second


def _texture(rng: np.random.Generator, x: Floats, y: Floats, cells: int = CELLS) -> Floats:
    """Smooth noise from 0 to 1, ``[h, w]``, with ``cells`` grid points over [-1, 1] each way."""
    grid = Image.fromarray(rng.random((cells, cells), dtype=np.float32))
    half = cells / 2
    left, top, right, bottom = (half + half * edge for edge in _borders(x, y))
    size = x.shape[1], y.shape[0]
    return np.asarray(grid.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom)))


def _borders(x: Floats, y: Floats) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the frame in short sides."""
    width, height = x.shape[1], y.shape[0]
    short = min(width, height)
    return -width / short / 2, -height / short / 2, width / short / 2, height / short / 2


def _soft_step(distance: Floats, x: Floats, y: Floats) -> Floats:
    """0 to 1 across an edge, over one pixel."""
    return np.clip(distance * min(x.shape[1], y.shape[0]) + 0.5, 0, 1)


def _gradient(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    angle = rng.uniform(0, 2 * np.pi)
    share = 0.5 + 0.8 * (np.cos(angle) * x + np.sin(angle) * y)
    return _mix(*_colours(background), np.clip(share, 0, 1).astype(np.float32))


def _wave(along: Floats, period: float, x: Floats, y: Floats) -> Floats:
    """A square wave of 0 and 1 with smooth edges."""
    phase = np.abs(np.mod(along / period, 1) - 0.5) - 0.25
    return _soft_step(phase * period, x, y)


def _stripes(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    angle = float(rng.choice([0.0, 0.25, 0.5, 0.75])) * np.pi
    along = (np.cos(angle) * x + np.sin(angle) * y).astype(np.float32)
    return _mix(*_colours(background), _wave(along, float(rng.uniform(0.16, 0.3)), x, y))


def _checks(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    period = float(rng.uniform(0.25, 0.45))
    across, down = _wave(x, period, x, y), _wave(y, period, x, y)
    return _mix(*_colours(background), across + down - 2 * across * down)


def _noise(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    share = 0.75 * _texture(rng, x, y, 60) + 0.25 * _texture(rng, x, y, 14)
    return _mix(*_colours(background), np.clip(share, 0, 1))


def _blobs(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    share = _texture(rng, x, y, 9)
    return _mix(*_colours(background), np.clip(3 * share - 1, 0, 1))


def _land(
    kind: str, rng: np.random.Generator, x: Floats, y: Floats, waviness: float
) -> tuple[Floats, Floats]:
    """Sky and ground of a place, and where the ground is (0 to 1)."""
    sky, ground = (np.array(colour, np.float32) for colour in PLACE_COLOURS[kind])
    horizon = float(rng.uniform(0.02, 0.2))
    turn, phase = rng.uniform(2, 5), rng.uniform(0, 6)
    line = horizon + waviness * np.sin(turn * x + phase)
    below = _soft_step((y - line).astype(np.float32), x, y)
    shade = (1.08 - 0.25 * np.clip(y - line, 0, 1)).astype(np.float32)[..., None]
    light = (1.0 + 0.16 * (y + 0.5)).astype(np.float32)[..., None] * np.ones_like(shade)
    return _mix(sky * light, ground * shade, below), below


def _dots(rng: np.random.Generator, x: Floats, y: Floats, number: int, radius: float) -> Floats:
    """Scattered soft dots, 0 to 1."""
    found = np.zeros((y.shape[0], x.shape[1]), np.float32)
    short = min(found.shape)
    places = rng.uniform(-1, 1, (number, 2))
    for across, down, share in zip(*places.T, rng.uniform(0.4, 1, number), strict=True):
        reach = radius + 1.5 / short
        left, right = np.searchsorted(x[0], (across - reach, across + reach))
        top, bottom = np.searchsorted(y[:, 0], (down - reach, down + reach))
        if left == right or top == bottom:
            continue
        window = found[top:bottom, left:right]
        distance = np.hypot(x[:, left:right] - across, y[top:bottom] - down)
        np.maximum(window, np.clip((radius - distance) * short + 0.5, 0, 1) * share, out=window)
    return found


def _night(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    picture, below = _land("night", rng, x, y, 0.04)
    stars = _dots(rng, x, y, 60, 0.007) * (1 - below)
    return _mix(picture, np.array((250, 248, 225), np.float32), stars)


def _sea(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    picture, below = _land("sea", rng, x, y, 0.0)
    depth = np.clip(y, 0, 1) + 0.12
    foam = np.sin(38 * x + 5 * np.sin(9 * x + 30 * y)) * np.sin(20 / depth)
    crests = np.clip(2 * foam - 1, 0, 0.5) * below
    return _mix(picture, np.array((215, 238, 250), np.float32), crests.astype(np.float32))


def _meadow(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    picture, below = _land("meadow", rng, x, y, 0.03)
    blades = (_texture(rng, x, y, 90) - 0.5) * below
    return picture + 70 * blades[..., None] * np.array((0.6, 1, 0.4), np.float32)


def _snow(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    picture, below = _land("snow", rng, x, y, 0.03)
    flakes = _dots(rng, x, y, 90, 0.011)
    return _mix(picture - 12 * below[..., None], np.array((255, 255, 255), np.float32), flakes)


def _desert(background: Background, rng: np.random.Generator, x: Floats, y: Floats) -> Floats:
    picture, below = _land("desert", rng, x, y, 0.05)
    ripples = np.sin(60 * (y + 0.05 * np.sin(5 * x))) * below
    return picture + (9 * ripples)[..., None].astype(np.float32)


_DRAWN: dict[str, Callable[[Background, np.random.Generator, Floats, Floats], Floats]] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "checks": _checks,
    "noise": _noise,
    "blobs": _blobs,
    "night": _night,
    "sea": _sea,
    "meadow": _meadow,
    "snow": _snow,
    "desert": _desert,
}
