"""Finding video files and naming their contents."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vtr.errors import UsageError

# What a folder is searched for. A file named explicitly is tried whatever its suffix.
VIDEO_SUFFIXES = frozenset(
    {".3gp", ".avi", ".flv", ".gif", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv"}
    | {".ts", ".webm", ".wmv"}
)


def find_videos(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Absolute paths of the video files under ``paths``, each once, folders in sorted order.

    Folders are walked recursively without following links to folders; names that begin with a dot
    are passed over. A path that is not a folder is yielded as it is, so that a missing file ends up in
    the report instead of vanishing.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    seen: set[str] = set()
    for given in paths:
        if isinstance(given, bytes):
            raise UsageError(f"expected a path as str or Path, got bytes: {given!r}")
        root = os.path.abspath(given)
        for name in _walk(root) if os.path.isdir(root) else [root]:
            if name not in seen:
                seen.add(name)
                yield Path(name)


def _walk(root: str) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield os.path.join(folder, name)


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 of a file's bytes, in hexadecimal: what identifies a video in an index."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
    return digest.hexdigest()
