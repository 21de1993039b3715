"""The vision tower as it is exported: the reference's numbers for about a fourteenth less work.

Only the class token is read after the last block, so there the other tokens are keys and values only. Bytes
are brought into channel order before they are scaled, while they are small.

Scaling stays in front of the convolution. Folded into its weights it would save 1 % and make bfloat16's error
five times as large: on pixels that are not centred, the rounding of weights counts for more.
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

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]``, ``mask [B,F]`` -> features ``[B,F,D]``."""
        tower = self.tower
        mean, std = (values[:, None, None] for values in (tower.mean, tower.std))
        pixels = (frames.permute(0, 1, 4, 2, 3).float() / 255 - mean) / std * mask[:, :, None, None, None]
        x = tower.patches(pixels)
        cls = tower.class_embedding.expand(x.shape[0], 1, -1)
        x = tower.ln_pre(torch.cat([cls, x], dim=1) + tower.positional_embedding)
        for block in self.blocks:
            x = block(x)
        x = tower.ln_post(self.last(x)) @ tower.proj
        return x.reshape(*mask.shape, x.shape[-1])


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
