"""What the configuration files beside a checkpoint say: activation, heads, layers, normalisation.

Hugging Face directories hold ``config.json`` (and ``preprocessor_config.json``), open_clip's hold
``open_clip_config.json``. An architecture that differs from CLIP's in any other way is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vtr.errors import CheckpointError

from .layouts import Facts
from .options import ACTIVATIONS
from .resnet import LAST_MAP, STAGES
from .towers import LAYER_NORM_EPS, MEAN, STD

MAX_JSON = 16 << 20  # bytes
_PIL_BICUBIC = 3
_HF_DEFAULTS = {  # CLIPConfig leaves out what equals its defaults
    "vision": {"num_attention_heads": 12, "num_hidden_layers": 12},
    "text": {"num_attention_heads": 8, "num_hidden_layers": 12},
}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of bounded size."""
    size = path.stat().st_size
    if size > MAX_JSON:
        raise CheckpointError(f"{path.name}: {size} bytes of JSON, at most {MAX_JSON} are accepted")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path.name}: not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{path.name}: expected a JSON object, got {type(value).__name__}")
    return value


def huggingface_facts(folder: Path) -> Facts:
    """Facts of a ``CLIPModel`` directory."""
    config = read_json(folder / "config.json")
    if config.get("model_type") != "clip":
        raise CheckpointError(f"config.json: expected model_type 'clip', got {config.get('model_type')!r}")
    towers = {}
    for name in ("vision", "text"):
        merged = {"hidden_act": "quick_gelu", "layer_norm_eps": LAYER_NORM_EPS, **_HF_DEFAULTS[name]}
        for part in (
            f"{name}_config",
            f"{name}_config_dict",
        ):  # the older second spelling overrides the first
            merged |= _object(config, part)
        if merged["layer_norm_eps"] != LAYER_NORM_EPS:
            raise CheckpointError(
                f"config.json: {name} layer_norm_eps is {merged['layer_norm_eps']}, "
                f"only {LAYER_NORM_EPS} is supported"
            )
        towers[name] = merged
    acts = {tower["hidden_act"] for tower in towers.values()}
    if len(acts) > 1 or not acts <= set(ACTIVATIONS):
        raise CheckpointError(
            f"config.json: expected one hidden_act of {', '.join(ACTIVATIONS)} in both towers, "
            f"got {sorted(acts)}"
        )
    mean, std = _huggingface_pixels(folder)
    return Facts(
        layout="huggingface",
        activation=acts.pop(),
        vision_heads=_count(towers["vision"], "num_attention_heads"),
        text_heads=_count(towers["text"], "num_attention_heads"),
        vision_layers=_count(towers["vision"], "num_hidden_layers"),
        text_layers=_count(towers["text"], "num_hidden_layers"),
        mean=mean,
        std=std,
    )


def _huggingface_pixels(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the image processor, OpenAI's where there is no file."""
    pixels: Mapping[str, Any] = {}
    if (folder / "preprocessor_config.json").exists():
        pixels = read_json(folder / "preprocessor_config.json")
    elif (folder / "processor_config.json").exists():
        pixels = _object(read_json(folder / "processor_config.json"), "image_processor")
    if pixels.get("resample", _PIL_BICUBIC) != _PIL_BICUBIC:
        raise CheckpointError(
            f"preprocessor_config.json: only bicubic resizing (3), got {pixels['resample']!r}"
        )
    return _triple(pixels, "image_mean", MEAN), _triple(pixels, "image_std", STD)


_ANY = {  # read off the tensors, without effect on the numbers, or taken below
    "layers", "width", "heads", "head_width", "mlp_ratio", "patch_size", "image_size", "patch_dropout",
    "output_tokens", "context_length", "vocab_size", "pad_id", "eos_id", "embed_dim", "quick_gelu",
    "custom_text", "init_logit_scale", "output_dict", "cast_dtype", "vision_cfg", "text_cfg",
}  # fmt: skip
_DEFAULTS = {
    "pos_embed_type": ("learnable",),
    "pool_type": ("tok", "argmax"),
    "proj_type": ("linear",),
    "block_type": ("default",),
}
_INERT = ("timm_", "attn_pooler_", "hf_")  # parameters of towers that are refused by their model names
_REFUSED = ("timm_model_name", "hf_model_name", "hf_tokenizer_name")


def open_clip_facts(folder: Path) -> Facts:
    """Facts of an open_clip directory."""
    config = read_json(folder / "open_clip_config.json")
    model, pixels = _object(config, "model_cfg"), _object(config, "preprocess_cfg")
    vision, text = _object(model, "vision_cfg"), _object(model, "text_cfg")
    if not vision or not text:
        raise CheckpointError("open_clip_config.json: expected model_cfg with vision_cfg and text_cfg")
    for part, settings in (("model_cfg", model), ("vision_cfg", vision), ("text_cfg", text)):
        for key, value in settings.items():
            inert = key in _ANY or (key.startswith(_INERT) and key not in _REFUSED)
            if not inert and value and value not in _DEFAULTS.get(key, ()):
                raise CheckpointError(f"open_clip_config.json: {part}.{key} = {value!r} is not supported")
    if pixels.get("resize_mode", "shortest") != "shortest" or pixels.get("interpolation") == "bilinear":
        raise CheckpointError(f"open_clip_config.json: only bicubic resizing of the short side, got {pixels}")
    width, head_width = (
        _count({"width": 768, **vision}, "width"),
        _count({"head_width": 64, **vision}, "head_width"),
    )
    layers: int | tuple[int, ...]
    if isinstance(vision.get("layers"), list):  # a convolutional tower; its heads pool the last feature map
        layers, width = _stages(vision["layers"]), width * LAST_MAP
    else:
        layers = _count({"layers": 12, **vision}, "layers")
    return Facts(
        layout="open_clip",
        activation="quick_gelu" if model.get("quick_gelu") else "gelu",
        vision_heads=width // head_width,
        text_heads=_count({"heads": 8, **text}, "heads"),
        vision_layers=layers,
        text_layers=_count({"layers": 12, **text}, "layers"),
        mean=_triple(pixels, "mean", MEAN),
        std=_triple(pixels, "std", STD),
    )


def _object(config: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key) or {}
    if not isinstance(value, dict):
        raise CheckpointError(f"configuration: expected an object for {key}, got {value!r}")
    return value


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 1 << 20:
        raise CheckpointError(f"configuration: expected a positive integer for {key}, got {value!r}")
    return value


def _stages(value: list[Any]) -> tuple[int, ...]:
    """``layers`` of a convolutional tower: bottlenecks in each of its stages."""
    if len(value) != STAGES:
        raise CheckpointError(f"configuration: expected {STAGES} stages of layers, got {value!r}")
    return tuple(_count({"layers": count}, "layers") for count in value)


def _triple(config: Mapping[str, Any], key: str, default: tuple[float, ...]) -> tuple[float, ...]:
    value = config.get(key) or default
    if len(value) != 3 or not all(isinstance(v, int | float) and abs(v) < 1e3 for v in value):
        raise CheckpointError(f"configuration: expected three numbers for {key}, got {value!r}")
    if default is STD and not all(v > 0 for v in value):
        raise CheckpointError(f"configuration: expected positive numbers for {key}, got {value!r}")
    return tuple(float(v) for v in value)
