"""Static int8, against NumPy that rounds to the same steps."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from vtr.errors import UsageError
from vtr.export.precision import convert

onnxruntime = pytest.importorskip("onnxruntime")

RNG = np.random.default_rng(0)


def rounded(x, step):
    """Whole steps, at most 128 below and 127 above nothing."""
    return np.clip(np.rint(x / step), -128, 127) * step


def model(nodes, weights, inputs, outputs):
    values = [
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in part.items()]
        for part in (inputs, outputs)
    ]
    stored = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "toy", *values, stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(proto, **given):
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, given)


def two_products():
    """x @ a, and x @ b, which has a column of zeros."""
    w = {name: RNG.normal(size=(8, 5)).astype(np.float32) for name in "ab"}
    w["b"][:, 2] = 0
    nodes = [helper.make_node("MatMul", ["x", name], [f"of_{name}"], f"node.{name}") for name in "ab"]
    outputs = {"of_a": ["n", 5], "of_b": ["n", 5]}
    return model(nodes, w, {"x": ["n", 8]}, outputs), w


@pytest.mark.parametrize("rows", [1, 19])
def test_products_are_those_of_rounded_numbers(rows):
    proto, w = two_products()
    feeds = [{"x": RNG.normal(size=(count, 8)).astype(np.float32)} for count in (7, 1, 3)]
    step = max(np.abs(feed["x"]).max() for feed in feeds) / 127
    x = 1.5 * RNG.normal(size=(rows, 8)).astype(np.float32)
    x[0, :2] = 1000 * step, -1000 * step  # beyond what was seen: cut off
    found = run(convert(proto, "int8-static", iter(feeds)), x=x)
    for actual, name in zip(found, "ab", strict=True):
        steps = np.maximum(np.abs(w[name]).max(0) / 127, np.finfo(np.float32).tiny)
        expected = rounded(x, step) @ rounded(w[name], steps)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)  # the order of sums
        assert np.abs(actual - x @ w[name]).max() > 1e-2, "nothing was rounded"


@pytest.mark.parametrize("shape", [(6, 3, 5, 5), (6, 3, 1, 1)])
def test_convolutions_are_those_of_rounded_kernels(shape):
    """One kernel in two nodes; channels of all sizes, one of them nothing but zeros."""
    kernel = (RNG.normal(size=shape) * np.arange(6).reshape(6, 1, 1, 1)).astype(np.float32)
    bias = RNG.normal(size=6).astype(np.float32)
    nodes = [helper.make_node("Conv", ["x", "kernel", "bias"], [name], name) for name in ("out", "also")]
    free = ["n", 3, "h", "w"]
    outputs = {name: ["n", 6, None, None] for name in ("out", "also")}
    proto = model(nodes, {"kernel": kernel, "bias": bias}, {"x": free}, outputs)
    x = np.zeros((1, *shape[1:]), np.float32)
    spot = (0, 2, shape[2] - 1, 0)
    x[spot] = 1  # the kernel at that spot comes out
    out, also = run(convert(proto, "int8-static", [{"x": x}]), x=x)
    np.testing.assert_array_equal(out, also)
    steps = np.maximum(np.abs(kernel).max((1, 2, 3)) / 127, np.finfo(np.float32).tiny)
    expected = rounded(kernel[(slice(None), *spot[1:])], steps) + bias
    np.testing.assert_allclose(out.ravel(), expected, rtol=0, atol=1e-5)
    stored = {w.name: w.data_type for w in proto.graph.initializer if len(w.dims) == 4}
    assert list(stored.values()) == [TensorProto.INT8], "the float kernel is gone"


def test_what_is_no_product_with_weights_stays_as_it_is():
    """A product of two activations, and a weight that is added."""
    w = {"b": RNG.normal(size=(4,)).astype(np.float32)}
    nodes = [
        helper.make_node("Add", ["x", "b"], ["y"], "add"),
        helper.make_node("MatMul", ["y", "x"], ["out"], "product"),
    ]
    proto = model(nodes, w, {"x": [4, 4]}, {"out": [4, 4]})
    kinds = [
        node.op_type
        for node in convert(proto, "int8-static", [{"x": np.eye(4, dtype=np.float32)}]).graph.node
    ]
    assert kinds == ["Add", "MatMul"]


def test_an_activation_that_is_always_zero_stays_zero():
    proto, _ = two_products()
    zeros = np.zeros((2, 8), np.float32)
    for found in run(convert(proto, "int8-static", [{"x": zeros}]), x=zeros):
        np.testing.assert_array_equal(found, 0)


def test_it_needs_inputs():
    with pytest.raises(UsageError, match="expected inputs to take scales from, got none"):
        convert(two_products()[0], "int8-static")
