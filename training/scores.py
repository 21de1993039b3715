"""The score matrix of a batch, all texts with all videos: what `ReferenceModel.score` computes, fast enough
to train on. Each formula is its family's (`vtr.export.families`), with the parameters of the family's head.
TC-MGC has a file of its own, `tcmgc`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from vtr.export.families.tcmgc import TCMGCHead
from vtr.export.families.teachclip import TeachClipHead
from vtr.export.families.xclip import TEMPERATURE, XClipHead, isa
from vtr.export.models import ReferenceModel
from vtr.export.temporal import unit

from .chunked import over_texts
from .tcmgc import tcmgc_scores

PAIRS = 1024  # pairs of text and video worked on together


@dataclass(frozen=True)
class Scores:
    """Logits of T texts and V videos; matching pairs are on the diagonal where T = V."""

    logits: Tensor  # [T,V]
    parts: Tensor | None = None  # [T,V,4]: TC-MGC's four scores times exp(logit_scale)
    weights: Tensor | None = None  # [B,F]: relevance of the frames to the matching text, adding up to 1


class _Kept(nn.Module):
    """A temporal head that remembers its output: heads do not give their y away."""

    def __init__(self, temporal: nn.Module):
        super().__init__()
        self.temporal = temporal
        self.y: Tensor

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        self.y = self.temporal(x, mask)
        return self.y


def score_batch(model: ReferenceModel, sentence: Tensor, words: Tensor, x: Tensor, mask: Tensor) -> Scores:
    """Scores of ``sentence [T,D]``, ``words [T,L,D]`` with videos ``x [V,F,D]``, ``mask [V,F]`` (`encode`).

    Computes in float32, whatever the towers compute in (in float64 for features in float64). ``weights`` is
    there where a family says which frames matter and T = V: TeachCLIP's sm_F(w); X-CLIP's sm_F(s·f), without
    temperature; TC-MGC's attention of the sentence over the frames. The first two are those of TeachCLIP's
    published code.
    """
    with torch.autocast(x.device.type, enabled=False):
        sentence, words, x = (_wide(tensor) for tensor in (sentence, words, x))
        mask, scale = mask.to(x.dtype), model.clip.logit_scale.exp()
        head, temporal = model.family_head, _Kept(model.temporal_head)
        video = head.video(x, mask, temporal)
        paired = len(sentence) == len(x)
        weights = _relevance(head, sentence, x, temporal) if paired else None
        if model.scoring == "holistic":
            return Scores(scale * unit(sentence) @ unit(video["video"]).T, weights=weights)
        if isinstance(head, XClipHead):
            return Scores(xclip_scores(head, sentence, words, video, scale), weights=weights)
        if isinstance(head, TCMGCHead):
            logits, parts = tcmgc_scores(head, sentence, words, video["frames"], scale)
            return Scores(logits, parts, weights)
        return Scores(cross_scores(model, sentence, video["frames"], mask))


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _relevance(head: nn.Module, sentence: Tensor, x: Tensor, temporal: _Kept) -> Tensor | None:
    """``[B,F]`` for matching pairs."""
    if isinstance(head, TeachClipHead):
        logits = head.frameLinear2(head.frameLinear(temporal.y).relu()).squeeze(-1)
    elif isinstance(head, XClipHead):
        logits = (unit(x) @ unit(sentence)[:, :, None]).squeeze(-1)
    elif isinstance(head, TCMGCHead):
        norm = head.conditional_transformer["pool_frames"].layer_norm1
        logits = (norm(temporal.y) @ norm(sentence)[:, :, None]).squeeze(-1) / math.sqrt(x.shape[-1])
    else:
        return None
    return logits.softmax(dim=-1)


# ---- X-CLIP -------------------------------------------------------------------------------------------


def xclip_scores(
    head: XClipHead, sentence: Tensor, words: Tensor, video: dict[str, Tensor], scale: Tensor
) -> Tensor:
    """``sentence [T,D]``, ``words [T,L,D]``, what ``head.video`` gives, ``exp(logit_scale)`` -> ``[T,V]``."""
    v, f = unit(video["video"]), unit(video["frames"])
    tensors = [unit(sentence), unit(words)]
    size = len(words) * len(v) * words.shape[1] * f.shape[1] * 40  # ten matrices L×F a pair, of 4 bytes
    return scale * over_texts(partial(_xclip, head, v, f), tensors, PAIRS // len(v), size)


def _xclip(head: XClipHead, v: Tensor, f: Tensor, s: Tensor, w: Tensor) -> Tensor:
    """``v [V,D]``, ``f [V,F,D]``, ``s [T,D]``, ``w [T,L,D]``, all normalised -> ``[T,V]``."""
    (texts, words, dim), (videos, frames) = w.shape, f.shape[:2]
    rows = f.reshape(-1, dim).T  # [D,V·F]
    video_sentence = (s @ head.global_mat_weight) @ v.T
    video_word = isa((w @ v.T).mT, head.word_logit_weight)
    sentence_frame = isa((s @ rows).reshape(texts, videos, frames), head.frame_logit_weight)
    local = (w @ head.local_mat_weight).reshape(-1, dim)
    a = (local @ rows).reshape(texts, words, videos * frames)
    attention = (a / TEMPERATURE).softmax(dim=1)
    c = ((head.word_mat_weight.T @ attention) * a).sum(dim=1)  # over words: [T,V·F]
    c = isa(c.reshape(texts, videos, frames), head.frame_mat_weight2)
    r = isa(a.reshape(texts, words, videos, frames), head.frame_mat_weight)  # over frames: [T,L,V]
    r = isa(r.mT, head.word_mat_weight2)
    return (video_sentence + video_word + sentence_frame + (c + r) / 2) / 4


# ---- tightTransf --------------------------------------------------------------------------------------


def cross_scores(model: ReferenceModel, sentence: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
    """Every text beside every video in the cross encoder: ``[T,D]``, ``[V,F,D]``, ``[V,F]`` -> ``[T,V]``."""

    def some(sentence: Tensor) -> Tensor:
        pairs = len(sentence) * len(frames)
        beside = sentence[:, None].expand(-1, len(frames), -1).reshape(pairs, -1)
        logits = model.cross(beside, frames.repeat(len(sentence), 1, 1), mask.repeat(len(sentence), 1))
        return logits.reshape(len(sentence), -1)

    layers = len(model.cross_encoder.cross.transformer.resblocks)
    size = len(sentence) * frames.numel() * layers * 80  # about twenty rows a token and layer, of 4 bytes
    return over_texts(some, [sentence], PAIRS // len(frames), size)
