"""From frames to one vector a video, frames read once: masked mean, EA-CLIP4Clip's gates, TeachCLIP's AFA.

    masked mean         Σ mask·x / Σ mask, of n(x) (CLIP4Clip, X-CLIP) or of x
    gate(x)             W2·act(W1·mean_D(x) + b1) + b2                                            [F]
    excitation          masked mean of σ(gate(x))·x
    aggregation         Σ_f sm_F(gate(x))_f · x_f
    excitation_aggregation    aggregation(excitation(x)); its second gate needs mean_D of excited frames,
    which is
                        σ·mean_D(x), so nothing is read again
    AFA                 Σ_f sm_F(w/0.1)_f · n(x_f),   w = W2·ReLU(W1·x + b1) + b2

The blocks take x·φ for x where there are factors φ of the frames (EA's ``intra_mlp``: vtr.kernels.intra).

(Luo et al. 2021; Jing et al.; Tian et al. 2024; export/families has them in PyTorch.) A program holds the
frames of one video, or AFA's tile of a few, and writes the vector, normalised or not, and the weights with
which frames went in.

**Work.** F·D·s bytes a video (12 KB at F = 12, D = 512 in fp16) and a few operations a number: memory is the
floor. AFA adds 2·F·D·H products on the matrix units (6 MFLOP with H = D = 512), where arithmetic is the
floor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from vtr.errors import UsageError

from .config import afa_tile, large_shared, padded_frames, pool_warps, power_of_two
from .launch import arch_of, check
from .numerics import LOW, product, softmax

if TYPE_CHECKING:
    import torch

Floats = NDArray[np.float32]

TINY = tl.constexpr(1e-12)  # a shorter vector counts as zero, as in torch.nn.functional.normalize


@triton.jit
def gate(
    mean, weights, F: tl.constexpr, FP: tl.constexpr, M: tl.constexpr, MP: tl.constexpr, RELU6: tl.constexpr
):
    """``mean [FP]`` -> ``[FP]``; ``weights`` is W1 [M, F], b1 [M], W2 [F, M], b2 [F]."""
    f, m = tl.arange(0, FP), tl.arange(0, MP)
    both = (m < M)[:, None] & (f < F)[None, :]
    first = tl.load(weights + m[:, None] * F + f[None, :], mask=both, other=0.0)
    hidden = tl.sum(first * mean[None, :], 1) + tl.load(weights + M * F + m, mask=m < M, other=0.0)
    hidden = tl.maximum(hidden, 0.0)
    if RELU6:
        hidden = tl.minimum(hidden, 6.0)
    second = weights + M * F + M
    both = (f < F)[:, None] & (m < M)[None, :]
    out = tl.sum(tl.load(second + f[:, None] * M + m[None, :], mask=both, other=0.0) * hidden[None, :], 1)
    return out + tl.load(second + F * M + f, mask=f < F, other=0.0)


@triton.jit
def pool(
    frames,  # [count, F, D], fp16, bf16 or fp32
    mask,  # [count, F] fp32, 1 on real frames
    factors,  # [count, F] fp32, which multiply the frames (any pointer where SCALED is false)
    excitation,  # the first gate's weights, fp32 (any pointer where M1 is 0)
    aggregation,  # the second gate's weights, fp32 (any pointer where M2 is 0)
    vectors,  # out: [count, D] fp32
    weights,  # out: [count, F] fp32: vector = Σ_f weights_f · x_f, before normalising
    F: tl.constexpr, D: tl.constexpr, M1: tl.constexpr, M2: tl.constexpr,
    SIX1: tl.constexpr, SIX2: tl.constexpr,
    SCALED: tl.constexpr, UNIT_FRAMES: tl.constexpr, UNIT: tl.constexpr,
    FP: tl.constexpr, DP: tl.constexpr, MP1: tl.constexpr, MP2: tl.constexpr,
):  # fmt: skip
    video = tl.program_id(0).to(tl.int64)
    f, d = tl.arange(0, FP), tl.arange(0, DP)
    inside = (f < F)[:, None] & (d < D)[None, :]
    x = tl.load(frames + video * F * D + f[:, None] * D + d[None, :], mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(x, 1) / D
    share = tl.full((FP,), 1.0, tl.float32)
    if SCALED:
        share = tl.load(factors + video * F + f, mask=f < F, other=0.0)
        mean *= share
    if UNIT_FRAMES:
        share = 1 / tl.maximum(tl.sqrt(tl.sum(x * x, 1)), TINY)
    if M1 > 0:
        factor = tl.sigmoid(gate(mean, excitation, F, FP, M1, MP1, SIX1))
        mean, share = mean * factor, share * factor
    if M2 > 0:
        share *= softmax(tl.where(f < F, gate(mean, aggregation, F, FP, M2, MP2, SIX2), LOW), 0)
    else:
        real = tl.load(mask + video * F + f, mask=f < F, other=0.0)
        share *= real / tl.maximum(tl.sum(real, 0), 1.0)
    vector = tl.sum(x * share[:, None], 0)
    if UNIT:
        vector /= tl.maximum(tl.sqrt(tl.sum(vector * vector, 0)), TINY)
    tl.store(vectors + video * D + d, vector, mask=d < D)
    tl.store(weights + video * F + f, share, mask=f < F)


@triton.jit
def excite(
    frames,  # [count, F, D], fp16, bf16 or fp32
    excitation,  # the gate's weights, fp32
    out,  # out: as frames, x·σ(gate(x)): what a temporal head or a cross encoder takes next
    F: tl.constexpr, D: tl.constexpr, M: tl.constexpr, SIX: tl.constexpr,
    FP: tl.constexpr, DP: tl.constexpr, MP: tl.constexpr,
):  # fmt: skip
    video = tl.program_id(0).to(tl.int64)
    f, d = tl.arange(0, FP), tl.arange(0, DP)
    inside = (f < F)[:, None] & (d < D)[None, :]
    at = video * F * D + f[:, None] * D + d[None, :]
    x = tl.load(frames + at, mask=inside, other=0.0).to(tl.float32)
    factor = tl.sigmoid(gate(tl.sum(x, 1) / D, excitation, F, FP, M, MP, SIX))
    tl.store(out + at, x * factor[:, None], mask=inside)


@triton.jit
def mlp(
    y, mean, first, bias,
    ROWS: tl.constexpr, D: tl.constexpr, H: tl.constexpr, DP: tl.constexpr, BH: tl.constexpr,
    MEAN: tl.constexpr,
):  # fmt: skip
    """w2·ReLU(W1·y + b1) of rows ``y [ROWS, DP]``: ``[ROWS]``; ``first`` is W1 [H, D], ``bias`` b1 and w2.
    With MEAN, W1 is [H, 2D] and takes [y; mean]."""
    d = tl.arange(0, DP)
    WIDE: tl.constexpr = 2 * D if MEAN else D
    out = tl.zeros((ROWS,), tl.float32)
    for start in range(0, H, BH):
        h = start + tl.arange(0, BH)
        both = (d < D)[:, None] & (h < H)[None, :]
        at = first + h[None, :] * WIDE + d[:, None]
        hidden = product(y, tl.load(at, mask=both, other=0.0), tl.zeros((ROWS, BH), tl.float32))
        if MEAN:
            hidden = product(mean, tl.load(at + D, mask=both, other=0.0), hidden)
        hidden = tl.maximum(hidden + tl.load(bias + h, mask=h < H, other=0.0)[None, :], 0.0)
        out += tl.sum(hidden * tl.load(bias + H + h, mask=h < H, other=0.0)[None, :], 1)
    return out


@triton.jit
def afa(
    frames,  # [count, F, D], fp16 or bf16: y of the temporal head
    first,  # [H, D], as frames: frameLinear.weight
    bias,  # [2H] fp32: frameLinear.bias, frameLinear2.weight (its bias moves no softmax)
    vectors,  # out: [count, D] fp32
    weights,  # out: [count, F] fp32: the softmax, which weighs n(y_f)
    count,  # i32: videos
    F: tl.constexpr, D: tl.constexpr, H: tl.constexpr, UNIT: tl.constexpr,
    V: tl.constexpr, FP: tl.constexpr, DP: tl.constexpr, BH: tl.constexpr,
):  # fmt: skip
    video = tl.program_id(0) * V
    row, d = tl.arange(0, V * FP), tl.arange(0, DP)
    place, f = video + row // FP, row % FP
    inside = ((place < count) & (f < F))[:, None] & (d < D)[None, :]
    y = tl.load(frames + (place.to(tl.int64) * F + f)[:, None] * D + d[None, :], mask=inside, other=0.0)
    relevance = mlp(y, y, first, bias, V * FP, D, H, DP, BH, False)
    frame, v = tl.arange(0, FP), video + tl.arange(0, V)
    share = softmax(tl.where((frame < F)[None, :], tl.reshape(relevance, (V, FP)) * 10.0, LOW), 1)
    x = y.to(tl.float32)
    scaled = x * (1 / tl.maximum(tl.sqrt(tl.sum(x * x, 1)), TINY) * tl.reshape(share, (V * FP,)))[:, None]
    vector = tl.sum(tl.reshape(scaled, (V, FP, DP)), 1)
    if UNIT:
        vector /= tl.maximum(tl.sqrt(tl.sum(vector * vector, 1)), TINY)[:, None]
    real = (v < count)[:, None]
    v = v.to(tl.int64)[:, None]
    tl.store(vectors + v * D + d[None, :], vector, mask=real & (d < D)[None, :])
    tl.store(weights + v * F + frame[None, :], share, mask=real & (frame < F)[None, :])


# ---- host side -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gate:
    """A gate's weights in one fp32 buffer, ``hidden`` = m, and its activation: ReLU, or ReLU6."""

    weights: torch.Tensor
    hidden: int
    relu6: bool


def gate_weights(tensors: Mapping[str, NDArray[Any]], prefix: str) -> Floats:
    """W1, b1, W2, b2 of the gate at ``prefix`` (``fc.0``, ``fc.2``) one after the other, for
    :class:`Gate`."""
    names = ("fc.0.weight", "fc.0.bias", "fc.2.weight", "fc.2.bias")
    return np.concatenate([np.asarray(tensors[f"{prefix}{name}"], np.float32).ravel() for name in names])


def pool_frames(
    frames: torch.Tensor,
    mask: torch.Tensor,
    excitation: Gate | None = None,
    aggregation: Gate | None = None,
    *,
    factors: torch.Tensor | None = None,
    unit_frames: bool = False,
    unit: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vectors ``[n, D]`` and the weights ``[n, F]`` of the frames in them, fp32.

    Args:
        frames: ``[n, F, D]``; ``mask [n, F]`` fp32, looked at where there is no aggregation.
        excitation, aggregation: the gates of the block; without either it is the masked mean.
        factors: φ ``[n, F]`` fp32, which multiply the frames: :func:`vtr.kernels.intra.frame_factors`.
        unit_frames: normalise frames first.
        unit: normalise the vector.

    Raises:
        UsageError: a shape is another one, or factors are given of frames that are normalised.
    """
    check("frames", frames, (None, None, None))
    count, F, D = frames.shape
    check("mask", mask, (count, F))
    if factors is not None:
        check("factors", factors, (count, F))
        if unit_frames:
            raise UsageError(
                "expected unit_frames or factors, got both: no model has normalised frames scaled"
            )
    gates = [gate if gate is None else _checked(gate, F) for gate in (excitation, aggregation)]
    vectors, weights = mask.new_empty((count, D)), mask.new_empty((count, F))
    sizes = [0 if gate is None else gate.hidden for gate in gates]
    buffers = [mask if gate is None else gate.weights for gate in gates]
    six = [gate is not None and gate.relu6 for gate in gates]
    pool[(count,)](
        frames, mask, mask if factors is None else factors, *buffers, vectors, weights,
        F=F, D=D, M1=sizes[0], M2=sizes[1], SIX1=six[0], SIX2=six[1], SCALED=factors is not None,
        UNIT_FRAMES=unit_frames, UNIT=unit, FP=power_of_two(F), DP=power_of_two(D),
        MP1=power_of_two(sizes[0]), MP2=power_of_two(sizes[1]), num_warps=pool_warps(F, D),
    )  # fmt: skip
    return vectors, weights


def excite_frames(frames: torch.Tensor, excitation: Gate) -> torch.Tensor:
    """x·σ(gate(x)) of ``frames [n, F, D]``, in their type."""
    check("frames", frames, (None, None, None))
    count, F, D = frames.shape
    gate, out = _checked(excitation, F), frames.new_empty(frames.shape)
    excite[(count,)](
        frames, gate.weights, out, F=F, D=D, M=gate.hidden, SIX=gate.relu6,
        FP=power_of_two(F), DP=power_of_two(D), MP=power_of_two(gate.hidden), num_warps=pool_warps(F, D),
    )  # fmt: skip
    return out


def aggregate_afa(
    frames: torch.Tensor, first: torch.Tensor, bias: torch.Tensor, *, unit: bool = True
) -> tuple[torch.Tensor, torch.Tensor]:
    """AFA: vectors ``[n, D]`` and softmax weights ``[n, F]``, fp32.

    Args:
        frames: y ``[n, F, D]``; ``first`` frameLinear.weight ``[H, D]``, both in the storage type.
        bias: frameLinear.bias, then frameLinear2.weight, fp32 ``[2H]``.
    """
    check("frames", frames, (None, None, None))
    count, F, D = frames.shape
    check("first", first, (None, D))
    check("bias", bias, (2 * len(first),))
    videos, hidden, warps = afa_tile(large_shared(arch_of(frames)), F, D)
    vectors, weights = bias.new_empty((count, D)), bias.new_empty((count, F))
    afa[(triton.cdiv(count, videos),)](
        frames, first, bias, vectors, weights, count, F=F, D=D, H=len(first), UNIT=unit,
        V=videos, FP=padded_frames(F), DP=power_of_two(D), BH=hidden, num_warps=warps, num_stages=1,
    )  # fmt: skip
    return vectors, weights


def _checked(gate: Gate, frames: int) -> Gate:
    size = 2 * gate.hidden * frames + gate.hidden + frames
    if gate.weights.numel() != size:
        raise UsageError(f"expected {size} weights of a gate of {frames} frames, got {gate.weights.numel()}")
    return gate


# ---- references ----------------------------------------------------------------------------------------


def pool_reference(
    frames: torch.Tensor,
    mask: torch.Tensor,
    excitation: Gate | None = None,
    aggregation: Gate | None = None,
    *,
    factors: torch.Tensor | None = None,
    unit_frames: bool = False,
    unit: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`pool_frames` in plain torch, step by step, in the type of the frames."""
    import torch

    share = torch.ones_like(frames[:, :, 0])
    if factors is not None:
        share = factors.to(frames)
    if unit_frames:
        share = share / frames.norm(dim=-1).clamp(min=1e-12)
    if excitation is not None:
        share = share * gate_reference(frames * share[:, :, None], excitation).sigmoid()
    x = frames * share[:, :, None]
    if aggregation is not None:
        weights = gate_reference(x, aggregation).softmax(-1)
    else:
        weights = mask / mask.sum(1, keepdim=True).clamp(min=1)
    vectors = (weights[:, :, None] * x).sum(1)
    return torch.nn.functional.normalize(vectors, dim=-1) if unit else vectors, weights * share


def gate_reference(x: torch.Tensor, gate: Gate) -> torch.Tensor:
    """W2·act(W1·mean_D(x) + b1) + b2 over the frames (Jing et al., EA-CLIP4Clip): ``[n, F, D]`` ->
    ``[n, F]``."""
    frames, hidden = x.shape[1], gate.hidden
    w1, b1, w2, b2 = gate.weights.to(x).split([hidden * frames, hidden, hidden * frames, frames])
    inner = (x.mean(-1) @ w1.view(hidden, frames).T + b1).relu()
    return (inner.clamp(max=6) if gate.relu6 else inner) @ w2.view(frames, hidden).T + b2


def excite_reference(x: torch.Tensor, gate: Gate) -> torch.Tensor:
    """x·σ(gate(x)) in plain torch: ``[n, F, D]``."""
    return x * gate_reference(x, gate).sigmoid()[:, :, None]


def afa_reference(
    frames: torch.Tensor, first: torch.Tensor, bias: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """AFA (Tian et al., 2024, TeachCLIP) in plain torch: vectors ``[n, D]``, not normalised, and softmax
    weights ``[n, F]``. Σ_f sm_F(w/0.1)_f · n(y_f), w = w2·ReLU(W1·y + b1); arguments as in
    :func:`aggregate_afa`."""
    import torch

    b1, w2 = bias.to(frames).chunk(2)
    weights = ((frames @ first.to(frames).T + b1).relu() @ w2 / 0.1).softmax(-1)
    return (weights[:, :, None] * torch.nn.functional.normalize(frames, dim=-1)).sum(1), weights
