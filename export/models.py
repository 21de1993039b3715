"""The reference models: the formulas of every family in plain PyTorch, from a checkpoint's tensors.

Everything downstream (ONNX graphs, scorers, kernels) is checked against these. They run in float32 on uint8
frames, batch over texts and videos, and take the direct form of each formula, whatever it costs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vtr.errors import CheckpointError

from . import detect
from .cross import CROSS_HEADS, CrossEncoder
from .families.clip4clip import Clip4ClipHead, TightHead
from .families.ea import EAHead, EATightHead
from .families.tcmgc import TCMGCHead
from .families.teachclip import TeachClipHead
from .families.xclip import XClipHead
from .layouts import Checkpoint, canonical
from .options import DEFAULT_FRAMES, DEFAULT_WORDS, ExportOptions
from .resnet import STRIDE, ResNetTower
from .temporal import MeanP, SeqLSTM, SeqTransf, unit
from .towers import LAYER_NORM_EPS, Clip, VisionTower

COUNT = "num_batches_tracked"  # of batch norms
_PLACES = {  # which submodule holds a published key, by the key's first name; all others: family_head
    "clip": "",
    "transformerClip": "temporal_head.",
    "frame_position_embeddings": "temporal_head.",
    "lstm_visual": "temporal_head.",
    "cross": "cross_encoder.",
    "similarity_dense": "cross_encoder.",
}


class ReferenceModel(nn.Module):
    """One retrieval model, whole.

    Attributes: ``family``, ``sim_header``, ``variant`` (EA-CLIP4Clip's block type or None), ``scoring``
    ("holistic", "xclip", "tcmgc" or "cross"), ``frame_coupling`` (a video's frames must be encoded together),
    ``sizes`` (frames, words, dim, image, patch, vocab, keep), ``sampling`` and ``preprocessing`` as in a
    bundle's manifest, ``notes`` (what was assumed, in words).

    A convolutional image tower has no patches: its ``patch`` is 32, the pixels a side that one place of the
    last feature map stands for. It has batch norms, so that ``train()`` and ``eval()`` matter; `build_model`
    leaves the model in evaluation.
    """

    def __init__(self, clip: Clip, temporal: nn.Module, head: nn.Module, cross: CrossEncoder | None):
        super().__init__()
        self.clip = clip
        self.temporal_head = temporal
        self.family_head = head
        self.cross_encoder = cross
        self.scoring: str = head.scoring
        self.frame_coupling = clip.visual.frame_coupling
        self.family = self.sim_header = ""
        self.variant: str | None = None
        self.sizes: dict[str, int | None] = {}
        self.sampling: dict[str, int | str] = {}
        self.preprocessing: dict[str, object] = {}
        self.notes: list[str] = []

    def encode_text(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """``ids`` int64 ``[B,L]`` -> ``sentence [B,D]``, ``words [B,L,D]``, un-normalised."""
        return self.clip.text(ids)

    def encode_vision(self, frames: Tensor, mask: Tensor) -> Tensor:
        """``frames`` uint8 ``[B,F,H,W,3]``, ``mask`` float ``[B,F]`` -> ``[B,F,D]``, un-normalised."""
        return self.clip.visual(frames, mask)

    def temporal(self, x: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """Features ``[B,F,D]``, ``mask [B,F]`` -> what a video keeps for scoring.

        Holistic: ``frames [B,F,D]``, ``weights [B,F]`` and ``video [B,D]`` = Σ_f weights·frames.
        X-CLIP: ``frames`` (raw) and ``video`` (normalised). TC-MGC and tightTransf: ``frames``.
        """
        return self.family_head.video(x, mask, self.temporal_head)

    def cross(self, sentence: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        """tightTransf only; aligned pairs ``[B,D]``, ``[B,F,D]``, ``[B,F]`` -> ``logit [B]``."""
        if self.cross_encoder is None:
            raise CheckpointError(f"{self.family} with {self.sim_header} has no cross encoder")
        return self.cross_encoder(sentence, frames, mask)

    def score(self, sentence: Tensor, words: Tensor, video: dict[str, Tensor], mask: Tensor) -> Tensor:
        """Logits ``[T,V]`` of T texts (`encode_text`) and V videos (`temporal`)."""
        scale = self.clip.logit_scale.exp()
        if self.scoring == "holistic":
            return scale * unit(sentence) @ unit(video["video"]).T
        if self.scoring == "cross":
            frames = video["frames"]
            return torch.stack([self.cross(s.expand(len(frames), -1), frames, mask) for s in sentence])
        return self.family_head.score(sentence, words, video, scale)

    def head(self) -> dict[str, Tensor]:
        """Parameters for a bundle's head: the raw ``logit_scale [1]`` and the scorer's own."""
        own = self.family_head.scorer_tensors() if self.scoring in ("xclip", "tcmgc") else {}
        tensors = {"logit_scale": self.clip.logit_scale.reshape(1), **own}
        return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def build_model(state: Mapping[str, Tensor], options: ExportOptions | None = None) -> ReferenceModel:
    """The model that a checkpoint's tensors describe, with them in it; evaluation mode, no gradients.

    ``state`` is what `vtr.export.checkpoint.load_checkpoint` returns, or a dict in any published layout.
    Raises CheckpointError where tensors are missing, unexpected or misshapen, or contradict the options.
    """
    options = options or ExportOptions()
    state = canonical(state)
    if options.ignore:
        kept = {key: value for key, value in state.items() if not key.startswith(options.ignore)}
        state = Checkpoint(kept, state.facts)
    detect.require_towers(state)
    notes: list[str] = []
    family = detect.detect_family(state, options)
    header = detect.detect_header(state, family, options)
    with torch.device("meta"):  # shapes only: a forged size must not allocate
        clip, patch, grid = _towers(state, options, notes)
        dim = clip.text_projection.shape[1]
        temporal, cross = _heads(state, header, dim)
        head, variant, told = _family_head(state, family, header, dim, options)
        model = ReferenceModel(clip, temporal, head, cross)
    model.family, model.sim_header, model.variant, model.notes = family, header, variant, notes
    frames = _size("frames", options.frames, told.get("frames"), DEFAULT_FRAMES)
    words = _size("words", options.words, told.get("words"), DEFAULT_WORDS)
    model.sizes = {
        "frames": frames,
        "words": words,
        "dim": dim,
        "image": patch * grid,
        "patch": patch,
        "vocab": clip.token_embedding.weight.shape[0],
        "keep": told.get("keep"),
    }
    model.sampling = {"frames": frames, "fps": options.fps, "slice": options.slice, "size": patch * grid}
    facts = state.facts
    if facts.layout == "clip4clip":  # the others are of CLIPs, which were trained on pictures
        notes += _assumed(options, told, model.sizes)
    model.preprocessing = {"mean": [*facts.mean], "std": [*facts.std], "resize": "bicubic", "crop": "center"}
    _check_room(model, options)
    _load(model, state)
    return model.eval().requires_grad_(False)


def _assumed(options: ExportOptions, told: Mapping[str, int], sizes: Mapping[str, int]) -> list[str]:
    """A note on the sizes of training that neither the options nor the tensors say."""
    given = {"frames": options.frames, "words": options.words}
    taken = [name for name in given if given[name] is None and name not in told]
    if not taken:
        return []
    return [
        f"the tensors do not say how many {' and '.join(taken)} training had: "
        f"{' and '.join(str(sizes[name]) for name in taken)} were taken; else give "
        f"{' and '.join(f'--{name}' for name in taken)}"
    ]


def _size(name: str, option: int | None, told: int | None, default: int) -> int:
    if told is None:
        return default if option is None else option
    detect.agree(f"--{name}", option, told, "a tensor's shape")
    return told


def _towers(state: Checkpoint, options: ExportOptions, notes: list[str]) -> tuple[Clip, int, int]:
    facts = state.facts
    activation = detect.tower_activation(facts, options, notes)
    vision_heads = detect.tower_heads(state, "vision", facts, options)
    text_heads = detect.tower_heads(state, "text", facts, options)
    vocab = detect.matrix(state, "clip.token_embedding.weight")[0]
    context = detect.matrix(state, "clip.positional_embedding")[0]
    dim = detect.matrix(state, "clip.text_projection")[1]
    visual: VisionTower | ResNetTower
    layers: int | tuple[int, ...]
    if detect.is_convolutional(state):
        convolutions, grid = detect.resnet_sizes(state, vision_heads)
        patch, layers = STRIDE, convolutions.blocks
        visual = ResNetTower(convolutions, grid, dim, facts.mean, facts.std)
    else:
        patch, grid, coupled = detect.patch_and_grid(state)
        vision = detect.stack_spec(state, "clip.visual.transformer", vision_heads, activation, LAYER_NORM_EPS)
        layers = vision.layers
        visual = VisionTower(vision, patch, grid, dim, coupled, facts.mean, facts.std)
    text = detect.stack_spec(state, "clip.transformer", text_heads, activation, LAYER_NORM_EPS)
    for tower, found, told in (
        ("image", layers, facts.vision_layers),
        ("text", text.layers, facts.text_layers),
    ):
        if told is not None and told != found:
            raise CheckpointError(f"the {tower} tower has {found} layers, its configuration says {told}")
    return Clip(visual, text, vocab, context, dim), patch, grid


def _heads(state: Checkpoint, header: str, dim: int) -> tuple[nn.Module, CrossEncoder | None]:
    """The temporal head and, for tightTransf, the cross encoder."""
    if header == "seqTransf":
        heads = detect.matrix(state, "clip.ln_final.weight", 1)[0] // 64
        spec = detect.stack_spec(state, "transformerClip", max(heads, 1))
        return SeqTransf(spec, detect.matrix(state, "frame_position_embeddings.weight")[0]), None
    if header == "seqLSTM":
        return SeqLSTM(dim), None
    if header == "tightTransf":
        spec = detect.stack_spec(state, "cross.transformer", CROSS_HEADS)
        positions = detect.matrix(state, "cross.embeddings.position_embeddings.weight")[0]
        return MeanP(), CrossEncoder(spec, positions)
    return MeanP(), None


def _family_head(
    state: Checkpoint, family: str, header: str, dim: int, options: ExportOptions
) -> tuple[nn.Module, str | None, dict[str, int]]:
    """The family's head, its variant, and the sizes its tensors fix (frames, words, keep)."""
    if options.se_type is not None and family != "ea":
        raise CheckpointError(f"--se-type is for EA-CLIP4Clip; the tensors say {family}")
    if options.keep_rate is not None and family != "tcmgc":
        raise CheckpointError(f"--keep-rate is for TC-MGC; the tensors say {family}")
    if family == "ea":
        return _ea_head(state, header, dim, options)
    if family == "teachclip":
        return TeachClipHead(dim, detect.matrix(state, "frameLinear.weight")[0]), None, {}
    if family == "xclip":
        words = detect.matrix(state, "word_logit_weight")[0]
        frames = detect.matrix(state, "frame_logit_weight")[0]
        return XClipHead(dim, words, frames), None, {"words": words, "frames": frames}
    if family == "tcmgc":
        keep = detect.matrix(state, "attentive_word_logit_weight")[0]
        return TCMGCHead(dim, keep), None, {"keep": keep}
    return TightHead() if header == "tightTransf" else Clip4ClipHead(), None, {}


def _ea_head(
    state: Checkpoint, header: str, dim: int, options: ExportOptions
) -> tuple[nn.Module, str | None, dict[str, int]]:
    sizes, frames = detect.gate_sizes(state)
    intra = detect.matrix(state, "intra_mlp.0.weight")[0] if "intra_mlp.0.weight" in state else None
    variant = detect.ea_variant(sizes, frames or 0, header, intra is not None, options.se_type)
    fixed = {} if frames is None else {"frames": frames}
    if header == "tightTransf":
        return EATightHead(frames or 0, sizes.get("se_block")), variant, fixed
    return EAHead(variant, frames or 0, dim, sizes, intra), variant, fixed


def _check_room(model: ReferenceModel, options: ExportOptions) -> None:
    """Position tables must reach as far as the sizes; TC-MGC must have as many words as it keeps."""
    frames, words, keep = model.sizes["frames"], model.sizes["words"], model.sizes["keep"]
    rows = {"clip.positional_embedding": (model.clip.positional_embedding, words, "--words")}
    if model.sim_header == "seqTransf":
        table = model.temporal_head.frame_position_embeddings.weight
        rows["frame_position_embeddings.weight"] = (table, frames, "--frames")
    if model.cross_encoder is not None:
        table = model.cross_encoder.cross.embeddings["position_embeddings"].weight
        rows["cross.embeddings.position_embeddings.weight"] = (table, 1 + frames, "--frames")
    for key, (table, wanted, option) in rows.items():
        if table.shape[0] < wanted:
            raise CheckpointError(
                f"{key} has {table.shape[0]} rows, {wanted} are needed: pass a smaller {option}"
            )
    if keep is not None and keep > words:
        raise CheckpointError(
            f"the checkpoint keeps {keep} words of a text of {words}: pass the training's --words"
        )
    if keep is not None and options.keep_rate is not None and int(words * options.keep_rate) != keep:
        raise CheckpointError(
            f"--keep-rate {options.keep_rate} of {words} words is {int(words * options.keep_rate)}, "
            f"but the checkpoint keeps {keep}: pass the training's --words and --keep-rate"
        )


def _load(model: ReferenceModel, state: Checkpoint) -> None:
    """Put the tensors in, after naming every one that is missing, left over, misshapen or not finite."""
    unused = detect.unused_tensors(model.family, model.sim_header, model.frame_coupling)
    given = {}
    for key, value in state.items():
        if not key.startswith(unused):
            given[_PLACES.get(key.split(".", 1)[0], "family_head.") + key] = value
    wanted = model.state_dict()
    # Batch norms count the steps they were trained for, which changes nothing; not all files hold the counts.
    given |= {key: torch.zeros((), dtype=torch.int64) for key in wanted if key.endswith(COUNT)}
    if model.scoring == "tcmgc" and "family_head.logit_weight" not in given:
        given["family_head.logit_weight"] = torch.eye(4)
        model.notes.append("the checkpoint has no logit_weight: identity was taken for it")
    missing = sorted(wanted.keys() - given.keys())
    extra = sorted(given.keys() - wanted.keys())
    shapes = [
        f"{_published(key)} {list(given[key].shape)} instead of {list(wanted[key].shape)}"
        for key in sorted(wanted.keys() & given.keys())
        if given[key].shape != wanted[key].shape
    ]
    if missing:
        raise CheckpointError(
            f"missing tensors of a {model.family} {model.sim_header} model: {_listed(missing)}"
        )
    if extra:
        raise CheckpointError(
            f"tensors that no {model.family} {model.sim_header} model has: {_listed(extra)}; "
            "if they do not change the logits, leave them out with --ignore PREFIX"
        )
    if shapes:
        raise CheckpointError(f"tensors of the wrong shape: {'; '.join(shapes[:8])}")
    whole = [key for key in sorted(given) if not (given[key].is_floating_point() or key.endswith(COUNT))]
    if whole:  # of quantised weights, whose scales are elsewhere
        found = given[whole[0]].dtype
        raise CheckpointError(f"expected floating-point numbers, got {found}: {_listed(whole)}")
    broken = [key for key in sorted(given) if not torch.isfinite(given[key]).all()]
    if broken:
        raise CheckpointError(f"tensors with NaN or infinite values: {_listed(broken)}")
    below = [key for key in sorted(given) if key.endswith(".running_var") and (given[key] < 0).any()]
    if below:
        raise CheckpointError(f"variances that are negative: {_listed(below)}")
    model.load_state_dict(given, assign=True)


def _published(key: str) -> str:
    """A parameter's name in the checkpoint."""
    for place in ("temporal_head.", "cross_encoder.", "family_head."):
        key = key.removeprefix(place)
    return key


def _listed(keys: list[str]) -> str:
    names = [_published(key) for key in keys]
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
