"""Finding video files and naming their contents."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from vtr.errors import UsageError

# What a folder is searched for. A file named explicitly is tried whatever its suffix.
VIDEO_SUFFIXES = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4"}
    | {".mpe", ".mpeg", ".mpg", ".mts", ".ogg", ".ogm", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)


def find_videos(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    on_error: Callable[[OSError], object] | None = None,
) -> Iterator[Path]:
    """Absolute paths of the video files under ``paths``, each once, folders in sorted order.

    Folders are walked recursively without following links to folders; names that begin with a dot
    are passed over. A path that is not a folder is yielded as it is, so that a missing file ends up in
    the report instead of vanishing. ``on_error`` is told of folders that cannot be read.

    Raises:
        UsageError: something that is no path.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    seen: set[str] = set()
    for root in [absolute(given) for given in paths]:
        for name in _walk(root, on_error) if os.path.isdir(root) else [root]:
            if name not in seen:
                seen.add(name)
                yield Path(name)


def absolute(path: str | os.PathLike[str]) -> str:
    """The absolute form of a path that a user gave."""
    text = os.fspath(path) if isinstance(path, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise UsageError(f"expected a path as str or Path, got {path!r}")
    return os.path.abspath(text)


def _walk(root: str, on_error: Callable[[OSError], object] | None) -> Iterator[str]:
    for folder, subfolders, files in os.walk(root, onerror=on_error):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
                yield os.path.join(folder, name)


def user_cache() -> Path:
    """The folder of what vtr makes again if it is gone: ``$XDG_CACHE_HOME/vtr``, else ``~/.cache/vtr``."""
    given = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(given) if os.path.isabs(given) else Path.home() / ".cache") / "vtr"


def plain(text: str) -> str:
    """``text`` with what UTF-8 cannot hold (odd bytes of file names, say) written as escapes."""
    return str(text).encode("utf-8", "backslashreplace").decode()


def sync_folder(path: str | os.PathLike[str]) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raise UsageError where a file could not be written, before hours of work go into what it is to hold."""
    path = Path(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: its folder does not exist")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise UsageError(f"cannot write {path}: permission denied, or a folder has that name")


def printable(text: str) -> str:
    """``text`` without control characters and undecodable bytes: file names may hold anything."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def content_hash(path: str | os.PathLike[str], also: Callable[[memoryview], object] | None = None) -> str:
    """SHA-256 of a file's bytes, in hexadecimal: what identifies a video in an index.

    ``also`` is called with each part of the file as it is read; the memory is used again for the next.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(1 << 20))
    # Without O_NONBLOCK, opening a pipe that took the file's place would wait for a writer.
    with open(
        path, "rb", buffering=0, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)
    ) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        while count := file.readinto(buffer):
            digest.update(buffer[:count])
            if also is not None:
                also(buffer[:count])
    return digest.hexdigest()
