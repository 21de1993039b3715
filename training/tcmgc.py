"""TC-MGC's scores of all texts with all videos of a batch, in Gram space: for training, with gradients.

The direct form (`vtr.export.families.tcmgc`) makes one text-conditioned frame for every word of every text
and every video, ``[T,V,L,D]``. All that is needed of these vectors z is their length and a few dot products,
and both are known from the F rows of the video once the attention rows are: see `vtr.scoring.gram` for the
formulas and the names (k, G2, G3, N, h3, n1, n2, i2, i3, e, d), which are used here as they stand there.

Sorted lists go upwards here, every matrix M is turned round instead: isa(reversed a, M) = isa(a, M turned).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vtr.export.families.tcmgc import SOFTMAX_LAMBDA, TCMGCHead
from vtr.export.temporal import unit

from .chunked import over_texts

PAIRS = 1024  # pairs of text and video worked on together
TINY = 1e-24  # of ‖z‖²: F.normalize's 1e-12, squared


def tcmgc_scores(
    head: TCMGCHead, sentence: Tensor, words: Tensor, frames: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """``sentence [T,D]``, ``words [T,L,D]``, ``frames [V,F,D]``, ``scale = exp(logit_scale)``.

    Returns logits ``[T,V]`` and the four scores times the scale, ``[T,V,4]``; equal to ``head.score``.
    """
    videos = _Videos.of(head, frames)
    texts = _Texts.of(head, sentence, words)
    count, length = words.shape[:2]
    size = count * len(frames) * length**2 * 32  # measured: eight matrices L×L a pair, of 4 bytes
    four = over_texts(partial(_four, head, videos), texts.tensors(), PAIRS // len(frames), size)
    scores = scale * four
    return ((scores @ head.logit_weight).softmax(dim=-1) * scores).sum(dim=-1), scores


@dataclass(frozen=True)
class _Videos:
    """What is needed of V videos, and of the attention's parameters."""

    rows: Tensor  # [V,F,D], k
    gram: Tensor  # [V,3F+3,F]: G2, G3, N, h3, n1, n2
    variance: Tensor  # cc·cc/D + ε
    norm: Tensor  # ‖cc∘g3‖²
    cross: Tensor  # (cc∘g3)·b3
    bias: Tensor  # ‖b3‖²
    eps: float

    @classmethod
    def of(cls, head: TCMGCHead, frames: Tensor) -> _Videos:
        pool = head.conditional_transformer["pool_frames"]
        g2, b2 = pool.layer_norm2.weight, pool.layer_norm2.bias
        g3, b3 = pool.layer_norm3.weight, pool.layer_norm3.bias
        k = pool.layer_norm1(frames)
        dim, eps = frames.shape[-1], pool.layer_norm1.eps
        kc = _centred(k)
        u = kc * g2
        uc = _centred(u + pool.linear_proj(u) - pool.linear_proj.bias)
        cc = _centred(b2 + pool.linear_proj(b2))
        ug, cg = uc * g3, cc * g3
        squares = [kc @ kc.mT / dim, uc @ uc.mT / dim, ug @ ug.mT]
        lines = torch.stack([uc @ cc / dim, ug @ cg, ug @ b3], dim=1)
        gram = torch.cat([*squares, lines], dim=1)
        return cls(k, gram, cc @ cc / dim + eps, cg @ cg, cg @ b3, b3 @ b3, eps)


@dataclass(frozen=True)
class _Texts:
    """Texts as the rows of videos meet them."""

    attention: Tensor  # [T,1+L,D]: LN1 of sentence and words, over √D
    frame_probes: Tensor  # [T,1+L,D]: s and w·Lm, folded, for the text-conditioned frames
    frame_offsets: Tensor  # [T,2,1+L]: their e and d
    video_probes: Tensor  # [T,1+L,D]: s·G and w, folded, for the video vector
    video_offsets: Tensor  # [T,2,1+L]

    def tensors(self) -> list[Tensor]:
        probes = [self.frame_probes, self.frame_offsets, self.video_probes, self.video_offsets]
        return [self.attention, *probes]

    @classmethod
    def of(cls, head: TCMGCHead, sentence: Tensor, words: Tensor) -> _Texts:
        pool = head.conditional_transformer["pool_frames"]
        queries = torch.cat([sentence[:, None], words], dim=1)
        attention = pool.layer_norm1(queries) / math.sqrt(sentence.shape[-1])
        s, w = unit(sentence)[:, None], unit(words)
        of_frames = _fold(head, torch.cat([s, w @ head.local_mat_weight], dim=1))
        of_video = _fold(head, torch.cat([s @ head.global_mat_weight, w], dim=1))
        return cls(attention, *of_frames, *of_video)


def _fold(head: TCMGCHead, probes: Tensor) -> tuple[Tensor, Tensor]:
    """Probes p ``[T,n,D]`` to p̂ ``[T,n,D]``, and their e and d ``[T,2,n]``."""
    pool = head.conditional_transformer["pool_frames"]
    g2, b2 = pool.layer_norm2.weight, pool.layer_norm2.bias
    g3, b3 = pool.layer_norm3.weight, pool.layer_norm3.bias
    cc = _centred(b2 + pool.linear_proj(b2))
    scaled = _centred(probes * g3)
    folded = _centred((scaled + scaled @ pool.linear_proj.weight) * g2)
    return folded, torch.stack([scaled @ cc, probes @ b3], dim=1)


def _four(
    head: TCMGCHead,
    videos: _Videos,
    attention: Tensor,
    frame_probes: Tensor,
    frame_offsets: Tensor,
    video_probes: Tensor,
    video_offsets: Tensor,
) -> Tensor:
    """The four scores of some texts with all videos, ``[T,V,4]``, before the logit scale."""
    texts, queries, _ = attention.shape
    count, rows, dim = videos.rows.shape
    probes = torch.cat([attention, frame_probes], dim=1)
    met = (videos.rows.reshape(-1, dim) @ probes.mT).reshape(texts, count, rows, 2 * queries)
    logits, probed = met.split(queries, dim=-1)  # [T,V,F,1+L]; the second is k·p̂
    a = logits.softmax(dim=-2)
    first, second, third = _normalisers(a, videos)  # each [T,V,1+L]
    a = a * first[:, :, None]
    rest = torch.stack([second, third], dim=-1)  # [T,V,1+L,2]

    pooled = (a[..., 0].transpose(0, 1) @ videos.rows).transpose(0, 1)  # [T,V,D]
    of_video = pooled @ video_probes.mT + rest[:, :, 0] @ video_offsets  # [T,V,1+L]: V by s·G and w

    words, offsets = a[..., 1:], rest[:, :, 1:].reshape(texts, -1, 2)
    by_sentence = (words * probed[..., :1]).sum(dim=2)
    by_sentence = by_sentence + (offsets @ frame_offsets[:, :, :1]).reshape(by_sentence.shape)  # [T,V,L]
    matrix = torch.baddbmm(  # [T·V,L,L]: the text-conditioned frames by w·Lm
        (offsets @ frame_offsets[:, :, 1:]).reshape(-1, queries - 1, queries - 1),
        words.flatten(0, 1).mT,
        probed[..., 1:].flatten(0, 1),
    )
    kept = prune_both(matrix, head.keep)
    four = [
        of_video[..., 0],
        _isa(top_upwards(of_video[..., 1:], head.keep), head.attentive_word_logit_weight),
        _sentence_frame(head, by_sentence),
        _frame_word(head, kept).reshape(texts, count),
    ]
    return torch.stack(four, dim=-1)


def _normalisers(a: Tensor, videos: _Videos) -> tuple[Tensor, Tensor, Tensor]:
    """i2·i3/‖z‖, i3/‖z‖ and 1/‖z‖ for attention rows ``a [T,V,F,n]``, each ``[T,V,n]``."""
    rows = a.shape[2]
    squares, lines = (videos.gram @ a).split([3 * rows, 3], dim=2)  # [T,V,3F,n], [T,V,3,n]
    forms = (squares.unflatten(2, (3, rows)) * a[:, :, None]).sum(dim=3)
    g2, g3, n = forms.clamp(min=0).unbind(dim=2)
    h3, n1, n2 = lines.unbind(dim=2)
    i2 = (g2 + videos.eps).rsqrt()
    i3 = ((g3 * i2 + 2 * h3) * i2 + videos.variance).clamp(min=videos.eps).rsqrt()
    square = ((n * i2 + 2 * n1) * i2 + videos.norm) * i3 + 2 * (n2 * i2 + videos.cross)
    # ‖z‖² is a difference of larger numbers where b3 cancels the rest: rounding must not make it negative.
    floor = (1e-6 * videos.bias).clamp(min=TINY).detach()
    inverse = torch.maximum(square * i3 + videos.bias, floor).rsqrt()
    return i2 * i3 * inverse, i3 * inverse, inverse


def _sentence_frame(head: TCMGCHead, a: Tensor) -> Tensor:
    """``a [T,V,L]``: the rest fused into one, then the K highest."""
    a = top_upwards(a, a.shape[-1])
    rest, kept = a[..., : -head.keep], a[..., -head.keep :]
    fused = (rest.softmax(dim=-1) * rest).sum(dim=-1, keepdim=True)
    return _isa(torch.cat([fused, kept], dim=-1), head.concat_frame_word_logit_weight)


def _frame_word(head: TCMGCHead, a: Tensor) -> Tensor:
    """``a [P,K,K]``, words by frames, both upwards."""
    weight = head.attentive_word_mat_weight.flip(0, 1)
    attention = weight.T @ (SOFTMAX_LAMBDA * a).softmax(dim=1)
    c = ((SOFTMAX_LAMBDA * attention).softmax(dim=1) * a).sum(dim=1)  # over words: one a frame
    r = _isa(a, head.attentive_frame_word_mat_weight)  # over frames: one a word
    return (_isa(c, head.attentive_frame_word_mat_weight2) + _isa(r, head.attentive_word_mat_weight2)) / 2


def _isa(a: Tensor, weight: Tensor) -> Tensor:
    """Interactive similarity attention on the last axis, whose entries go upwards."""
    attention = (SOFTMAX_LAMBDA * a).softmax(dim=-1) @ weight.flip(0, 1)
    return ((SOFTMAX_LAMBDA * attention).softmax(dim=-1) * a).sum(dim=-1)


def _centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=-1, keepdim=True)


# ---- the highest, sorted ------------------------------------------------------------------------------


def _order(a: Tensor, keep: int) -> Tensor:
    """Indices of the ``keep`` highest of the last axis, their values upwards.

    NumPy's sort is vectorised, PyTorch's on a processor is not: at rows of 32 it takes seven times as long.
    """
    if a.device.type == "cpu":
        return torch.from_numpy(np.argsort(a.detach().numpy(), axis=-1)[..., -keep:].copy())
    return a.topk(keep, dim=-1, largest=True, sorted=True).indices.flip(-1)


def top_upwards(a: Tensor, keep: int) -> Tensor:
    """The ``keep`` highest of the last axis, upwards."""
    return a.gather(-1, _order(a, keep))


class _PruneBoth(torch.autograd.Function):
    """Bi-SR, as one selection: a gather forwards, a scatter backwards, and nothing else kept."""

    @staticmethod
    def forward(context: Any, a: Tensor, keep: int) -> Tensor:
        length = a.shape[-1]
        by_word = _order(a, keep)  # [P,L,K]: for every frame the words that stay
        pruned = a.gather(-1, by_word).mT.contiguous()  # [P,K,L]
        by_frame = _order(pruned, keep)  # [P,K,K]
        places = by_frame * length + by_word.mT.contiguous().gather(-1, by_frame)
        context.save_for_backward(places)
        context.shape = a.shape
        return a.flatten(1).gather(1, places.flatten(1)).reshape(places.shape)

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (places,) = context.saved_tensors
        whole = gradient.new_zeros(context.shape)
        whole.flatten(1).scatter_(1, places.flatten(1), gradient.flatten(1))
        return whole, None


def prune_both(a: Tensor, keep: int) -> Tensor:
    """``a [P,L,L]``, text-conditioned frames by words -> ``[P,K,K]``, words by frames, both upwards.

    The K highest words of every frame, then, rank by rank, the K highest frames of these.
    """
    return _PruneBoth.apply(a, keep)
