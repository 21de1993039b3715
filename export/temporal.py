"""The temporal heads of CLIP4Clip (Luo et al., 2021): features ``x [B,F,D]``, ``mask [B,F]`` -> ``[B,F,D]``.

Each class holds its parameters under their published names, so checkpoint keys load unchanged.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from .towers import Transformer, TransformerSpec

HEAD_EPS = 1e-12  # the published heads have a LayerNorm of their own, with BERT's epsilon
MASKED = -1e6  # added to the logits of padded keys


def unit(x: Tensor) -> Tensor:
    """n(x) = x / ‖x‖₂ on the last axis."""
    return F.normalize(x, dim=-1)


def mean_weights(mask: Tensor) -> Tensor:
    """Each frame's share in the masked mean, ``[B,F]``; a video without frames gets zeros, not NaN."""
    return mask / mask.sum(dim=1, keepdim=True).clamp(min=1)


def weighted_sum(weights: Tensor, frames: Tensor) -> Tensor:
    """Σ_f weights_f · frames_f: ``[B,F]``, ``[B,F,D]`` -> ``[B,D]``."""
    return (weights[:, :, None] * frames).sum(dim=1)


class MeanP(nn.Module):
    """``meanP``: the frames as they are."""

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return x


class SeqTransf(nn.Module):
    """``seqTransf``: y = blocks(x + positions), padded keys masked; output y + x.

    Every head of a video gets that video's mask. The published code lays the masks out by head and its
    attention reads them by video, so within a batch of videos of different lengths it masks some heads with a
    neighbour's mask; for one video at a time, or equal lengths, it gives these numbers.
    """

    def __init__(self, spec: TransformerSpec, positions: int):
        super().__init__()
        self.frame_position_embeddings = nn.Embedding(positions, spec.width)
        self.transformerClip = Transformer(spec)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y = x + self.frame_position_embeddings.weight[: x.shape[1]]
        return self.transformerClip(y, ((1 - mask) * MASKED)[:, None, None, :]) + x


class SeqLSTM(nn.Module):
    """``seqLSTM``: x + LSTM(x), the recurrence seeing only real frames; a padded position outputs x alone.

    The published code packs the sequences. Padding is on the right and the recurrence runs forward, so real
    frames never see padded ones: running over all F steps and masking afterwards gives the same numbers.
    (Positions beyond the longest video of a batch come out of the published code as 2x; every head but EA's
    unmasked aggregation ignores them.)
    """

    def __init__(self, dim: int):
        super().__init__()
        self.lstm_visual = nn.LSTM(dim, dim, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        y, _ = self.lstm_visual(x)
        return y * mask[:, :, None] + x
