"""Seeded random checkpoints in the published key layouts: for tests, demos and benchmarks, never for search.

Weights are scaled so that activations keep their size through the layers and different inputs get visibly
different features, which freshly initialised models do not.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vtr.errors import UsageError

from .options import FAMILIES, SE_TYPES, SIM_HEADERS
from .synthetic_resnet import add_resnet

PAIRS = ("unity", "squeeze_expand", "expand_squeeze")
_DEFAULT_HEADER = {"teachclip": "seqTransf", "xclip": "seqTransf", "tcmgc": "seqTransf"}


class _Maker:
    """Draws tensors by kind under their names, from one generator."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)
        self.tensors: dict[str, Tensor] = {}

    def normal(self, name: str, *shape: int, std: float) -> None:
        self.tensors[name] = torch.randn(*shape, generator=self.generator) * std

    def linear(self, name: str, out: int, into: int, gain: float = 1.0) -> None:
        self.normal(f"{name}.weight", out, into, std=gain / math.sqrt(into))
        self.normal(f"{name}.bias", out, std=0.1 * gain)

    def norm(self, name: str, width: int) -> None:
        self.normal(f"{name}.weight", width, std=0.1)
        self.tensors[f"{name}.weight"] += 1
        self.normal(f"{name}.bias", width, std=0.1)

    def near_identity(self, name: str, size: int) -> None:
        """Published scorers start from identities and stay close to them."""
        self.normal(name, size, size, std=0.3 / math.sqrt(size))
        self.tensors[name] += torch.eye(size)

    def blocks(self, prefix: str, width: int, layers: int) -> None:
        for i in range(layers):
            block = f"{prefix}.resblocks.{i}"
            self.normal(f"{block}.attn.in_proj_weight", 3 * width, width, std=1 / math.sqrt(width))
            self.normal(f"{block}.attn.in_proj_bias", 3 * width, std=0.1)
            self.linear(f"{block}.attn.out_proj", width, width, gain=0.7)
            self.linear(f"{block}.mlp.c_fc", 4 * width, width)
            self.linear(f"{block}.mlp.c_proj", width, 4 * width, gain=0.7)
            self.norm(f"{block}.ln_1", width)
            self.norm(f"{block}.ln_2", width)


def random_clip(
    *,
    dim: int = 64,
    vision_width: int = 64,
    text_width: int = 64,
    layers: int = 2,
    image: int = 64,
    patch: int = 32,
    blocks: tuple[int, ...] | None = None,
    vocab: int = 49408,
    context: int = 77,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A plain CLIP in OpenAI's layout, with the three scalars that its archives hold.

    ``blocks``, the bottlenecks of each of four stages, makes the image tower the convolutional one:
    ``vision_width`` are then the channels after its stem, ``image`` is a multiple of 32, ``patch`` and
    ``layers`` do not concern it.
    """
    make = _Maker(seed)
    if blocks is None:
        _add_transformer_tower(make, dim, vision_width, layers, image, patch)
    else:
        add_resnet(make, dim, vision_width, blocks, image)
    make.normal("token_embedding.weight", vocab, text_width, std=0.5)
    make.normal("positional_embedding", context, text_width, std=0.2)
    make.normal("text_projection", text_width, dim, std=1 / math.sqrt(text_width))
    make.norm("ln_final", text_width)
    make.blocks("transformer", text_width, layers)
    scalars = {"input_resolution": image, "context_length": context, "vocab_size": vocab}
    return {
        **make.tensors,
        "logit_scale": torch.tensor(math.log(100.0)),
        **{name: torch.tensor(value) for name, value in scalars.items()},
    }


def _add_transformer_tower(make: _Maker, dim: int, width: int, layers: int, image: int, patch: int) -> None:
    grid = image // patch
    make.normal("visual.class_embedding", width, std=0.5)
    make.normal("visual.positional_embedding", grid * grid + 1, width, std=0.3)
    make.normal("visual.proj", width, dim, std=1 / math.sqrt(width))
    make.normal("visual.conv1.weight", width, 3, patch, patch, std=1 / math.sqrt(3 * patch * patch))
    make.norm("visual.ln_pre", width)
    make.norm("visual.ln_post", width)
    make.blocks("visual.transformer", width, layers)


def random_checkpoint(
    family: str = "clip4clip",
    sim_header: str | None = None,
    variant: str | None = None,
    *,
    frames: int = 12,
    words: int = 32,
    dim: int = 64,
    vision_width: int = 64,
    text_width: int | None = None,
    layers: int = 2,
    temporal_layers: int = 2,
    image: int = 64,
    patch: int = 32,
    blocks: tuple[int, ...] | None = None,
    vocab: int = 49408,
    context: int = 77,
    linear_patch: str = "2d",
    reduction_ratio: float = 4.0,
    pair: str = "unity",
    intra_mlp: bool = False,
    keep_rate: float = 0.5,
    logit_weight: bool = True,
    seed: int = 0,
) -> dict[str, Tensor]:
    """A checkpoint of any family and variant under its published keys, float32, the same for the same seed.

    ``family`` is one of ``FAMILIES``, or ``"clip"`` for plain CLIP in OpenAI's layout. ``variant`` is EA's
    block type, with its ``reduction_ratio`` (r < 1 expands), ``pair`` (of the two-block types) and
    ``intra_mlp``. ``keep_rate`` and ``logit_weight`` are TC-MGC's. ``blocks`` makes the image tower
    convolutional, see `random_clip`.
    """
    text_width = dim if text_width is None else text_width
    sizes: dict[str, Any] = {
        "dim": dim,
        "vision_width": vision_width,
        "text_width": text_width,
        "layers": layers,
    }
    clip = random_clip(
        **sizes, image=image, patch=patch, blocks=blocks, vocab=vocab, context=context, seed=seed
    )
    if family == "clip":
        return clip
    header = sim_header or _DEFAULT_HEADER.get(family, "meanP")
    if family not in FAMILIES or header not in SIM_HEADERS:
        raise UsageError(
            f"unknown family or header {family!r}, {header!r}: expected {FAMILIES} and {SIM_HEADERS}"
        )
    for scalar in ("input_resolution", "context_length", "vocab_size"):
        del clip[scalar]
    make = _Maker(seed + 1)
    make.tensors = {f"clip.{key}": value for key, value in clip.items()}
    if linear_patch == "3d":
        if blocks is not None:
            raise UsageError("linear_patch 3d is of the transformer: pass it without blocks")
        std = 1 / math.sqrt(9 * patch * patch)
        make.normal("clip.visual.conv2.weight", vision_width, 3, 3, patch, patch, std=std)
    _add_header(make, header, dim, temporal_layers, context)
    if family == "ea":
        _add_ea(make, variant, frames, dim, reduction_ratio, pair, intra_mlp)
    elif family == "teachclip":
        make.linear("frameLinear", dim, dim)
        make.linear("frameLinear2", 1, dim)
    elif family == "xclip":
        for name in ("global_mat_weight", "local_mat_weight"):
            make.near_identity(name, dim)
        for name in ("word_logit_weight", "word_mat_weight", "word_mat_weight2"):
            make.near_identity(name, words)
        for name in ("frame_logit_weight", "frame_mat_weight", "frame_mat_weight2"):
            make.near_identity(name, frames)
    elif family == "tcmgc":
        _add_tcmgc(make, dim, int(words * keep_rate), logit_weight)
    return make.tensors


def _add_header(make: _Maker, header: str, dim: int, layers: int, context: int) -> None:
    if header in ("seqTransf", "seqLSTM"):
        make.normal("frame_position_embeddings.weight", context, dim, std=0.2)
    if header == "seqTransf":
        make.blocks("transformerClip", dim, layers)
    elif header == "seqLSTM":
        for name, width in (("ih", dim), ("hh", dim)):
            make.normal(f"lstm_visual.weight_{name}_l0", 4 * dim, width, std=1.5 / math.sqrt(dim))
            make.normal(f"lstm_visual.bias_{name}_l0", 4 * dim, std=0.3)
    elif header == "tightTransf":
        make.normal("cross.embeddings.position_embeddings.weight", context, dim, std=0.2)
        make.blocks("cross.transformer", dim, layers)
        make.norm("cross.pooler.ln_pool", dim)
        make.linear("cross.pooler.dense", dim, dim)
        make.linear("similarity_dense", 1, dim, gain=10.0)


def _add_ea(
    make: _Maker, variant: str | None, frames: int, dim: int, ratio: float, pair: str, intra_mlp: bool
) -> None:
    if variant not in (*SE_TYPES, None) or pair not in PAIRS:
        raise UsageError(f"unknown block type or pair {variant!r}, {pair!r}: expected {SE_TYPES} and {PAIRS}")
    second = ratio if pair == "unity" else 1 / ratio
    blocks = {
        "excitation": [("se_block", ratio)],
        "aggregation": [("se_block", ratio)],
        "excitation_aggregation": [("se_block.scale", ratio), ("se_block.aggregate", second)],
        "excitation_seq": [("se_block_excitation", ratio)],
        "excitation_seq_aggregation": [("se_block_excitation", ratio), ("se_block_aggregation", second)],
        None: [],
    }
    for name, r in blocks[variant]:
        hidden = int(frames // r)
        make.linear(f"{name}.fc.0", hidden, frames, gain=8.0)  # frame means are small: let the gates move
        make.linear(f"{name}.fc.2", frames, hidden, gain=2.0)
    make.near_identity("linear_mat", frames)
    if intra_mlp:
        make.linear("intra_mlp.0", dim, 2 * dim)
        make.linear("intra_mlp.2", 1, dim)


def _add_tcmgc(make: _Maker, dim: int, keep: int, logit_weight: bool) -> None:
    pool = "conditional_transformer.pool_frames"
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        make.linear(f"{pool}.cross_attn.{name}", dim, dim)
    make.near_identity(f"{pool}.linear_proj.weight", dim)
    make.normal(f"{pool}.linear_proj.bias", dim, std=0.1)
    for name in ("layer_norm1", "layer_norm2", "layer_norm3"):
        make.norm(f"{pool}.{name}", dim)
    for name in ("global_mat_weight", "local_mat_weight"):
        make.near_identity(name, dim)
    for name in (
        "attentive_word_logit_weight",
        "attentive_word_mat_weight",
        "attentive_word_mat_weight2",
        "attentive_frame_word_mat_weight",
        "attentive_frame_word_mat_weight2",
    ):
        make.near_identity(name, keep)
    make.near_identity("concat_frame_word_logit_weight", keep + 1)
    if logit_weight:
        make.near_identity("logit_weight", 4)


def to_huggingface(clip: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A plain CLIP in OpenAI's layout -> the keys of Hugging Face's ``CLIPModel``, which knows ViTs only."""
    if "visual.proj" not in clip:
        raise UsageError(
            "expected a CLIP with a ViT: Hugging Face's CLIPModel has no convolutional image tower"
        )
    names = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
        "logit_scale": "logit_scale",
    }
    parts = {
        "visual.ln_pre": "vision_model.pre_layrnorm",
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
    }
    result = {}
    for key, value in clip.items():
        if key in names:
            result[names[key]] = value
        elif key in ("visual.proj", "text_projection"):
            result["visual_projection.weight" if key == "visual.proj" else "text_projection.weight"] = (
                value.T.clone()
            )
        elif "resblocks" in key:
            tower = "vision_model" if key.startswith("visual.") else "text_model"
            index, rest = key.split("resblocks.")[1].split(".", 1)
            layer = f"{tower}.encoder.layers.{index}."
            if "in_proj" in rest:
                kind = rest.rsplit("_", 1)[1]
                for name, part in zip("qkv", value.chunk(3), strict=True):
                    result[f"{layer}self_attn.{name}_proj.{kind}"] = part.clone()
            else:
                part, kind = rest.rsplit(".", 1)
                result[f"{layer}{parts[part]}.{kind}"] = value
        elif key.rsplit(".", 1)[0] in parts:
            part, kind = key.rsplit(".", 1)
            result[f"{parts[part]}.{kind}"] = value
    return result


def huggingface_config(clip: Mapping[str, Tensor], hidden_act: str = "quick_gelu") -> dict[str, Any]:
    """The ``config.json`` that goes with a plain CLIP."""

    def tower(prefix: str, width: int) -> dict[str, Any]:
        layers = {
            key.split(".")[prefix.count(".") + 2] for key in clip if key.startswith(f"{prefix}.resblocks.")
        }
        return {
            "hidden_size": width,
            "intermediate_size": clip[f"{prefix}.resblocks.0.mlp.c_fc.weight"].shape[0],
            "num_hidden_layers": len(layers),
            "num_attention_heads": max(width // 64, 1),
            "hidden_act": hidden_act,
            "layer_norm_eps": 1e-5,
            "projection_dim": clip["text_projection"].shape[1],
        }

    width, _, _, patch = clip["visual.conv1.weight"].shape
    grid = math.isqrt(clip["visual.positional_embedding"].shape[0] - 1)
    vocab, text_width = clip["token_embedding.weight"].shape
    text = tower("transformer", text_width)
    text |= {"vocab_size": vocab, "max_position_embeddings": clip["positional_embedding"].shape[0]}
    text |= {"bos_token_id": vocab - 2, "eos_token_id": vocab - 1, "pad_token_id": vocab - 1}
    vision = tower("visual.transformer", width) | {"image_size": patch * grid, "patch_size": patch}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": text["projection_dim"],
        "text_config": {**text, "model_type": "clip_text_model"},
        "vision_config": {**vision, "model_type": "clip_vision_model"},
    }


def write_huggingface(
    clip: Mapping[str, Tensor], folder: str | Path, *, hidden_act: str = "quick_gelu", shards: int = 1
) -> Path:
    """Write a plain CLIP as a Hugging Face ``CLIPModel`` directory, in one file or in shards."""
    from safetensors.torch import save_file

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {key: value.contiguous() for key, value in to_huggingface(clip).items()}
    (folder / "config.json").write_text(json.dumps(huggingface_config(clip, hidden_act), indent=2))
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    weight_map = {}
    for i in range(shards):
        name = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = dict(sorted(tensors.items())[i::shards])
        save_file(part, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(part, name)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder
