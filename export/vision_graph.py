"""The vision tower as it is exported: the reference's numbers for about a twelfth less work.

* Scaling pixels is linear, so it moves into the first convolution:
  conv(w, (u / 255 − mean) / std) = conv(w / (255·std), u) − Σ w·mean / std.
  Bytes u ≤ 255 are exact in every float type, and the mask acts on patches instead of pixels.
* Only the class token is read after the last block, so there the other tokens are keys and values only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vtr.export.towers import Attention, Block, VisionTower


class VisionGraph(nn.Module):
    """Equal to ``tower`` up to the order of sums."""

    def __init__(self, tower: VisionTower):
        super().__init__()
        self.tower = tower
        *self.blocks, last = tower.transformer.resblocks
        self.last = ClassTokenBlock(last)
        self.convolution = None if tower.frame_coupling else fold_scaling(tower)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]``, ``mask [B,F]`` -> features ``[B,F,D]``."""
        tower = self.tower
        x = self.patches(frames, mask)
        cls = tower.class_embedding.expand(x.shape[0], 1, -1)
        x = tower.ln_pre(torch.cat([cls, x], dim=1) + tower.positional_embedding)
        for block in self.blocks:
            x = block(x)
        x = tower.ln_post(self.last(x)) @ tower.proj
        return x.reshape(*mask.shape, x.shape[-1])

    def patches(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``[B*F, patches, width]``."""
        pixels = frames.permute(0, 1, 4, 2, 3)
        if self.convolution is None:
            # The convolution over frames mixes masked ones with others: pixels must be masked before it.
            mean, std = (t[:, None, None] for t in (self.tower.mean, self.tower.std))
            return self.tower.patches((pixels.float() / 255 - mean) / std * mask[:, :, None, None, None])
        x = self.convolution(pixels.flatten(0, 1).float())
        return x.flatten(2).transpose(1, 2) * mask.reshape(-1, 1, 1)


class ClassTokenBlock(nn.Module):
    """A block's output at the first token: ``[N, tokens, width]`` -> ``[N, width]``."""

    def __init__(self, block: Block):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, :1] + attend_first(self.block.attn, self.block.ln_1(x))
        return (first + self.block.mlp(self.block.ln_2(first))).squeeze(1)


def attend_first(attention: Attention, x: Tensor) -> Tensor:
    """Self-attention's output at the first token: ``[N, tokens, width]`` -> ``[N, 1, width]``."""
    width = x.shape[-1]
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    query = F.linear(x[:, :1], weight[:width], bias[:width])
    key, value = F.linear(x, weight[width:], bias[width:]).chunk(2, dim=-1)
    heads = (part.unflatten(-1, (attention.heads, -1)).transpose(1, 2) for part in (query, key, value))
    return attention.out_proj(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def fold_scaling(tower: VisionTower) -> nn.Conv2d:
    """The patch convolution of ``tower`` on bytes instead of scaled pixels."""
    plain = tower.conv1
    mean, std = (t.double()[:, None, None] for t in (tower.mean, tower.std))
    weight = plain.weight.double()
    folded = nn.Conv2d(3, plain.out_channels, plain.kernel_size, plain.stride)
    folded.weight = nn.Parameter((weight / (255 * std)).float(), requires_grad=False)
    folded.bias = nn.Parameter(-(weight * mean / std).sum(dim=(1, 2, 3)).float(), requires_grad=False)
    return folded
