"""From the key layouts in which CLIP is published to one: the published CLIP4Clip's, ``clip.*``.

OpenAI's keys are the same without the prefix; so are open_clip's, some with the text tower under ``text.``.
Hugging Face's ``CLIPModel`` names everything otherwise, splits the attention's input projection in three and
stores the output projections transposed; it has no convolutional image tower, all others may have one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vtr.errors import CheckpointError

from .towers import MEAN, STD

OPENAI_SCALARS = ("input_resolution", "context_length", "vocab_size")  # only OpenAI's own archives hold them
_BUFFERS = (
    re.compile(  # stored by some versions, computed by all; and how many steps a batch norm has trained
        r"(^|\.)(position_ids|attn_mask|num_batches_tracked)$"
    )
)


@dataclass(frozen=True)
class Facts:
    """What files beside the tensors say of a model; None where they are silent."""

    layout: str = "clip4clip"  # "clip4clip", "openai", "open_clip" or "huggingface"
    activation: str | None = None
    vision_heads: int | None = None
    text_heads: int | None = None
    vision_layers: int | tuple[int, ...] | None = None  # of a convolutional tower: bottlenecks in each stage
    text_layers: int | None = None
    mean: tuple[float, ...] = MEAN
    std: tuple[float, ...] = STD


class Checkpoint(dict[str, Tensor]):
    """Tensors under canonical keys, float32 but for integers, with the ``facts`` that came with them."""

    def __init__(self, tensors: Mapping[str, Tensor], facts: Facts | None = None):
        super().__init__(tensors)
        self.facts = facts or Facts()


def canonical(tensors: Mapping[str, Tensor], facts: Facts | None = None) -> Checkpoint:
    """Convert any of the published layouts; CheckpointError where the keys are of none of them."""
    if isinstance(tensors, Checkpoint):
        return tensors
    tensors = {key: value for key, value in tensors.items() if not _BUFFERS.search(key)}
    layout = detect_layout(tensors)
    facts = facts or Facts(layout)
    if layout == "openai" and tensors.keys() >= set(OPENAI_SCALARS):
        facts = replace(facts, activation="quick_gelu")  # its archives have no other
    if layout == "huggingface":
        tensors = from_huggingface(tensors)
    elif layout != "clip4clip":
        tensors = from_bare(tensors)
    return Checkpoint({key: _float32(key, value) for key, value in tensors.items()}, facts)


def _float32(key: str, value: Tensor) -> Tensor:
    """Integers stay as they are: counters of training code, which may be ignored, or quantised weights."""
    scalar = key.removeprefix("clip.") in OPENAI_SCALARS
    return value.to(torch.float32) if value.is_floating_point() or scalar else value


def detect_layout(keys: Iterable[str]) -> str:
    keys = list(keys)
    heads = {key.split(".", 1)[0] for key in keys}
    if "clip" in heads:
        return "clip4clip"
    if heads & {"vision_model", "text_model"}:
        return "huggingface"
    if "text" in heads:
        return "open_clip"
    if heads & {"visual", "token_embedding", "text_projection"}:
        return "openai"
    some = ", ".join(sorted(keys)[:5]) or "none"
    raise CheckpointError(
        "no CLIP towers found: expected keys such as clip.visual.conv1.weight (CLIP4Clip and its family), "
        f"visual.conv1.weight (OpenAI, open_clip) or vision_model.* (Hugging Face CLIPModel); got {some}"
        f"{', …' if len(keys) > 5 else ''}. Pass the checkpoint that the training saved"
    )


def from_bare(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """OpenAI's and open_clip's keys. open_clip may keep the text projection as a linear layer, transposed."""
    result = {}
    for key, value in tensors.items():
        key = key.removeprefix("text.")
        if key in OPENAI_SCALARS:
            continue
        if key == "text_projection.weight":
            key, value = "text_projection", value.T.contiguous()
        if key == "logit_bias":
            raise CheckpointError(
                "logit_bias says that this is a SigLIP-style model; only CLIP's softmax loss is supported"
            )
        result[f"clip.{key}"] = value
    return result


_HF_TOWER = {"vision_model": "clip.visual.", "text_model": "clip."}
_HF_BLOCK = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
_HF_KEYS = {
    "vision_model.embeddings.class_embedding": "clip.visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "clip.visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "clip.visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "clip.visual.ln_pre.weight",  # their spelling
    "vision_model.pre_layrnorm.bias": "clip.visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "clip.visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "clip.visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "clip.token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "clip.positional_embedding",
    "text_model.final_layer_norm.weight": "clip.ln_final.weight",
    "text_model.final_layer_norm.bias": "clip.ln_final.bias",
    "logit_scale": "clip.logit_scale",
}
_HF_PROJECTIONS = {
    "visual_projection.weight": "clip.visual.proj",
    "text_projection.weight": "clip.text_projection",
}
_HF_LAYER = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
_HF_QKV = re.compile(r"self_attn\.([qkv])_proj")


def from_huggingface(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``CLIPModel``'s keys; unknown ones keep their name and are refused as unexpected later."""
    result: dict[str, Tensor] = {}
    qkv: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        layer = _HF_LAYER.fullmatch(key)
        if key in _HF_PROJECTIONS:
            result[_HF_PROJECTIONS[key]] = value.T.contiguous()
        elif layer is None:
            result[_HF_KEYS.get(key, key)] = value
        else:
            tower, index, part, kind = layer.groups()
            block = f"{_HF_TOWER[tower]}transformer.resblocks.{index}."
            if projection := _HF_QKV.fullmatch(part):
                qkv.setdefault(f"{block}attn.in_proj_{kind}", {})[projection[1]] = value
            else:
                result[f"{block}{_HF_BLOCK.get(part, part)}.{kind}"] = value
    for key, parts in qkv.items():
        if len(parts) < 3:
            raise CheckpointError(
                f"{key}: expected q, k and v projections, got only {', '.join(sorted(parts))}"
            )
        shapes = {name: list(part.shape) for name, part in sorted(parts.items())}
        if not all(shapes["q"] == shape != [] for shape in shapes.values()):
            raise CheckpointError(f"{key}: expected q, k and v projections of one shape, got {shapes}")
        result[key] = torch.cat([parts[name] for name in "qkv"])
    return result
