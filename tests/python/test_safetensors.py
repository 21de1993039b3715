"""Our safetensors files against the safetensors library, and against forged headers."""

import io
import json
import struct

import numpy as np
import pytest

from vtr.errors import VtrError
from vtr.safetensors_io import DTYPES, SafetensorsError, read_safetensors, write_safetensors

library = pytest.importorskip("safetensors.numpy")


def sample(dtype, shape, seed=0):
    values = np.random.default_rng(seed).integers(0, 2 if dtype == np.bool_ else 100, shape)
    return values.astype(dtype)


def written(tensors, metadata=None):
    file = io.BytesIO()
    write_safetensors(file, tensors, metadata)
    return file.getvalue()


def forged(header, data=b"", size=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if size is None else size) + text + data


def entry(dtype="U8", shape=(4,), offsets=(0, 4)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.fixture
def tensors():
    shapes = [(), (0,), (1,), (19,), (111, 3), (2, 0, 5), (7, 1, 2)]
    return {
        f"{name}.{len(shape)}.{i}": sample(dtype, shape, i)
        for name, dtype in DTYPES.items()
        for i, shape in enumerate(shapes)
    }


@pytest.mark.parametrize("mmap", [True, False])
def test_round_trip(tmp_path, tensors, mmap):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(tensors, {"köln": "\u2028 ünïcode", "b": ""}))
    read, metadata = read_safetensors(path, mmap=mmap)
    assert metadata == {"köln": "\u2028 ünïcode", "b": ""}
    assert list(read) == list(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype and read[name].shape == array.shape
        assert read[name].tobytes() == array.tobytes()
        assert not read[name].flags.writeable


def test_the_library_reads_what_we_write(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(tensors, {"k": "v"}))
    read = library.load_file(path)
    assert {name for name in read if not name.startswith("_pad.")} == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)


def test_we_read_what_the_library_writes(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    library.save_file(tensors, path, {"k": "v"})
    read, metadata = read_safetensors(path)
    assert metadata == {"k": "v"} and set(read) == set(tensors)
    for name, array in tensors.items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].flags.aligned


def test_every_tensor_is_aligned(tmp_path, tensors):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(tensors))
    for array in read_safetensors(path)[0].values():
        assert array.size == 0 or array.ctypes.data % 64 == 0  # a map begins on a page


def test_strides_and_byte_orders(tmp_path):
    base = np.arange(24, dtype=np.float32).reshape(4, 6)
    tensors = {
        "t": base.T,
        "step": base[::2, ::-1],
        "big": base.astype(">f4"),
        "fortran": np.asfortranarray(base),
    }
    path = tmp_path / "a.safetensors"
    path.write_bytes(written(tensors))
    for name, array in read_safetensors(path)[0].items():
        np.testing.assert_array_equal(array, tensors[name])


def test_nothing_at_all(tmp_path):
    path = tmp_path / "a.safetensors"
    path.write_bytes(written({}))
    assert read_safetensors(path) == ({}, {})
    assert len(path.read_bytes()) % 64 == 0


def test_same_input_same_bytes(tensors):
    assert written(tensors, {"a": "b"}) == written(tensors, {"a": "b"})


@pytest.mark.parametrize(
    "tensors, metadata, message",
    [
        ({"c": np.zeros(2, np.complex64)}, None, "complex64"),
        ({"o": np.array([None])}, None, "object"),
        ({"__metadata__": np.zeros(2)}, None, "keeps that name"),
        ({"_pad.3": np.zeros(2)}, None, "keeps that name"),
        ({"a": np.zeros(2)}, {"k": 1}, "str to str"),
        ({"n" * (1 << 20): np.zeros(2)}, None, "at most 1048576"),
    ],
)
def test_what_cannot_be_written(tensors, metadata, message):
    with pytest.raises(SafetensorsError, match=message):
        written(tensors, metadata)


FORGED = {
    "empty": (b"", "truncated"),
    "only a length": (struct.pack("<Q", 4), "truncated"),
    "header beyond the file": (forged(b"{}  ", size=400), "truncated"),
    "huge header": (forged(b"{}  ", size=1 << 62), "at most 1048576"),
    "negative length": (b"\xff" * 64, "at most 1048576"),
    "not JSON": (forged(b"{nonsense"), "not JSON"),
    "not an object": (forged(b"[1,2]    "), "begins with"),
    "not UTF-8": (forged(b'{"\xff": 1}'), "not JSON"),
    "deep nesting": (forged(b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"), "not JSON"),
    "endless integer": (forged(b'{"a":' + b"9" * 10_000 + b"}"), "not JSON|expected dtype"),
    "NaN": (forged(b'{"a":NaN}'), "not JSON"),
    "duplicate tensor": (forged(b'{"a":{},"a":{}}'), "twice"),
    "metadata not text": (forged({"__metadata__": {"a": 1}}), "str to str"),
    "metadata a list": (forged({"__metadata__": [1]}), "str to str"),
    "entry a list": (forged({"a": [1]}), "expected dtype, shape"),
    "entry without shape": (forged({"a": {"dtype": "U8", "data_offsets": [0, 0]}}), "expected dtype, shape"),
    "unknown dtype": (forged({"a": entry("BF16", (2,))}, bytes(4)), "BF16"),
    "dtype a list": (forged({"a": entry([], (2,))}, bytes(4)), "dtype"),
    "negative size": (forged({"a": entry(shape=(-2, -2))}, bytes(4)), "whole numbers"),
    "float size": (forged({"a": entry(shape=(4.0,))}, bytes(4)), "whole numbers"),
    "bool size": (forged({"a": entry(shape=(True, 4))}, bytes(4)), "whole numbers"),
    "product that wraps to 0": (
        forged({"a": entry(shape=(1 << 32, 1 << 32), offsets=(0, 0))}),
        "beyond any memory",
    ),
    "zero times huge": (
        forged({"a": entry(shape=(0, 1 << 40, 1 << 40), offsets=(0, 0))}),
        "beyond any memory",
    ),
    "ninety dimensions": (forged({"a": entry(shape=(1,) * 90, offsets=(0, 1))}, bytes(1)), "whole numbers"),
    "span too small": (forged({"a": entry(offsets=(0, 3))}, bytes(3)), "takes 4 bytes"),
    "reversed offsets": (forged({"a": entry(offsets=(4, 0))}, bytes(4)), "begin, end"),
    "three offsets": (forged({"a": entry(offsets=(0, 2, 4))}, bytes(4)), "begin, end"),
    "truncated data": (forged({"a": entry()}, bytes(3)), "truncated"),
    "data left over": (forged({"a": entry()}, bytes(5)), "longer"),
    "overlap": (forged({"a": entry(), "b": entry(offsets=(2, 6))}, bytes(6)), "overlaps"),
    "hole": (forged({"a": entry(), "b": entry(offsets=(6, 10))}, bytes(10)), "hole"),
    "hole at the start": (forged({"a": entry(offsets=(2, 6))}, bytes(6)), "hole"),
    "bool of 2": (forged({"a": entry("BOOL")}, bytes([0, 1, 2, 0])), "above 1"),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("mmap", [True, False])
def test_forged_files_are_refused(tmp_path, name, mmap):
    data, message = FORGED[name]
    path = tmp_path / "forged.safetensors"
    path.write_bytes(data)
    with pytest.raises(SafetensorsError, match=message) as caught:
        read_safetensors(path, mmap=mmap)
    assert isinstance(caught.value, VtrError) and isinstance(caught.value, ValueError)
    assert "forged.safetensors" in str(caught.value)


def test_every_truncation_is_refused(tmp_path):
    whole = written({"a": np.arange(5, dtype=np.int16), "b": np.ones(3)}, {"k": "v"})
    path = tmp_path / "cut.safetensors"
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(SafetensorsError):
            read_safetensors(path)


def test_flipped_header_bits_never_crash(tmp_path):
    """Whatever a flip gives, it is a clear error or arrays that lie within the file."""
    whole = bytearray(written({"a": np.arange(5, dtype=np.int16), "b": np.ones(3)}))
    path = tmp_path / "flip.safetensors"
    rng = np.random.default_rng(1)
    refused = 0
    for _ in range(500):
        flipped = bytearray(whole)
        flipped[rng.integers(0, 192)] ^= 1 << rng.integers(0, 8)
        path.write_bytes(flipped)
        try:
            for array in read_safetensors(path)[0].values():
                array.tobytes()
        except SafetensorsError:
            refused += 1
    assert refused > 100
