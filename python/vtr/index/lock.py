"""One writer at a time: a lock that the kernel frees however the process ends."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

from vtr.errors import IndexStoreError

LOCK = "writer.lock"

# Record locks belong to a process, which does not exclude itself: so it keeps its own list.
_held: set[tuple[int, int, int]] = set()
_guard = threading.Lock()


class WriterLock:
    """An exclusive lock on an index directory, held until :meth:`release` or the end of the process.

    A record lock (``lockf``) and not ``flock``, because processes forked meanwhile, such as decoder
    workers, do not inherit it: when this process is killed the lock is free though they may live on.

    Raises:
        IndexStoreError: another writer has it; the message names its process.
    """

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        found = os.stat(directory)
        self._key = (os.getpid(), found.st_dev, found.st_ino)
        with _guard:
            if self._key in _held:
                raise IndexStoreError(_taken(directory, "this process"))
            # Not opened while held: closing any descriptor of the file would drop the lock.
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(self._descriptor, 32, 0).decode(errors="replace").strip()
                os.close(self._descriptor)
                if not isinstance(error, (BlockingIOError, PermissionError)):
                    raise
                raise IndexStoreError(_taken(directory, f"process {holder or '(unknown)'}")) from None
            _held.add(self._key)
        try:  # who holds it is only for the message: a full disk must not get in the way
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % os.getpid(), 0)
        except OSError:
            pass

    def release(self) -> None:
        """Give the lock back. Releasing twice does nothing."""
        with _guard:
            if self._key in _held:
                _held.discard(self._key)
                os.close(self._descriptor)


def _taken(directory: Path, holder: str) -> str:
    return (
        f"{directory} is being written by {holder}: wait until it is done, or stop it, and run again "
        "(searching meanwhile is fine)"
    )
