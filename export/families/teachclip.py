"""TeachCLIP (Tian et al., CVPR 2024, "Holistic Features are almost Sufficient for Text-to-Video Retrieval").

    y = seqTransf(x),  w = frameLinear2(ReLU(frameLinear(y))),  video = Σ_f sm_F(w / 0.1)_f · n(y_f)

Padded frames are not masked in that softmax: the published code trains and tests so.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..temporal import unit, weighted_sum

TEMPERATURE = 0.1


class TeachClipHead(nn.Module):
    scoring = "holistic"

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.frameLinear = nn.Linear(dim, hidden)
        self.frameLinear2 = nn.Linear(hidden, 1)

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        y = temporal(x, mask)
        relevance = self.frameLinear2(self.frameLinear(y).relu()).squeeze(-1)
        frames, weights = unit(y), (relevance / TEMPERATURE).softmax(dim=-1)
        return {"frames": frames, "weights": weights, "video": weighted_sum(weights, frames)}
