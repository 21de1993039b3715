"""Batches through the towers: the image tower sees each real frame once, and all padding as one frame."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vtr.errors import UsageError
from vtr.export.models import ReferenceModel

Tower = Callable[[Tensor, Tensor], Tensor]  # frames [B,F,H,W,3] and mask [B,F] to features [B,F,D]


def encode_videos(
    model: ReferenceModel, frames: Tensor, counts: Tensor, tower: Tower | None = None
) -> tuple[Tensor, Tensor]:
    """Features ``x [B,F,D]`` and ``mask [B,F]`` (1 on real frames, float32), F = ``model.sizes["frames"]``.

    ``frames`` uint8 ``[N,H,W,3]`` holds the frames of all videos, ``counts`` int64 ``[B]`` how many each
    has. A padded place has the features of zero pixels, as in the published loader: the tower works them out
    once for the whole batch. Equal to ``model.encode_vision`` of the padded videos, gradients included;
    but not where a ResNet's batch norms are in training, whose statistics count that frame once.
    ``tower`` replaces ``model.clip.visual`` (by a compiled one, say). Raises UsageError for sizes that do
    not fit the model.
    """
    most, side = model.sizes["frames"], model.sizes["image"]
    check_frames(frames, counts, most, side)
    if tower is None:  # a compiled one has no truth value
        tower = model.clip.visual
    places = torch.arange(most, device=counts.device)
    real = places < counts[:, None]  # [B,F]
    mask = real.to(torch.float32)
    if model.frame_coupling:  # a frame's features depend on its neighbours: they go in together
        padded = frames.new_zeros(len(counts), most, *frames.shape[1:])
        padded[real] = frames
        return tower(padded, mask), mask
    seen = torch.ones(len(frames), 1, device=frames.device)
    if len(frames) == mask.numel():
        return tower(frames[:, None], seen).reshape(*mask.shape, -1), mask
    frames = torch.cat([frames, torch.zeros_like(frames[:1])])
    seen = torch.cat([seen, torch.zeros_like(seen[:1])])
    features = tower(frames[:, None], seen)[:, 0]  # [N + 1, D], the last row being padding
    starts = counts.cumsum(0) - counts
    rows = torch.where(real, starts[:, None] + places, len(features) - 1)
    return features[rows], mask


def check_frames(frames: Tensor, counts: Tensor, most: int, side: int) -> None:
    """Refuse batches that would be cut off, or scattered to the wrong videos."""
    if frames.dtype != torch.uint8 or frames.shape[1:] != (side, side, 3):
        raise UsageError(
            f"expected frames uint8 [N, {side}, {side}, 3] for this model, "
            f"got {frames.dtype} {list(frames.shape)}"
        )
    if int(counts.min()) < 1 or int(counts.max()) > most:
        raise UsageError(
            f"expected 1 to {most} frames a video, got {int(counts.min())} to {int(counts.max())}"
        )
    if int(counts.sum()) != len(frames):
        raise UsageError(f"the counts add up to {int(counts.sum())} frames, the batch holds {len(frames)}")
