"""From a scene to its frames: NumPy and PIL only, at any size."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..pictures import Pictures
from .backgrounds import draw_background
from .motions import Pose, poses
from .scene import COLOURS, LUMINANCE, SHINE, SHINE_FROM, TINT_FLOOR, Actor, Background, Scene, Segment

Pixels = NDArray[np.uint8]
ENLARGED = 1.25  # a level serves pictures up to this much larger than itself


class Stage:
    """Draws frames of one scene at one size; keeps what does not change between them.

    ``width`` × ``height`` may differ from the scene's: the short side always spans one unit about the
    centre, so a square is what a centre crop of the scene's own frame would show.
    """

    def __init__(self, scene: Scene, pictures: Pictures, width: int, height: int) -> None:
        self.scene, self.pictures = scene, pictures
        self.width, self.height = width, height
        self.short = min(width, height)
        self._tinted: dict[tuple[str, str | None], tuple[Image.Image, ...]] = {}

    def frame(self, seconds: float) -> Pixels:
        """The picture at a time, uint8 ``[height, width, 3]``."""
        segment = self.scene.segment_at(seconds)
        frame = _background(segment.background, self.width, self.height).copy()
        for actor, pose in placed(segment, seconds):
            self._paste(frame, actor, pose)
        return frame

    def coverage(self, seconds: float) -> NDArray[np.int64]:
        """How much of the frame each actor of the segment covers, in pixels, hidden parts included."""
        segment = self.scene.segment_at(seconds)
        found = np.zeros(len(segment.actors), np.int64)
        for actor, pose in placed(segment, seconds):
            blank = np.zeros((self.height, self.width, 3), np.uint8)
            self._paste(blank, actor, pose, mask_only=True)
            found[segment.actors.index(actor)] += int((blank[..., 0] > 127).sum())
        return found

    def _paste(self, frame: Pixels, actor: Actor, pose: Pose, mask_only: bool = False) -> None:
        side = pose.scale * self.short
        levels = self._levels(actor)
        level = next((item for item in reversed(levels) if side <= ENLARGED * item.width), levels[0])
        ratio = level.width / max(side, 1e-3)
        angle = math.radians(pose.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        half = side / 2 * (abs(cos) + abs(sin)) + 1
        x, y = pose.x * self.short + self.width / 2, pose.y * self.short + self.height / 2
        left, right = max(math.floor(x - half), 0), min(math.ceil(x + half), self.width)
        top, bottom = max(math.floor(y - half), 0), min(math.ceil(y + half), self.height)
        if left >= right or top >= bottom:
            return
        centre = level.width / 2
        turn = (ratio * cos, ratio * sin, -ratio * sin, ratio * cos)  # from the frame to the sprite
        dx, dy = left - x, top - y
        data = (
            turn[0], turn[1], turn[0] * dx + turn[1] * dy + centre,
            turn[2], turn[3], turn[2] * dx + turn[3] * dy + centre,
        )  # fmt: skip
        drawn = np.asarray(
            level.transform(
                (right - left, bottom - top), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
            )
        )
        region = frame[top:bottom, left:right]
        _over(region, np.broadcast_to(drawn[..., 3:], drawn.shape) if mask_only else drawn)

    def _levels(self, actor: Actor) -> tuple[Image.Image, ...]:
        key = actor.code, actor.tint
        if key not in self._tinted:
            levels = self.pictures.levels(self.scene.style, actor.code)
            self._tinted[key] = tuple(_tint(level, actor.tint) for level in levels) if actor.tint else levels
        return self._tinted[key]


def placed(segment: Segment, seconds: float) -> Iterator[tuple[Actor, Pose]]:
    """Each picture of a segment with its place at a time of the clip, rearmost first."""
    for actor in segment.actors:
        for pose in poses(actor, seconds - segment.start, segment.end - segment.start):
            yield actor, pose


def draw_frames(scene: Scene, pictures: Pictures) -> Iterator[Pixels]:
    """All frames of a scene at its own size and rate."""
    stage = Stage(scene, pictures, scene.width, scene.height)
    for number in range(scene.frame_count):
        yield stage.frame(number / scene.fps)


@lru_cache(maxsize=16)
def _background(background: Background, width: int, height: int) -> Pixels:
    return draw_background(background, width, height)


def _over(region: Pixels, drawn: Pixels) -> None:
    """Lay premultiplied RGBA over RGB, in place."""
    scaled = region * (255 - drawn[..., 3:]).astype(np.uint16) + 128
    behind = (scaled + (scaled >> 8)) >> 8  # division by 255, rounded, exact in 16 bits
    region[...] = np.minimum(behind + drawn[..., :3], 255)


def _tint(level: Image.Image, tint: str) -> Image.Image:
    """A sprite in shades of one colour: its light and dark stay."""
    pixels = np.asarray(level).astype(np.float32)
    light = pixels[..., :3] @ np.array(LUMINANCE, np.float32)
    alpha = pixels[..., 3]
    colour = np.array(COLOURS[tint], np.float32) / 255
    shade = TINT_FLOOR * alpha + (1 - TINT_FLOOR) * light
    shine = SHINE * np.clip(light - SHINE_FROM * alpha, 0, None)
    tinted = np.minimum(shade[..., None] * colour + shine[..., None], alpha[..., None])
    out = np.concatenate([tinted, alpha[..., None]], -1)
    return Image.frombytes("RGBa", level.size, (out + 0.5).astype(np.uint8).tobytes())
