"""Reading and writing safetensors files: named arrays, memory-mapped, checked before a byte is trusted.

A file is an 8-byte little-endian header length, a JSON header ``{name: {dtype, shape, data_offsets}}``,
and the arrays' bytes back to back (https://huggingface.co/docs/safetensors). Files written here also
align every array to 64 bytes, so that a mapped file serves vector loads as it lies: the header is
filled up with spaces, and gaps, which the format forbids, are filled by tensors named ``_pad.N``.
"""

from __future__ import annotations

import json
import mmap as memory_map
import os
import re
import struct
from collections.abc import Mapping
from math import prod
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vtr.errors import VtrError

ALIGNMENT = 64  # a cache line, and the widest vector register
MAX_HEADER = 1 << 20
MAX_BYTES = 1 << 62
MAX_DIMENSIONS = 16

DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAME_OF = {dtype: name for name, dtype in DTYPES.items()}
_PADDING = re.compile(r"_pad\.[0-9]+")


class SafetensorsError(VtrError, ValueError):
    """A safetensors file that is truncated, forged or of a kind that is not read here."""


# ---- writing -----------------------------------------------------------------------------------------


def write_safetensors(
    file: BinaryIO, tensors: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays, in the order given, to a file opened for writing in binary mode.

    Arrays of any byte order and stride are written little-endian and contiguous. The same input gives
    the same bytes.

    Raises:
        SafetensorsError: a name, dtype, metadata value or header size that the format cannot hold.
    """
    header: dict[str, Any] = {}
    if metadata:
        if not all(isinstance(text, str) for pair in metadata.items() for text in pair):
            raise SafetensorsError(f"expected metadata of str to str, got {dict(metadata)!r:.200}")
        header["__metadata__"] = dict(metadata)
    parts: list[NDArray[Any]] = []
    position = 0

    def place(name: str, array: NDArray[Any]) -> None:
        nonlocal position
        header[name] = {
            "dtype": _NAME_OF[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        parts.append(array)
        position += array.nbytes

    for number, (name, array) in enumerate(tensors.items()):
        if gap := -position % ALIGNMENT:
            place(f"_pad.{number}", np.zeros(gap, np.uint8))
        place(_checked_name(name), _plain(name, array))

    text = json.dumps(header, separators=(",", ":"), ensure_ascii=True).encode()
    text += b" " * (-(8 + len(text)) % ALIGNMENT)
    if len(text) > MAX_HEADER:
        raise SafetensorsError(f"expected a header of at most {MAX_HEADER} bytes, got {len(text)}")
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for array in parts:
        if array.nbytes:  # an empty array has no memory to view
            file.write(array.reshape(-1).view(np.uint8).data)


def _checked_name(name: str) -> str:
    if not isinstance(name, str) or name == "__metadata__" or _PADDING.fullmatch(name):
        raise SafetensorsError(f"{name!r} cannot name a tensor: the format keeps that name for itself")
    return name


def _plain(name: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array``, contiguous and in one of the dtypes of the format."""
    array = np.asarray(array)
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAME_OF:
        raise SafetensorsError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, got {array.dtype}")
    return np.asarray(array, dtype=dtype, order="C")


# ---- reading -----------------------------------------------------------------------------------------


def read_safetensors(
    path: str | os.PathLike[str], *, mmap: bool = True
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Arrays and metadata of a file. The arrays are read-only views of the mapped file.

    Args:
        mmap: ``False`` reads the whole file into memory instead of mapping it.

    Raises:
        SafetensorsError: the file is not a sound safetensors file; the message says where.
        OSError: the file cannot be opened.
    """
    with open(path, "rb") as file:
        length = os.fstat(file.fileno()).st_size
        try:
            header, start = _read_header(file, length)
            tensors, metadata = _checked_header(header, length - start)
        except SafetensorsError as error:
            raise SafetensorsError(f"{os.fspath(path)}: {error}") from None
        data: memory_map.mmap | bytes
        if mmap:
            data = memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ)
        else:
            file.seek(0)
            data = file.read()
            if len(data) != length:
                raise SafetensorsError(f"{os.fspath(path)}: the file changed while it was read")
    arrays = {
        name: _view(data, start + begin, dtype, shape) for name, (begin, dtype, shape) in tensors.items()
    }
    for name, array in arrays.items():
        if array.dtype == np.bool_ and (array.view(np.uint8) > 1).any():
            raise SafetensorsError(f"{os.fspath(path)}: tensor {name!r} is BOOL and holds bytes above 1")
    return arrays, metadata


def _view(data: Any, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    array = np.frombuffer(data, dtype, prod(shape), offset).reshape(shape)
    if not array.flags.aligned:  # written by others, who align to 8 bytes or not at all
        array = array.copy()
        array.flags.writeable = False
    return array


def _read_header(file: BinaryIO, length: int) -> tuple[dict[str, Any], int]:
    """The JSON header, and the position where data begins."""
    if length < 10:
        raise SafetensorsError(f"expected a safetensors file, got {length} bytes: it is truncated")
    (size,) = struct.unpack("<Q", file.read(8))
    if size > MAX_HEADER:
        raise SafetensorsError(
            f"expected a header of at most {MAX_HEADER} bytes, got {size}: not safetensors"
        )
    if size > length - 8:
        raise SafetensorsError(f"expected a header of {size} bytes, got {length - 8}: the file is truncated")
    text = file.read(size)
    if not text.startswith(b"{"):
        raise SafetensorsError(f"expected a header that begins with '{{', got {text[:8]!r}")
    try:
        header = json.loads(text.decode(), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except SafetensorsError:
        raise
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        raise SafetensorsError(f"the header is not JSON: {error}") from None
    return header, 8 + size


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise SafetensorsError("the header names an entry twice")
    return result


def _no_constant(text: str) -> None:
    raise SafetensorsError(f"the header holds {text}, which is not JSON")


def _checked_header(
    header: dict[str, Any], available: int
) -> tuple[dict[str, tuple[int, np.dtype[Any], tuple[int, ...]]], dict[str, str]]:
    """Position, dtype and shape by name, once they are known to cover the data exactly."""
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise SafetensorsError("expected __metadata__ of str to str")
    entries = {name: _checked_entry(name, entry) for name, entry in header.items()}
    position = 0
    for name, (begin, end, _, _) in sorted(entries.items(), key=lambda item: item[1][:2]):
        if begin != position:
            problem = "overlaps the tensor before it" if begin < position else "leaves a hole before it"
            raise SafetensorsError(f"tensor {name!r} {problem}: expected offset {position}, got {begin}")
        position = end
    if position != available:
        problem = "truncated" if position > available else "longer than its header says"
        raise SafetensorsError(f"expected {position} bytes of data, got {available}: the file is {problem}")
    tensors = {
        name: (begin, dtype, shape)
        for name, (begin, _, dtype, shape) in entries.items()
        if not _PADDING.fullmatch(name)
    }
    return tensors, metadata


def _checked_entry(name: str, entry: Any) -> tuple[int, int, np.dtype[Any], tuple[int, ...]]:
    if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
        raise SafetensorsError(f"tensor {name!r}: expected dtype, shape and data_offsets, got {entry!r:.200}")
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in DTYPES:
        raise SafetensorsError(f"tensor {name!r}: expected a dtype of {', '.join(DTYPES)}, got {kind!r:.40}")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise SafetensorsError(f"tensor {name!r}: expected a shape of whole numbers, got {shape!r:.200}")
    if not _counts(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise SafetensorsError(f"tensor {name!r}: expected data_offsets [begin, end], got {offsets!r:.200}")
    dtype = DTYPES[kind]
    if prod(max(1, size) for size in shape) * dtype.itemsize > MAX_BYTES:
        raise SafetensorsError(f"tensor {name!r}: shape {shape!r:.200} is beyond any memory")
    needed = prod(shape) * dtype.itemsize  # Python's integers do not overflow
    begin, end = offsets
    if end - begin != needed:
        raise SafetensorsError(
            f"tensor {name!r}: {kind} {shape} takes {needed} bytes, but its offsets span {end - begin}"
        )
    return begin, end, dtype, tuple(shape)


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(
        type(value) is int and 0 <= value <= MAX_BYTES for value in values
    )
