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
from .topk import NOTHING, best_of, keys_of, mask_of, merge, sizes_of

if TYPE_CHECKING:
    import torch


@triton.jit
def products(
    vectors, probes, text, texts, video, count,
    T: tl.constexpr, V: tl.constexpr, D: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Dot products of a tile of texts with a tile of videos: ``[T, V]`` fp32."""
    acc = tl.zeros((T, V), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        p = tl.load(
            probes + text.to(tl.int64)[:, None] * D + d[None, :], mask=(text < texts)[:, None], other=0.0
        )
        at = vectors + video.to(tl.int64)[None, :] * D + d[:, None]
        acc = product(p, tl.load(at, mask=(video < count)[None, :], other=0.0), acc)
    return acc


@triton.jit
def holistic_topk(
    vectors,  # [count, D], fp16 or bf16: n(video)
    probes,  # [texts, D], as vectors: n(sentence)
    keys,  # out: [texts, blocks, K] int64, as in vtr.kernels.topk
    live,  # [count] uint8: 1 where a video may be found
    count,  # i32: videos
    texts,  # i32
    first,  # i32: row of the first video
    scale,  # fp32: exp(logit_scale)
    D: tl.constexpr, K: tl.constexpr, KP: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0) * T + tl.arange(0, T)  # the fastest: texts share a block in the L2 cache
    block = tl.program_id(1)
    video = block * V + tl.arange(0, V)
    acc = products(vectors, probes, text, texts, video, count, T, V, D, BD)
    real = tl.load(live + video, mask=video < count, other=0) != 0
    scores = tl.where(real[None, :], acc * scale, float("nan"))
    rows = tl.broadcast_to((first + video)[None, :], (T, V))
    k = tl.arange(0, KP)
    best = best_of(keys_of(scores, rows), k[None, :], tl.full((T, KP), NOTHING, tl.int64), K, 1)
    place = (text.to(tl.int64) * tl.num_programs(1) + block)[:, None] * K + k[None, :]
    tl.store(keys + place, best, mask=(text < texts)[:, None] & (k < K)[None, :])


@triton.jit
def holistic_score(
    vectors,  # [count, D], fp16 or bf16: n(video)
    probes,  # [texts, D], as vectors: n(sentence)
    logits,  # out: [texts, stride] fp32, the first `count` of each row
    count,  # i32: videos
    texts,  # i32
    stride,  # i32
    scale,  # fp32: exp(logit_scale)
    D: tl.constexpr, V: tl.constexpr, T: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """All scores, for a k above the compiled K: the host ranks them."""
    text = tl.program_id(0) * T + tl.arange(0, T)
    video = tl.program_id(1) * V + tl.arange(0, V)
    acc = products(vectors, probes, text, texts, video, count, T, V, D, BD)
    out = logits + text.to(tl.int64)[:, None] * stride + video[None, :]
    tl.store(out, acc * scale, mask=(text < texts)[:, None] & (video < count)[None, :])


# ---- host side -----------------------------------------------------------------------------------------


def score_constants(arch: int, spec: Spec) -> dict[str, int]:
    """Compile-time arguments of :func:`holistic_score`."""
    tile = holistic_tile(arch, spec)
    return {"D": spec.dim, "V": tile.videos, "T": HOLISTIC_TEXTS, "BD": tile.depth}


def constants(arch: int, spec: Spec, k: int) -> dict[str, int]:
    """Compile-time arguments of :func:`holistic_topk`."""
    sizes = sizes_of(k)
    return {**score_constants(arch, spec), "K": sizes["K"], "KP": sizes["KP"]}


def search(
    spec: Spec,
    vectors: torch.Tensor,
    probes: torch.Tensor,
    scale: float,
    k: int,
    first: int = 0,
    live: torch.Tensor | None = None,
) -> torch.Tensor:
    """Keys ``[T, k]`` int64 of the best of a slab, best first; :func:`vtr.kernels.topk.decode` reads them.

    Args:
        vectors: n(video) ``[n, D]`` and ``probes`` n(sentence) ``[T, D]``, both in the storage type.
        scale: exp(logit_scale).
        first: row of the slab's first video.
        live: uint8 ``[n]``, 1 where a video may be found; all may where it is not given.

    Raises:
        UsageError: a shape or k does not fit.
    """
    import torch

    check("vectors", vectors, (None, spec.dim))
    check("probes", probes, (None, spec.dim))
    arch = arch_of(vectors)
    tile, sizes = holistic_tile(arch, spec), constants(arch, spec, k)
    count, texts = len(vectors), len(probes)
    live = mask_of(live, count, vectors)
    blocks = max(1, triton.cdiv(count, tile.videos))
    keys = torch.empty((texts, blocks * k), dtype=torch.int64, device=vectors.device)
    holistic_topk[(triton.cdiv(texts, HOLISTIC_TEXTS), blocks)](
        vectors, probes, keys, live, count, texts, first, scale, **sizes,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return merge(keys, k)


def score(spec: Spec, vectors: torch.Tensor, probes: torch.Tensor, scale: float) -> torch.Tensor:
    """Logits ``[T, n]`` fp32 of every text against every video of a slab; arguments as in :func:`search`."""
    import torch

    check("vectors", vectors, (None, spec.dim))
    check("probes", probes, (None, spec.dim))
    arch = arch_of(vectors)
    tile, (count, texts) = holistic_tile(arch, spec), (len(vectors), len(probes))
    logits = torch.empty((texts, count), dtype=torch.float32, device=vectors.device)
    holistic_score[(triton.cdiv(texts, HOLISTIC_TEXTS), max(1, triton.cdiv(count, tile.videos)))](
        vectors, probes, logits, count, texts, count, scale, **score_constants(arch, spec),
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return logits


def holistic_reference(sentence: torch.Tensor, video: torch.Tensor, scale: float) -> torch.Tensor:
    """exp(logit_scale) · n(sentence)·n(video)ᵀ in plain torch: ``[T, D]``, ``[n, D]`` -> ``[T, n]``."""
    import torch

    s, v = (torch.nn.functional.normalize(x, dim=-1) for x in (sentence, video))
    return scale * s @ v.T
