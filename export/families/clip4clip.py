"""CLIP4Clip (Luo et al., 2021): the video is the masked mean of its normalised frames.

video = Σ_f mask_f · n(temporal(x))_f / Σ_f mask_f,    logit = exp(logit_scale) · n(sentence) · n(video)
"""

from __future__ import annotations

from torch import Tensor, nn

from ..temporal import mean_weights, unit, weighted_sum


class Clip4ClipHead(nn.Module):
    scoring = "holistic"

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        frames, weights = unit(temporal(x, mask)), mean_weights(mask)
        return {"frames": frames, "weights": weights, "video": weighted_sum(weights, frames)}


class TightHead(nn.Module):
    """tightTransf: the cross encoder takes the frames as they are; there is no video vector."""

    scoring = "cross"

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        return {"frames": x}
