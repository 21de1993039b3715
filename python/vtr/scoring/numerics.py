"""Arithmetic that the scorers share, in float32 and written for arrays that stay in the processor's cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK_BYTES = 3 << 20  # float32 rows worked on together: measured best between 1 and 8 MiB on two machines
TINY_NORM = 1e-12  # a shorter vector counts as zero, as in torch.nn.functional.normalize

_HALF_TO_SINGLE = np.array([0x8FFFE000], np.uint32).view(np.int32)  # sign, exponent and fraction, moved
_BIAS = np.float32(2.0**112)  # float32's exponent bias is 127, float16's 15


def unit(x: NDArray[Any]) -> NDArray[Any]:
    """n(x) = x / ‖x‖₂ on the last axis; zero stays zero."""
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), TINY_NORM)


def softmax(x: Floats, axis: int) -> Floats:
    """Softmax along ``axis``, in place."""
    x -= x.max(axis=axis, keepdims=True)
    np.exp(x, out=x)
    x /= x.sum(axis=axis, keepdims=True)
    return x


def to_float32(x: NDArray[Any]) -> Floats:
    """Rows of finite numbers as a contiguous float32 array, a copy of anything but that.

    float16 is widened by moving its bits and scaling by a power of two, which is exact for every finite
    number and 6 times faster than NumPy's cast (0.25 against 1.6 ns a number with NumPy 2.4).
    """
    if x.dtype != np.float16:
        return np.ascontiguousarray(x, np.float32)
    wide = np.empty(x.shape, np.int32)
    np.copyto(wide, x.view(np.int16))  # the sign fills the upper half
    wide <<= 13  # fraction of 10 bits → 23 bits
    wide &= _HALF_TO_SINGLE
    single = wide.view(np.float32)
    single *= _BIAS
    return single


def blocks(videos: int, row_bytes: int) -> Iterator[slice]:
    """Slices of videos whose rows, of ``row_bytes`` each, fill :data:`BLOCK_BYTES`."""
    step = max(1, BLOCK_BYTES // row_bytes)
    for start in range(0, videos, step):
        yield slice(start, min(start + step, videos))
