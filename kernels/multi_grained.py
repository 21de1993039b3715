"""What X-CLIP and TC-MGC share: products of a tile of videos with probes, without idle rows.

Frames are an axis of FP = 16, 32 or 64 in registers. A product runs over quarters of it, tiles of videos ×
FP/4 rows, and only over those that hold a frame; afterwards the quarters are put side by side.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .numerics import product


@triton.jit
def quarter(
    frames, probes, video, count, number: tl.constexpr, acc, d,
    V: tl.constexpr, Q: tl.constexpr, F: tl.constexpr, D: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """``acc [V·Q, columns]`` plus one step of its product."""
    row = tl.arange(0, V * Q)
    frame = number * Q + row % Q
    place = video + row // Q
    address = frames + (place.to(tl.int64) * F + frame)[:, None] * D + d[None, :]
    x = tl.load(address, mask=((place < count) & (frame < F))[:, None], other=0.0)
    return product(x, probes, acc)


@triton.jit
def by_frames(q0, q1, q2, q3, V: tl.constexpr, Q: tl.constexpr, W: tl.constexpr):
    """Four quarters ``[V·Q, W]`` -> ``[V, 4Q, W]``."""
    shape: tl.constexpr = (V, Q, W)
    low = tl.join(tl.reshape(q0, shape), tl.reshape(q2, shape))
    high = tl.join(tl.reshape(q1, shape), tl.reshape(q3, shape))
    return tl.reshape(tl.permute(tl.join(low, high), (0, 3, 4, 1, 2)), (V, 4 * Q, W))
