"""X-CLIP (Ma et al., 2022): the logits of texts against every video of a slab, one kernel.

    video-sentence (s·G)·v;  video-word isa_L(w·v);  sentence-frame isa_F(s·f)
    frame-word     A = (w·Lm)·fᵀ [L, F];  c = isa_L(A) [F];  r = isa_F(A) [L];  (isa_F(c) + isa_L(r)) / 2
    logit          exp(logit_scale) · mean of the four;      isa(a, M) = Σ (sm(100·a) @ M) ∘ a

**Work.** A video and a text take 2·D·((L + 1)·F + L + 1) products (0.44 MFLOP at L = 32, F = 12, D = 512) and
(F + 1)·D·s bytes, s = 2 (13.3 KB): memory is the floor for one text, and the matrix units for many.

**Rows.** As in :mod:`vtr.kernels.tcmgc` the products run over quarters of the padded frames that hold any: 12
frames leave no row idle. A text is one matrix of 2·W columns against the frames (w·Lm, and one group of which
only s is used, for a column has to go somewhere) and one of 2·W against the video vectors (w; s·G).
The products with M are on the matrix units in three pieces of fp16, which is float32 to about 1e-6.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from .config import Spec, multi_grained_tile, padded_frames, padded_words
from .launch import arch_of, check
from .multi_grained import by_frames, constants, fits_fp16, quarter
from .numerics import LOW, exact_product, product, softmax

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

TEMPERATURE = tl.constexpr(100.0)
OF_WORDS = ("word_logit_weight", "word_mat_weight", "word_mat_weight2")
OF_FRAMES = ("frame_logit_weight", "frame_mat_weight", "frame_mat_weight2")
SCALARS = 4  # floats after the matrices in `weights`


@triton.jit
def isa(a, weight, N: tl.constexpr, P: tl.constexpr):
    """Σ (sm(100·a) @ M) ∘ a over the first N of P: ``a [R, P]`` -> ``[R]``; ``weight [P, P]``, zero beyond
    N."""
    n = tl.arange(0, P)
    matrix = tl.load(weight + n[:, None] * P + n[None, :])
    p = softmax(tl.where(n[None, :] < N, a * TEMPERATURE, LOW), 1)
    return tl.sum(exact_product(p, matrix) * a, 1)


@triton.jit
def two_columns(acc, ROWS: tl.constexpr, W: tl.constexpr):
    """``acc [ROWS, 2W]``: the even columns and the odd ones."""
    return tl.split(tl.reshape(acc, (ROWS, W, 2)))


@triton.jit
def xclip_products(
    frames, vectors, probes, video, count,
    V: tl.constexpr, W: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, D: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """w·Lm and s with every frame: ``[V, FP, W]``, ``[V, FP]``; w and s·G with the vectors: ``[V, W]``,
    ``[V]``."""
    Q: tl.constexpr = FP // 4
    c = tl.arange(0, 2 * W)
    v = video + tl.arange(0, V)
    acc0 = tl.zeros((V * Q, 2 * W), tl.float32)
    acc1, acc2, acc3 = acc0, acc0, acc0
    whole = tl.zeros((V, 2 * W), tl.float32)
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        at = probes + c[None, :] * D + d[:, None]
        p = tl.load(at)  # [BD, 2W]
        acc0 = quarter(frames, p, video, count, 0, acc0, d, V, Q, F, D, BD)
        if F > Q:
            acc1 = quarter(frames, p, video, count, 1, acc1, d, V, Q, F, D, BD)
        if F > 2 * Q:
            acc2 = quarter(frames, p, video, count, 2, acc2, d, V, Q, F, D, BD)
        if F > 3 * Q:
            acc3 = quarter(frames, p, video, count, 3, acc3, d, V, Q, F, D, BD)
        address = vectors + v.to(tl.int64)[:, None] * D + d[None, :]
        x = tl.load(address, mask=(v < count)[:, None], other=0.0)
        whole = product(x, tl.load(at + 2 * W * D), whole)
    a0, s0 = two_columns(acc0, V * Q, W)
    a1, s1 = two_columns(acc1, V * Q, W)
    a2, s2 = two_columns(acc2, V * Q, W)
    a3, s3 = two_columns(acc3, V * Q, W)
    first = (tl.arange(0, W) == 0).to(tl.float32)
    s = tl.sum(by_frames(s0, s1, s2, s3, V, Q, W) * first[None, None, :], 2)
    words, sentence = two_columns(whole, V, W)
    return by_frames(a0, a1, a2, a3, V, Q, W), s, words, tl.sum(sentence * first[None, :], 1)


@triton.jit
def xclip_score(
    frames,  # [count, F, D], fp16 or bf16: n(raw frames)
    vectors,  # [count, D], as frames: n(video)
    probes,  # [texts, 4W, D], as frames: see `prepare_query`
    weights,  # [3·W·W + 3·FP·FP + 4] fp32: see `prepare_weights`
    logits,  # out: [texts, stride] fp32, the first `count` of each row
    count,  # i32: videos
    stride,  # i32
    F: tl.constexpr, L: tl.constexpr, D: tl.constexpr,
    V: tl.constexpr, W: tl.constexpr, FP: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0)  # the fastest, so that programs that run together share a tile in the L2 cache
    video = tl.program_id(1) * V
    probes += text.to(tl.int64) * (4 * W * D)
    of_frames = weights + 3 * W * W
    a, s, words, l0 = xclip_products(frames, vectors, probes, video, count, V, W, F, FP, D, BD)
    l1 = isa(words, weights, L, W)
    l2 = isa(s, of_frames, F, FP)
    r = isa(tl.reshape(tl.permute(a, (0, 2, 1)), (V * W, FP)), of_frames + FP * FP, F, FP)  # over frames
    c = isa(tl.reshape(a, (V * FP, W)), weights + W * W, L, W)  # over words
    r = isa(tl.reshape(r, (V, W)), weights + 2 * W * W, L, W)
    c = isa(tl.reshape(c, (V, FP)), of_frames + 2 * FP * FP, F, FP)
    total = tl.load(weights + 3 * W * W + 3 * FP * FP) * (l0 + l1 + l2 + (c + r) * 0.5)
    row = video + tl.arange(0, V)
    tl.store(logits + text.to(tl.int64) * stride + row, total, mask=row < count)


# ---- host side -----------------------------------------------------------------------------------------


class Query(Protocol):
    """Texts as :mod:`vtr.scoring.xclip` prepares them, float32."""

    frame_probes: Floats  # [T, 1 + L, D]: s, then w·Lm
    video_probes: Floats  # [T, 1 + L, D]: s·G, then w


def prepare_query(query: Query) -> Floats:
    """``probes [T, 4W, D]``, to be cast to the storage type: 2W for the frames, even rows w·Lm and row 1 s;
    2W for the vectors, even rows w and row 1 s·G. What is over is zero."""
    texts, rows, dim = query.frame_probes.shape
    probes = np.zeros((texts, 2, padded_words(rows - 1), 2, dim), np.float32)
    for half, source in enumerate((query.frame_probes, query.video_probes)):
        probes[:, half, : rows - 1, 0] = source[:, 1:]
        probes[:, half, 0, 1] = source[:, 0]
    return probes.reshape(texts, -1, dim)


def prepare_weights(head: Mapping[str, NDArray[Any]]) -> Floats:
    """A head's small parameters, fp32: the matrices of ``OF_WORDS`` [W, W], those of ``OF_FRAMES`` [FP, FP],
    exp(logit_scale) / 4, three free.

    Raises:
        UsageError: a number of a matrix does not fit fp16, in two pieces of which the kernel multiplies them.
    """
    words, frames = len(head[OF_WORDS[0]]), len(head[OF_FRAMES[0]])
    wide, tall = padded_words(words), padded_frames(frames)
    of_words = np.zeros((3, wide, wide), np.float32)
    of_frames = np.zeros((3, tall, tall), np.float32)
    for number in range(3):
        of_words[number, :words, :words] = fits_fp16(OF_WORDS[number], head[OF_WORDS[number]])
        of_frames[number, :frames, :frames] = fits_fp16(OF_FRAMES[number], head[OF_FRAMES[number]])
    scalars = np.zeros(SCALARS, np.float32)
    scalars[0] = np.exp(head["logit_scale"][0]) / 4
    return np.concatenate([of_words.ravel(), of_frames.ravel(), scalars])


def score(
    spec: Spec, frames: torch.Tensor, vectors: torch.Tensor, probes: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Logits ``[T, n]`` fp32 of every text against every video of a slab.

    Args:
        frames: normalised ``[n, F, D]``; ``vectors [n, D]``, normalised; both in the storage type.
        probes: ``[T, 4W, D]`` in the storage type: :func:`prepare_query`.
        weights: :func:`prepare_weights`.

    Raises:
        UsageError: a shape is another one.
    """
    arch = arch_of(frames)
    tile, sizes = multi_grained_tile(arch, spec), constants(arch, spec)
    count, texts, wide, tall = len(frames), len(probes), sizes["W"], sizes["FP"]
    check("frames", frames, (None, spec.frames, spec.dim))
    check("vectors", vectors, (count, spec.dim))
    check("probes", probes, (None, 4 * wide, spec.dim))
    check("weights", weights, (3 * wide * wide + 3 * tall * tall + SCALARS,))
    logits = weights.new_empty((texts, count))
    xclip_score[(texts, triton.cdiv(count, tile.videos))](
        frames, vectors, probes, weights, logits, count, count, **sizes,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return logits


def xclip_reference(
    head: Mapping[str, torch.Tensor],
    sentence: torch.Tensor,
    words: torch.Tensor,
    frames: torch.Tensor,
    vectors: torch.Tensor,
) -> torch.Tensor:
    """The direct form in plain torch: logits ``[T, n]``, in the type of the arguments.

    The formulas are those at the top of this file, with s = n(sentence), w = n(words), f = n(frames) and
    v = n(vectors).

    Args:
        head: a checkpoint's tensors by name.
        sentence: ``[T, D]``, ``words [T, L, D]``.
        frames: raw frames ``[n, F, D]``, ``vectors [n, D]``.
    """
    import torch

    def isa(a: torch.Tensor, name: str, which: str = "") -> torch.Tensor:
        return (((100 * a).softmax(-1) @ head[f"{name}_weight{which}"]) * a).sum(-1)

    s, w, f, v = (torch.nn.functional.normalize(x, dim=-1) for x in (sentence, words, frames, vectors))
    a = torch.einsum("tld,nfd->tnlf", w @ head["local_mat_weight"], f)
    c, r = isa(a.mT, "word_mat"), isa(a, "frame_mat")  # [T, n, F], [T, n, L]
    four = [
        (s @ head["global_mat_weight"]) @ v.T,
        isa(torch.einsum("tld,nd->tnl", w, v), "word_logit"),
        isa(torch.einsum("td,nfd->tnf", s, f), "frame_logit"),
        (isa(c, "frame_mat", "2") + isa(r, "word_mat", "2")) / 2,
    ]
    return head["logit_scale"].exp() * torch.stack(four).mean(0)
