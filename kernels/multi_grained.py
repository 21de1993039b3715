"""What X-CLIP and TC-MGC share: products of a tile of videos with probes, without idle rows.

Frames are an axis of FP = 16, 32 or 64 in registers. A product runs over quarters of it, tiles of videos ×
FP/4 rows, and only over those that hold a frame; afterwards the quarters are put side by side.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from vtr.errors import UsageError

from .config import Spec, multi_grained_tile, padded_frames, padded_words
from .numerics import product

LARGEST_FP16 = 65504


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


# ---- host side -----------------------------------------------------------------------------------------


def fits_fp16(name: str, matrix: NDArray[Any]) -> NDArray[Any]:
    """``matrix`` of attention, whose numbers are about 1, if :func:`vtr.kernels.numerics.exact_product` can
    take it."""
    most = float(np.abs(matrix).max(initial=0))
    if not most < LARGEST_FP16:
        raise UsageError(f"expected {name} below {LARGEST_FP16}, got {most:g}: score on the CPU")
    return matrix


def constants(arch: int, spec: Spec) -> dict[str, int]:
    """Compile-time arguments of both kernels; TC-MGC has two more."""
    tile = multi_grained_tile(arch, spec)
    return {
        "F": spec.frames,
        "L": spec.words,
        "D": spec.dim,
        "V": tile.videos,
        "W": padded_words(spec.words),
        "FP": padded_frames(spec.frames),
        "BD": tile.depth,
    }
