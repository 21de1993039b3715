"""Towers in 8-bit integers with scales that are fixed at export: ONNX's QuantizeLinear and DequantizeLinear.

What goes into a product with weights, and the weights, become integers and floats again in front of it. A
runtime that has integer arithmetic takes these pairs for the order to use it, as TensorRT does; any other
computes in float32 with the same rounding. All else stays float32.

Activations have one scale a tensor, symmetric, from the largest number that seeded input gives; weights have
one for each output channel (Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from vtr.errors import UsageError

Feed = Mapping[str, NDArray[Any]]  # inputs of a graph by name

LEVELS = 127  # without -128, so that negative numbers have as many as positive ones
CHANNELS = {"MatMul": -1, "Conv": 0}  # the axis of a product's weights that its output channels lie along


def quantize_statically(proto: onnx.ModelProto, feeds: Iterable[Feed]) -> onnx.ModelProto:
    """``proto``, a float32 graph, with all products with weights in int8; it is changed in place.

    Args:
        feeds: inputs like those to come: a number beyond the largest that they give is cut off.

    Raises:
        UsageError: there are none.
    """
    if not (feeds := list(feeds)):
        raise UsageError("expected inputs to take scales from, got none: give what the graph will be run on")
    graph = proto.graph
    weights = {w.name: w for w in graph.initializer if w.data_type == TensorProto.FLOAT}

    def is_product(node: NodeProto) -> bool:
        return node.op_type in CHANNELS and node.input[1] in weights

    products = [node for node in graph.node if is_product(node)]
    if not products:
        return proto
    largest = _largest(proto, sorted({node.input[0] for node in products}), feeds)
    graph.initializer.append(numpy_helper.from_array(np.int8(0), "int8.zero"))
    nodes: list[NodeProto] = []
    made: dict[str, str] = {}  # the same numbers after their way through integers
    for node in graph.node:
        if is_product(node):
            for place in (0, 1):
                if (name := node.input[place]) not in made:
                    if place:
                        nodes += _restored_weight(graph, weights[name], CHANNELS[node.op_type])
                    else:
                        nodes += _rounded(graph, name, largest[name])
                    made[name] = f"{name}.rounded"
                node.input[place] = made[name]
        nodes.append(node)
    copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)
    for i in reversed(range(len(graph.initializer))):
        name = graph.initializer[i].name
        if name in made and not any(name in node.input for node in graph.node):
            del graph.initializer[i]
    return proto


def _largest(proto: onnx.ModelProto, names: Sequence[str], feeds: Iterable[Feed]) -> dict[str, float]:
    """The largest size of a number in each of these tensors, by ONNX Runtime."""
    import onnxruntime

    probed = onnx.ModelProto.FromString(proto.SerializeToString())
    del probed.graph.output[:]
    for name in names:
        parts = [f"{name}.size", f"{name}.largest"]
        probed.graph.node.append(helper.make_node("Abs", [name], parts[:1]))
        probed.graph.node.append(helper.make_node("ReduceMax", parts[:1], parts[1:], keepdims=0))
        probed.graph.output.append(helper.make_tensor_value_info(parts[1], TensorProto.FLOAT, []))
    session = onnxruntime.InferenceSession(probed.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.max([session.run(None, dict(feed)) for feed in feeds], axis=0)
    return dict(zip(names, found.tolist(), strict=True))


def _rounded(graph: onnx.GraphProto, name: str, largest: float) -> list[NodeProto]:
    scale, whole = f"{name}.scale", f"{name}.int8"
    step = np.float32(max(largest / LEVELS, np.finfo(np.float32).tiny))
    graph.initializer.append(numpy_helper.from_array(step, scale))
    return [
        helper.make_node("QuantizeLinear", [name, scale, "int8.zero"], [whole], f"quantize.{name}"),
        helper.make_node(
            "DequantizeLinear", [whole, scale, "int8.zero"], [f"{name}.rounded"], f"dequantize.{name}"
        ),
    ]


def _restored_weight(graph: onnx.GraphProto, weight: TensorProto, axis: int) -> list[NodeProto]:
    """Put a weight in the file as integers, with one scale for each output channel."""
    values = numpy_helper.to_array(weight)
    axis %= values.ndim
    rest = tuple(i for i in range(values.ndim) if i != axis)
    step = np.maximum(np.abs(values).max(rest, keepdims=True) / LEVELS, np.finfo(np.float32).tiny)
    whole, scale, zero = (f"{weight.name}.{kind}" for kind in ("int8", "scale", "zero"))
    step = step.astype(np.float32)
    graph.initializer.append(numpy_helper.from_array(np.rint(values / step).astype(np.int8), whole))
    graph.initializer.append(numpy_helper.from_array(step.ravel(), scale))
    graph.initializer.append(numpy_helper.from_array(np.zeros(step.size, np.int8), zero))
    out = f"{weight.name}.rounded"
    return [helper.make_node("DequantizeLinear", [whole, scale, zero], [out], f"dequantize.{out}", axis=axis)]
