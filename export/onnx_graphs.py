"""ONNX graphs of a reference model: the text tower, the vision tower, the temporal head, the cross encoder.

Batch is dynamic everywhere, and in the vision graph the number of frames too, so that single frames of many
videos can share a batch. Graphs are float32, hold all their weights, and come out byte for byte the same
for the same model and the same versions of PyTorch and onnxscript.
"""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vtr import __version__
from vtr.errors import CheckpointError
from vtr.export.resnet import ResNetTower
from vtr.export.resnet_graph import ResNetGraph
from vtr.export.vision_graph import VisionGraph

if TYPE_CHECKING:
    import onnx

    from vtr.export.models import ReferenceModel

OPSET = 18  # LayerNormalization is one operator since 17; every runtime that is used knows 18
MAX_BYTES = (1 << 31) - (1 << 20)  # of a protocol buffer, with room for the graph itself


@dataclass(frozen=True)
class Graph:
    """What one file of a bundle computes: a module, example inputs, and the names of what goes in and out."""

    file: str
    module: nn.Module
    inputs: dict[str, Tensor]
    dynamic: dict[str, dict[int, str]]  # axes by name of the input
    outputs: list[str]
    doc: str


class _Text(nn.Module):
    def __init__(self, model: ReferenceModel):
        super().__init__()
        self.clip = model.clip

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        return self.clip.text(ids)


class _Temporal(nn.Module):
    def __init__(self, model: ReferenceModel, outputs: list[str]):
        super().__init__()
        self.family_head, self.temporal_head, self.outputs = model.family_head, model.temporal_head, outputs

    def forward(self, features: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        result = self.family_head.video(features, mask, self.temporal_head)
        return tuple(result[name] for name in self.outputs)


class _Cross(nn.Module):
    def __init__(self, model: ReferenceModel):
        super().__init__()
        self.cross_encoder = model.cross_encoder

    def forward(self, sentence: Tensor, frames: Tensor, mask: Tensor) -> Tensor:
        return self.cross_encoder(sentence, frames, mask)


def graphs(model: ReferenceModel) -> Iterator[Graph]:
    """The graphs that a bundle of this model holds."""
    count, length, dim = (model.sizes[name] for name in ("frames", "words", "dim"))
    side = model.sizes["image"]
    visual = model.clip.visual
    mask, features = torch.ones(2, count), torch.zeros(2, count, dim)
    yield Graph(
        "text.onnx",
        _Text(model),
        {"ids": torch.zeros(2, length, dtype=torch.int64)},
        {"ids": {0: "batch"}},
        ["sentence", "words"],
        "Token ids to the sentence feature and the features of all positions, un-normalised.",
    )
    yield Graph(
        "vision.onnx",
        ResNetGraph(visual) if isinstance(visual, ResNetTower) else VisionGraph(visual),
        {"frames": torch.zeros(2, 3, side, side, 3, dtype=torch.uint8), "mask": torch.ones(2, 3)},
        {"frames": {0: "batch", 1: "frames"}, "mask": {0: "batch", 1: "frames"}},
        ["features"],
        "RGB frames to frame features, un-normalised. A frame with mask 0 counts as zero after normalising.",
    )
    with torch.no_grad():
        outputs = list(model.temporal(features, mask))
    yield Graph(
        "temporal.onnx",
        _Temporal(model, outputs),
        {"features": features, "mask": mask},
        {"features": {0: "batch"}, "mask": {0: "batch"}},
        outputs,
        f"Frame features to what a video keeps for scoring: {model.family} with {model.sim_header}.",
    )
    if model.cross_encoder is not None:
        yield Graph(
            "cross.onnx",
            _Cross(model),
            {"sentence": torch.zeros(2, dim), "frames": features, "mask": mask},
            {"sentence": {0: "batch"}, "frames": {0: "batch"}, "mask": {0: "batch"}},
            ["logit"],
            "Aligned pairs of a sentence and a video to their logits.",
        )


def to_onnx(graph: Graph) -> onnx.ModelProto:
    """Export one graph in float32, cleaned up; not yet checked, see `serialize`."""
    batch_axes = {name: torch.export.Dim(name, min=1) for name in ("batch", "frames")}
    shapes = tuple(
        {axis: batch_axes[dim] for axis, dim in graph.dynamic[name].items()} for name in graph.inputs
    )
    with torch.no_grad(), _quiet():
        program = torch.onnx.export(
            graph.module.eval(),
            tuple(graph.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(graph.inputs),
            output_names=graph.outputs,
            dynamic_shapes=shapes,
            custom_translation_table={torch.ops.aten.scaled_dot_product_attention.default: _attention},
            verbose=False,
        )
    return _clean(program.model_proto, graph)


def serialize(proto: onnx.ModelProto, file: str) -> bytes:
    """The bytes of a graph that onnx's checker accepts.

    Raises:
        CheckpointError: the weights are larger than the format can hold in one file.
    """
    import onnx

    if (size := _weight_bytes(proto)) > MAX_BYTES:
        raise CheckpointError(
            f"{file}: expected at most {MAX_BYTES} bytes of weights, which is what one ONNX file holds, got "
            f"{size}: export with --precision fp16, which halves them"
        )
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def _weight_bytes(proto: onnx.ModelProto) -> int:
    """Protocol buffers beyond the limit cannot say their own size."""
    from onnx.helper import tensor_dtype_to_np_dtype

    weights = proto.graph.initializer
    return sum(math.prod(w.dims) * tensor_dtype_to_np_dtype(w.data_type).itemsize for w in weights)


# ---- translation -------------------------------------------------------------------------------------


def _attention(
    query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, enable_gqa=False
):
    """Scaled dot-product attention as the four operators that runtimes know to fuse.

    PyTorch's own translation transposes the keys through a computed shape, which hides the pattern.
    """
    from onnxscript import opset18 as op

    if dropout_p or is_causal or enable_gqa:
        raise NotImplementedError("attention with dropout, is_causal or grouped queries")
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    factor = op.CastLike(op.Constant(value_float=scale), query)
    logits = op.MatMul(op.Mul(query, factor), op.Transpose(key, perm=[0, 1, 3, 2]))
    if attn_mask is not None:
        logits = op.Add(logits, attn_mask)
    return op.MatMul(op.Softmax(logits, axis=-1), value)


def _clean(proto: onnx.ModelProto, graph: Graph) -> onnx.ModelProto:
    """Drop what records the exporting process (source lines, module paths), say what the graph is."""
    del proto.metadata_props[:]
    del proto.graph.metadata_props[:]
    del proto.graph.value_info[:]
    described: list[Any] = [
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.initializer,
    ]
    for entry in described:
        del entry.metadata_props[:]
        entry.doc_string = ""
    proto.producer_name, proto.producer_version = "vtr", __version__
    proto.graph.name = graph.file.removesuffix(".onnx")
    proto.graph.doc_string = proto.doc_string = graph.doc
    return proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of torchvision, axis names and its own internals, none of which is the model."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
