"""Pictures drawn a batch at a time, as tensors: backgrounds, sprites on them, and what cameras do to them.

``draw`` decides all that is random.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

BLURRED, GRAINY, GRAIN = 0.3, 0.3, 8 / 255  # shares of pictures, and most noise


def placed(sprites: Tensor, pixels: Tensor, x: Tensor, y: Tensor, angle: Tensor, side: int) -> Tensor:
    """Sprites ``pixels`` large around (``x``, ``y``), turned clockwise by ``angle`` (radians), each on an
    empty picture ``[N, 4, side, side]``."""
    ratio = side / pixels
    cos, sin = ratio * angle.cos(), ratio * angle.sin()
    right, down = (1 - 2 * x / side), (1 - 2 * y / side)
    first = torch.stack([cos, sin, cos * right + sin * down], 1)
    second = torch.stack([-sin, cos, -sin * right + cos * down], 1)
    turns = torch.stack([first, second], 1)
    grid = F.affine_grid(turns, [len(sprites), 4, side, side], align_corners=False)
    return F.grid_sample(sprites, grid, align_corners=False)


def over(drawn: Tensor, pictures: Tensor) -> Tensor:
    """Premultiplied RGBA over pictures ``[N, 3, h, w]``."""
    return pictures * (1 - drawn[:, 3:]) + drawn[:, :3]


def lit(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """Pictures ``[N, 3, h, w]`` brighter or darker, of more or less contrast, as clips are (`augmented`)."""
    count = len(pictures)
    gain = uniform(count, 0.85, 1.15, draw).view(-1, 1, 1, 1)
    gain = gain * (0.95 + 0.1 * torch.rand(count, 3, 1, 1, generator=draw))
    offset = uniform(count, -0.05, 0.05, draw).view(-1, 1, 1, 1)
    return (pictures - 0.5) * gain + 0.5 + offset


def softened(pictures: Tensor, draw: torch.Generator) -> Tensor:
    """Some of the pictures ``[N, 3, h, w]`` blurred, in place, and some grainy, as clips are."""
    count = len(pictures)
    blurred = torch.rand(count, generator=draw) < BLURRED
    side = pictures.shape[-1]
    small = round(side * float(uniform(1, 0.5, 0.8, draw)))
    less = F.interpolate(pictures[blurred], (small, small), mode="bilinear", antialias=True)
    pictures[blurred] = F.interpolate(less, (side, side), mode="bilinear")
    grain = (torch.rand(count, generator=draw) < GRAINY).float().view(-1, 1, 1, 1) * GRAIN
    return pictures + grain * torch.rand(count, 1, side, side, generator=draw)


def as_bytes(pictures: Tensor) -> Tensor:
    """Pictures of 0 to 1 ``[N, 3, h, w]`` as uint8 ``[N, h, w, 3]``."""
    return (pictures.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)


def backgrounds(count: int, side: int, draw: torch.Generator) -> Tensor:
    """Two colours ``[count, 3, side, side]``, mixed by a ramp, by blobs, by noise or by a soft cloud."""
    one, other = (torch.rand(count, 3, 1, 1, generator=draw) for _ in range(2))
    cloud = torch.rand(count, 1, 5, 5, generator=draw)
    cloud = F.interpolate(cloud, (side, side), mode="bicubic").clamp(0, 1)
    noise = torch.rand(count, 1, side // 2, side // 2, generator=draw)
    noise = noise.repeat_interleave(2, 2).repeat_interleave(2, 3)
    turn = uniform(count, 0, 2 * math.pi, draw).view(-1, 1, 1, 1)
    along = torch.linspace(-0.5, 0.5, side)
    ramp = 0.5 + turn.cos() * along + turn.sin() * along[:, None]
    kinds = torch.stack([ramp.clamp(0, 1), (cloud > 0.5).float(), noise, cloud])  # [4, count, 1, side, side]
    kind = torch.randint(len(kinds), (count,), generator=draw)
    mix = kinds[kind, torch.arange(count)]
    return one * (1 - mix) + other * mix


def uniform(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    """``[count]`` numbers between ``low`` and ``high``."""
    return low + (high - low) * torch.rand(count, generator=draw)
