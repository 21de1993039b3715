"""Small pictures of one thing each, by the thousand: what an image tower learns shapes from.

A frame of a clip is mostly background, costs milliseconds to draw, and a tower that knows nothing learned
next to nothing from 230,000 of them: it named 8 of 100 things. Icons are as large as the things in frames,
fill their picture, are made a batch at a time, and become harder: large and in their own colours at first, of
any size and often tinted in the end.

Nothing that is held out is shown: no sprite of the held-out style, no tint that the split does not admit for
the concept, and only backgrounds that no caption mentions.
"""

from __future__ import annotations

import math
from itertools import pairwise
from random import Random

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .clips import World
from .clips.claims import ActorClaim, Step, step_keys
from .clips.scene import COLOURS, LUMINANCE, SHINE, SHINE_FROM, TINT_FLOOR, TINTS
from .clips.splits import part_of, styles_of

LARGEST, LARGE, SMALL = 36.0, 28.0, 16.0  # pixels; as things of 0.17 to 0.38 of 96 pixels
TINTED = 0.5  # share of tinted pictures in the end
TILT = 0.1  # radians, either way
SPRITE = 1  # level of the sprites: half size, 64 pixels


class Icons:
    """Pictures of the concepts that training may see; what a batch holds depends on seed and step alone.

    Args:
        side: of a picture in pixels.
    """

    def __init__(self, world: World, side: int = 32, seed: int = 0) -> None:
        self.side, self.seed = side, seed
        self.names = list(world.concepts)
        sprites, labels = [], []
        for style in styles_of("train", world.pictures.styles):
            for label, name in enumerate(self.names):
                for code in world.codes(style, name):
                    sprites.append(np.asarray(world.pictures.levels(style, code)[SPRITE]))
                    labels.append(label)
        order = np.argsort(labels, kind="stable")
        self.sprites = torch.from_numpy(np.stack(sprites)[order]).permute(0, 3, 1, 2)  # uint8 [S,4,h,w]
        bounds = np.searchsorted(np.array(labels)[order], np.arange(len(self.names) + 1))
        self._first = torch.tensor([first for first, _ in pairwise(bounds)])
        self._count = torch.tensor([last - first for first, last in pairwise(bounds)])
        self._tints = torch.tensor([[_admitted(name, tint) for tint in TINTS] for name in self.names])

    def batch(self, step: int, count: int, hardness: float = 1.0) -> tuple[Tensor, Tensor]:
        """``count`` pictures uint8 ``[count, side, side, 3]`` and their concepts int64 ``[count]``.

        ``hardness`` from 0 to 1: how small the smallest are, and how many are tinted.
        """
        random = Random(f"icons/{self.seed}/{step}")  # PyTorch's generator looks at 32 bits of its seed
        draw = torch.Generator().manual_seed(random.getrandbits(32))
        known = torch.nonzero(self._count).squeeze(1)
        labels = known[torch.randint(len(known), (count,), generator=draw)]
        chosen = self._first[labels] + _below(self._count[labels], draw)
        sprites = self.sprites[chosen].float() / 255
        sprites = self._tinted(sprites, labels, TINTED * hardness, draw)
        drawn = self._placed(sprites, LARGE + (SMALL - LARGE) * hardness, draw)
        pictures = _backgrounds(count, self.side, draw) * (1 - drawn[:, 3:]) + drawn[:, :3]
        gain = _uniform(count, 0.85, 1.15, draw)
        offset = _uniform(count, -0.05, 0.05, draw)
        pictures = (pictures - 0.5) * gain.view(-1, 1, 1, 1) + 0.5 + offset.view(-1, 1, 1, 1)
        return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1), labels

    def _tinted(self, sprites: Tensor, labels: Tensor, share: float, draw: torch.Generator) -> Tensor:
        """Some of the sprites in shades of a colour, as `clips.draw` tints them."""
        colours = torch.tensor([COLOURS[tint] for tint in TINTS]) / 255
        admitted = self._tints[labels].float()
        tint = torch.multinomial(admitted + 1e-6, 1, generator=draw).squeeze(1)
        wanted = torch.rand(len(labels), generator=draw) < share
        wanted &= admitted.gather(1, tint[:, None]).squeeze(1) > 0
        alpha = sprites[:, 3:]
        light = (sprites[:, :3] * torch.tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        shade = TINT_FLOOR * alpha + (1 - TINT_FLOOR) * light
        shine = SHINE * (light - SHINE_FROM * alpha).clamp(min=0)
        tinted = torch.minimum(shade * colours[tint].view(-1, 3, 1, 1) + shine, alpha)
        rgb = torch.where(wanted.view(-1, 1, 1, 1), tinted, sprites[:, :3])
        return torch.cat([rgb, alpha], 1)

    def _placed(self, sprites: Tensor, smallest: float, draw: torch.Generator) -> Tensor:
        """Sprites of some size, somewhere in the picture, a little tilted; premultiplied RGBA."""
        count, side = len(sprites), self.side
        pixels = _uniform(count, smallest, LARGEST, draw)
        ratio, angle = side / pixels, _uniform(count, -TILT, TILT, draw)
        room = (1 - 0.9 * pixels / side).clamp(min=0) * ratio
        x, y = (_uniform(count, -1, 1, draw) * room for _ in range(2))
        cos, sin = ratio * angle.cos(), ratio * angle.sin()
        turns = torch.stack([torch.stack([cos, -sin, x], 1), torch.stack([sin, cos, y], 1)], 1)
        grid = F.affine_grid(turns, [count, 4, side, side], align_corners=False)
        return F.grid_sample(sprites, grid, align_corners=False)


def _backgrounds(count: int, side: int, draw: torch.Generator) -> Tensor:
    """Two colours ``[count, 3, side, side]``, mixed by a ramp, by blobs, by noise or by a soft cloud."""
    one, other = (torch.rand(count, 3, 1, 1, generator=draw) for _ in range(2))
    cloud = F.interpolate(torch.rand(count, 1, 5, 5, generator=draw), (side, side), mode="bicubic").clamp(
        0, 1
    )
    noise = torch.rand(count, 1, side // 2, side // 2, generator=draw)
    noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)
    turn = _uniform(count, 0, 2 * math.pi, draw).view(-1, 1, 1, 1)
    along = torch.linspace(-0.5, 0.5, side)
    ramp = 0.5 + turn.cos() * along + turn.sin() * along[:, None]
    kinds = torch.stack([ramp.clamp(0, 1), (cloud > 0.5).float(), noise, cloud])  # [4, count, 1, side, side]
    kind = torch.randint(len(kinds), (count,), generator=draw)
    mix = kinds[kind, torch.arange(count)]
    return one * (1 - mix) + other * mix


def _admitted(name: str, tint: str) -> bool:
    step = Step((ActorClaim(name, tint=tint),))
    return all(part_of(key) == "train" for key in step_keys(step))


def _uniform(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, generator=draw)


def _below(counts: Tensor, draw: torch.Generator) -> Tensor:
    """An integer below each count."""
    return (torch.rand(len(counts), generator=draw) * counts).long().clamp(max=counts - 1)
