"""EA-CLIP4Clip (Jing et al.): a small gate over the frame axis weighs frames, un-normalised and unmasked.

    gate(x) = W2 · act(W1 · mean_D(x) + b1) + b2            [B, F], hidden size m = int(F // r)
    excitation(x)  = x ∘ σ(gate(x))[…, None]                [B, F, D]
    aggregation(x) = Σ_f sm_F(gate(x))_f · x_f              [B, D]
    intra(x)       = x · MLP([x ; mean_F x])                [B, F, D], one factor a frame, not squashed

A block squeezes when m < F (r > 1) and expands otherwise. Its activation is ReLU when it squeezes and ReLU6
when it expands, except in the unity pair (excitation_aggregation with two gates of one size): ReLU in both.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..temporal import mean_weights, weighted_sum


class Gate(nn.Module):
    """``fc.0`` and ``fc.2``: F -> m -> F on the mean over D of each frame."""

    def __init__(self, frames: int, hidden: int, relu: bool | None = None):
        super().__init__()
        self.fc = nn.ModuleDict({"0": nn.Linear(frames, hidden), "2": nn.Linear(hidden, frames)})
        squeezes = hidden < frames
        self.activation = F.relu if (squeezes if relu is None else relu) else F.relu6

    def forward(self, x: Tensor) -> Tensor:
        """``x [B,F,D]`` -> ``[B,F]``."""
        return self.fc["2"](self.activation(self.fc["0"](x.mean(dim=-1))))


def excitation(gate: Gate, x: Tensor) -> Tensor:
    return x * torch.sigmoid(gate(x))[:, :, None]


def aggregation_weights(gate: Gate, x: Tensor) -> Tensor:
    return gate(x).softmax(dim=-1)


class IntraMlp(nn.Sequential):
    def __init__(self, dim: int, hidden: int):
        super().__init__(nn.Linear(2 * dim, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=1, keepdim=True).expand_as(x)
        return x * super().forward(torch.cat([x, mean], dim=-1))


class EAHead(nn.Module):
    """``sizes``: each gate's key prefix and hidden size m; ``intra``: the hidden size of ``intra_mlp``."""

    scoring = "holistic"

    def __init__(self, variant: str | None, frames: int, dim: int, sizes: dict[str, int], intra: int | None):
        super().__init__()
        self.variant = variant
        relu = True if variant == "excitation_aggregation" and len(set(sizes.values())) == 1 else None
        gates = {name: Gate(frames, hidden, relu) for name, hidden in sizes.items()}
        if variant == "excitation_aggregation":
            self.se_block = nn.ModuleDict({n.removeprefix("se_block."): gate for n, gate in gates.items()})
        else:
            for name, gate in gates.items():  # se_block, se_block_excitation, se_block_aggregation
                self.add_module(name, gate)
        self.intra_mlp = None if intra is None else IntraMlp(dim, intra)

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        if self.variant in ("excitation_seq", "excitation_seq_aggregation"):
            x = excitation(self.se_block_excitation, x)
        x = temporal(x, mask)
        if self.intra_mlp is not None:
            x = self.intra_mlp(x)
        frames, weights = self.pool(x, mask)
        return {"frames": frames, "weights": weights, "video": weighted_sum(weights, frames)}

    def pool(self, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames and weights whose weighted sum is the video vector."""
        match self.variant:
            case "excitation":
                return excitation(self.se_block, x), mean_weights(mask)
            case "aggregation":
                return x, aggregation_weights(self.se_block, x)
            case "excitation_aggregation":
                x = excitation(self.se_block["scale"], x)
                return x, aggregation_weights(self.se_block["aggregate"], x)
            case "excitation_seq_aggregation":
                return x, aggregation_weights(self.se_block_aggregation, x)
            case _:  # excitation_seq, or no block at all
                return x, mean_weights(mask)


class EATightHead(nn.Module):
    """tightTransf: the frames are excited before the cross encoder."""

    scoring = "cross"

    def __init__(self, frames: int, hidden: int | None):
        super().__init__()
        self.se_block = None if hidden is None else Gate(frames, hidden)

    def video(self, x: Tensor, mask: Tensor, temporal: nn.Module) -> dict[str, Tensor]:
        return {"frames": x if self.se_block is None else excitation(self.se_block, x)}
