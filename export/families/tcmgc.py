"""TC-MGC (Jing et al., 2025, "Text-Conditioned Multi-Grained Contrastive Learning for Text-Video Retrieval").

y = seqTransf(x) [F,D], neither normalised nor masked. Four steps for a text and a video:

* LVA, language-video attention: each query row q (the sentence; each of the L words) pools the frames,
  a = sm_F(LN1(q)·LN1(y)ᵀ / √D),  o = LN2(a·LN1(y)),  z = LN3(o + linear_proj(o)).
  The sentence gives the video vector V, word i gives the text-conditioned frame R_i.
* SR, similarity reorganisation: the K highest similarities are kept, sorted downwards; in sentence-frame the
  other L − K are fused into one more entry, Σ sm(rest)·rest; in frame-word both axes are pruned, words first.
* ISA, interactive similarity attention: isa(a, M) = Σ sm(λ · (sm(λ·a) @ M)) ∘ a, λ = 100.
* LSA, linear score aggregation of the four scores l, each times exp(logit_scale): Σ sm(l @ logit_weight) ∘ l.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..temporal import unit

SOFTMAX_LAMBDA = 100.0
UNUSED = (
    "conditional_transformer.pool_frames.cross_attn."  # q, k, v, out projections: in the file, never applied
)


def isa(a: Tensor, weight: Tensor) -> Tensor:
    """Interactive similarity attention on the last axis."""
    attention = (SOFTMAX_LAMBDA * a).softmax(dim=-1) @ weight
    return ((SOFTMAX_LAMBDA * attention).softmax(dim=-1) * a).sum(dim=-1)


def top(a: Tensor, k: int, dim: int = -1) -> Tensor:
    """The k highest along ``dim``, sorted downwards."""
    return a.topk(k, dim=dim, largest=True, sorted=True).values


class PoolFrames(nn.Module):
    """LVA, direct form."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear_proj = nn.Linear(dim, dim)
        self.layer_norm1 = nn.LayerNorm(dim)
        self.layer_norm2 = nn.LayerNorm(dim)
        self.layer_norm3 = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, frames: Tensor) -> Tensor:
        """``queries [Q,D]``, ``frames [V,F,D]`` -> ``[V,Q,D]``."""
        q, k = self.layer_norm1(queries), self.layer_norm1(frames)
        attention = (q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])).softmax(dim=-1)
        o = self.layer_norm2(attention @ k)
        return self.layer_norm3(o + self.linear_proj(o))


class TCMGCHead(nn.Module):
    scoring = "tcmgc"

    def __init__(self, dim: int, keep: int):
        super().__init__()
        self.keep = keep
        self.conditional_transformer = nn.ModuleDict({"pool_frames": PoolFrames(dim)})
        self.global_mat_weight = nn.Parameter(torch.eye(dim))
        self.local_mat_weight = nn.Parameter(torch.eye(dim))
        self.attentive_word_logit_weight = nn.Parameter(torch.eye(keep))
        self.concat_frame_word_logit_weight = nn.Parameter(torch.eye(keep + 1))
        self.attentive_word_mat_weight = nn.Parameter(torch.eye(keep))
        self.attentive_frame_word_mat_weight = nn.Parameter(torch.eye(keep))
        self.attentive_word_mat_weight2 = nn.Parameter(torch.eye(keep))
        self.attentive_frame_word_mat_weight2 = nn.Parameter(torch.eye(keep))
        self.logit_weight = nn.Parameter(torch.eye(4))

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        return {"frames": temporal(x, mask)}

    def score(self, sentence: Tensor, words: Tensor, video: dict[str, Tensor], scale: Tensor) -> Tensor:
        """``sentence [T,D]``, ``words [T,L,D]``, V videos, ``scale = exp(logit_scale)`` -> ``[T,V]``."""
        rows = []
        for s, w in zip(sentence, words, strict=True):  # one at a time: memory stays at V·L·D
            scores = scale * self.scores(s, w, video["frames"])
            rows.append(((scores @ self.logit_weight).softmax(dim=-1) * scores).sum(dim=-1))
        return torch.stack(rows)

    def scores(self, sentence: Tensor, words: Tensor, frames: Tensor) -> Tensor:
        """One text's four scores: ``sentence [D]``, ``words [L,D]``, ``frames [V,F,D]`` -> ``[V,4]``."""
        z = unit(self.conditional_transformer["pool_frames"](torch.cat([sentence[None], words]), frames))
        v, r = z[:, 0], z[:, 1:]  # [V,D], [V,L,D]
        s, w = unit(sentence), unit(words)
        video_sentence = v @ (s @ self.global_mat_weight)
        video_word = isa(top(v @ w.T, self.keep), self.attentive_word_logit_weight)
        sentence_frame = self.sentence_frame(r @ s)
        frame_word = self.frame_word((w @ self.local_mat_weight) @ r.transpose(1, 2))
        return torch.stack([video_sentence, video_word, sentence_frame, frame_word], dim=-1)

    def sentence_frame(self, a: Tensor) -> Tensor:
        """``a [V,L]``: the K highest, then the rest fused into one."""
        a = top(a, a.shape[-1])
        kept, rest = a[:, : self.keep], a[:, self.keep :]
        fused = (rest.softmax(dim=-1) * rest).sum(dim=-1, keepdim=True)
        return isa(torch.cat([kept, fused], dim=-1), self.concat_frame_word_logit_weight)

    def frame_word(self, a: Tensor) -> Tensor:
        """``a [V,L,L]``, words by text-conditioned frames: pruned along words, then along frames."""
        a = top(top(a, self.keep, dim=1), self.keep, dim=2)
        c = isa(a.transpose(1, 2), self.attentive_word_mat_weight)  # over words: one a frame
        r = isa(a, self.attentive_frame_word_mat_weight)  # over frames: one a word
        return (isa(c, self.attentive_frame_word_mat_weight2) + isa(r, self.attentive_word_mat_weight2)) / 2

    def scorer_tensors(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())
