"""CLIP's convolutional image tower, RN50 and its kin (Radford et al., 2021, section 2.4, "ModifiedResNet"),
with submodules named as in the published checkpoints so that their keys load unchanged.

It differs from a ResNet (He et al., 2016) in a stem of three convolutions, in average pooling before the
convolutions that would have strides, and in attention pooling: the mean of the last feature map, as a query,
attends to the mean and to every place of the map.

Batch norms are PyTorch's own: in evaluation they take the running statistics of the checkpoint, in training
those of the batch, and then a frame's features depend on the frames beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .towers import MEAN, STD

EXPANSION = 4  # of a bottleneck: channels out over channels within
STAGES = 4
LAST_MAP = 2 ** (STAGES - 1) * EXPANSION  # channels of the last feature map over those after the stem
STRIDE = 32  # pixels to a place of the last feature map
HEAD_WIDTH = 64  # of attention pooling, in every published tower


@dataclass(frozen=True)
class ResNetSpec:
    """Sizes: channels after the stem, bottlenecks in each of the four stages, heads of attention pooling."""

    width: int
    blocks: tuple[int, ...]
    heads: int

    @property
    def channels(self) -> int:
        """Of the last feature map."""
        return self.width * LAST_MAP


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions with batch norms, around which the input is added."""

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        out = planes * EXPANSION
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.avgpool = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample: nn.ModuleDict | None = None
        if stride > 1 or channels != out:
            self.downsample = nn.ModuleDict(
                {
                    "-1": nn.AvgPool2d(stride),
                    "0": nn.Conv2d(channels, out, 1, bias=False),
                    "1": nn.BatchNorm2d(out),
                }
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(self.avgpool(y)))
        if self.downsample is not None:
            x = self.downsample["1"](self.downsample["0"](self.downsample["-1"](x)))
        return (y + x).relu()


class AttentionPool(nn.Module):
    """The mean of a feature map attends to the map: ``[N,C,h,w]`` -> ``[N,D]``."""

    def __init__(self, side: int, channels: int, heads: int, dim: int):
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(side * side + 1, channels))
        self.k_proj = nn.Linear(channels, channels)
        self.q_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.c_proj = nn.Linear(channels, dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2).transpose(1, 2)  # [N,hw,C]
        x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1) + self.positional_embedding
        heads = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.q_proj(x[:, :1]), self.k_proj(x), self.v_proj(x))
        )
        pooled = F.scaled_dot_product_attention(*heads)  # [N,heads,1,C/heads]
        return self.c_proj(pooled.transpose(1, 2).flatten(2)).squeeze(1)


class ResNetTower(nn.Module):
    """Frames to features by convolutions; takes and gives what `towers.VisionTower` does."""

    frame_coupling = False

    def __init__(
        self,
        spec: ResNetSpec,
        side: int,
        dim: int,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
    ):
        """``side``: of the last feature map; frames are of 32 times as many pixels."""
        super().__init__()
        width = spec.width
        self.conv1 = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width // 2)
        self.conv2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width // 2)
        self.conv3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.avgpool = nn.AvgPool2d(2)
        channels = width
        for number, blocks in enumerate(spec.blocks):
            planes = width * 2**number
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(channels, planes, 2 if number and not block else 1))
                channels = planes * EXPANSION
            self.add_module(f"layer{number + 1}", nn.Sequential(*stage))
        self.attnpool = AttentionPool(side, channels, spec.heads, dim)
        self.register_buffer("mean", torch.tensor(mean, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu"), persistent=False)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]`` RGB, ``mask [B,F]`` -> features ``[B,F,D]``, un-normalised.

        A frame whose mask is 0 counts as zero pixels *after* normalisation: the published loader pads so.
        """
        pixels = (frames.to(self.attnpool.c_proj.weight.dtype) / 255 - self.mean) / self.std
        pixels = (pixels * mask[:, :, None, None, None]).flatten(0, 1).permute(0, 3, 1, 2)
        return self.features(pixels).unflatten(0, mask.shape)

    def features(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``[N,3,H,W]`` -> ``[N,D]``."""
        return self.attnpool(self.last_map(pixels))

    def last_map(self, pixels: Tensor) -> Tensor:
        """Normalised pixels ``[N,3,H,W]``, H and W multiples of 32 -> ``[N,C,H/32,W/32]``."""
        x = self.bn1(self.conv1(pixels)).relu()
        x = self.bn2(self.conv2(x)).relu()
        x = self.avgpool(self.bn3(self.conv3(x)).relu())
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
