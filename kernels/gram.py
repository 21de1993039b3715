"""What TC-MGC stores of a video, on the device: k = LN1(y) and its Gram array.

python/vtr/scoring/gram.py derives it:

    k = LN1(y),  kc = k − mean,  Uc = kc·B  with  B = ((I + Wl)∘g2)ᵀ less the mean of its columns
    G2 = kc·kcᵀ/D,  G3 = Uc·Ucᵀ/D,  N = (Uc∘g3)·(Uc∘g3)ᵀ,  h3 = Uc·cc/D,  n1 = (Uc∘g3)·(cc∘g3),  n2 =
    (Uc∘g3)·b3

Folding LN2's gain and the subtraction of the mean into B leaves one product of D × D a frame. Uc never leaves
the chip: a step makes BE of its columns and adds their part to the Gram matrices.

**Work.** 2·F·D² products a video (6.3 MFLOP at F = 12, D = 512), in three TF32 pieces, for the statistics are
kept in fp32 and meet differences: arithmetic is the floor, and B (1 MB) stays in the L2 cache. Done once a
video.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from .config import GRAM_STEP, GRAM_VIDEOS, GRAM_WARPS, depth, padded_frames
from .launch import check

if TYPE_CHECKING:
    import torch

EPS = tl.constexpr(1e-5)
POOL = "conditional_transformer.pool_frames."


@triton.jit
def square(x, V: tl.constexpr, FP: tl.constexpr, B: tl.constexpr):
    """x·xᵀ of every video: ``x [V·FP, B]`` -> ``[V, FP, FP]``."""
    x = tl.reshape(x, (V, FP, B))
    return tl.dot(x, tl.permute(x, (0, 2, 1)), input_precision="tf32x3")


@triton.jit
def along(x, line, V: tl.constexpr, FP: tl.constexpr):
    """x · line: ``x [V·FP, B]``, ``line [B]`` -> ``[V, FP]``."""
    return tl.reshape(tl.sum(x * line[None, :], 1), (V, FP))


@triton.jit
def centred(y, inside, at, mean, scale, parameters, d, shift, D: tl.constexpr):
    """k and kc at columns ``d``: LN1(y), and that less its row means ``shift``."""
    x = (tl.load(y + at, mask=inside, other=0.0).to(tl.float32) - mean[:, None]) * scale[:, None]
    k = x * tl.load(parameters + d)[None, :] + tl.load(parameters + D + d)[None, :]
    return k, tl.where(inside, k - shift[:, None], 0.0)


@triton.jit
def gram_statistics(
    y,  # [count, F, D], fp16, bf16 or fp32
    parameters,  # [6, D] fp32: g1, b1, g3, cc, cc∘g3, b3
    matrix,  # [D, D] fp32: B
    frames,  # out: [count, F, D], the storage type: k
    gram,  # out: [count, 3F + 3, F] fp32
    count,  # i32: videos
    F: tl.constexpr, D: tl.constexpr, V: tl.constexpr, FP: tl.constexpr, BD: tl.constexpr, BE: tl.constexpr,
):  # fmt: skip
    video = tl.program_id(0) * V
    row = tl.arange(0, V * FP)
    place, f = video + row // FP, row % FP
    real = ((place < count) & (f < F))[:, None]
    base = (place.to(tl.int64) * F + f)[:, None] * D
    mean = tl.zeros((V * FP,), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        mean += tl.sum(tl.load(y + base + d[None, :], mask=real, other=0.0).to(tl.float32), 1)
    mean /= D
    variance = tl.zeros((V * FP,), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        x = tl.load(y + base + d[None, :], mask=real, other=0.0).to(tl.float32) - mean[:, None]
        variance += tl.sum(x * x, 1)
    scale = 1 / tl.sqrt(variance / D + EPS)
    shift = tl.zeros((V * FP,), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        k, _ = centred(y, real, base + d[None, :], mean, scale, parameters, d, shift, D)
        tl.store(frames + base + d[None, :], k, mask=real)
        shift += tl.sum(k, 1)
    shift /= D

    g2 = tl.zeros((V, FP, FP), tl.float32)
    g3, n = g2, g2
    h3 = tl.zeros((V, FP), tl.float32)
    n1, n2 = h3, h3
    for e0 in range(0, D, BE):
        e = e0 + tl.arange(0, BE)
        u = tl.zeros((V * FP, BE), tl.float32)
        for start in range(0, D, BD):
            d = start + tl.arange(0, BD)
            _, kc = centred(y, real, base + d[None, :], mean, scale, parameters, d, shift, D)
            u = tl.dot(kc, tl.load(matrix + d[:, None] * D + e[None, :]), u, input_precision="tf32x3")
        _, kc = centred(y, real, base + e[None, :], mean, scale, parameters, e, shift, D)
        ug = u * tl.load(parameters + 2 * D + e)[None, :]
        g2 += square(kc, V, FP, BE)
        g3 += square(u, V, FP, BE)
        n += square(ug, V, FP, BE)
        h3 += along(u, tl.load(parameters + 3 * D + e), V, FP)
        n1 += along(ug, tl.load(parameters + 4 * D + e), V, FP)
        n2 += along(ug, tl.load(parameters + 5 * D + e), V, FP)

    i, v = tl.arange(0, FP), video + tl.arange(0, V)
    rows = gram + v.to(tl.int64) * ((3 * F + 3) * F)
    line = (v < count)[:, None] & (i < F)[None, :]
    both = line[:, :, None] & (i < F)[None, None, :]
    at = rows[:, None, None] + (i[:, None] * F + i[None, :])[None]
    tl.store(at, g2 / D, mask=both)
    tl.store(at + F * F, g3 / D, mask=both)
    tl.store(at + 2 * F * F, n, mask=both)
    at = rows[:, None] + 3 * F * F + i[None, :]
    tl.store(at, h3 / D, mask=line)
    tl.store(at + F, n1, mask=line)
    tl.store(at + 2 * F, n2, mask=line)


# ---- host side -----------------------------------------------------------------------------------------


def prepare(head: Mapping[str, NDArray[Any]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """``parameters [6, D]`` and ``matrix [D, D]`` of a head, worked out in float64."""

    def parameter(name: str) -> NDArray[np.float64]:
        return head[POOL + name].astype(np.float64)

    a = np.eye(len(parameter("linear_proj.bias"))) + parameter("linear_proj.weight")
    c = a @ parameter("layer_norm2.bias") + parameter("linear_proj.bias")
    cc, g3 = c - c.mean(), parameter("layer_norm3.weight")
    first = parameter("layer_norm1.weight"), parameter("layer_norm1.bias")
    parameters = np.stack([*first, g3, cc, cc * g3, parameter("layer_norm3.bias")])
    matrix = (a * parameter("layer_norm2.weight")).T
    matrix -= matrix.mean(axis=1, keepdims=True)
    return parameters.astype(np.float32), np.ascontiguousarray(matrix, np.float32)


def statistics(
    y: torch.Tensor, parameters: torch.Tensor, matrix: torch.Tensor, storage: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """k ``[n, F, D]`` in ``storage`` and the Gram array ``[n, 3F + 3, F]`` fp32 of ``y [n, F, D]``.

    Raises:
        UsageError: a shape is another one.
    """
    check("y", y, (None, None, None))
    count, F, D = y.shape
    check("parameters", parameters, (6, D))
    check("matrix", matrix, (D, D))
    frames = y.new_empty((count, F, D), dtype=storage)
    gram = matrix.new_empty((count, 3 * F + 3, F))
    step = depth(D, GRAM_STEP)
    gram_statistics[(triton.cdiv(count, GRAM_VIDEOS),)](
        y, parameters, matrix, frames, gram, count, F=F, D=D, V=GRAM_VIDEOS, FP=padded_frames(F),
        BD=step, BE=step,
        num_warps=GRAM_WARPS, num_stages=2,
    )  # fmt: skip
    return frames, gram
