"""X-CLIP (Ma et al., 2022, "End-to-End Multi-grained Contrastive Learning for Video-Text Retrieval").

s = n(sentence), w = n(words) [L,D], v = n(masked mean of n(temporal(x))), f = n(x), the raw frames [F,D]. The
logit is exp(logit_scale) times the mean of four scores, aggregated by attention over similarities, unmasked:

    video-sentence   (s·G)·v
    video-word       isa_L(w·v)
    sentence-frame   isa_F(s·f)
    frame-word       A = (w·Lm)·fᵀ [L,F];  c = isa_L(A) [F];  r = isa_F(A) [L];  (isa_F(c) + isa_L(r)) / 2
    isa(a, M) = Σ (sm(a / 0.01) @ M) ∘ a
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..temporal import mean_weights, unit, weighted_sum

TEMPERATURE = 1e-2


def isa(a: Tensor, weight: Tensor) -> Tensor:
    """Attention over similarities on the last axis."""
    return (((a / TEMPERATURE).softmax(dim=-1) @ weight) * a).sum(dim=-1)


class XClipHead(nn.Module):
    scoring = "xclip"

    def __init__(self, dim: int, words: int, frames: int):
        super().__init__()
        self.global_mat_weight = nn.Parameter(torch.eye(dim))
        self.local_mat_weight = nn.Parameter(torch.eye(dim))
        self.word_logit_weight = nn.Parameter(torch.eye(words))
        self.frame_logit_weight = nn.Parameter(torch.eye(frames))
        self.word_mat_weight = nn.Parameter(torch.eye(words))
        self.frame_mat_weight = nn.Parameter(torch.eye(frames))
        self.word_mat_weight2 = nn.Parameter(torch.eye(words))
        self.frame_mat_weight2 = nn.Parameter(torch.eye(frames))

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        return {"frames": x, "video": unit(weighted_sum(mean_weights(mask), unit(temporal(x, mask))))}

    def score(self, sentence: Tensor, words: Tensor, video: dict[str, Tensor], scale: Tensor) -> Tensor:
        """``sentence [T,D]``, ``words [T,L,D]``, V videos, ``scale = exp(logit_scale)`` -> ``[T,V]``."""
        v, f = unit(video["video"]), unit(video["frames"])
        texts = zip(unit(sentence), unit(words), strict=True)  # one at a time bounds the memory
        return scale * torch.stack([self.score_text(s, w, v, f) for s, w in texts])

    def score_text(self, s: Tensor, w: Tensor, v: Tensor, f: Tensor) -> Tensor:
        """``s [D]``, ``w [L,D]``, ``v [V,D]``, ``f [V,F,D]`` -> ``[V]``."""
        video_sentence = v @ (s @ self.global_mat_weight)
        video_word = isa(v @ w.T, self.word_logit_weight)
        sentence_frame = isa(f @ s, self.frame_logit_weight)
        a = (w @ self.local_mat_weight) @ f.transpose(1, 2)  # [V,L,F]
        c = isa(a.transpose(1, 2), self.word_mat_weight)  # over words: [V,F]
        r = isa(a, self.frame_mat_weight)  # over frames: [V,L]
        frame_word = (isa(c, self.frame_mat_weight2) + isa(r, self.word_mat_weight2)) / 2
        return (video_sentence + video_word + sentence_frame + frame_word) / 4

    def scorer_tensors(self) -> dict[str, Tensor]:
        return dict(self.named_parameters())
