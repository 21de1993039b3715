"""The convolutional image tower of random checkpoints; see `synthetic`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from vtr.errors import UsageError

from .resnet import EXPANSION, LAST_MAP, STAGES, STRIDE

if TYPE_CHECKING:
    from .synthetic import _Maker

BRANCH = 0.5  # gain of what a bottleneck adds: with 1, a deep tower makes much of the smallest rounding


def add_resnet(make: _Maker, dim: int, width: int, blocks: Sequence[int], image: int) -> None:
    """Draw the tensors ``visual.*``, running statistics included, and none of them trivial."""
    if len(blocks) != STAGES or min(blocks) < 1 or width % 2 or image % STRIDE:
        raise UsageError(
            f"expected {STAGES} numbers of blocks, an even width and an image side that {STRIDE} divides, "
            f"got {tuple(blocks)}, {width} and {image}"
        )
    half = width // 2
    for number, (into, out) in enumerate([(3, half), (half, half), (half, width)], 1):
        _convolution(make, "visual.", number, into, out, 3)
    channels = width
    for stage in range(STAGES):
        planes = width * 2**stage
        out = planes * EXPANSION
        for block in range(blocks[stage]):
            prefix = f"visual.layer{stage + 1}.{block}."
            _convolution(make, prefix, 1, channels, planes, 1)
            _convolution(make, prefix, 2, planes, planes, 3)
            _convolution(make, prefix, 3, planes, out, 1, gain=BRANCH)
            if not block:
                _kernel(make, f"{prefix}downsample.0.weight", channels, out, 1)
                _norm(make, f"{prefix}downsample.1", out)
            channels = out
    side = image // STRIDE
    assert channels == width * LAST_MAP
    make.normal("visual.attnpool.positional_embedding", side * side + 1, channels, std=0.1)
    for name, gain in (("q_proj", 1.0), ("k_proj", 1.0), ("v_proj", 2.0)):  # averages are small
        make.linear(f"visual.attnpool.{name}", channels, channels, gain)
    make.linear("visual.attnpool.c_proj", dim, channels)


def _convolution(
    make: _Maker, prefix: str, number: int, into: int, out: int, side: int, gain: float = 1.0
) -> None:
    _kernel(make, f"{prefix}conv{number}.weight", into, out, side)
    _norm(make, f"{prefix}bn{number}", out, gain)


def _kernel(make: _Maker, name: str, into: int, out: int, side: int) -> None:
    """Without the sum of an output's weights: else the mean of what a ReLU gives, the same for all frames,
    would outweigh by far in what they differ."""
    make.normal(name, out, into, side, side, std=math.sqrt(2 / (into * side * side)))
    make.tensors[name] -= make.tensors[name].mean(dim=(1, 2, 3), keepdim=True)


def _norm(make: _Maker, name: str, channels: int, gain: float = 1.0) -> None:
    """Variances of 1/2 to 2, so that channels are scaled unevenly."""
    make.norm(name, channels)
    make.tensors[f"{name}.weight"] *= gain
    make.tensors[f"{name}.bias"] *= gain
    make.normal(f"{name}.running_mean", channels, std=0.1)
    spread = torch.rand(channels, generator=make.generator)
    make.tensors[f"{name}.running_var"] = 2 ** (2 * spread - 1)
    make.tensors[f"{name}.num_batches_tracked"] = torch.tensor(1000)
