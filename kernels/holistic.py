"""Holistic scoring (CLIP4Clip, EA-CLIP4Clip, TeachCLIP): dot products, and the best of each block.

    logit = exp(logit_scale) · n(sentence) · n(video)

**Work.** A video is D·s bytes (1 KB at D = 512 in fp16) and 2·D operations a text; a block of videos is read
once for 16 texts. Up to some 100 texts memory is the floor. Scores never leave the chip: what is written is k
of every block.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from .config import HOLISTIC_TEXTS, Spec, holistic_tile
from .launch import arch_of, check
from .numerics import product
from .topk import best_of, keys_of, merge, sizes_of

if TYPE_CHECKING:
    import torch


@triton.jit
def holistic_topk(
    vectors,  # [count, D], fp16 or bf16: n(video)
    probes,  # [texts, D], as vectors: n(sentence)
    keys,  # out: [texts, blocks, K] int64, as in vtr.kernels.topk
    count,  # i32: videos
    texts,  # i32
    first,  # i32: row of the first video
    scale,  # fp32: exp(logit_scale)
    D: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0) * T + tl.arange(0, T)  # the fastest: texts share a block in the L2 cache
    block = tl.program_id(1)
    video = block * V + tl.arange(0, V)
    acc = tl.zeros((T, V), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        p = tl.load(
            probes + text.to(tl.int64)[:, None] * D + d[None, :], mask=(text < texts)[:, None], other=0.0
        )
        at = vectors + video.to(tl.int64)[None, :] * D + d[:, None]
        acc = product(p, tl.load(at, mask=(video < count)[None, :], other=0.0), acc)
    scores = tl.where((video < count)[None, :], acc * scale, float("nan"))
    rows = tl.broadcast_to((first + video)[None, :], (T, V))
    best = best_of(keys_of(scores, rows), K, KP, T)
    k = tl.arange(0, KP)
    place = (text.to(tl.int64) * tl.num_programs(1) + block)[:, None] * K + k[None, :]
    tl.store(keys + place, best, mask=(text < texts)[:, None] & (k < K)[None, :])


def constants(arch: int, spec: Spec, k: int) -> dict[str, int]:
    """The kernel's compile-time arguments."""
    tile, sizes = holistic_tile(arch, spec), sizes_of(k)
    return {
        "D": spec.dim,
        "K": sizes["K"],
        "KP": sizes["KP"],
        "V": tile.videos,
        "T": HOLISTIC_TEXTS,
        "BD": tile.depth,
    }


def search(
    spec: Spec, vectors: torch.Tensor, probes: torch.Tensor, scale: float, k: int, first: int = 0
) -> torch.Tensor:
    """Keys ``[T, k]`` int64 of the best of a slab, best first; :func:`vtr.kernels.topk.decode` reads them.

    Args:
        vectors: n(video) ``[n, D]`` and ``probes`` n(sentence) ``[T, D]``, both in the storage type.
        scale: exp(logit_scale).
        first: row of the slab's first video.

    Raises:
        UsageError: a shape or k does not fit.
    """
    import torch

    check("vectors", vectors, (None, spec.dim))
    check("probes", probes, (None, spec.dim))
    arch = arch_of(vectors)
    tile, sizes = holistic_tile(arch, spec), constants(arch, spec, k)
    count, texts = len(vectors), len(probes)
    blocks = max(1, triton.cdiv(count, tile.videos))
    keys = torch.empty((texts, blocks * k), dtype=torch.int64, device=vectors.device)
    holistic_topk[(triton.cdiv(texts, HOLISTIC_TEXTS), blocks)](
        vectors, probes, keys, count, texts, first, scale, **sizes,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return merge(keys, k)
