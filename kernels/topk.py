"""The k best of many scores on the device, in rounds: the best of every block, then the best of those.

A score and its row become one whole number of 64 bits whose order is that of the answer: the score's bits,
made monotone, above; the row, negated, below. So a higher number is a higher score or, among equal scores, a
smaller row, all numbers differ, and finding the k best is k times "take the maximum away". NaN becomes the
lowest number, which stands for "nothing"; so do the scores of rows that a mask of bytes leaves out (removed
videos, or those that a search is not to look at).

**Work.** Scores are read once (4 bytes each); a round leaves k of every BLOCK, so further rounds weigh k/512
of that at 8 bytes. Extraction costs some 4 integer operations a score and a place of the k.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from vtr.errors import UsageError

from .config import TOPK_BLOCK, TOPK_MOST, TOPK_WARPS, power_of_two
from .launch import check

if TYPE_CHECKING:
    import torch

NOTHING = tl.constexpr(-(2**63))


@triton.jit
def keys_of(scores, rows):
    """``scores`` fp32 and their ``rows`` (at least 0, below 2³¹), of one shape, as int64."""
    bits = tl.where(scores == 0, 0.0, scores).to(tl.int32, bitcast=True)  # -0 is 0
    bits = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    key = (bits.to(tl.int64) << 32) | (0xFFFFFFFF - rows.to(tl.int64))
    return tl.where(scores == scores, key, NOTHING)


@triton.jit
def best_of(keys, k, best, K: tl.constexpr, AXIS: tl.constexpr):
    """The K highest along AXIS of ``keys``, downwards, in the places 0 … K - 1 of ``best``, which ``k``
    numbers."""
    for number in range(K):
        most = tl.max(keys, AXIS, keep_dims=True)
        best = tl.where(k == number, most, best)
        keys = tl.where(keys == most, NOTHING, keys)
    return best


@triton.jit
def topk_scores(
    scores,  # [texts, stride] fp32
    keys,  # out: [texts, blocks, K] int64
    live,  # [count] uint8: 1 where a row may be found
    count,  # i32: scores of a text
    stride,  # i32
    first,  # i32: row of the first score
    K: tl.constexpr, KP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    text, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    real = column < count
    x = tl.load(scores + text * stride + column, mask=real, other=float("nan"))
    x = tl.where(tl.load(live + column, mask=real, other=0) != 0, x, float("nan"))
    k = tl.arange(0, KP)
    # In one dimension: as a row of two, 16 threads would hold all of it, 8 times over.
    best = best_of(keys_of(x, first + column), k, tl.full((KP,), NOTHING, tl.int64), K, 0)
    tl.store(keys + (text * tl.num_programs(1) + block) * K + k, best, mask=k < K)


@triton.jit
def topk_merge(
    keys,  # [texts, count] int64
    out,  # out: [texts, blocks, K] int64
    count,  # i32: keys of a text
    K: tl.constexpr, KP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    text, block = tl.program_id(0).to(tl.int64), tl.program_id(1)
    column = block * BLOCK + tl.arange(0, BLOCK)
    x = tl.load(keys + text * count + column, mask=column < count, other=NOTHING)
    k = tl.arange(0, KP)
    best = best_of(x, k, tl.full((KP,), NOTHING, tl.int64), K, 0)
    tl.store(out + (text * tl.num_programs(1) + block) * K + k, best, mask=k < K)


# ---- host side -----------------------------------------------------------------------------------------


def sizes_of(k: int) -> dict[str, int]:
    """Compile-time arguments of both kernels.

    Raises:
        UsageError: k is no number from 1 to ``TOPK_MOST``: more would leave a round as large as it was.
    """
    if not 1 <= k <= TOPK_MOST:
        raise UsageError(f"expected k from 1 to {TOPK_MOST}, got {k}: rank the scores on the CPU")
    return {"K": k, "KP": power_of_two(k), "BLOCK": TOPK_BLOCK}


def topk(scores: torch.Tensor, k: int, first: int = 0, live: torch.Tensor | None = None) -> torch.Tensor:
    """Keys ``[T, k]`` int64 of the best of ``scores [T, n]`` fp32, best first; read them with
    :func:`decode`.

    Args:
        first: row of the first score.
        live: uint8 ``[n]``, 1 where a row may be found; all may where it is not given.

    Raises:
        UsageError: a shape or k does not fit.
    """
    import torch

    check("scores", scores, (None, None))
    sizes, (texts, count) = sizes_of(k), scores.shape
    live = mask_of(live, count, scores)
    blocks = max(1, triton.cdiv(count, TOPK_BLOCK))
    keys = torch.empty((texts, blocks * k), dtype=torch.int64, device=scores.device)
    topk_scores[(texts, blocks)](scores, keys, live, count, count, first, **sizes, num_warps=TOPK_WARPS)
    return merge(keys, k)


def mask_of(live: torch.Tensor | None, count: int, like: torch.Tensor) -> torch.Tensor:
    """``live``, checked, or the mask that leaves nothing out: uint8 ``[count]``."""
    import torch

    if live is None:
        return torch.ones(count, dtype=torch.uint8, device=like.device)
    check("live", live, (count,))
    if live.dtype != torch.uint8:
        raise UsageError(f"expected live as uint8, got {live.dtype}: call .to(torch.uint8)")
    return live


def merge(keys: torch.Tensor, k: int) -> torch.Tensor:
    """The k best of ``keys [T, n]`` int64, best first: ``[T, k]``. One block is enough, or as many rounds as
    needed."""
    sizes, texts = sizes_of(k), len(keys)
    while keys.shape[1] != k:
        blocks = triton.cdiv(keys.shape[1], TOPK_BLOCK)
        out = keys.new_empty((texts, blocks * k))
        topk_merge[(texts, blocks)](keys, out, keys.shape[1], **sizes, num_warps=TOPK_WARPS)
        keys = out
    return keys


def decode(keys: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """For each row of ``keys [T, k]``: the rows and scores of the best, without the places where nothing
    is."""
    results = []
    for line in np.asarray(keys, np.int64):
        line = line[line != np.iinfo(np.int64).min]
        bits = (line >> 32).astype(np.int32)
        bits ^= (bits >> 31) & 0x7FFFFFFF
        results.append((0xFFFFFFFF - (line & 0xFFFFFFFF), bits.view(np.float32)))
    return results


def topk_reference(
    scores: torch.Tensor, k: int, first: int = 0, live: torch.Tensor | None = None
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """What :func:`topk` and :func:`decode` find in ``scores [T, n]``: a whole stable sort, best first."""
    results = []
    for line in scores.cpu().numpy():
        wanted = ~np.isnan(line) if live is None else ~np.isnan(line) & (live.cpu().numpy() != 0)
        rows = np.flatnonzero(wanted)
        rows = rows[np.argsort(-line[rows], kind="stable")][:k]
        results.append((rows + first, line[rows]))
    return results
