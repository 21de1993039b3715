"""Segments: immutable files that hold the features of a batch of videos, mapped and checked on first use.

A segment is a safetensors file with one array ``[n, *shape]`` a column, and two that say which content
each row belongs to: ``row.content`` ``int64 [n]``, its number in the catalog, and ``row.sha256``
``uint8 [n, 32]``. For each of these there is a checksum array ``crc32.<name>``,
``uint32 [ceil(n / BLOCK_ROWS)]``: the CRC-32 of every block of rows. The catalog knows the CRC-32 of the
whole file besides, for the few bytes that no block covers.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import zlib
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from vtr.columns import ColumnSpec
from vtr.errors import IndexStoreError
from vtr.files import sync_folder
from vtr.index.catalog import SegmentRow
from vtr.safetensors_io import SafetensorsError, read_safetensors, write_safetensors

SEGMENTS = "segments"
BLOCK_ROWS = 256  # rows under one checksum: small enough to stay in cache between check and copy
FORMAT = {"format": "vtr-segment", "format_version": "1", "block_rows": str(BLOCK_ROWS)}
CONTENTS = "row.content"
HASHES = "row.sha256"
MIN_RUN = 8  # rows in a run, on average, from which on copying slices beats picking rows

_NAME = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-f]{16}\.safetensors(\.tmp)?")
_DAMAGE = "restore the index from a copy, or delete it and index again"


class SegmentMissing(IndexStoreError):
    """A segment's file is gone: compacted away since the catalog was read, or lost."""


def segment_path(directory: Path, name: str) -> Path:
    """The file of a segment; a name that could lead elsewhere is refused."""
    if not _NAME.fullmatch(name):
        raise IndexStoreError(
            f"{directory}: the catalog names a segment {name!r:.80}: it is damaged or forged"
        )
    return directory / SEGMENTS / f"{name}.safetensors"


def is_segment_file(name: str) -> bool:
    """Whether a file in the segments folder is of the store's making, and so may be collected."""
    return _FILE.fullmatch(name) is not None


def check_segments_folder(directory: Path) -> None:
    """The folder must be a real one: files are deleted in it."""
    folder = directory / SEGMENTS
    if not os.path.lexists(folder):
        raise IndexStoreError(f"{folder} is missing: {_DAMAGE}")
    if folder.is_symlink() or not folder.is_dir():
        raise IndexStoreError(
            f"{folder}: expected a folder, got a link or a file: link the whole index instead"
        )


def block_checksums(array: NDArray[Any], numbers: Iterable[int] | None = None) -> NDArray[np.uint32]:
    """CRC-32 of the blocks of :data:`BLOCK_ROWS` rows of a contiguous array, of all or of some."""
    if numbers is None:
        numbers = range(-(-len(array) // BLOCK_ROWS))
    blocks = (array[number * BLOCK_ROWS : (number + 1) * BLOCK_ROWS] for number in numbers)
    return np.array([zlib.crc32(block.reshape(-1).view(np.uint8).data) for block in blocks], np.uint32)


# ---- writing -----------------------------------------------------------------------------------------


class _Summed:
    """A file to write to that keeps the CRC-32 of all that went in."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.crc = 0

    def write(self, data: Any) -> int:
        self.crc = zlib.crc32(data, self.crc)
        return self.file.write(data)


def write_segment(
    directory: Path, contents: Mapping[int, bytes], arrays: Mapping[str, NDArray[Any]]
) -> SegmentRow:
    """Write a segment so that it is whole and durable under its name, or not there at all.

    Args:
        contents: number and SHA-256 of each row's content.
        arrays: the columns, ``[n, *shape]`` each.

    Returns:
        The row for the catalog, with ``id`` 0.
    """
    tensors: dict[str, NDArray[Any]] = {
        CONTENTS: np.array(list(contents), np.int64),
        HASHES: np.frombuffer(b"".join(contents.values()), np.uint8).reshape(-1, 32),
    }
    tensors |= {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    tensors |= {f"crc32.{name}": block_checksums(array) for name, array in list(tensors.items())}
    name = secrets.token_hex(8)
    path = segment_path(directory, name)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "xb") as file:
            summed = _Summed(file)
            write_safetensors(summed, tensors, {**FORMAT, "rows": str(len(contents))})  # type: ignore[arg-type]
            file.flush()
            size = os.fstat(file.fileno()).st_size
            os.fsync(file.fileno())
        os.rename(temporary, path)
        sync_folder(path.parent)
    except BaseException:
        for leftover in (temporary, path):
            leftover.unlink(missing_ok=True)
        raise
    return SegmentRow(0, name, len(contents), size, summed.crc)


# ---- reading -----------------------------------------------------------------------------------------

# Arrays that were checked in this process, so that opening a segment again does not check it again.
_checked: set[tuple[Any, ...]] = set()
_checked_blocks: dict[tuple[Any, ...], set[int]] = {}  # of arrays that were not checked whole


class Segment:
    """A mapped segment. It stays readable after its file is unlinked.

    Raises:
        SegmentMissing: the file is not there.
        IndexStoreError: the file is truncated, damaged, forged, a link, or not what the catalog says.
    """

    def __init__(self, directory: Path, row: SegmentRow, columns: Mapping[str, ColumnSpec]) -> None:
        self.name = row.name
        self.rows = row.rows
        self.path = segment_path(directory, row.name)
        try:
            found = os.lstat(self.path)
            if not stat.S_ISREG(found.st_mode):
                raise IndexStoreError(f"{self.path}: expected a plain file, got a link or something else")
            if found.st_size != row.bytes:
                raise IndexStoreError(
                    f"{self.path}: expected {row.bytes} bytes, got {found.st_size}: "
                    f"the file is truncated or altered; {_DAMAGE}"
                )
            self._tensors, metadata = read_safetensors(self.path)
        except FileNotFoundError:
            raise SegmentMissing(f"{self.path} is missing; {_DAMAGE}") from None
        except SafetensorsError as error:
            raise IndexStoreError(f"{error}; {_DAMAGE}") from None
        self._identity = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size, row.checksum)
        self._check_layout(columns, metadata)

    def _check_layout(self, columns: Mapping[str, ColumnSpec], metadata: Mapping[str, str]) -> None:
        expected: dict[str, tuple[tuple[int, ...], Any]] = {
            CONTENTS: ((self.rows,), np.dtype(np.int64)),
            HASHES: ((self.rows, 32), np.dtype(np.uint8)),
        }
        for name, spec in columns.items():
            expected[name] = ((self.rows, *spec.shape), spec.dtype)
        for name in list(expected):
            expected[f"crc32.{name}"] = ((-(-self.rows // BLOCK_ROWS),), np.dtype(np.uint32))
        got = {name: (array.shape, array.dtype) for name, array in self._tensors.items()}
        if got != expected or dict(metadata) != {**FORMAT, "rows": str(self.rows)}:
            raise IndexStoreError(
                f"{self.path}: the header is not that of a segment of this index with {self.rows} rows; "
                f"{_DAMAGE}"
            )

    def column(self, name: str) -> NDArray[Any]:
        """The array of a column, or one of the two others: ``[n, *shape]``, read-only, mapped.

        Its checksums are checked on the first call in this process, which reads all of it.
        """
        if not self.is_checked(name):
            if problems := self.damage(name):
                raise IndexStoreError(f"{problems[0]}; {_DAMAGE}")
            _checked.add((*self._identity, name))
            _checked_blocks.pop((*self._identity, name), None)
        return self._tensors[name]

    def column_at(self, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        """:meth:`column` for who looks at these rows alone: only their blocks are read and checked."""
        if not self.is_checked(name):
            known = _checked_blocks.setdefault((*self._identity, name), set())
            new = sorted({*(rows // BLOCK_ROWS).tolist()} - known)
            if new and (problems := self.damage(name, new)):
                raise IndexStoreError(f"{problems[0]}; {_DAMAGE}")
            known.update(new)
        return self._tensors[name]

    def is_checked(self, name: str) -> bool:
        """Whether :meth:`column` would not read the column again."""
        return (*self._identity, name) in _checked

    def names(self) -> list[str]:
        """All arrays that have checksums."""
        return [name for name in self._tensors if not name.startswith("crc32.")]

    def damage(self, name: str, blocks: Sequence[int] | None = None) -> list[str]:
        """What is wrong with a column, or with some blocks: a line for each that fails its checksum."""
        numbers = np.arange(len(self._tensors[f"crc32.{name}"])) if blocks is None else np.array(blocks, int)
        expected = self._tensors[f"crc32.{name}"][numbers]
        wrong = numbers[block_checksums(self._tensors[name], numbers.tolist()) != expected]
        return [
            f"{self.path}: {name}: rows {start} to {min(start + BLOCK_ROWS, self.rows) - 1} "
            "do not match their checksum"
            for start in wrong * BLOCK_ROWS
        ]


def gather_rows(
    arrays: Mapping[int, NDArray[Any]],
    segment_of: NDArray[np.int64],
    row_of: NDArray[np.int64],
    starts: NDArray[np.int64],
    out: NDArray[Any],
) -> None:
    """Copy ``out[i] = arrays[segment_of[i]][row_of[i]]`` for all i, in slices where rows lie side by side.

    ``starts`` is where these begin: :func:`runs`.
    """
    if len(starts) * MIN_RUN > len(row_of):
        if len(arrays) == 1:
            out[:] = next(iter(arrays.values()))[row_of]
            return
        for segment, array in arrays.items():
            wanted = np.flatnonzero(segment_of == segment)
            out[wanted] = array[row_of[wanted]]
        return
    for start, stop in pairwise([*starts.tolist(), len(row_of)]):
        first = row_of[start]
        out[start:stop] = arrays[int(segment_of[start])][first : first + stop - start]


def runs(segment_of: NDArray[np.int64], row_of: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where runs of rows that lie side by side in one segment begin: ascending, the first at 0."""
    breaks = (np.diff(segment_of) != 0) | (np.diff(row_of) != 1)
    return np.flatnonzero(np.concatenate([np.ones(min(1, len(row_of)), bool), breaks]))


def file_checksum(path: Path) -> int:
    """CRC-32 of all bytes of a file."""
    crc = 0
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            crc = zlib.crc32(buffer[:count], crc)
    return crc
