"""Which model a checkpoint is: family, similarity header, block type and sizes, read off its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from vtr.errors import CheckpointError

from .families.tcmgc import UNUSED as TCMGC_UNUSED
from .layouts import OPENAI_SCALARS, Facts
from .options import ExportOptions
from .resnet import HEAD_WIDTH, STAGES, ResNetSpec
from .temporal import HEAD_EPS
from .towers import TransformerSpec

OPENAI_WIDEST = 1024  # ViT-L; wider towers (open_clip's H, g, G) have heads of other sizes than 64
_FAMILY_MARKS = {
    "tcmgc": ("conditional_transformer.", "attentive_", "concat_frame_word_logit_weight"),
    "xclip": ("word_logit_weight", "frame_logit_weight", "word_mat_weight", "frame_mat_weight"),
    "teachclip": ("frameLinear",),
    "ea": ("se_block", "intra_mlp."),
}
_HEADER_MARKS = {
    "tightTransf": ("cross.", "similarity_dense."),
    "seqTransf": ("transformerClip.",),
    "seqLSTM": ("lstm_visual.",),
}
_HEADERS_OF = {
    "clip4clip": ("meanP", "seqTransf", "seqLSTM", "tightTransf"),
    "ea": ("meanP", "seqTransf", "seqLSTM", "tightTransf"),
    "teachclip": ("seqTransf",),
    "xclip": ("meanP", "seqTransf", "seqLSTM"),
    "tcmgc": ("seqTransf",),
}
TOWER_KEYS = {
    "image": (
        "clip.visual.class_embedding",
        "clip.visual.positional_embedding",
        "clip.visual.proj",
        "clip.visual.transformer.resblocks.0.mlp.c_fc.weight",
    ),
    "text": (
        "clip.token_embedding.weight",
        "clip.positional_embedding",
        "clip.ln_final.weight",
        "clip.text_projection",
        "clip.transformer.resblocks.0.mlp.c_fc.weight",
    ),
}
CONVOLUTIONAL_KEYS = (
    "clip.visual.conv1.weight",
    *(f"clip.visual.layer{stage}.0.conv1.weight" for stage in range(1, STAGES + 1)),
    "clip.visual.attnpool.positional_embedding",
    "clip.visual.attnpool.c_proj.weight",
)


def _marked(keys: Iterable[str], marks: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """The names whose marks occur, each with the first key that shows it."""
    found = {}
    for key in sorted(keys):
        for name, prefixes in marks.items():
            if key.startswith(prefixes):
                found.setdefault(name, key)
    return found


def agree(option: str, told: object, found: object, where: str) -> None:
    """CheckpointError where an option and the tensors say different things."""
    if told is not None and told != found:
        raise CheckpointError(
            f"{option} {told} contradicts the checkpoint: {where} says {found}; "
            f"leave {option} out or pass {found}"
        )


def _only(found: Mapping[str, str], kinds: str) -> tuple[str, str] | None:
    """The one name that tensors stand for, with its key; None if there is none."""
    if len(found) > 1:
        raise CheckpointError(
            f"the tensors are of several {kinds}: "
            + ", ".join(f"{key} of {name}" for name, key in found.items())
            + "; leave those of the wrong one out with --ignore PREFIX"
        )
    return next(iter(found.items()), None)


def detect_family(state: Mapping[str, Tensor], options: ExportOptions) -> str:
    marked = _only(_marked(state, _FAMILY_MARKS), "families")
    family, where = marked or ("clip4clip", "the absence of any other family's key")
    agree("--family", None if options.family == "auto" else options.family, family, where)
    return family


def detect_header(state: Mapping[str, Tensor], family: str, options: ExportOptions) -> str:
    marked = _only(_marked(state, _HEADER_MARKS), "similarity headers")
    header, where = marked or ("meanP", "the absence of any temporal head's key")
    agree("--sim-header", None if options.sim_header == "auto" else options.sim_header, header, where)
    if header not in _HEADERS_OF[family]:
        raise CheckpointError(
            f"a {family} checkpoint needs a similarity header of {', '.join(_HEADERS_OF[family])}; "
            f"the tensors say {header} ({where})"
        )
    return header


def is_convolutional(state: Mapping[str, Tensor]) -> bool:
    """Whether the image tower is CLIP's ResNet; else it is taken for the transformer."""
    return any(key.startswith(("clip.visual.layer", "clip.visual.attnpool.")) for key in state)


def require_towers(state: Mapping[str, Tensor]) -> None:
    """CheckpointError naming what is missing where a checkpoint does not hold both CLIP towers."""
    if any(key.startswith("clip.visual.trunk.") for key in state):
        raise CheckpointError(
            "a timm image tower (clip.visual.trunk.) is not supported: "
            "use a checkpoint with CLIP's own ViT or ResNet"
        )
    convolutional = is_convolutional(state)
    wanted = TOWER_KEYS | ({"image": CONVOLUTIONAL_KEYS} if convolutional else {})
    missing = {tower: [key for key in keys if key not in state] for tower, keys in wanted.items()}
    patches = ("clip.visual.conv1.weight", "clip.visual.conv2.weight")  # 2d, or 3d alone
    if not convolutional and not any(key in state for key in patches):
        missing["image"].insert(0, patches[0])
    if "clip.logit_scale" not in state:
        missing["text"].append("clip.logit_scale")
    absent = [key for keys in missing.values() for key in keys]
    if absent:
        whole = [tower for tower, keys in missing.items() if len(keys) >= len(wanted[tower])]
        what = f"no {' and no '.join(whole)} tower" if whole else "an incomplete CLIP"
        raise CheckpointError(f"the checkpoint holds {what}: missing {', '.join(absent)}")


def stack_spec(
    state: Mapping[str, Tensor],
    prefix: str,
    heads: int | None,
    activation: str = "quick_gelu",
    eps: float = HEAD_EPS,
) -> TransformerSpec:
    """Sizes of the blocks ``prefix.resblocks.*``; ``heads`` defaults to the published width // 64."""
    pattern = re.compile(re.escape(prefix) + r"\.resblocks\.(\d+)\.")
    layers = {int(match[1]) for key in state if (match := pattern.match(key))}
    if layers != set(range(len(layers))) or not layers:
        raise CheckpointError(f"{prefix}.resblocks: expected blocks 0 to n - 1, got {sorted(layers)}")
    mlp, width = matrix(state, f"{prefix}.resblocks.0.mlp.c_fc.weight")
    heads = width // 64 if heads is None else heads
    if heads < 1 or width % heads:
        raise CheckpointError(f"{prefix}: width {width} cannot be split into {heads} attention heads")
    return TransformerSpec(width, len(layers), heads, mlp, activation, eps)


def matrix(state: Mapping[str, Tensor], key: str, ndim: int = 2) -> tuple[int, ...]:
    """The shape of a tensor that must be there with that many axes, none of them empty."""
    if key not in state:
        raise CheckpointError(f"missing tensor {key}")
    shape = tuple(state[key].shape)
    if len(shape) != ndim or 0 in shape:
        raise CheckpointError(f"{key}: expected {ndim} non-empty axes, got shape {list(shape)}")
    return shape


def patch_and_grid(state: Mapping[str, Tensor]) -> tuple[int, int, bool]:
    """(patch side, patches a side, whether patches look across frames) of the image tower."""
    coupled = "clip.visual.conv2.weight" in state
    key = "clip.visual.conv2.weight" if coupled else "clip.visual.conv1.weight"
    shape = matrix(state, key, 5 if coupled else 4)
    wanted = ([shape[0], 3, 3] if coupled else [shape[0], 3]) + [shape[-1]] * 2
    if list(shape) != wanted:
        raise CheckpointError(f"{key}: expected shape {wanted}, got {list(shape)}")
    return shape[-1], _grid(state, "clip.visual.positional_embedding"), coupled


def _grid(state: Mapping[str, Tensor], key: str) -> int:
    """The side of the square whose places, and one more, have positions."""
    rows = matrix(state, key)[0]
    grid = math.isqrt(rows - 1)
    if grid < 1 or grid * grid + 1 != rows:
        raise CheckpointError(f"{key}: expected grid² + 1 rows, got {rows}; only square images are supported")
    return grid


def resnet_sizes(state: Mapping[str, Tensor], heads: int | None) -> tuple[ResNetSpec, int]:
    """Sizes of the convolutional tower, and the side of its last feature map; ``heads`` defaults to the
    published channels // 64."""
    stem = state.get("clip.visual.conv2.weight")
    if stem is not None and stem.ndim == 5:
        raise CheckpointError(
            "clip.visual.conv2.weight has 5 axes: linear_patch 3d needs a ViT, the image tower is a ResNet"
        )
    key = "clip.visual.layer1.0.conv1.weight"
    width, *rest = matrix(state, key, 4)
    if rest != [width, 1, 1] or width % 2:
        raise CheckpointError(
            f"{key}: expected shape [w, w, 1, 1] with an even w, twice the first convolution's width, "
            f"got {[width, *rest]}"
        )
    blocks = []
    for stage in range(1, STAGES + 1):
        pattern = re.compile(rf"clip\.visual\.layer{stage}\.(\d{{1,6}})\.")
        found = {int(match[1]) for name in state if (match := pattern.match(name))}
        if found != set(range(len(found))):
            raise CheckpointError(
                f"clip.visual.layer{stage}: expected blocks 0 to n - 1, got {sorted(found)}"
            )
        blocks.append(len(found))
    side = _grid(state, "clip.visual.attnpool.positional_embedding")
    channels = ResNetSpec(width, tuple(blocks), 1).channels
    heads = channels // HEAD_WIDTH if heads is None else heads
    if heads < 1 or channels % heads:
        raise CheckpointError(
            f"clip.visual.attnpool: {channels} channels cannot be split into {heads} attention heads"
        )
    return ResNetSpec(width, tuple(blocks), heads), side


def gate_sizes(state: Mapping[str, Tensor]) -> tuple[dict[str, int], int | None]:
    """EA-CLIP4Clip's gates by key prefix with their hidden sizes, and the frames they are made for."""
    sizes, frames = {}, {}
    for key in sorted(state):
        if key.startswith("se_block") and key.endswith(".fc.0.weight"):
            prefix = key.removesuffix(".fc.0.weight")
            sizes[prefix], frames[prefix] = matrix(state, key)
    if len(set(frames.values())) > 1:
        raise CheckpointError(f"the se_block gates are for different numbers of frames: {frames}")
    return sizes, next(iter(frames.values()), None)


_EA_VARIANTS = {
    ("se_block.aggregate", "se_block.scale"): "excitation_aggregation",
    ("se_block_aggregation", "se_block_excitation"): "excitation_seq_aggregation",
    ("se_block_excitation",): "excitation_seq",
}


def ea_variant(
    sizes: Mapping[str, int], frames: int, header: str, intra: bool, se_type: str | None
) -> str | None:
    """The block type that the gates' names say, or ``--se-type`` where they say two things."""
    names = tuple(sorted(sizes))
    if names == ("se_block",):
        if se_type not in ("excitation", "aggregation"):
            raise CheckpointError(
                "se_block.fc may excite frames or aggregate them, and the tensors do not say which: "
                "pass --se-type excitation or --se-type aggregation, as in the training command"
            )
        variant: str | None = se_type
    elif names and names not in _EA_VARIANTS:
        raise CheckpointError(f"unknown combination of EA-CLIP4Clip blocks: {', '.join(names)}")
    else:
        variant = _EA_VARIANTS.get(names)
        agree("--se-type", se_type, variant, f"the blocks in it ({', '.join(names) or 'none'})")
    sequential = variant in ("excitation_seq", "excitation_seq_aggregation")
    if sequential and header not in ("seqTransf", "seqLSTM"):
        raise CheckpointError(
            f"block type {variant} needs a seqTransf or seqLSTM head; the tensors say {header}"
        )
    if header == "tightTransf" and variant not in ("excitation", None):
        raise CheckpointError(f"tightTransf takes only block type excitation; got {variant} (see --se-type)")
    if variant == "excitation_seq_aggregation" and intra:
        raise CheckpointError(
            "excitation_seq_aggregation together with intra_mlp: the published code cannot run this model, "
            "so there is no right answer; if it was trained without intra_mlp, pass --ignore intra_mlp"
        )
    if variant == "excitation_aggregation":
        m = sorted(sizes.values())
        if m[0] != m[1] and not m[0] < frames <= m[1]:
            raise CheckpointError(
                f"excitation_aggregation with hidden sizes {dict(sizes)} for {frames} frames: "
                "expected equal ones, or one smaller than the frames and one not"
            )
    return variant


def unused_tensors(family: str, header: str, frame_coupling: bool) -> tuple[str, ...]:
    """Prefixes of tensors that published checkpoints of this kind hold and never use."""
    unused = [f"clip.{name}" for name in OPENAI_SCALARS]
    if frame_coupling:
        unused.append("clip.visual.conv1.weight")
    if header == "seqLSTM":
        unused.append("frame_position_embeddings.weight")
    if family == "ea":
        unused += ["linear_mat", *(["intra_mlp."] if header == "tightTransf" else [])]
    if family == "tcmgc":
        unused.append(TCMGC_UNUSED)
    return tuple(unused)


def tower_activation(facts: Facts, options: ExportOptions, notes: list[str]) -> str:
    """QuickGELU or GELU: no tensor says, so the files beside them, the layout or ``--activation`` must."""
    told = None if options.activation == "auto" else options.activation
    if facts.activation is not None:
        agree("--activation", told, facts.activation, "its configuration file")
        return facts.activation
    if told is not None:
        return told
    if facts.layout in ("open_clip", "huggingface"):
        raise CheckpointError(
            f"a {facts.layout} checkpoint without its configuration file does not say its activation: "
            "pass --activation gelu (LAION, DataComp) or --activation quick_gelu (OpenAI, DFN, MetaCLIP)"
        )
    if facts.layout == "openai":
        notes.append(
            "activation taken to be OpenAI's quick_gelu; most open_clip models need --activation gelu"
        )
    return "quick_gelu"


def tower_heads(state: Mapping[str, Tensor], tower: str, facts: Facts, options: ExportOptions) -> int | None:
    """Attention heads of a tower; None for the published rule, width // 64, of a ResNet channels // 64."""
    option = f"--{tower}-heads"
    told, found = getattr(options, f"{tower}_heads"), getattr(facts, f"{tower}_heads")
    if found is not None:
        agree(option, told, found, "its configuration file")
        return found
    if tower == "vision" and is_convolutional(state):
        return told  # OpenAI's and open_clip's all keep to the rule, channels // 64
    key = "clip.visual.class_embedding" if tower == "vision" else "clip.ln_final.weight"
    width = matrix(state, key, 1)[0]
    if told is None and facts.layout != "clip4clip" and (width % 64 or width > OPENAI_WIDEST):
        raise CheckpointError(
            f"the number of attention heads of a {tower} tower of width {width} is not width // 64 for "
            f"certain, and no tensor says it: pass {option}"
        )
    return told
