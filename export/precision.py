"""The same graph in fewer bits: float16, bfloat16, or 8-bit weights.

Inputs and outputs stay as they are, float32 included; only what lies between changes.

float16 and bfloat16 begin at the first product with weights, so that pixels are scaled in float32. Softmax is
computed in float32, and LayerNorm's statistics are (its ``stash_type``), whatever goes in and comes out.

int8 quantises the weights of matrix products once, symmetrically by output column, and their left operands at
run time (ONNX's DynamicQuantizeLinear and MatMulInteger). int8-static fixes their scales at export, and
quantises convolutions too: see static_int8.py.

In bfloat16 and in int8 with scales found at run time, convolutions compute in float32 and only their weights
are narrow in the file: bfloat16 needs an opset that not every runtime knows, and 8-bit convolutions
(ConvInteger) are no faster than float32 in ONNX Runtime. A runtime that is told to compute in bfloat16, as
OpenVINO is, does so there too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import ml_dtypes
import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from vtr.errors import UsageError
from vtr.export.static_int8 import Feed, quantize_statically

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8-static")
HALVES = {"fp16": np.dtype(np.float16), "bf16": np.dtype(ml_dtypes.bfloat16)}
# Conv and AveragePool take bfloat16 from opset 22 only.
WIDE = {"fp16": ("Softmax",), "bf16": ("Softmax", "Conv", "AveragePool")}
PRODUCTS = ("MatMul", "Conv", "Gemm")
# 7 of the 8 bits: processors without VNNI add pairs of products in 16 bits, which 8-bit weights overflow.
LEVELS = 64
STORED_LEVELS = 127  # of weights that are brought back to float32 before they are multiplied


def convert(proto: onnx.ModelProto, precision: str, feeds: Iterable[Feed] = ()) -> onnx.ModelProto:
    """``proto``, a float32 graph, in another precision; it is changed in place.

    Args:
        feeds: inputs from which "int8-static" takes its scales; the others need none.
    """
    if precision == "int8-static":
        return quantize_statically(proto, feeds)
    if precision == "int8":
        return _quantize(proto)
    if precision in HALVES:
        return _Halver(proto, HALVES[precision], WIDE[precision]).run()
    if precision != "fp32":
        raise UsageError(f"expected a precision of {', '.join(PRECISIONS)}, got {precision!r}")
    return proto


# ---- float16 and bfloat16 ----------------------------------------------------------------------------


class _Halver:
    """Walks a graph in order and lets narrow numbers spread from the first product with weights."""

    def __init__(self, proto: onnx.ModelProto, dtype: np.dtype, wide: tuple[str, ...]):
        self.proto, self.graph, self.dtype, self.wide = proto, proto.graph, dtype, wide
        self.code = helper.np_dtype_to_tensor_dtype(dtype)
        self.weights = {w.name: w for w in self.graph.initializer if w.data_type == TensorProto.FLOAT}
        self.integers = {w.name for w in self.graph.initializer if w.data_type != TensorProto.FLOAT}
        self.integers |= {
            i.name for i in self.graph.input if i.type.tensor_type.elem_type != TensorProto.FLOAT
        }
        self.narrow: set[str] = set()  # activations that are held in the narrow type
        self.nodes: list[NodeProto] = []
        self.made: dict[tuple[str, bool], str] = {}  # (name, narrow) → the same values in that type

    def run(self) -> onnx.ModelProto:
        for node in self.graph.node:
            self.visit(node)
        self.restore_outputs()
        _replace(self.graph.node, self.nodes)
        _drop_unused(self.graph)
        return self.proto

    def visit(self, node: NodeProto) -> None:
        floats = [i for i, name in enumerate(node.input) if name and name not in self.integers]
        if node.op_type in ("Shape", "ArgMax"):
            self.integers.update(node.output)
        elif not floats:
            to_float = node.op_type == "Cast" and node.attribute[0].i == TensorProto.FLOAT
            self.integers.update([] if to_float else node.output)
        else:
            narrow = self.is_narrow(node)
            for i in floats:
                stored = i == 1 and not narrow and node.op_type == "Conv" and node.input[i] in self.weights
                node.input[i] = self.stored(node.input[i]) if stored else self.as_type(node.input[i], narrow)
            if narrow:
                self.narrow.update(node.output)
        self.nodes.append(node)

    def is_narrow(self, node: NodeProto) -> bool:
        if node.op_type in self.wide:
            return False
        embeds = node.op_type == "Gather" and node.input[0] in self.weights
        return embeds or node.op_type in PRODUCTS or any(name in self.narrow for name in node.input)

    def as_type(self, name: str, narrow: bool) -> str:
        """The name under which ``name``'s values are to be had in the type, made if need be."""
        if (name in self.narrow) == narrow and not (narrow and name in self.weights):
            return name
        if (name, narrow) not in self.made:
            made = f"{name}.{self.dtype.name if narrow else 'float32'}"
            if name in self.weights:
                values = numpy_helper.to_array(self.weights[name]).astype(self.dtype)
                self.graph.initializer.append(numpy_helper.from_array(values, made))
            else:
                to = self.code if narrow else TensorProto.FLOAT
                self.nodes.append(helper.make_node("Cast", [name], [made], f"cast.{made}", to=to))
            self.made[name, narrow] = made
        return self.made[name, narrow]

    def stored(self, name: str) -> str:
        """A weight in float32 that is in the file in the narrow type."""
        if (name, False) not in self.made:
            narrow, made = self.as_type(name, narrow=True), f"{name}.float32"
            self.nodes.append(
                helper.make_node("Cast", [narrow], [made], f"cast.{made}", to=TensorProto.FLOAT)
            )
            self.made[name, False] = made
        return self.made[name, False]

    def restore_outputs(self) -> None:
        """Outputs keep their names and float32: what made them gets another name, and a cast follows."""
        renamed = {output.name: f"{output.name}.{self.dtype.name}" for output in self.graph.output}
        renamed = {name: new for name, new in renamed.items() if name in self.narrow}
        for node in self.nodes:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = renamed.get(name, name)
        for name, new in renamed.items():
            self.nodes.append(helper.make_node("Cast", [new], [name], f"cast.{name}", to=TensorProto.FLOAT))


# ---- int8 --------------------------------------------------------------------------------------------


def _quantize(proto: onnx.ModelProto) -> onnx.ModelProto:
    graph = proto.graph
    weights = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT and len(w.dims) == 2}
    nodes: list[NodeProto] = []
    quantized: set[str] = set()  # left operands that are quantised already
    kernels = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT and len(w.dims) > 2}
    restored: set[str] = set()  # kernels for which there are nodes already
    for node in graph.node:
        if node.op_type == "Conv" and node.input[1] in kernels:
            name = node.input[1]
            nodes += [] if name in restored else _restored_kernel(graph, kernels[name])
            restored.add(name)
            node.input[1] = f"{name}.float32"
        if node.op_type != "MatMul" or node.input[1] not in weights:
            nodes.append(node)
            continue
        left, right, out = node.input[0], node.input[1], node.output[0]
        _add_weight(graph, weights[right])
        if left not in quantized:
            parts = [f"{left}.int8", f"{left}.scale", f"{left}.zero"]
            nodes.append(helper.make_node("DynamicQuantizeLinear", [left], parts, f"quantize.{left}"))
            quantized.add(left)
        scale, sums, floats = f"{out}.scale", f"{out}.int32", f"{out}.float32"
        product = [f"{left}.int8", f"{right}.int8", f"{left}.zero", f"{right}.zero"]
        nodes += [
            helper.make_node("MatMulInteger", product, [sums], node.name),
            helper.make_node("Cast", [sums], [floats], f"{node.name}.cast", to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{left}.scale", f"{right}.scale"], [scale], f"{node.name}.scale"),
            helper.make_node("Mul", [floats, scale], [out], f"{node.name}.unscale"),
        ]
    _replace(graph.node, nodes)
    _drop_unused(graph)
    return proto


def _add_weight(graph: onnx.GraphProto, weight: TensorProto) -> None:
    """The weight ``[in, out]`` as integers with one scale for each output column."""
    values = numpy_helper.to_array(weight)
    scale = np.maximum(np.abs(values).max(axis=0) / LEVELS, np.finfo(np.float32).tiny).astype(np.float32)
    integers = np.rint(values / scale).astype(np.int8)
    parts = {"int8": integers, "scale": scale, "zero": np.zeros(len(scale), np.int8)}
    names = {tensor.name for tensor in graph.initializer}
    for suffix, array in parts.items():
        if (name := f"{weight.name}.{suffix}") not in names:
            graph.initializer.append(numpy_helper.from_array(array, name))


def _restored_kernel(graph: onnx.GraphProto, weight: TensorProto) -> list[NodeProto]:
    """Put a kernel ``[out, in, ...]`` in the file as integers, with one scale for each output channel; gives
    nodes that make ``{name}.float32`` of them, which runtimes compute once, when they load the graph.

    They divide by the scale's inverse: a product with it OpenVINO keeps, and computes in every call.
    """
    values = numpy_helper.to_array(weight)
    largest = np.abs(values).max(axis=tuple(range(1, values.ndim)), keepdims=True)
    inverse = (1 / np.maximum(largest / STORED_LEVELS, np.finfo(np.float32).tiny)).astype(np.float32)
    whole, scale, floats = (f"{weight.name}.{kind}" for kind in ("int8", "inverse", "unscaled"))
    graph.initializer.append(numpy_helper.from_array(np.rint(values * inverse).astype(np.int8), whole))
    graph.initializer.append(numpy_helper.from_array(inverse, scale))
    return [
        helper.make_node("Cast", [whole], [floats], f"{weight.name}.cast", to=TensorProto.FLOAT),
        helper.make_node("Div", [floats, scale], [f"{weight.name}.float32"], f"{weight.name}.unscale"),
    ]


# ---- graphs ------------------------------------------------------------------------------------------


def _replace(field: Iterable[NodeProto], nodes: list[NodeProto]) -> None:
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del field[:]
    field.extend(copies)


def _drop_unused(graph: onnx.GraphProto) -> None:
    """Remove weights that no node reads any more."""
    used: defaultdict[str, int] = defaultdict(int)
    for node in graph.node:
        for name in node.input:
            used[name] += 1
    for i in reversed(range(len(graph.initializer))):
        if not used[graph.initializer[i].name]:
            del graph.initializer[i]
