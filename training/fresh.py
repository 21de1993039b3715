"""Models to start training from: towers with CLIP's initialisation, and heads added to towers.

Towers are initialised as in Radford et al., 2021 (the published ``CLIP.initialize_parameters``); heads as the
published training codes do: a temporal transformer starts as a copy of the text tower's first layers and
positions (CLIP4Clip, section 3.3), matrices of X-CLIP and TC-MGC as identities, gates and new layers by
normal numbers of standard deviation 0.02.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from vtr.errors import UsageError
from vtr.export.layouts import canonical
from vtr.export.options import FAMILIES, SE_TYPES, SIM_HEADERS
from vtr.export.resnet import HEAD_WIDTH as POOL_WIDTH
from vtr.export.resnet import LAST_MAP, STRIDE, ResNetSpec, ResNetTower
from vtr.export.synthetic import PAIRS

TEMPERATURE = 0.07  # of the first logit scale
STD = 0.02
KEEP_RATE = 0.7
REDUCTION = 4.0
HEADERS = {"teachclip": "seqTransf", "xclip": "seqTransf", "tcmgc": "seqTransf"}  # of the others: meanP


@dataclass(frozen=True)
class TowerSizes:
    """Sizes of both towers; D is ``text_width``, as heads expect.

    ``vision_layers`` is the number of blocks of a vision transformer (``vision_width`` a multiple of 64), or
    the bottlenecks of a ResNet's four stages (``image`` a multiple of 32; ``patch`` is 32).
    """

    vision_width: int
    vision_layers: int | tuple[int, int, int, int]
    patch: int
    image: int
    text_width: int
    text_layers: int
    context: int = 77


SIZES = {
    "mini": TowerSizes(16, (2, 2, 2, 2), 32, 96, 192, 3, 32),
    "small": TowerSizes(384, 8, 16, 160, 256, 6),
    "base": TowerSizes(768, 12, 32, 224, 512, 12),
}


def fresh_towers(sizes: TowerSizes, vocab: int, seed: int = 0) -> dict[str, Tensor]:
    """An untrained CLIP under the keys of CLIP4Clip's checkpoints (``clip.*``), float32."""
    draw = _Draw(seed)
    dim = sizes.text_width
    if isinstance(sizes.vision_layers, tuple):
        _add_resnet(draw, sizes.vision_width, sizes.vision_layers, sizes.image // STRIDE, dim)
    else:
        _add_vit(draw, sizes, sizes.vision_layers)
    draw.normal("token_embedding.weight", vocab, dim, std=0.02)
    draw.normal("positional_embedding", sizes.context, dim, std=0.01)
    draw.normal("text_projection", dim, dim, std=dim**-0.5)
    draw.norm("ln_final", dim)
    draw.blocks("transformer", dim, sizes.text_layers)
    draw.tensors["logit_scale"] = torch.tensor(math.log(1 / TEMPERATURE))
    return {f"clip.{name}": value for name, value in draw.tensors.items()}


def _add_vit(draw: _Draw, sizes: TowerSizes, layers: int) -> None:
    width, dim, grid = sizes.vision_width, sizes.text_width, sizes.image // sizes.patch
    scale = width**-0.5
    draw.normal("visual.class_embedding", width, std=scale)
    draw.normal("visual.positional_embedding", grid * grid + 1, width, std=scale)
    draw.normal("visual.proj", width, dim, std=scale)
    draw.normal("visual.conv1.weight", width, 3, sizes.patch, sizes.patch, std=(3 * sizes.patch**2) ** -0.5)
    for norm in ("ln_pre", "ln_post"):
        draw.norm(f"visual.{norm}", width)
    draw.blocks("visual.transformer", width, layers)


def _add_resnet(draw: _Draw, width: int, blocks: tuple[int, ...], side: int, dim: int) -> None:
    """He's initialisation; the last norm of each bottleneck starts at 0, so that it passes its input on."""
    spec = ResNetSpec(width, blocks, width * LAST_MAP // POOL_WIDTH)
    with torch.device("meta"):
        tower = ResNetTower(spec, side, dim)
    for name, like in tower.state_dict().items():
        key, shape = f"visual.{name}", tuple(like.shape)
        if name.endswith("num_batches_tracked"):
            continue
        if len(shape) == 4:  # a convolution [out, in, h, w]
            draw.normal(key, *shape, std=math.sqrt(2 / (shape[0] * shape[2] * shape[3])))
        elif len(shape) == 2:  # attention pooling
            draw.normal(key, *shape, std=spec.channels**-0.5)
        elif name.endswith(("running_var", "weight")):
            last = name.startswith("layer") and name.endswith("bn3.weight")
            draw.tensors[key] = torch.zeros(shape) if last else torch.ones(shape)
        else:
            draw.tensors[key] = torch.zeros(shape)


def fresh_checkpoint(
    family: str,
    *,
    header: str | None = None,
    variant: str | None = None,
    size: str | TowerSizes = "mini",
    frames: int = 12,
    words: int = 32,
    vocab: int = 49408,
    seed: int = 0,
) -> dict[str, Tensor]:
    """An untrained model of a family, towers and head. Arguments as in `with_head`."""
    if isinstance(size, str) and size not in SIZES:
        raise UsageError(f"expected a size as one of {', '.join(SIZES)}; got {size!r}")
    towers = fresh_towers(SIZES[size] if isinstance(size, str) else size, vocab, seed)
    return with_head(towers, family, header=header, variant=variant, frames=frames, words=words, seed=seed)


def with_head(
    state: Mapping[str, Tensor],
    family: str,
    *,
    header: str | None = None,
    variant: str | None = None,
    frames: int = 12,
    words: int = 32,
    keep_rate: float = KEEP_RATE,
    layers: int | None = None,
    reduction: float = REDUCTION,
    pair: str = "unity",
    seed: int = 0,
) -> dict[str, Tensor]:
    """Towers with a new head of a family: a checkpoint under published keys.

    Args:
        state: a CLIP in any layout; of a whole model, the towers are taken.
        header: the temporal head; by default seqTransf for TeachCLIP, X-CLIP and TC-MGC, else meanP.
        variant: EA-CLIP4Clip's block type (default: excitation_aggregation).
        words: L, X-CLIP's and TC-MGC's matrices are made for.
        keep_rate: TC-MGC keeps int(words · keep_rate) similarities.
        layers: of seqTransf and tightTransf (default: 4, at most the text tower's).
        reduction: EA's ratio r: gates of int(frames // r) hidden units; r < 1 expands.
        pair: of EA's types with two gates: "unity" gives both r, "squeeze_expand" (r > 1) and
            "expand_squeeze" (r < 1) the second one 1 / r.

    Raises:
        UsageError: no such family, header, variant or pair, or a ratio that leaves a gate no unit.
    """
    header = header or HEADERS.get(family, "meanP")
    if family not in FAMILIES or header not in SIM_HEADERS:
        raise UsageError(
            f"expected a family of {', '.join(FAMILIES)} and a header of {', '.join(SIM_HEADERS)}; "
            f"got {family!r} and {header!r}"
        )
    towers = {key: value.clone() for key, value in canonical(state).items() if key.startswith("clip.")}
    dim = towers["clip.text_projection"].shape[1]
    draw = _Draw(seed)
    _add_temporal(draw, towers, header, dim, frames, layers)
    if family == "ea":
        _add_gates(draw, variant or "excitation_aggregation", frames, reduction, pair)
    elif family == "teachclip":
        draw.linear("frameLinear", dim, dim)
        draw.linear("frameLinear2", 1, dim)
    elif family == "xclip":
        draw.identities(dim, "global_mat_weight", "local_mat_weight")
        draw.identities(words, "word_logit_weight", "word_mat_weight", "word_mat_weight2")
        draw.identities(frames, "frame_logit_weight", "frame_mat_weight", "frame_mat_weight2")
    elif family == "tcmgc":
        _add_tcmgc(draw, dim, int(words * keep_rate))
    return {**towers, **draw.tensors}


class _Draw:
    """Draws tensors under their names from one generator."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors: dict[str, Tensor] = {}

    def normal(self, name: str, *shape: int, std: float) -> None:
        self.tensors[name] = torch.randn(*shape, generator=self.generator) * std

    def norm(self, name: str, width: int) -> None:
        self.tensors[f"{name}.weight"] = torch.ones(width)
        self.tensors[f"{name}.bias"] = torch.zeros(width)

    def linear(self, name: str, out: int, into: int, std: float = STD) -> None:
        self.normal(f"{name}.weight", out, into, std=std)
        self.tensors[f"{name}.bias"] = torch.zeros(out)

    def identities(self, size: int, *names: str) -> None:
        for name in names:
            self.tensors[name] = torch.eye(size)

    def blocks(self, prefix: str, width: int, layers: int) -> None:
        """CLIP's residual blocks; projections back to the residual stream shrink with the depth."""
        narrow = width**-0.5
        back = narrow * (2 * layers) ** -0.5
        for i in range(layers):
            block = f"{prefix}.resblocks.{i}"
            self.normal(f"{block}.attn.in_proj_weight", 3 * width, width, std=narrow)
            self.tensors[f"{block}.attn.in_proj_bias"] = torch.zeros(3 * width)
            self.linear(f"{block}.attn.out_proj", width, width, std=back)
            self.linear(f"{block}.mlp.c_fc", 4 * width, width, std=(2 * width) ** -0.5)
            self.linear(f"{block}.mlp.c_proj", width, 4 * width, std=back)
            self.norm(f"{block}.ln_1", width)
            self.norm(f"{block}.ln_2", width)


def _add_temporal(
    draw: _Draw, towers: Mapping[str, Tensor], header: str, dim: int, frames: int, layers: int | None
) -> None:
    positions = towers["clip.positional_embedding"]
    if header in ("seqTransf", "tightTransf"):
        prefix = "transformerClip" if header == "seqTransf" else "cross.transformer"
        rows = 1 + frames if header == "tightTransf" else frames
        name = (
            "cross.embeddings.position_embeddings" if header == "tightTransf" else "frame_position_embeddings"
        )
        _copy_blocks(draw, towers, prefix, dim, 4 if layers is None else layers)
        fits = positions.shape == (max(rows, len(positions)), dim)
        if fits:
            draw.tensors[f"{name}.weight"] = positions.clone()
        else:
            draw.normal(f"{name}.weight", rows, dim, std=STD)
    if header == "tightTransf":
        draw.norm("cross.pooler.ln_pool", dim)
        draw.linear("cross.pooler.dense", dim, dim)
        draw.linear("similarity_dense", 1, dim)
    if header == "seqLSTM":
        for name, shape in (("weight_ih", (4 * dim, dim)), ("weight_hh", (4 * dim, dim)),
                            ("bias_ih", (4 * dim,)), ("bias_hh", (4 * dim,))):  # fmt: skip
            bound = dim**-0.5
            draw.tensors[f"lstm_visual.{name}_l0"] = torch.empty(shape).uniform_(
                -bound, bound, generator=draw.generator
            )


def _copy_blocks(draw: _Draw, towers: Mapping[str, Tensor], prefix: str, dim: int, layers: int) -> None:
    """The text tower's first layers, where they are as wide as the features; else new ones."""
    source = "clip.transformer.resblocks."
    there = len({key.split(".")[3] for key in towers if key.startswith(source)})
    if towers["clip.ln_final.weight"].shape != (dim,):
        draw.blocks(prefix, dim, layers)
        return
    for key, value in towers.items():
        if key.startswith(source) and int(key.split(".")[3]) < min(layers, there):
            draw.tensors[key.replace("clip.transformer", prefix)] = value.clone()


def _add_gates(draw: _Draw, variant: str, frames: int, reduction: float, pair: str) -> None:
    names = {
        "excitation": ("se_block",),
        "aggregation": ("se_block",),
        "excitation_aggregation": ("se_block.scale", "se_block.aggregate"),
        "excitation_seq": ("se_block_excitation",),
        "excitation_seq_aggregation": ("se_block_excitation", "se_block_aggregation"),
    }
    if variant not in names:
        raise UsageError(f"expected a block type as one of {', '.join(SE_TYPES)}; got {variant!r}")
    if pair not in PAIRS:
        raise UsageError(f"expected a pair of gates as one of {', '.join(PAIRS)}; got {pair!r}")
    if not 1 / frames <= reduction <= frames:
        raise UsageError(f"expected a reduction from 1/{frames} to {frames}, the frames; got {reduction:g}")
    if pair != "unity" and (reduction > 1) != (pair == "squeeze_expand"):
        raise UsageError(f"{pair} begins with a reduction that does so, above 1 or below; got {reduction:g}")
    ratios = (reduction, reduction if pair == "unity" else 1 / reduction)
    for name, ratio in zip(names[variant], ratios, strict=False):
        hidden = int(frames // ratio)
        draw.linear(f"{name}.fc.0", hidden, frames)
        draw.linear(f"{name}.fc.2", frames, hidden)


def _add_tcmgc(draw: _Draw, dim: int, keep: int) -> None:
    pool = "conditional_transformer.pool_frames"
    draw.identities(dim, f"{pool}.linear_proj.weight", "global_mat_weight", "local_mat_weight")
    draw.tensors[f"{pool}.linear_proj.bias"] = torch.zeros(dim)
    for name in ("layer_norm1", "layer_norm2", "layer_norm3"):
        draw.norm(f"{pool}.{name}", dim)
    draw.identities(keep, "attentive_word_logit_weight", "attentive_word_mat_weight")
    draw.identities(keep, "attentive_word_mat_weight2", "attentive_frame_word_mat_weight")
    draw.identities(keep, "attentive_frame_word_mat_weight2")
    draw.identities(keep + 1, "concat_frame_word_logit_weight")
    draw.identities(4, "logit_weight")
