"""Renders the demo clips: coloured shapes that move, one or two scenes a clip, as real H.264 files."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDTH, HEIGHT, FPS = 320, 240, 12
SCENE_SECONDS = 4
COLOURS = {
    "red": (214, 48, 49),
    "green": (39, 174, 96),
    "blue": (41, 98, 255),
    "yellow": (250, 200, 30),
    "white": (245, 245, 245),
    "purple": (142, 68, 173),
}
BACKGROUNDS = {"night": (18, 24, 46), "sand": (205, 180, 130), "sky": (130, 190, 235), "slate": (70, 80, 90)}
MOTIONS = ("moves to the right", "moves to the left", "rises", "grows", "turns")


@dataclass(frozen=True)
class Scene:
    """One shape on one background for ``SCENE_SECONDS``."""

    colour: str
    shape: str
    motion: str
    background: str

    @property
    def caption(self) -> str:
        return f"a {self.colour} {self.shape} {self.motion}"


SHAPES = ("circle", "square", "triangle", "star")
SCRIPT: tuple[tuple[Scene, ...], ...] = (
    (Scene("red", "circle", "moves to the right", "night"),),
    (Scene("blue", "square", "grows", "sand"),),
    (Scene("yellow", "star", "turns", "night"),),
    (Scene("green", "triangle", "rises", "sky"),),
    (Scene("white", "circle", "rises", "slate"),),
    (Scene("purple", "square", "moves to the left", "sky"),),
    (Scene("red", "star", "grows", "slate"), Scene("blue", "circle", "moves to the left", "sand")),
    (Scene("yellow", "triangle", "moves to the right", "slate"), Scene("white", "star", "turns", "night")),
    (Scene("green", "circle", "grows", "night"), Scene("red", "square", "turns", "sky")),
    (Scene("blue", "triangle", "turns", "slate"), Scene("yellow", "circle", "rises", "sky")),
    (Scene("white", "square", "moves to the right", "night"), Scene("green", "star", "grows", "sand")),
    (Scene("purple", "triangle", "rises", "sand"), Scene("red", "circle", "turns", "slate")),
)


def caption(scenes: tuple[Scene, ...]) -> str:
    """What a clip shows, as a sentence."""
    return ", then ".join(scene.caption for scene in scenes)


def render_clips(folder: Path) -> dict[Path, str]:
    """Encode every clip of the script into ``folder``; returns the caption of each file.

    Files that are there already are kept.
    """
    folder.mkdir(parents=True, exist_ok=True)
    captions = {}
    for number, scenes in enumerate(SCRIPT, 1):
        words = "-then-".join(f"{scene.colour}-{scene.shape}" for scene in scenes)
        path = folder / f"{number:02d}-{words}.mp4"
        if not path.exists():
            partial = path.with_suffix(".part.mp4")
            encode(partial, (frame for scene in scenes for frame in frames(scene)))
            partial.rename(path)
        captions[path] = caption(scenes)
    return captions


def encode(path: Path, pictures: Iterator[NDArray[np.uint8]]) -> None:
    """Write RGB pictures ``[HEIGHT, WIDTH, 3]`` as an H.264 file, or MPEG-4 where that encoder is missing."""
    import av

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=Fraction(FPS))
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def frames(scene: Scene) -> Iterator[NDArray[np.uint8]]:
    """The pictures of one scene, uint8 ``[HEIGHT, WIDTH, 3]``."""
    from PIL import Image, ImageDraw

    count = SCENE_SECONDS * FPS
    base = np.array(BACKGROUNDS[scene.background], np.float64)
    shade = np.linspace(1.15, 0.8, HEIGHT)[:, None, None]
    backdrop = np.broadcast_to(np.clip(base * shade, 0, 255), (HEIGHT, WIDTH, 3)).astype(np.uint8)
    for number in range(count):
        picture = Image.fromarray(backdrop.copy())
        _draw(ImageDraw.Draw(picture), scene, number / (count - 1))
        yield np.asarray(picture)


def _draw(draw: ImageDraw, scene: Scene, time: float) -> None:
    """Draw the scene's shape at ``time`` in [0, 1]."""
    x, y, radius, angle = WIDTH / 2, HEIGHT / 2, 45.0, 0.0
    if scene.motion == "moves to the right":
        x = 50 + (WIDTH - 100) * time
    elif scene.motion == "moves to the left":
        x = WIDTH - 50 - (WIDTH - 100) * time
    elif scene.motion == "rises":
        y = HEIGHT - 50 - (HEIGHT - 100) * time
    elif scene.motion == "grows":
        radius = 15 + 80 * time
    elif scene.motion == "turns":
        angle = 2 * math.pi * time
    fill = COLOURS[scene.colour]
    if scene.shape == "circle":
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)
        draw.line([x, y, x + radius * math.cos(angle), y + radius * math.sin(angle)], fill=(0, 0, 0), width=4)
        return
    corners = {"square": 4, "triangle": 3, "star": 10}[scene.shape]
    start = -math.pi / 4 if scene.shape == "square" else -math.pi / 2
    points = []
    for corner in range(corners):
        reach = radius * (0.45 if scene.shape == "star" and corner % 2 else 1.0)
        turn = start + angle + 2 * math.pi * corner / corners
        points.append((x + reach * math.cos(turn), y + reach * math.sin(turn)))
    draw.polygon(points, fill=fill)
