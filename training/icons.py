"""Small pictures of one thing each, by the thousand: what an image tower learns shapes from.

A frame of a clip is mostly background, costs milliseconds to draw, and a tower that knows nothing learned
next to nothing from 230,000 of them: it named 6 of 100 things. Icons are as large as the things in frames,
fill their picture, are made a batch at a time, and become harder: large and in their own colours at first, of
any size and often tinted in the end.

Nothing that is held out is shown: no sprite of the held-out style, no tint that the split does not admit for
the concept, and only backgrounds that no caption mentions.
"""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .canvas import as_bytes, backgrounds, lit, over, placed, uniform
from .clips import World
from .clips.claims import ActorClaim, Step, step_keys
from .clips.draw import ENLARGED
from .clips.scene import COLOURS, LUMINANCE, SHINE, SHINE_FROM, TINT_FLOOR, TINTS
from .clips.splits import part_of, styles_of

Pixels = NDArray[np.uint8]

LARGEST, LARGE, SMALL = 36.0, 28.0, 16.0  # pixels; as things of 0.17 to 0.38 of 96 pixels
TINTED = 0.5  # share of tinted pictures in the end
TILT = 0.1  # radians, either way
UNCERTAIN = -100  # label of places that no loss is taken from


class Icons:
    """Pictures of the concepts that training may see; what a batch holds depends on seed and step alone.

    Args:
        side: of a picture in pixels.
    """

    def __init__(self, world: World, side: int = 32, seed: int = 0) -> None:
        self.side, self.seed = side, seed
        self.names = list(world.concepts)
        sprites: list[list[Pixels]] = [[], []]
        labels = []
        for style in styles_of("train", world.pictures.styles):
            for label, name in enumerate(self.names):
                for code in world.codes(style, name):
                    half, quarter = world.pictures.levels(style, code)[1:]
                    sprites[0].append(np.asarray(half))
                    sprites[1].append(np.asarray(quarter.resize(half.size, Image.Resampling.BILINEAR)))
                    labels.append(label)
        order = np.argsort(labels, kind="stable")
        by_level = torch.from_numpy(np.stack([np.stack(level)[order] for level in sprites]))
        self.sprites = by_level.permute(0, 1, 4, 2, 3)  # uint8 [2,S,4,h,w]: for large things, for small ones
        self._enough = ENLARGED * quarter.width
        bounds = np.searchsorted(np.array(labels)[order], np.arange(len(self.names) + 1))
        self._first = torch.tensor([first for first, _ in pairwise(bounds)])
        self._count = torch.tensor([last - first for first, last in pairwise(bounds)])
        self._tints = torch.tensor(
            [[admitted(ActorClaim(name, tint=tint)) for tint in TINTS] for name in self.names]
        )

    @property
    def labels(self) -> int:
        """How many labels there are: the concepts."""
        return len(self.names)

    def batch(self, step: int, count: int, hardness: float = 1.0) -> tuple[Tensor, Tensor]:
        """``count`` pictures uint8 ``[count, side, side, 3]`` and their concepts int64 ``[count, 1, 1]``.

        ``hardness`` from 0 to 1: how small the smallest are, and how many are tinted.
        """
        draw = self._generator(step)
        pixels = uniform(count, LARGE + (SMALL - LARGE) * hardness, LARGEST, draw)
        labels, sprites = self._things(pixels, hardness, draw)
        room = (self.side / 2 - 0.45 * pixels).clamp(min=0)
        x, y = (self.side / 2 + uniform(count, -1, 1, draw) * room for _ in range(2))
        drawn = placed(sprites, pixels, x, y, uniform(count, -TILT, TILT, draw), self.side)
        pictures = over(drawn, backgrounds(count, self.side, draw))
        return as_bytes(lit(pictures, draw)), labels.view(-1, 1, 1)

    def _generator(self, step: int) -> torch.Generator:
        random = Random(f"icons/{self.seed}/{step}")  # PyTorch's generator looks at 32 bits of its seed
        return torch.Generator().manual_seed(random.getrandbits(32))

    def _things(self, pixels: Tensor, hardness: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
        """For each of the sizes ``[N]`` a concept, int64 ``[N]``, and a sprite ``[N, 4, h, w]``."""
        known = torch.nonzero(self._count).squeeze(1)
        labels = known[torch.randint(len(known), pixels.shape, generator=draw)]
        chosen = self._first[labels] + _below(self._count[labels], draw)
        sprites = self.sprites[(pixels <= self._enough).long(), chosen].float() / 255
        return labels, self._tinted(sprites, labels, TINTED * hardness, draw)

    def _tinted(self, sprites: Tensor, labels: Tensor, share: float, draw: torch.Generator) -> Tensor:
        """Some of the sprites in shades of a colour, as `clips.draw` tints them."""
        colours = torch.tensor([COLOURS[tint] for tint in TINTS]) / 255
        tint, wanted = some(self._tints[labels], share, draw)
        alpha = sprites[:, 3:]
        light = (sprites[:, :3] * torch.tensor(LUMINANCE).view(1, 3, 1, 1)).sum(1, keepdim=True)
        shade = TINT_FLOOR * alpha + (1 - TINT_FLOOR) * light
        shine = SHINE * (light - SHINE_FROM * alpha).clamp(min=0)
        tinted = torch.minimum(shade * colours[tint].view(-1, 3, 1, 1) + shine, alpha)
        rgb = torch.where(wanted.view(-1, 1, 1, 1), tinted, sprites[:, :3])
        return torch.cat([rgb, alpha], 1)


def admitted(claim: ActorClaim) -> bool:
    """Whether the training split may show it."""
    return all(part_of(key) == "train" for key in step_keys(Step((claim,))))


def some(admitted: Tensor, share: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """For each row of ``admitted [N, K]`` one of the K that it has, and whether to show it: ``share`` of
    the rows that have any."""
    kind = torch.multinomial(admitted + 1e-6, 1, generator=draw)
    wanted = torch.rand(len(admitted), generator=draw) < share
    return kind.squeeze(1), wanted & admitted.gather(1, kind).squeeze(1)


def _below(counts: Tensor, draw: torch.Generator) -> Tensor:
    """An integer below each count."""
    return (torch.rand(len(counts), generator=draw) * counts).long().clamp(max=counts - 1)
