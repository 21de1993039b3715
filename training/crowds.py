"""Pictures as large as frames with things all over: from them an image tower learns to see one beside others.

A tower that learned from `icons` alone never saw a neighbour: of things that it tells apart in 80 of 100
icons it told 30 when the same icons lay in the middle of a frame. Here every place of its last feature map
has a label of its own, so that a picture of nine things teaches as much as nine icons.

Any two things may be beside each other, also where captions of the training split never name both.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vtr.export.resnet import STRIDE

from .canvas import as_bytes, backgrounds, lit, over, placed, softened, uniform
from .clips import World
from .clips.claims import ActorClaim
from .clips.scene import TURNS
from .icons import TILT, UNCERTAIN, Icons, admitted, some
from .pictures.concepts import Concept

GRIDS, SHARES = (3, 2, 1), (0.6, 0.25, 0.15)  # things a side, and how many pictures have so many
SHOWN = 0.7  # share of a grid's places that hold a thing
SIZES = 0.45, 1.1  # of things, in units of the grid's spacing
LARGEST = 76.0  # pixels, of 96
TURNED = 0.1  # share of turned things in the end, of those that may be
JITTER = 0.25  # of the spacing, either way
CORE = 0.35  # of a thing's size: places that near its centre see it
CLEAR = 0.6  # of a thing's size: places farther from it than that, and a quarter of a stride, do not see it


class Crowds(Icons):
    """Pictures of several things, of which training may see all; see `Icons`."""

    def __init__(self, world: World, side: int = 96, seed: int = 0) -> None:
        super().__init__(world, side, seed)
        self._turns = torch.tensor([_turns(name, concept) for name, concept in world.concepts.items()])

    @property
    def labels(self) -> int:
        """How many labels there are: the concepts, and nothing."""
        return len(self.names) + 1

    def batch(self, step: int, count: int, hardness: float = 1.0) -> tuple[Tensor, Tensor]:
        """``count`` pictures uint8 ``[count, side, side, 3]`` and what each place of the last feature map
        sees, int64 ``[count, side / 32, side / 32]``: a concept, nothing (the highest label) or `UNCERTAIN`.

        ``hardness`` from 0 to 1: how many things are tinted and turned.
        """
        draw = self._generator(step)
        picture, x, y, pixels = self._layout(count, draw)
        concepts, sprites = self._things(pixels, hardness, draw)
        drawn = placed(sprites, pixels, x, y, self._angles(concepts, hardness, draw), self.side)
        pictures = backgrounds(count, self.side, draw)
        places = self.side // STRIDE
        labels = torch.full((count, places, places), self.labels - 1)
        for layer in _layers(picture):
            at = picture[layer]
            pictures[at] = over(drawn[layer], pictures[at])
            labels[at] = _seen(labels[at], concepts[layer], x[layer], y[layer], pixels[layer])
        return as_bytes(softened(lit(pictures, draw), draw)), labels

    def _angles(self, labels: Tensor, hardness: float, draw: torch.Generator) -> Tensor:
        """Clockwise turns in radians: small ones, and for some those that the split admits."""
        kind, wanted = some(self._turns[labels], TURNED * hardness, draw)
        named = torch.tensor(list(TURNS.values())).deg2rad().expand(len(labels), -1)
        turns = torch.cat([named, uniform(len(labels), 0, 2 * math.pi, draw)[:, None]], 1)
        return uniform(len(labels), -TILT, TILT, draw) + wanted * turns.gather(1, kind[:, None]).squeeze(1)

    def _layout(self, count: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """For each thing its picture, the place of its centre and its size, in the order of drawing."""
        grids = torch.tensor(GRIDS)[torch.multinomial(torch.tensor(SHARES), count, True, generator=draw)]
        places = grids**2
        shown = torch.rand(count, max(GRIDS) ** 2, generator=draw) < SHOWN
        shown &= torch.arange(shown.shape[1]) < places[:, None]
        shown[:, 0] |= places == 1
        picture, place = torch.nonzero(shown, as_tuple=True)
        grid, spacing = grids[picture], self.side / grids[picture]
        x = (place % grid + 0.5 + uniform(len(place), -JITTER, JITTER, draw)) * spacing
        y = (place // grid + 0.5 + uniform(len(place), -JITTER, JITTER, draw)) * spacing
        pixels = (uniform(len(place), *SIZES, draw) * spacing).clamp(max=LARGEST)
        return picture, x, y, pixels


def _turns(name: str, concept: Concept) -> list[bool]:
    """Whether a concept may be shown in each of `TURNS`, and in all."""
    named = [concept.upright and admitted(ActorClaim(name, turn=turn)) for turn in TURNS]
    return [*named, concept.spins and admitted(ActorClaim(name, motion="spin"))]


def _layers(picture: Tensor) -> list[Tensor]:
    """Indices of the first thing of every picture, of the second, and so on; ``picture`` ascends."""
    starts = torch.searchsorted(picture, picture)
    number = torch.arange(len(picture)) - starts
    return [torch.nonzero(number == layer).squeeze(1) for layer in range(int(number.max()) + 1)]


def _seen(labels: Tensor, concept: Tensor, x: Tensor, y: Tensor, pixels: Tensor) -> Tensor:
    """Labels ``[N, h, w]`` after a thing more in each picture."""
    side = labels.shape[1]
    centres = (torch.arange(side) + 0.5) * STRIDE
    far_x = (centres[None, None, :] - x[:, None, None]).abs()
    far_y = (centres[None, :, None] - y[:, None, None]).abs()
    far = torch.maximum(far_x, far_y)
    nearest = far == far.amin((1, 2), keepdim=True)
    size = pixels[:, None, None]
    hidden = torch.where(far < CLEAR * size + 0.25 * STRIDE, UNCERTAIN, labels)
    return torch.where(nearest | (far < CORE * size), concept[:, None, None], hidden)
