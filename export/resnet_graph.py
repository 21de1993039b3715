"""The convolutional tower as it is exported: batch norms folded into the convolutions before them.

In evaluation a batch norm is a factor and an offset for each channel, which a convolution's weights and bias
can hold: in an RN50 that is 55 operators less. The factors are worked out in float64, so that weights are
rounded once. What is left is Conv, Relu, AveragePool, Add and attention pooling.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from vtr.export.resnet import ResNetTower

_PAIRS = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3", "0": "1"}  # the last two: of a downsampling path


class ResNetGraph(nn.Module):
    """Equal to ``tower`` in evaluation up to the order of sums."""

    def __init__(self, tower: ResNetTower):
        super().__init__()
        self.tower = without_norms(tower)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]``, ``mask [B,F]`` -> features ``[B,F,D]``."""
        tower = self.tower
        mean, std = (values[:, None, None] for values in (tower.mean, tower.std))
        # Bytes are brought into channel order before they are scaled, while they are small.
        pixels = (frames.permute(0, 1, 4, 2, 3).float() / 255 - mean) / std * mask[:, :, None, None, None]
        features = tower.features(pixels.flatten(0, 1))
        return features.reshape(*mask.shape, features.shape[-1])


def without_norms(tower: ResNetTower) -> ResNetTower:
    """A copy of ``tower`` that computes in its convolutions what its batch norms do in evaluation."""
    tower = copy.deepcopy(tower)
    for module in tower.modules():
        children = dict(module.named_children())
        for conv, norm in _PAIRS.items():
            if isinstance(children.get(norm), nn.BatchNorm2d):
                setattr(module, conv, fold(children[conv], children[norm]))
                setattr(module, norm, nn.Identity())
    return tower.eval()


@torch.no_grad()
def fold(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """One convolution with bias, equal to ``norm(conv(x))`` with the running statistics.

    ((Wx) − mean)/√(var + ε)·γ + β = (γ/√(var + ε)·W)x + (β − mean·γ/√(var + ε)); ``conv`` has no bias.
    """
    weight, mean, var, gain, offset = (
        tensor.double()
        for tensor in (conv.weight, norm.running_mean, norm.running_var, norm.weight, norm.bias)
    )
    factor = gain / (var + norm.eps).sqrt()
    folded = nn.Conv2d(
        conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, device="meta"
    )
    folded.weight = nn.Parameter((weight * factor[:, None, None, None]).float())
    folded.bias = nn.Parameter((offset - mean * factor).float())
    return folded
