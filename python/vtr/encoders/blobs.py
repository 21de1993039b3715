"""OpenVINO's compiled graphs on disk: the second process that needs one does not read and rewrite its ONNX.

A blob lies in the user's cache folder under a name that says what it was made from, for and with: the graph's
SHA-256, OpenVINO's version, the processor, the settings. Its first page says the same and the CRC-32 of what
follows. One that does not fit, or is damaged, is passed over and made again; a folder that cannot be written,
or that others may write, is done without. Nothing here raises: a blob saves time and no more.

Kept are at most :data:`MOST_BYTES`, the latest used.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import tempfile
import time
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.files import user_cache

FOLDER = "openvino"
FORMAT = "vtr-blob-1"
SUFFIX = ".blob"
PAGE = 4096  # of the file, before the blob: the header, and blanks. The blob is aligned as if it lay alone
MOST_BYTES = 4 << 30
SPARE = 4  # blobs of that size must fit on the disk besides, or none is written
STALE_SECONDS = 86400  # then a half-written file belongs to a process that was killed

Key = Mapping[str, Any]  # JSON's types


def read_blob(key: Key) -> NDArray[np.uint8] | None:
    """The blob that was kept under a key, whole; ``None`` if there is none.

    A private mapping of the file, which is never written to in place: its pages are shared by processes.
    """
    try:
        path = _place(key)
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            if not _is_own(found) or found.st_size <= PAGE:
                return None
            head = json.loads(file.read(PAGE))
            blob = np.memmap(file, np.uint8, "c", PAGE)
        if head != _head(key, blob):
            return None
        os.utime(path)  # the latest used stay
        return blob
    except (OSError, ValueError, RuntimeError):  # JSON's are ValueErrors; there is no home: RuntimeError
        return None


def write_blob(key: Key, content: bytes | memoryview) -> None:
    """Keep a blob under a key, if there is room, and let go of those that were not used for longest."""
    try:
        path = _place(key)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not _is_own(os.stat(path.parent)):
            return
        free = os.statvfs(path.parent)
        if len(content) > MOST_BYTES or SPARE * len(content) > free.f_bavail * free.f_frsize:
            return
        header = json.dumps(_head(key, content)).encode().ljust(PAGE)
        if len(header) > PAGE:
            return
        descriptor, temporary = tempfile.mkstemp(prefix=".", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(header)
                file.write(content)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _let_go(path.parent)
    except (OSError, ValueError, RuntimeError):
        pass


def _place(key: Key) -> Path:
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]
    return user_cache() / FOLDER / f"{name}{SUFFIX}"


def _head(key: Key, content: Any) -> dict[str, Any]:
    return {"format": FORMAT, "crc32": zlib.crc32(content), "bytes": len(content), **key}


def _is_own(found: os.stat_result) -> bool:
    """Whether nobody else can have written what is there."""
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _let_go(folder: Path) -> None:
    """Delete what was not used for longest, down to :data:`MOST_BYTES`, and what killed processes left."""
    left = 0
    files = [(found.stat(follow_symlinks=False), found) for found in os.scandir(folder) if found.is_file()]
    for found, file in sorted(files, key=lambda item: -item[0].st_mtime):
        whole = file.name.endswith(SUFFIX)
        left += found.st_size if whole else 0
        if left > MOST_BYTES or (not whole and time.time() - found.st_mtime > STALE_SECONDS):
            with suppress(OSError):  # another process may have been first
                os.unlink(file.path)
