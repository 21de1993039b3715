"""Graphs in fewer bits, against NumPy on graphs small enough to do by hand."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vtr.errors import UsageError
from vtr.export.precision import LEVELS, convert

onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)
NARROW = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


def toy():
    """bytes → scaled → embedded and projected → softmax → projected: one of everything that matters."""
    weights = {
        "scale": np.float32([1 / 255]),
        "table": RNG.normal(size=(10, 8)).astype(np.float32),
        "first": RNG.normal(size=(8, 16)).astype(np.float32),
        "second": RNG.normal(size=(16, 4)).astype(np.float32),
        "gain": RNG.normal(size=8).astype(np.float32),
        "bias": RNG.normal(size=8).astype(np.float32),
        "axis": np.int64([1]),
    }
    nodes = [
        ("Cast", ["pixels"], ["floats"], {"to": TensorProto.FLOAT}),
        ("Mul", ["floats", "scale"], ["scaled"], {}),  # [B, 8], before any product: stays float32
        ("Gather", ["table", "ids"], ["embedded"], {"axis": 0}),
        ("Add", ["embedded", "scaled"], ["joined"], {}),
        ("LayerNormalization", ["joined", "gain", "bias"], ["normal"], {"axis": -1, "stash_type": 1}),
        ("MatMul", ["normal", "first"], ["hidden"], {}),
        ("Softmax", ["hidden"], ["shares"], {"axis": -1}),
        ("MatMul", ["shares", "second"], ["out"], {}),
        ("Unsqueeze", ["out", "axis"], ["also"], {}),  # an output that another output is made from
    ]
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, f"node.{outs[0]}", **more) for op, ins, outs, more in nodes],
        "toy",
        [
            helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["b", 8]),
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["b"]),
        ],
        [
            helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", 4]),
            helper.make_tensor_value_info("also", TensorProto.FLOAT, ["b", 1, 4]),
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), weights


def inputs(batch):
    return {
        "pixels": RNG.integers(0, 256, (batch, 8), dtype=np.uint8),
        "ids": RNG.integers(0, 10, batch),
    }


def reference(weights, pixels, ids, product):
    """The toy in float32, its products with weights done by ``product``."""
    x = weights["table"][ids] + pixels * weights["scale"]
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    x = product(x * weights["gain"] + weights["bias"], weights["first"])
    x = np.exp(x - x.max(-1, keepdims=True))
    return product(x / x.sum(-1, keepdims=True), weights["second"])


def run(proto, **given):
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["out", "also"], given)


def types(proto):
    """Type of each tensor by name, as onnx infers them."""
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, data_prop=True).graph
    named = {value.name: value.type.tensor_type.elem_type for value in inferred.value_info}
    return {**named, **{weight.name: weight.data_type for weight in inferred.initializer}}


def test_fp32_is_left_alone():
    proto, _ = toy()
    before = proto.SerializeToString()
    assert convert(proto, "fp32").SerializeToString() == before


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_where_numbers_are_narrow(precision):
    proto = convert(toy()[0], precision)
    onnx.checker.check_model(proto, full_check=True)
    narrow, found = NARROW[precision], types(proto)
    producers = {name: node for node in proto.graph.node for name in node.output}
    for node in proto.graph.node:
        if node.op_type in ("MatMul", "Gather", "LayerNormalization"):
            assert found[node.output[0]] == narrow, node
        if node.op_type == "Softmax":
            assert found[node.output[0]] == found[node.input[0]] == TensorProto.FLOAT
    assert found["scaled"] == TensorProto.FLOAT and producers["scaled"].input[1] == "scale"
    assert [output.type.tensor_type.elem_type for output in proto.graph.output] == [TensorProto.FLOAT] * 2
    assert {weight.name for weight in proto.graph.initializer if weight.data_type == TensorProto.FLOAT} == {
        "scale"
    }


@pytest.mark.parametrize("batch", [1, 19])
def test_float16(batch):
    proto, weights = toy()
    given = inputs(batch)
    out, also = run(convert(proto, "fp16"), **given)
    expected = reference(weights, **given, product=np.matmul)
    assert out.dtype == also.dtype == np.float32
    np.testing.assert_array_equal(also, out[:, None])
    # 11 bits of mantissa; the softmax turns errors of its input, of size 10, into relative ones.
    np.testing.assert_allclose(out, expected, rtol=0, atol=0.03)
    assert np.abs(out - expected).max() > 1e-6, "nothing was rounded"


def test_bfloat16_weights_are_rounded_to_nearest():
    proto, weights = toy()
    converted = {w.name: numpy_helper.to_array(w) for w in convert(proto, "bf16").graph.initializer}
    for name in ("table", "first", "second"):
        array = converted[f"{name}.bfloat16"]
        assert array.dtype == ml_dtypes.bfloat16
        assert (np.abs(array.astype(np.float32) - weights[name]) <= np.abs(weights[name]) * 2.0**-8).all()


def integer_product(x, w):
    """What int8 stands for: x to 8 bits over all of it, w to columns of ±LEVELS, exact sums."""
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((high - low) / 255)
    zero = np.clip(np.rint(-low / step), 0, 255)
    quantized = np.clip(np.rint(x / step) + zero, 0, 255)
    scale = np.abs(w).max(0) / LEVELS
    return ((quantized - zero) @ np.rint(w / scale)) * (step * scale)


@pytest.mark.parametrize("batch", [1, 19])
def test_int8(batch):
    proto, weights = toy()
    given = inputs(batch)
    converted = convert(proto, "int8")
    out, also = run(converted, **given)
    np.testing.assert_array_equal(also, out[:, None])
    np.testing.assert_allclose(
        out, reference(weights, **given, product=integer_product), rtol=0, atol=0.05
    )  # a left operand on the edge between two steps may fall to either side
    stored = {w.name: numpy_helper.to_array(w) for w in converted.graph.initializer}
    assert "first" not in stored and "table" in stored
    assert stored["first.int8"].dtype == np.int8
    assert (np.abs(stored["first.int8"]).max(axis=0) == LEVELS).all()
    np.testing.assert_allclose(
        stored["first.int8"] * stored["first.scale"],
        weights["first"],
        atol=np.abs(weights["first"]).max() / LEVELS,
    )


@pytest.mark.parametrize("precision, levels", [("bf16", 256), ("int8", 127), ("fp16", 2048)])
@pytest.mark.parametrize("shape", [(6, 3, 2, 2), (6, 3, 3, 2, 2)], ids=["2d", "3d"])
def test_kernels_are_narrow_in_the_file(precision, levels, shape):
    """And rounded once: by output channel in int8, where a channel of zeros survives. Two nodes share one."""
    kernel = RNG.normal(size=shape).astype(np.float32) * np.arange(6).reshape(6, *[1] * (len(shape) - 1))
    kernel, bias = kernel.astype(np.float32), RNG.normal(size=6).astype(np.float32)
    names, free = ("out", "also"), ["n", 3, *[None] * (len(shape) - 2)]
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "kernel", "bias"], [name], name) for name in names],
        "conv",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, free)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 6, *free[2:]]) for name in names],
        [numpy_helper.from_array(kernel, "kernel"), numpy_helper.from_array(bias, "bias")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    x = np.zeros(
        (3, *shape[1:]), np.float32
    )  # one place of one channel at a time: the kernel itself comes out
    spots = [(0,) * (len(shape) - 1), (1,) * (len(shape) - 1), tuple(n - 1 for n in shape[1:])]
    for row, spot in zip(x, spots, strict=True):
        row[spot] = 1
    converted = convert(proto, precision)
    out, also = (values.reshape(3, 6) for values in run(converted, x=x))
    np.testing.assert_array_equal(out, also)
    want = np.stack([kernel[(slice(None), *spot)] for spot in spots]) + bias
    largest = np.abs(kernel).reshape(6, -1).max(1)  # half a step of the kernel, and a rounding of the sum
    assert (np.abs(out - want) <= largest * 0.51 / levels + (np.abs(want) + largest + 1) / 2048).all()
    assert np.abs(out - want).max() > 1e-6, "nothing was rounded"
    stored = {weight.name: weight for weight in converted.graph.initializer}
    narrow = {"int8": TensorProto.INT8, **NARROW}[precision]
    assert [w.data_type for w in stored.values() if tuple(w.dims) == shape] == [narrow]


def test_no_pair_of_products_leaves_16_bits():
    """What processors without VNNI add in 16 bits, saturating."""
    assert np.iinfo(np.int16).max >= 2 * 255 * LEVELS


def test_int8_shares_what_it_quantises():
    """Two products of the same left operand quantise it once; a column of zeros survives."""
    w = {name: RNG.normal(size=(8, 4)).astype(np.float32) for name in ("a", "b")}
    w["b"][:, 2] = 0
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", name], [out], out) for name, out in (("a", "out"), ("b", "also"))],
        "two",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 4]) for name in ("out", "also")],
        [numpy_helper.from_array(array, name) for name, array in w.items()],
    )
    proto = convert(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "int8"
    )
    assert sum(node.op_type == "DynamicQuantizeLinear" for node in proto.graph.node) == 1
    x = RNG.normal(size=(3, 8)).astype(np.float32)
    for actual, name in zip(run(proto, x=x), w, strict=True):
        np.testing.assert_allclose(actual, integer_product(x, w[name] + (w[name] == 0) * 1e-30), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
def test_conversion_is_deterministic(precision):
    proto, _ = toy()
    copies = [onnx.ModelProto.FromString(proto.SerializeToString()) for _ in range(2)]
    a, b = (convert(copy, precision).SerializeToString(deterministic=True) for copy in copies)
    assert a == b


def test_unknown_precision():
    with pytest.raises(UsageError, match="fp32, fp16, bf16, int8"):
        convert(toy()[0], "fp8")
