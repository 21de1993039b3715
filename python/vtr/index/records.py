"""What the index store takes and gives: columns, videos and failed files, all checked."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vtr.columns import ColumnSpec
from vtr.errors import UsageError

INT64_MAX = (1 << 63) - 1
ROW_BYTES = 1 << 30  # of one column
MAX_AXES = 15  # of a column, without the row axis
METADATA_BYTES = 1 << 20  # of JSON text a video
METADATA_DEPTH = 64  # SQLite's JSON functions refuse documents nested some hundred levels deep


def checked_columns(columns: Mapping[str, ColumnSpec]) -> dict[str, ColumnSpec]:
    """``columns``, if each has a plain name (segments keep dotted names for themselves)."""
    for name in columns:
        if not re.fullmatch(r"[a-zA-Z_][a-zA-Z0-9_]{0,63}", name) or name.startswith("_"):
            raise UsageError(f"{name!r} cannot name a column: use letters, digits and _")
    if not columns:
        raise UsageError("expected at least one column, got none")
    for name, spec in columns.items():
        if spec.row_bytes > ROW_BYTES or len(spec.shape) > MAX_AXES:
            raise UsageError(
                f"column {name!r}: expected at most {ROW_BYTES} bytes a row, got shape {spec.shape}"
            )
    return dict(columns)


@dataclass(frozen=True)
class VideoRecord:
    """One video of an index. ``id`` and ``added_at`` are given by the store and ignored on the way in."""

    path: Path  # absolute
    sha256: str  # of the file's bytes, hexadecimal
    size: int  # bytes
    mtime_ns: int
    duration: float = 0.0  # seconds
    width: int = 0
    height: int = 0
    fps: float = 0.0
    codec: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    id: int = 0
    added_at: float = 0.0  # seconds since 1970


class Label(NamedTuple):
    """What a search shows of a video."""

    id: int
    path: Path
    metadata: Mapping[str, Any]
    duration: float  # seconds


@dataclass(frozen=True)
class FailedFile:
    """A file that could not be indexed, and how it looked then."""

    path: Path
    reason: str
    size: int
    mtime_ns: int
    sha256: str | None = None
    failed_at: float = 0.0  # seconds since 1970


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """A path as Linux holds it: bytes, which need not be UTF-8.

    Raises:
        UsageError: the path is not absolute, and so would mean another file elsewhere.
    """
    text = os.fspath(path)
    if not isinstance(text, str) or not os.path.isabs(text) or "\0" in text:
        raise UsageError(f"expected an absolute path as str or Path, got {path!r}")
    return os.fsencode(text)


def path_of(data: bytes) -> Path:
    return Path(os.fsdecode(data))


def hash_bytes(sha256: str) -> bytes:
    if not isinstance(sha256, str) or not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"expected a SHA-256 as 64 hexadecimal digits, got {sha256!r:.80}")
    return bytes.fromhex(sha256)


def whole(name: str, value: Any) -> int:
    """``value`` as a number that SQLite's integers hold."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise UsageError(f"expected {name} as a whole number, got {value!r:.80}")
    if not -INT64_MAX <= value <= INT64_MAX:
        raise UsageError(f"expected {name} within 64 bits, got {value}")
    return int(value)


def real(name: str, value: Any) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not math.isfinite(value)
    ):
        raise UsageError(f"expected {name} as a finite number, got {value!r:.80}")
    return float(value)


def metadata_json(metadata: Mapping[str, Any]) -> str:
    """Metadata as JSON text.

    Raises:
        UsageError: not an object, not JSON (NaN, bytes, …), too deep or too large.
    """
    if not isinstance(metadata, Mapping):
        raise UsageError(f"expected metadata as a mapping of fields, got {type(metadata).__name__}")
    try:
        text = json.dumps(dict(metadata), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        size = len(text.encode())
        depth = _depth(json.loads(text))
    except (TypeError, ValueError, RecursionError) as error:  # UnicodeEncodeError is a ValueError
        raise UsageError(f"expected metadata that JSON can hold: {error}") from None
    if size > METADATA_BYTES:
        raise UsageError(f"expected at most {METADATA_BYTES} bytes of metadata a video, got {size}")
    if depth > METADATA_DEPTH:
        raise UsageError(f"expected metadata nested at most {METADATA_DEPTH} levels deep")
    return text


def check_metadata(name: str, metadata: Mapping[str, Any]) -> None:
    """Refuse what :func:`metadata_json` refuses, naming the file that it was meant for."""
    try:
        metadata_json(metadata)
    except UsageError as error:
        raise UsageError(f"metadata of {name!r}: {error}") from None


def _depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(_depth, value), default=0)
    return 0
