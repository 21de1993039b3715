"""The tight head of CLIP4Clip (``tightTransf``): one transformer reads the sentence and the frames together.

    [sentence; frames] + positions  ->  blocks (mask [1; frame_mask])  ->  LN  ->  first token
    ->  dense  ->  QuickGELU  ->  dense to 1 = the logit

There is no video vector: every text meets every video.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .temporal import HEAD_EPS, MASKED
from .towers import Transformer, TransformerSpec, quick_gelu

CROSS_HEADS = 8


class CrossPooler(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.ln_pool = nn.LayerNorm(dim, eps=HEAD_EPS)
        self.dense = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return quick_gelu(self.dense(self.ln_pool(x[:, 0])))


class CrossModel(nn.Module):
    def __init__(self, spec: TransformerSpec, positions: int):
        super().__init__()
        self.embeddings = nn.ModuleDict({"position_embeddings": nn.Embedding(positions, spec.width)})
        self.transformer = Transformer(spec)
        self.pooler = CrossPooler(spec.width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.embeddings["position_embeddings"].weight[: x.shape[1]]
        return self.pooler(self.transformer(x, ((1 - mask) * MASKED)[:, None, None, :]))


class CrossEncoder(nn.Module):
    """Everything under ``cross.`` and ``similarity_dense.``."""

    def __init__(self, spec: TransformerSpec, positions: int):
        super().__init__()
        self.cross = CrossModel(spec, positions)
        self.similarity_dense = nn.Linear(spec.width, 1)

    def forward(self, sentence: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """Aligned pairs: ``sentence [B,D]``, ``frames [B,F,D]``, ``mask [B,F]`` -> ``logit [B]``."""
        x = torch.cat([sentence[:, None], frames], dim=1)
        mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        return self.similarity_dense(self.cross(x, mask)).squeeze(-1)
