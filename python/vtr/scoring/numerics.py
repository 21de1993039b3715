"""Arithmetic that the scorers share, in float32 and written for arrays that stay in the processor's cache."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK_BYTES = 3 << 20  # float32 rows worked on together; anything between 2 and 6 MiB measured the same
SMALL_PRODUCT = 1 << 18  # multiplications in a product up to which OpenBLAS makes no use of threads
MOST_PROBES = 64  # in one product, so that it need not be of single rows
MOST_THREADS = 16  # more only wait for the interpreter's lock between NumPy's calls
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


def dots(rows: NDArray[Any], probes: NDArray[Any], out: NDArray[Any] | None = None) -> NDArray[Any]:
    """All dot products ``[n, c]`` of contiguous ``rows [n, D]`` with ``probes [c, D]``, a few rows at a time.

    Products this small take OpenBLAS's kernel for small matrices, which does not copy its operands first,
    and they stay on the calling thread. Both pay: at D = 512 and c = 33 it is a fifth faster on one core,
    and on a busy machine BLAS's own threads, which wait for each other in every product, are several times
    slower.

    Args:
        out: where to put them; it may be the transpose of a contiguous ``[c, n]``, at no cost.
    """
    count, dim = rows.shape
    if out is None:
        out = np.empty((count, len(probes)), rows.dtype)
    lots = -(-len(probes) // MOST_PROBES)
    for lot in range(lots):
        chosen = slice(lot * len(probes) // lots, (lot + 1) * len(probes) // lots)
        some, part = probes[chosen], out[:, chosen]
        step = max(1, SMALL_PRODUCT // (dim * len(some)))
        step -= step % 4 if step > 4 else 0  # the kernel works on whole registers
        whole = count - count % step
        pieces = part[:whole].reshape(-1, step, len(some))
        np.matmul(rows[:whole].reshape(-1, step, dim), some.T, out=pieces)
        np.matmul(rows[whole:], some.T, out=part[whole:])
    return out


def transform(x: NDArray[Any], matrix: NDArray[Any]) -> NDArray[Any]:
    """x @ matrix, ``[…, D]`` by ``[D, E]``."""
    return dots(x.reshape(-1, x.shape[-1]), matrix.T).reshape(*x.shape[:-1], matrix.shape[1])


def for_blocks(work: Callable[[slice], None], videos: int, row_bytes: int, weight: int = 1) -> None:
    """Call ``work`` with slices of videos, each slice a block that fits the processor's cache.

    Several blocks are worked on at a time, on as many threads as this process has processors: NumPy lets go
    of the interpreter's lock while it computes.

    Args:
        row_bytes: of a video in float32; a block has :data:`BLOCK_BYTES` of them.
        weight: side of the largest square matrix that ``work`` multiplies with arrays ``[side, block]``.
    """
    step = max(1, min(BLOCK_BYTES // row_bytes, SMALL_PRODUCT // weight**2))
    slices = [slice(start, min(start + step, videos)) for start in range(0, videos, step)]
    threads = min(len(slices), len(os.sched_getaffinity(0)), MOST_THREADS)
    if threads < 2:
        for block in slices:
            work(block)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, slices):  # the first error comes out here
            pass
