"""CLIP's two towers (Radford et al., 2021, "Learning Transferable Visual Models From Natural Language
Supervision"), with submodules named as in the published checkpoints so that their keys load unchanged.

The image tower here is the transformer; `resnet.py` has the convolutional one. The transformer also comes
with CLIP4Clip's ``linear_patch 3d`` patch layer, a convolution over the frames of one video (Luo et al.,
2021, "CLIP4Clip").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from .resnet import ResNetTower

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
LAYER_NORM_EPS = 1e-5


@dataclass(frozen=True)
class TransformerSpec:
    """Sizes of a stack of blocks."""

    width: int
    layers: int
    heads: int
    mlp: int  # hidden width of the MLPs
    activation: str = "quick_gelu"
    eps: float = LAYER_NORM_EPS


def quick_gelu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(1.702 * x)


_ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


class Attention(nn.Module):
    """Multi-head self-attention, with the parameters of ``nn.MultiheadAttention``."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``x [B,N,W]``; ``mask`` is added to the logits and broadcasts to ``[B,heads,N,N]``."""
        batch, length, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (
            part.reshape(batch, length, self.heads, width // self.heads).transpose(1, 2)
            for part in qkv.chunk(3, dim=-1)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).reshape(batch, length, width))


class Mlp(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.c_fc = nn.Linear(spec.width, spec.mlp)
        self.c_proj = nn.Linear(spec.mlp, spec.width)
        self.activation = _ACTIVATIONS[spec.activation]

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(self.activation(self.c_fc(x)))


class Block(nn.Module):
    """A pre-LayerNorm residual block: x + attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.attn = Attention(spec.width, spec.heads)
        self.ln_1 = nn.LayerNorm(spec.width, eps=spec.eps)
        self.mlp = Mlp(spec)
        self.ln_2 = nn.LayerNorm(spec.width, eps=spec.eps)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, spec: TransformerSpec):
        super().__init__()
        self.resblocks = nn.ModuleList(Block(spec) for _ in range(spec.layers))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTower(nn.Module):
    """Frames to features: patches, class token, positions, blocks, projection of the class token."""

    def __init__(
        self,
        spec: TransformerSpec,
        patch: int,
        grid: int,
        dim: int,
        frame_coupling: bool = False,
        mean: tuple[float, ...] = MEAN,
        std: tuple[float, ...] = STD,
    ):
        super().__init__()
        self.frame_coupling = frame_coupling
        if frame_coupling:  # linear_patch 3d: a frame also sees the one before and the one after
            self.conv2 = nn.Conv3d(
                3, spec.width, (3, patch, patch), stride=(1, patch, patch), padding=(1, 0, 0), bias=False
            )
        else:
            self.conv1 = nn.Conv2d(3, spec.width, patch, stride=patch, bias=False)
        self.class_embedding = nn.Parameter(torch.zeros(spec.width))
        self.positional_embedding = nn.Parameter(torch.zeros(grid * grid + 1, spec.width))
        self.ln_pre = nn.LayerNorm(spec.width, eps=spec.eps)
        self.transformer = Transformer(spec)
        self.ln_post = nn.LayerNorm(spec.width, eps=spec.eps)
        self.proj = nn.Parameter(torch.zeros(spec.width, dim))
        # a device is given because models are laid out on "meta" before their tensors are put in
        self.register_buffer("mean", torch.tensor(mean, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(std, device="cpu"), persistent=False)

    def forward(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]`` RGB, ``mask [B,F]`` -> features ``[B,F,D]``, un-normalised.

        A frame whose mask is 0 counts as zero pixels *after* normalisation: the published loader pads so.
        """
        batch, count = mask.shape
        pixels = (frames.to(self.proj.dtype) / 255 - self.mean) / self.std
        pixels = (pixels * mask[:, :, None, None, None]).permute(0, 1, 4, 2, 3)  # [B,F,3,H,W]
        x = self.patches(pixels)  # [B*F, P, W]
        cls = self.class_embedding.expand(x.shape[0], 1, -1)
        x = self.ln_pre(torch.cat([cls, x], dim=1) + self.positional_embedding)
        x = self.transformer(x)
        x = self.ln_post(x[:, 0]) @ self.proj
        return x.reshape(batch, count, x.shape[-1])

    def patches(self, pixels: Tensor) -> Tensor:
        """``[B,F,3,H,W]`` -> one row per patch, ``[B*F, P, W]``."""
        if self.frame_coupling:
            x = self.conv2(pixels.transpose(1, 2)).transpose(1, 2).flatten(0, 1)
        else:
            x = self.conv1(pixels.flatten(0, 1))
        return x.flatten(2).transpose(1, 2)


class Clip(nn.Module):
    """Both towers and the logit scale: everything under the key ``clip.``."""

    def __init__(
        self, visual: VisionTower | ResNetTower, spec: TransformerSpec, vocab: int, context: int, dim: int
    ):
        super().__init__()
        self.visual = visual
        self.token_embedding = nn.Embedding(vocab, spec.width)
        self.positional_embedding = nn.Parameter(torch.zeros(context, spec.width))
        self.transformer = Transformer(spec)
        self.ln_final = nn.LayerNorm(spec.width, eps=spec.eps)
        self.text_projection = nn.Parameter(torch.zeros(spec.width, dim))
        self.logit_scale = nn.Parameter(torch.zeros(()))

    def text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """``ids [B,L]`` -> ``sentence [B,D]`` (the row of end-of-text, the highest id) and ``words [B,L,D]``,
        every position, padding included; both un-normalised."""
        length = ids.shape[1]
        x = self.token_embedding(ids) + self.positional_embedding[:length]
        causal = torch.full((length, length), float("-inf"), dtype=x.dtype, device=x.device).triu(1)
        x = self.transformer(x, causal)
        words = self.ln_final(x) @ self.text_projection
        end = ids.argmax(dim=-1)[:, None, None].expand(-1, 1, words.shape[-1])
        return words.gather(1, end).squeeze(1), words
