"""Writing to an index: every method is one commit, or several are one inside ``transaction()``."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import IndexStoreError, UsageError
from vtr.files import plain
from vtr.index import compaction
from vtr.index.catalog import (
    ContentRow,
    FailureRow,
    VideoRow,
    as_index_errors,
    get_setting,
    insert,
    put_setting,
    select,
    update,
)
from vtr.index.records import (
    FailedFile,
    VideoRecord,
    hash_bytes,
    metadata_json,
    path_bytes,
    path_of,
    real,
    whole,
)
from vtr.index.session import Session
from vtr.index.snapshot import make_record

PathLike = str | os.PathLike[str]


class Writer:
    """The one writer of an index; see :meth:`vtr.index.IndexStore.writer`.

    What a method did is durable when it returns, except inside :meth:`transaction`, where it is when the
    block ends. A method that raises has changed nothing. Threads take turns.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._db = session.db
        self._grown = False  # segments were added since merging was last considered

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the right to write. Closing twice does nothing."""
        self._session.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside the block one commit: readers see all of it or nothing.

        An exception that leaves the block undoes all of it. Blocks may be nested.
        """
        with self._session.turn:
            with self._session.transaction():
                yield
            if self._grown and not self._session.depth:
                self._grown = False
                # Only tidying: what was to be written is committed, and compact() says what is wrong.
                with suppress(IndexStoreError):
                    compaction.merge_small(self._session)

    @contextmanager
    def _change(self) -> Iterator[None]:
        with self.transaction(), as_index_errors(self._session.directory):
            yield

    @contextmanager
    def _look(self) -> Iterator[None]:
        with self._session.turn, as_index_errors(self._session.directory):
            yield

    # ---- looking up ----------------------------------------------------------------------------------

    def find(self, path: PathLike) -> VideoRecord | None:
        """The video at a path, if it is in the index."""
        with self._look():
            row = self._live(path_bytes(path))
            if row is None:
                return None
            (content,) = select(self._db, ContentRow, "WHERE v.id = ?", (row.content,))
            return make_record(row, content.sha256)

    def find_hash(self, sha256: str) -> VideoRecord | None:
        """A video with this content whose features are stored, so that it need not be encoded again.

        It may be one that was removed, as long as compaction has not dropped its features.
        """
        with self._look():
            content = self._stored(hash_bytes(sha256))
            if content is None:
                return None
            newest = "WHERE v.content = ? ORDER BY v.died IS NULL DESC, v.serial DESC LIMIT 1"
            rows = select(self._db, VideoRow, newest, (content.id,))
            return make_record(rows[0], content.sha256) if rows else None

    def find_failure(self, path: PathLike) -> FailedFile | None:
        """What is known about a file that could not be indexed."""
        with self._look():
            rows = select(self._db, FailureRow, "WHERE v.path = ?", (path_bytes(path),))
            return make_failure(rows[0]) if rows else None

    def _live(self, path: bytes) -> VideoRow | None:
        rows = select(self._db, VideoRow, "WHERE v.path = ? AND v.died IS NULL", (path,))
        return rows[0] if rows else None

    def _live_id(self, id: int) -> VideoRow | None:
        rows = select(self._db, VideoRow, "WHERE v.id = ? AND v.died IS NULL", (whole("id", id),))
        return rows[0] if rows else None

    def _content(self, sha256: bytes) -> ContentRow | None:
        rows = select(self._db, ContentRow, "WHERE v.sha256 = ?", (sha256,))
        return rows[0] if rows else None

    def _stored(self, sha256: bytes) -> ContentRow | None:
        """The content, if its features are stored."""
        content = self._content(sha256)
        return None if content is None or content.segment is None else content

    # ---- adding --------------------------------------------------------------------------------------

    def add(self, records: Sequence[VideoRecord], arrays: Mapping[str, NDArray[Any]]) -> list[int]:
        """Add videos with their features: one segment, one commit. Returns their ids.

        A record whose content is stored already, or comes twice, shares that row: its features are not
        stored again. A record at a path that is in the index replaces the video there: the id stays if
        the content is the same, otherwise the old video is removed in this commit. What failed before at
        these paths is forgotten.

        Args:
            records: ``n`` videos.
            arrays: every column of the index, ``[n, *shape]`` and of its dtype, all values finite.

        Raises:
            UsageError: records or arrays that do not fit.
            IndexStoreError: the disk is full or failing.
        """
        rows = [_video_row(record) for record in records]
        hashes = [hash_bytes(record.sha256) for record in records]
        self._check_arrays(len(rows), arrays)
        with self._change():
            contents = self._add_contents(hashes, arrays)
            return [self._put(row, contents[sha256]) for row, sha256 in zip(rows, hashes, strict=True)]

    def _add_contents(self, hashes: list[bytes], arrays: Mapping[str, NDArray[Any]]) -> dict[bytes, int]:
        """Store the features of contents that are not stored yet; the number of each content."""
        known = {sha256: self._content(sha256) for sha256 in hashes}
        new: dict[bytes, int] = {}  # content → its first position
        for position, sha256 in enumerate(hashes):
            content = known[sha256]
            if content is None or content.segment is None:
                new.setdefault(sha256, position)
        numbers = {sha256: content.id for sha256, content in known.items() if content is not None}
        unnumbered = [sha256 for sha256 in new if sha256 not in numbers]
        numbers |= dict(zip(unnumbered, count(self._session.next_key("contents")), strict=False))
        if new:
            everything = len(new) == len(hashes)
            chosen = {n: arrays[n] if everything else arrays[n][list(new.values())] for n in arrays}
            self._session.add_segment({numbers[sha256]: sha256 for sha256 in new}, chosen)
            self._grown = True
        return numbers

    def _check_arrays(self, rows: int, arrays: Mapping[str, NDArray[Any]]) -> None:
        columns = self._session.columns
        if set(arrays) != set(columns):
            raise UsageError(f"expected the columns {sorted(columns)}, got {sorted(arrays)}")
        for name, spec in columns.items():
            array, shape = arrays[name], (rows, *spec.shape)
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype != spec.dtype:
                got = f"{getattr(array, 'dtype', type(array).__name__)} {list(np.shape(array))}"
                raise UsageError(f"column {name!r}: expected {spec.dtype} {list(shape)}, got {got}")
            if spec.dtype.kind == "f" and not np.isfinite(array).all():
                raise UsageError(
                    f"column {name!r}: expected finite values, got NaN or infinity (beyond {spec.dtype}?)"
                )

    def link(self, record: VideoRecord, existing: VideoRecord | None = None) -> int:
        """Add a video whose content is stored already, without features. Returns its id.

        Raises:
            UsageError: no features are stored for its content (:meth:`find_hash` says), or ``existing``
                is of other content.
        """
        row, sha256 = _video_row(record), hash_bytes(record.sha256)
        if existing is not None and hash_bytes(existing.sha256) != sha256:
            raise UsageError(f"{record.path} and {existing.path} differ in content: add it with its features")
        with self._change():
            content = self._stored(sha256)
            if content is None:
                raise UsageError(f"the content of {record.path} is not stored: add it with its features")
            return self._put(row, content.id)

    def _put(self, row: VideoRow, content: int) -> int:
        """Make ``row`` the video at its path; returns its id."""
        self._db.execute("DELETE FROM failures WHERE path = ?", (row.path,))
        known = self._live(row.path)
        if known is not None and known.content == content:
            self._rewrite(known, row._replace(content=content, added_at=known.added_at))
            return known.id
        if known is not None:
            self._end(known)
        number = int(get_setting(self._db, "next_id"))
        put_setting(self._db, "next_id", number + 1)
        self._begin(row._replace(id=number, content=content, added_at=time.time()))
        return number

    def _begin(self, row: VideoRow) -> None:
        born, serial = self._session.version, self._session.next_key("videos")
        insert(self._db, row._replace(serial=serial, born=born, died=None, died_at=None))

    def _end(self, row: VideoRow) -> None:
        update(self._db, row._replace(died=self._session.version, died_at=time.time()))

    def _rewrite(self, known: VideoRow, row: VideoRow) -> None:
        """End a video's row and begin another, where it differs, under the same id."""
        row = row._replace(serial=known.serial, id=known.id, born=known.born)
        if row != known:
            self._end(known)
            self._begin(row)

    # ---- changing ------------------------------------------------------------------------------------

    def touch(self, id: int, size: int, mtime_ns: int) -> None:
        """Note that a file has another time of change though its content is the same."""
        with self._change():
            known = self._existing(id)
            self._rewrite(
                known, known._replace(size=whole("size", size), mtime_ns=whole("mtime_ns", mtime_ns))
            )

    def set_metadata(self, id: int, metadata: Mapping[str, Any]) -> None:
        """Replace a video's metadata."""
        text = metadata_json(metadata)
        with self._change():
            known = self._existing(id)
            self._rewrite(known, known._replace(metadata=text))

    def _existing(self, id: int) -> VideoRow:
        known = self._live_id(id)
        if known is None:
            raise UsageError(f"the index has no video with id {id}")
        return known

    def fail(self, path: PathLike, size: int, mtime_ns: int, sha256: str | None, reason: str) -> None:
        """Note that a file cannot be indexed as it is now. A video at that path stays until removed."""
        row = FailureRow(
            path_bytes(path),
            plain(reason),
            whole("size", size),
            whole("mtime_ns", mtime_ns),
            None if sha256 is None else hash_bytes(sha256),
            time.time(),
        )
        with self._change():
            insert(self._db, row, replace=True)

    def remove(self, items: PathLike | int | Iterable[PathLike | int]) -> int:
        """Remove videos by path or id, in one commit; returns how many were there.

        What failed at these paths is forgotten. The features stay on disk until :meth:`compact`.
        """
        chosen = [items] if isinstance(items, (str, os.PathLike, int)) else list(items)
        removed = 0
        with self._change():
            for item in chosen:
                if isinstance(item, (str, os.PathLike)):
                    path = path_bytes(item)
                    self._db.execute("DELETE FROM failures WHERE path = ?", (path,))
                    known = self._live(path)
                else:
                    known = self._live_id(item)
                if known is not None:
                    self._end(known)
                    removed += 1
        return removed

    def compact(self) -> None:
        """Rewrite the segments that hold rows of removed videos, merge small ones, and forget the history.

        One commit; snapshots taken before keep working.

        Raises:
            IndexStoreError: a row to keep is damaged, or the disk is full. The index is as before then.
        """
        compaction.compact(self._session)


def _video_row(record: VideoRecord) -> VideoRow:
    """A record, checked, as a row whose key, content and commits are still open."""
    return VideoRow(
        serial=0,
        id=0,
        path=path_bytes(record.path),
        content=0,
        size=whole("size", record.size),
        mtime_ns=whole("mtime_ns", record.mtime_ns),
        duration=real("duration", record.duration),
        width=whole("width", record.width),
        height=whole("height", record.height),
        fps=real("fps", record.fps),
        codec=plain(record.codec),
        metadata=metadata_json(record.metadata),
        added_at=0.0,
        born=0,
        died=None,
        died_at=None,
    )


def make_failure(row: FailureRow) -> FailedFile:
    """A catalog row as callers see it."""
    return FailedFile(
        path=path_of(row.path),
        reason=row.reason,
        size=row.size,
        mtime_ns=row.mtime_ns,
        sha256=None if row.sha256 is None else row.sha256.hex(),
        failed_at=row.failed_at,
    )
