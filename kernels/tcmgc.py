"""TC-MGC (Jing et al., 2025) in Gram space: the logits of texts against every video of a slab, one kernel.

With k [F, D] of a video, its Gram array and, of a text, attention rows q and folded probes p̂ with offsets e,
d (python/vtr/scoring/gram.py derives them):

    a = sm_F(k·q)                                            1 + L rows
    i2, i3, ‖z‖ from aᵀG2a, aᵀG3a, aᵀNa, a·h3, a·n1, a·n2
    p·n(z) = (i2·i3·a·(k·p̂) + i3·e + d) / ‖z‖

then, in the same program, the four scores: SR and Bi-SR (sorted, K kept, the rest fused), ISA, LSA.

**Work.** A video and a text take 2·(3L + 3)·F·D products on the matrix units (1.2 MFLOP at L = 32, F = 12,
D = 512) and (F·D·s + (3F² + 3F)·4) bytes, s = 2 (14.2 KB): with one text memory is the floor, with many the
arithmetic is. All probes of a text are 4·W columns of one product (W = L padded): three groups of W, and one
of which 3 columns are used (its other W − 3 are what packing costs, 23% at L = 32).

**Rows.** Frames are padded to FP = 16 (32, 64) in registers. The product runs over quarters of FP, each a
tile of videos × FP/4 rows, and only those quarters that hold frames: 12 frames are 3 of 4, so no row is idle;
13 frames waste 3 of 16. The epilogue, a small part, works on all FP.

**Epilogue.** Small products are on the matrix units: Gram forms and A = a·(k·p̂) in three TF32 pieces, the
matrices of ISA in three of fp16, which is float32 to about 1e-6; the softmaxes at λ = 100 would show less.
Bi-SR sorts W rows of W
words, transposes, and sorts K rows of W frames; see :mod:`vtr.kernels.networks` for what that costs. At K =
22 it is 2 × 191 exchanges, each one minimum and one maximum, for each of 32 threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import triton
import triton.language as tl

from . import multi_grained
from .config import Spec, multi_grained_tile, power_of_two
from .launch import arch_of, check
from .multi_grained import by_frames, quarter
from .networks import descending, first_of, largest
from .numerics import LOW, exact_product, softmax
from .tcmgc_buffers import SCALARS

if TYPE_CHECKING:
    import torch

LAMBDA = tl.constexpr(100.0)
EPS = tl.constexpr(1e-5)


@triton.jit
def times(p, matrix, R: tl.constexpr, S: tl.constexpr):
    """``p [R, S] @ matrix [S, S]`` in float32, on the matrix units where these take so small a square."""
    if S >= 16:
        return exact_product(p, matrix)
    else:
        return tl.sum(p[:, :, None] * matrix[None, :, :], 1)


@triton.jit
def isa(a, weight, R: tl.constexpr, K: tl.constexpr, S: tl.constexpr):
    """Σ sm(λ·(sm(λ·a) @ M)) ∘ a over the first K of S: ``a [R, S]`` -> ``[R]``; ``weight [S, S]`` in
    memory."""
    k = tl.arange(0, S)
    matrix = tl.load(weight + k[:, None] * S + k[None, :])
    t = times(softmax(a * LAMBDA, 1), matrix, R, S)
    return tl.sum(softmax(tl.where(k[None, :] < K, t * LAMBDA, LOW), 1) * a, 1)


@triton.jit
def isa_fused(a, fused, weight, edge, corner, V: tl.constexpr, K: tl.constexpr, S: tl.constexpr):
    """ISA of K entries and one more: ``a [V, S]``, ``fused [V]``. ``edge [2, S]`` is the matrix's last row,
    then its last column, ``corner`` where these meet."""
    k = tl.arange(0, S)
    matrix = tl.load(weight + k[:, None] * S + k[None, :])
    row, column = tl.load(edge + k)[None, :], tl.load(edge + S + k)[None, :]
    most = tl.maximum(tl.max(a, 1), fused)
    p, last = tl.exp((a - most[:, None]) * LAMBDA), tl.exp((fused - most) * LAMBDA)
    share = 1 / (tl.sum(p, 1) + last)
    p, last = p * share[:, None], last * share
    t = times(p, matrix, V, S) + last[:, None] * row
    t = tl.where(k[None, :] < K, t * LAMBDA, LOW)
    t_last = (tl.sum(p * column, 1) + last * corner) * LAMBDA
    most = tl.maximum(tl.max(t, 1), t_last)
    p, last = tl.exp(t - most[:, None]), tl.exp(t_last - most)
    return (tl.sum(p * a, 1) + last * fused) / (tl.sum(p, 1) + last)


@triton.jit
def columns(acc, ROWS: tl.constexpr, W: tl.constexpr):
    """The four groups of columns of ``acc [ROWS, 4W]``: column 2W·h + 2j + b is entry j of group 2h + b, so
    that a thread that holds two neighbours and several tiles can part them without moving anything."""
    even, odd = tl.split(tl.reshape(acc, (ROWS, 2, W, 2)))
    first, third = tl.split(tl.permute(even, (0, 2, 1)))
    second, fourth = tl.split(tl.permute(odd, (0, 2, 1)))
    return first, second, third, fourth


@triton.jit
def products(
    frames, probes, video, count,
    V: tl.constexpr, W: tl.constexpr, F: tl.constexpr, FP: tl.constexpr, D: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    """Every probe with every frame of the tile: four quarters ``[V·FP/4, 4W]``."""
    Q: tl.constexpr = FP // 4
    c = tl.arange(0, 4 * W)
    acc0 = tl.zeros((V * Q, 4 * W), tl.float32)
    acc1, acc2, acc3 = acc0, acc0, acc0
    for start in range(0, D, BD):
        d = start + tl.arange(0, BD)
        p = tl.load(probes + c[None, :] * D + d[:, None])  # [BD, 4W]
        acc0 = quarter(frames, p, video, count, 0, acc0, d, V, Q, F, D, BD)
        if F > Q:
            acc1 = quarter(frames, p, video, count, 1, acc1, d, V, Q, F, D, BD)
        if F > 2 * Q:
            acc2 = quarter(frames, p, video, count, 2, acc2, d, V, Q, F, D, BD)
        if F > 3 * Q:
            acc3 = quarter(frames, p, video, count, 3, acc3, d, V, Q, F, D, BD)
    return acc0, acc1, acc2, acc3


@triton.jit
def factors(g2, g3, n, h3, n1, n2, scalars):
    """i2·i3/‖z‖, i3/‖z‖ and 1/‖z‖ from the forms of attention rows."""
    variance, norm, cross = tl.load(scalars + 1), tl.load(scalars + 2), tl.load(scalars + 3)
    bias, floor = tl.load(scalars + 4), tl.load(scalars + 5)
    i2 = 1 / tl.sqrt(tl.maximum(g2, 0) + EPS)
    i3 = 1 / tl.sqrt(tl.maximum((tl.maximum(g3, 0) * i2 + 2 * h3) * i2 + variance, EPS))
    total = ((tl.maximum(n, 0) * i2 + 2 * n1) * i2 + norm) * i3 + 2 * (n2 * i2 + cross)
    # Where z is almost nothing the sum has no digits left; the floor keeps it from blowing up.
    inverse = 1 / tl.sqrt(tl.maximum(total * i3 + bias, floor))
    return i2 * i3 * inverse, i3 * inverse, inverse


@triton.jit
def form(gram, a, s):
    """aᵀGa of the words' rows ``a [V, FP, W]`` and the sentence's ``s [V, FP]``: ``[V, W]``, ``[V]``."""
    words = tl.sum(tl.dot(gram, a, input_precision="tf32x3") * a, 1)
    sentence = tl.sum(tl.sum(gram * s[:, None, :], 2) * s, 1)
    return words, sentence


@triton.jit
def normalisers(
    gram, video, count, a, s, scalars, V: tl.constexpr, F: tl.constexpr, FP: tl.constexpr
):  # fmt: skip
    """:func:`factors` of the words ``[V, W]`` and of the sentence ``[V]``."""
    f = tl.arange(0, FP)
    v = video + tl.arange(0, V)
    rows = gram + v.to(tl.int64) * ((3 * F + 3) * F)
    line = (v < count)[:, None] & (f < F)[None, :]
    square = line[:, :, None] & (f < F)[None, None, :]
    at = rows[:, None, None] + (f[:, None] * F + f[None, :])[None]
    g2, s2 = form(tl.load(at, mask=square, other=0.0), a, s)
    g3, s3 = form(tl.load(at + F * F, mask=square, other=0.0), a, s)
    n, sn = form(tl.load(at + 2 * F * F, mask=square, other=0.0), a, s)
    at = rows[:, None] + 3 * F * F + f[None, :]
    h3 = tl.load(at, mask=line, other=0.0)
    n1 = tl.load(at + F, mask=line, other=0.0)
    n2 = tl.load(at + 2 * F, mask=line, other=0.0)
    w0, w1, w2 = factors(
        g2,
        g3,
        n,
        tl.sum(h3[:, :, None] * a, 1),
        tl.sum(n1[:, :, None] * a, 1),
        tl.sum(n2[:, :, None] * a, 1),
        scalars,
    )
    s0, s1, s2 = factors(s2, s3, sn, tl.sum(h3 * s, 1), tl.sum(n1 * s, 1), tl.sum(n2 * s, 1), scalars)
    return w0, w1, w2, s0, s1, s2


@triton.jit
def column(x, number: tl.constexpr, W: tl.constexpr):
    """Column ``number`` of ``x [V, FP, W]``: ``[V, FP]``."""
    return tl.sum(tl.where(tl.arange(0, W)[None, None, :] == number, x, 0.0), 2)


@triton.jit
def frame_word(a, weights, V: tl.constexpr, W: tl.constexpr, K: tl.constexpr, S: tl.constexpr):
    """Bi-SR and both orders of ISA: ``a [V, W, W]``, frames by words, LOW beyond L -> ``[V]``."""
    a = largest(a, V, W, W, K, S, LOW)  # along words: [V, frames, S]
    a = largest(tl.permute(a, (0, 2, 1)), V, S, W, K, S, LOW)  # along frames: [V, S words, S frames]
    k = tl.arange(0, S)[None, :]
    r = isa(tl.reshape(a, (V * S, S)), weights + 3 * S * S, V * S, K, S)
    c = isa(tl.reshape(tl.permute(a, (0, 2, 1)), (V * S, S)), weights + 2 * S * S, V * S, K, S)
    c = isa(tl.where(k < K, tl.reshape(c, (V, S)), LOW), weights + 5 * S * S, V, K, S)
    r = isa(tl.where(k < K, tl.reshape(r, (V, S)), LOW), weights + 4 * S * S, V, K, S)
    return (c + r) * 0.5


@triton.jit
def single_rows(
    words, frames, weights,
    V: tl.constexpr, L: tl.constexpr, W: tl.constexpr, K: tl.constexpr, S: tl.constexpr,
):  # fmt: skip
    """Video-word and sentence-frame: SR, of the second with the rest fused, and ISA.

    ``words [V, W]`` w·V and ``frames [V, W]`` s·R_j, LOW beyond L -> two ``[V]``. Both are sorted at once: a
    row that all threads of a warp hold costs as much as 32 rows.
    """
    both = tl.permute(tl.join(words, frames), (0, 2, 1))  # [V, 2, W]
    ordered = descending(both, V, 2, W)
    words, frames = tl.split(tl.permute(first_of(ordered, V, 2, K, S, LOW), (0, 2, 1)))
    _, a = tl.split(tl.permute(first_of(ordered, V, 2, W, W, LOW), (0, 2, 1)))
    j = tl.arange(0, W)[None, :]
    rest = (j >= K) & (j < L)
    top = tl.max(tl.where(rest, a, LOW), 1)
    e = tl.exp(tl.where(rest, a - top[:, None], LOW))
    # Where all words are kept the rest is empty and its fusion 0.
    fused = tl.sum(e * tl.where(rest, a, 0.0), 1) / tl.maximum(tl.sum(e, 1), 1e-30)
    edge = weights + 6 * S * S
    second = isa_fused(frames, fused, weights + S * S, edge, tl.load(edge + 2 * S), V, K, S)
    return isa(words, weights, V, K, S), second


@triton.jit
def aggregate(l0, l1, l2, l3, scalars):
    """LSA: l = scale · the four ``[V]`` -> Σ sm(l @ logit_weight) ∘ l."""
    scale = tl.load(scalars + 6)
    l0, l1, l2, l3 = scale * l0, scale * l1, scale * l2, scale * l3
    m = scalars + 8
    t0 = l0 * tl.load(m) + l1 * tl.load(m + 4) + l2 * tl.load(m + 8) + l3 * tl.load(m + 12)
    t1 = l0 * tl.load(m + 1) + l1 * tl.load(m + 5) + l2 * tl.load(m + 9) + l3 * tl.load(m + 13)
    t2 = l0 * tl.load(m + 2) + l1 * tl.load(m + 6) + l2 * tl.load(m + 10) + l3 * tl.load(m + 14)
    t3 = l0 * tl.load(m + 3) + l1 * tl.load(m + 7) + l2 * tl.load(m + 11) + l3 * tl.load(m + 15)
    most = tl.maximum(tl.maximum(t0, t1), tl.maximum(t2, t3))
    e0, e1, e2, e3 = tl.exp(t0 - most), tl.exp(t1 - most), tl.exp(t2 - most), tl.exp(t3 - most)
    return (e0 * l0 + e1 * l1 + e2 * l2 + e3 * l3) / (e0 + e1 + e2 + e3)


@triton.jit
def tcmgc_score(
    frames,  # [count, F, D], fp16 or bf16: k
    gram,  # [count, 3F + 3, F] fp32: G2, G3, N, h3, n1, n2
    probes,  # [texts, 4W, D], as frames: see `columns`
    offsets,  # [texts, 5, W] fp32: e, d of the frames' probes; e, d of the video's; those of s and s·G
    weights,  # [6·S·S + 2·S + 32] fp32: see vtr.kernels.tcmgc_buffers
    logits,  # out: [texts, stride] fp32, the first `count` of each row
    count,  # i32: videos
    stride,  # i32
    F: tl.constexpr, L: tl.constexpr, D: tl.constexpr, K: tl.constexpr,
    V: tl.constexpr, W: tl.constexpr, FP: tl.constexpr, S: tl.constexpr, BD: tl.constexpr,
):  # fmt: skip
    text = tl.program_id(0)  # the fastest, so that programs that run together share a tile in the L2 cache
    video = tl.program_id(1) * V
    probes += text.to(tl.int64) * (4 * W * D)
    offsets += text.to(tl.int64) * (5 * W)
    scalars = weights + 6 * S * S + 2 * S
    j = tl.arange(0, W)
    acc0, acc1, acc2, acc3 = products(frames, probes, video, count, V, W, F, FP, D, BD)
    a0, b0, c0, d0 = columns(acc0, V * (FP // 4), W)
    a1, b1, c1, d1 = columns(acc1, V * (FP // 4), W)
    a2, b2, c2, d2 = columns(acc2, V * (FP // 4), W)
    a3, b3, c3, d3 = columns(acc3, V * (FP // 4), W)

    # The two groups that shrink to a row a video come first, so that their registers are free for the others.
    real = (tl.arange(0, FP) < F)[None, :]
    special = by_frames(d0, d1, d2, d3, V, FP // 4, W)
    s = softmax(tl.where(real, column(special, 0, W), LOW), 1)  # [V, FP]
    of_s, of_sg = column(special, 1, W), column(special, 2, W)
    x = tl.sum(s[:, :, None] * by_frames(c0, c1, c2, c3, V, FP // 4, W), 1)  # [V, W]
    a = softmax(tl.where(real[:, :, None], by_frames(a0, a1, a2, a3, V, FP // 4, W), LOW), 1)  # [V, FP, W]
    probed = by_frames(b0, b1, b2, b3, V, FP // 4, W)
    w0, w1, w2, s0, s1, s2 = normalisers(gram, video, count, a, s, scalars, V, F, FP)

    more = offsets + 4 * W
    # V with s·G and the words: [V], [V, W]
    l0 = s0 * tl.sum(s * of_sg, 1) + s1 * tl.load(more + 2) + s2 * tl.load(more + 3)
    x = s0[:, None] * x + s1[:, None] * tl.load(offsets + 2 * W + j)[None, :]
    x += s2[:, None] * tl.load(offsets + 3 * W + j)[None, :]
    # The R_j with s: [V, W]
    y = w0 * tl.sum(a * of_s[:, :, None], 1) + w1 * tl.load(more) + w2 * tl.load(more + 1)
    real = j[None, :] < L
    l1, l2 = single_rows(tl.where(real, x, LOW), tl.where(real, y, LOW), weights, V, L, W, K, S)
    # The R_j with every w·Lm: [V, W, W]
    x = tl.dot(tl.permute(a, (0, 2, 1)), probed, input_precision="tf32x3") * w0[:, :, None]
    x += (
        w1[:, :, None] * tl.load(offsets + j)[None, None, :]
        + w2[:, :, None] * tl.load(offsets + W + j)[None, None, :]
    )
    real = (j[:, None] < L) & (j[None, :] < L)
    l3 = frame_word(tl.where(real[None, :, :], x, LOW), weights, V, W, K, S)

    row = video + tl.arange(0, V)
    out = logits + text.to(tl.int64) * stride + row
    tl.store(out, aggregate(l0, l1, l2, l3, scalars), mask=row < count)


# ---- host side -----------------------------------------------------------------------------------------


def constants(arch: int, spec: Spec) -> dict[str, int]:
    """The kernel's compile-time arguments."""
    return {**multi_grained.constants(arch, spec), "K": spec.keep, "S": power_of_two(spec.keep)}


def score(
    spec: Spec,
    frames: torch.Tensor,
    gram: torch.Tensor,
    probes: torch.Tensor,
    offsets: torch.Tensor,
    weights: torch.Tensor,
) -> torch.Tensor:
    """Logits ``[T, n]`` fp32 of every text against every video of a slab.

    Args:
        frames: k ``[n, F, D]`` in the storage type; ``gram [n, 3F + 3, F]`` fp32.
        probes: ``[T, 4W, D]`` in the storage type; ``offsets [T, 5, W]`` and ``weights`` fp32: all three as
            :mod:`vtr.kernels.tcmgc_buffers` makes them.

    Raises:
        UsageError: a shape is another one.
    """
    arch = arch_of(frames)
    tile, sizes = multi_grained_tile(arch, spec), constants(arch, spec)
    count, texts, wide, size = len(frames), len(probes), sizes["W"], sizes["S"]
    check("frames", frames, (None, spec.frames, spec.dim))
    check("gram", gram, (count, 3 * spec.frames + 3, spec.frames))
    check("probes", probes, (None, 4 * wide, spec.dim))
    check("offsets", offsets, (texts, 5, wide))
    check("weights", weights, (6 * size * size + 2 * size + SCALARS,))
    logits = gram.new_empty((texts, count))
    tcmgc_score[(texts, triton.cdiv(count, tile.videos))](
        frames, gram, probes, offsets, weights, logits, count, count, **sizes,
        num_warps=tile.warps, num_stages=tile.stages,
    )  # fmt: skip
    return logits
