"""Casting bytes before they are transposed: the order that TensorRT asks of an ONNX graph's uint8 inputs.

Exported vision graphs transpose bytes and then cast them, which costs CPUs less. TensorRT refuses uint8 in
all layers but the cast. Both orders give the same numbers. The graph is changed in its serialised form, so
that serving needs no ONNX package: of protocol buffers no more is read than which field a run of bytes is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

# Field numbers of onnx.proto.
GRAPH = 7  # of ModelProto
NODE, INPUT, OUTPUT = 1, 11, 12  # of GraphProto
NODE_INPUT, NODE_OUTPUT, OP_TYPE, ATTRIBUTE = 1, 2, 4, 5  # of NodeProto
NAME, TYPE, TENSOR_TYPE, ELEM_TYPE = 1, 2, 1, 1  # of ValueInfoProto, then TypeProto, then its Tensor
UINT8 = 2  # TensorProto.DataType

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types


class Field(NamedTuple):
    """A field of a message: its number, its content, and all its bytes."""

    number: int
    content: memoryview
    whole: memoryview


def cast_first(model: bytes) -> bytes:
    """``model``, an ONNX file's bytes, with ``Transpose → Cast`` of a uint8 input turned around.

    Raises:
        ValueError: the bytes are no protocol buffer.
    """
    parts = list(_fields(memoryview(model)))
    graphs = [i for i, part in enumerate(parts) if part.number == GRAPH]
    if len(graphs) != 1 or not (graph := _rewritten(parts[graphs[0]].content)):
        return model
    return b"".join(_message(GRAPH, graph) if i == graphs[0] else part.whole for i, part in enumerate(parts))


def _rewritten(graph: memoryview) -> bytes | None:
    """The graph's message with its pairs turned around; ``None`` if it has none."""
    parts = list(_fields(graph))
    nodes = {i: list(_fields(part.content)) for i, part in enumerate(parts) if part.number == NODE}
    pairs = _pairs(nodes, _byte_inputs(parts), _names(parts, OUTPUT))
    if not pairs:
        return None
    for transpose, cast in pairs:
        a, b = nodes[transpose], nodes[cast]
        nodes[transpose], nodes[cast] = _with_operator_of(a, b), _with_operator_of(b, a)
    changed = {i for pair in pairs for i in pair}
    return b"".join(
        _message(NODE, b"".join(field.whole for field in nodes[i])) if i in changed else bytes(part.whole)
        for i, part in enumerate(parts)
    )


def _pairs(nodes: dict[int, list[Field]], sources: set[str], outputs: set[str]) -> list[tuple[int, int]]:
    """Places of a Transpose of one of ``sources`` and of the Cast that alone reads it."""
    readers = {name: i for i, node in nodes.items() for name in _texts(node, NODE_INPUT)}
    uses = Counter(name for node in nodes.values() for name in _texts(node, NODE_INPUT))
    found = []
    for i, node in nodes.items():
        if _texts(node, OP_TYPE) != ["Transpose"] or not sources.issuperset(_texts(node, NODE_INPUT)):
            continue
        (made,) = _texts(node, NODE_OUTPUT)
        if uses[made] != 1 or made in outputs:
            continue
        reader = readers[made]
        if _texts(nodes[reader], OP_TYPE) == ["Cast"]:
            found.append((i, reader))
    return found


def _with_operator_of(node: list[Field], other: list[Field]) -> list[Field]:
    """``node``'s place in the graph, doing what ``other`` did."""
    operator = (OP_TYPE, ATTRIBUTE)
    return [f for f in node if f.number not in operator] + [f for f in other if f.number in operator]


def _byte_inputs(parts: list[Field]) -> set[str]:
    """Names of the graph's uint8 inputs."""
    found = set()
    for part in parts:
        if part.number == INPUT:
            value = list(_fields(part.content))
            for kind in (f.content for f in value if f.number == TYPE):
                for tensor in (f.content for f in _fields(kind) if f.number == TENSOR_TYPE):
                    if any(
                        f.number == ELEM_TYPE and bytes(f.content) == bytes([UINT8]) for f in _fields(tensor)
                    ):
                        found.update(_texts(value, NAME))
    return found


def _names(parts: list[Field], number: int) -> set[str]:
    return {name for p in parts if p.number == number for name in _texts(list(_fields(p.content)), NAME)}


def _texts(fields: list[Field], number: int) -> list[str]:
    return [str(field.content, "utf-8") for field in fields if field.number == number]


# ---- protocol buffers --------------------------------------------------------------------------------


def _fields(data: memoryview) -> Iterator[Field]:
    """The fields of a message, in order. https://protobuf.dev/programming-guides/encoding"""
    at = 0
    while at < len(data):
        start = at
        key, at = _read_varint(data, at)
        kind = key & 7
        begin = at
        if kind == VARINT:
            _, at = _read_varint(data, at)
        elif kind == BYTES:
            size, begin = _read_varint(data, at)
            at = begin + size
        elif kind in (FIXED64, FIXED32):
            at += 8 if kind == FIXED64 else 4
        else:
            raise ValueError(f"expected a protocol buffer, got a field of kind {kind}")
        if at > len(data):
            raise ValueError("expected a whole protocol buffer, it ends inside a field")
        yield Field(key >> 3, data[begin:at], data[start:at])


def _read_varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, least first, and where the next field begins."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("expected a protocol buffer, got a number that does not end")


def _varint(value: int) -> bytes:
    made = bytearray()
    while value >= 0x80:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*made, value])


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content
