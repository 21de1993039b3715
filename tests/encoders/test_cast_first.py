"""Turning Transpose and Cast around in a graph's bytes: the same numbers, and nothing else touched."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from vtr.encoders.cast_first import cast_first

onnxruntime = pytest.importorskip("onnxruntime")


def model(nodes, outputs=("out",), kind=TensorProto.UINT8):
    """A graph from bytes x [n, 2, 3] to float32 outputs."""
    graph = helper.make_graph(
        [helper.make_node(op, ins, outs, f"node.{outs[0]}", **more) for op, ins, outs, more in nodes],
        "bytes",
        [helper.make_tensor_value_info("x", kind, ["n", 2, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", "c"]) for name in outputs],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return proto.SerializeToString()


TRANSPOSE = ("Transpose", ["x"], ["turned"], {"perm": [2, 0, 1]})
CAST = ("Cast", ["turned"], ["wide"], {"to": TensorProto.FLOAT})
LAST = ("Neg", ["wide"], ["out"], {})


def run(content, x):
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})


@pytest.mark.parametrize("count", [1, 5])
def test_the_pair_is_turned_around(count):
    before = model([("Shape", ["x"], ["shape"], {}), TRANSPOSE, CAST, LAST])
    after = cast_first(before)
    proto = onnx.load_from_string(after)
    onnx.checker.check_model(proto, full_check=True)
    assert [node.op_type for node in proto.graph.node] == ["Shape", "Cast", "Transpose", "Neg"]
    x = np.random.default_rng(0).integers(0, 256, (count, 2, 3), dtype=np.uint8)
    np.testing.assert_array_equal(run(after, x)[0], run(before, x)[0])
    assert cast_first(after) == after


@pytest.mark.parametrize(
    "nodes, outputs, kind",
    [
        ([("Cast", ["x"], ["turned"], {"to": 1}), ("Transpose", ["turned"], ["wide"], {}), LAST], ["out"], 2),
        ([TRANSPOSE, CAST, LAST], ["out"], TensorProto.FLOAT),  # TensorRT transposes floats
        ([TRANSPOSE, CAST, LAST, ("Size", ["turned"], ["also"], {})], ["out", "also"], 2),  # two readers
        ([TRANSPOSE, CAST, LAST], ["out", "turned"], 2),  # an output
        ([TRANSPOSE], ["turned"], 2),
    ],
)
def test_other_graphs_are_left_alone(nodes, outputs, kind):
    content = model(nodes, outputs, kind)
    assert cast_first(content) == content


def test_exported_vision_graphs(models):
    path = models("clip4clip-meanP")[1] / "vision.onnx"
    before = path.read_bytes()
    after = cast_first(before)
    assert before != after and len(after) == len(before)
    protos = [onnx.load_from_string(content) for content in (before, after)]
    onnx.checker.check_model(protos[1], full_check=True)
    changed = [
        (a.op_type, b.op_type)
        for a, b in zip(protos[0].graph.node, protos[1].graph.node, strict=True)
        if a != b
    ]
    assert changed == [("Transpose", "Cast"), ("Cast", "Transpose")]
    assert protos[0].graph.initializer == protos[1].graph.initializer
    given = {"frames": np.random.default_rng(0).integers(0, 256, (2, 3, 64, 64, 3), dtype=np.uint8)}
    given["mask"] = np.ones((2, 3), np.float32)
    sessions = [onnxruntime.InferenceSession(c, providers=["CPUExecutionProvider"]) for c in (before, after)]
    a, b = (session.run(None, given)[0] for session in sessions)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_bytes_that_are_no_graph(cut):
    with pytest.raises(ValueError, match="protocol buffer"):
        cast_first(model([TRANSPOSE, CAST, LAST])[:-cut])
    with pytest.raises(ValueError, match="protocol buffer"):
        cast_first(b"\xff" * 20)
    assert cast_first(b"") == b""
