"""EA-CLIP4Clip's ``intra_mlp``: one factor a frame from the frame and the mean of its video (Jing et al.).

    φ(x_f) = W2·ReLU(W1·[x_f ; mean_F x] + b1) + b2,   not squashed; the frames go on as x·φ

export/families/ea.py has it in PyTorch: it comes after the temporal head and before the gates, whose kernel
(:mod:`vtr.kernels.aggregate`) takes the factors, so that scaled frames are never written.

**Work.** 4·F·D·H products a video on the matrix units (12.6 MFLOP at F = 12, D = H = 512) and F·D·s bytes:
arithmetic is the floor. The mean's part is the same for all frames of a video; it is multiplied with each of
them all the same, for a product of a few rows costs the matrix units as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from .aggregate import mlp
from .config import intra_tile, padded_frames, power_of_two
from .launch import check

if TYPE_CHECKING:
    import torch


@triton.jit
def intra_factors(
    frames,  # [count, F, D], fp16 or bf16: x
    first,  # [H, 2D], as frames: intra_mlp.0.weight
    bias,  # [2H + 1] fp32: intra_mlp.0.bias, intra_mlp.2.weight, intra_mlp.2.bias
    factors,  # out: [count, F] fp32
    count,  # i32: videos
    F: tl.constexpr, D: tl.constexpr, H: tl.constexpr,
    V: tl.constexpr, FP: tl.constexpr, DP: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    video = tl.program_id(0) * V
    row, d = tl.arange(0, V * FP), tl.arange(0, DP)
    place, f = video + row // FP, row % FP
    real = (place < count) & (f < F)
    at = place.to(tl.int64) * F + f
    x = tl.load(frames + at[:, None] * D + d[None, :], mask=real[:, None] & (d < D)[None, :], other=0.0)
    mean = tl.sum(tl.reshape(x.to(tl.float32), (V, FP, DP)), 1) / F
    mean = tl.reshape(tl.broadcast_to(mean[:, None, :], (V, FP, DP)), (V * FP, DP)).to(x.dtype)
    out = mlp(x, mean, first, bias, V * FP, D, H, DP, BH, True) + tl.load(bias + 2 * H)
    tl.store(factors + at, out, mask=real)


# ---- host side -----------------------------------------------------------------------------------------


def frame_factors(frames: torch.Tensor, first: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """φ ``[n, F]`` fp32 of every frame.

    Args:
        frames: x ``[n, F, D]``; ``first`` intra_mlp.0.weight ``[H, 2D]``, both in the storage type.
        bias: intra_mlp.0.bias, intra_mlp.2.weight, intra_mlp.2.bias, fp32 ``[2H + 1]``.

    Raises:
        UsageError: a shape is another one.
    """
    check("frames", frames, (None, None, None))
    count, F, D = frames.shape
    check("first", first, (None, 2 * D))
    hidden = len(first)
    check("bias", bias, (2 * hidden + 1,))
    videos, step, warps = intra_tile(F, D)
    factors = bias.new_empty((count, F))
    intra_factors[(triton.cdiv(count, videos),)](
        frames, first, bias, factors, count, F=F, D=D, H=hidden,
        V=videos, FP=padded_frames(F), DP=power_of_two(D), BH=step, num_warps=warps, num_stages=1,
    )  # fmt: skip
    return factors


def intra_reference(frames: torch.Tensor, first: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """The formula in plain torch, in the type of the frames: ``[n, F, D]`` -> φ ``[n, F]``."""
    import torch

    b1, w2, b2 = bias.to(frames).split([len(first), len(first), 1])
    both = torch.cat([frames, frames.mean(1, keepdim=True).expand_as(frames)], -1)
    return (both @ first.to(frames).T + b1).relu() @ w2 + b2
