"""A snapshot: the state of an index at one commit, unchanged by whatever is written meanwhile."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from os import cpu_count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.columns import ColumnSpec
from vtr.errors import IndexStoreError, UsageError
from vtr.index.catalog import AT_VERSION, Catalog, ContentRow, SegmentRow, VideoRow, get_setting, scan, select
from vtr.index.records import Label, VideoRecord, path_of
from vtr.index.segment import CONTENTS, Segment, gather_rows, runs
from vtr.index.where import Where, compile_where

SELECTIONS = 64  # answers of `select` kept; they cannot go stale

FEW_ROWS = 256  # as many as a search has hits

Positions = NDArray[np.int64]


class Snapshot:
    """The videos of an index at one commit: position ``p`` in ``[0, len)`` is the video ``ids[p]``.

    Features come from segments that stay mapped as long as the snapshot lives, even when a writer has
    compacted them away. Records are read from the catalog as they were at this commit; that history is
    kept for an hour after a video was removed or changed, and longer until the next compaction.
    All methods may be called from many threads at once.
    """

    def __init__(
        self,
        catalog: Catalog,
        version: int,
        columns: Mapping[str, ColumnSpec],
        segments: Sequence[Segment],
        ids: Positions,
        contents: Positions,
        segment_of: Positions,
        row_of: Positions,
    ) -> None:
        self.version = version  # of the commit
        self.columns = columns
        self.ids = ids  # int64 [N], ascending, read-only
        self._catalog = catalog
        self._segments = segments
        self.contents = contents  # int64 [N], what is in each: equal numbers mean equal files; read-only
        self._segment_of = segment_of  # [N], position in `segments`
        self._row_of = row_of  # [N], row in that segment
        self._run_ends = np.append(runs(segment_of, row_of)[1:], len(ids))  # of rows side by side in a file
        self._selections: dict[Any, Positions] = {}
        self._lock = threading.Lock()
        for array in (ids, contents, segment_of, row_of):
            array.flags.writeable = False

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        return f"Snapshot(version={self.version}, {len(self)} videos, {len(self._segments)} segments)"

    # ---- features ----------------------------------------------------------------------------------

    def gather(self, name: str, positions: Any = None, out: NDArray[Any] | None = None) -> NDArray[Any]:
        """Rows of a column, copied into one contiguous array ``[n, *shape]``.

        Args:
            positions: which rows, in the order wanted; ``None`` takes all ``N``, in order.
            out: where to put them: an array of that shape; another dtype converts on the way.

        Raises:
            IndexStoreError: a block of rows does not match its checksum (found on the first use).
        """
        spec = self._spec(name)
        rows = slice(None) if positions is None else self._checked(positions)
        segment_of, row_of = self._segment_of[rows], self._row_of[rows]
        if out is None:
            out = np.empty((len(row_of), *spec.shape), spec.dtype)
        elif out.shape != (len(row_of), *spec.shape):
            raise UsageError(f"expected out of shape {[len(row_of), *spec.shape]}, got {list(out.shape)}")
        arrays = self._arrays(name, np.unique(segment_of).tolist())
        gather_rows(arrays, segment_of, row_of, runs(segment_of, row_of), out)
        return out

    def rows(self, names: Iterable[str], positions: Any) -> dict[str, NDArray[Any]]:
        """:meth:`gather` of several columns, whose places are looked up once.

        Where few rows are asked for, only their blocks are checked, so that the first search does not read
        all of a column that only its hits are looked up in.
        """
        chosen = self._checked(positions)
        segment_of, row_of = self._segment_of[chosen], self._row_of[chosen]
        needed, starts = np.unique(segment_of).tolist(), runs(segment_of, row_of)
        found = {}
        for name in names:
            spec = self._spec(name)
            found[name] = np.empty((len(row_of), *spec.shape), spec.dtype)
            if len(row_of) > FEW_ROWS:
                arrays = self._arrays(name, needed)
            else:
                arrays = {
                    number: self._segments[number].column_at(name, row_of[segment_of == number])
                    for number in needed
                }
            gather_rows(arrays, segment_of, row_of, starts, found[name])
        return found

    def blocks(
        self, names: Iterable[str], rows: int = 4096
    ) -> Iterator[tuple[slice, dict[str, NDArray[Any]]]]:
        """All positions in order, ``rows`` at most at a time, with their columns.

        Where the rows lie side by side in one segment the arrays are views of the mapped file, read-only
        and free; otherwise copies. A block ends early where that keeps it a view.
        """
        if rows < 1:
            raise UsageError(f"expected at least 1 row a block, got {rows}")
        names = list(names)
        for name in names:
            self._spec(name)
        start = 0
        while start < len(self):
            stop = min(start + rows, len(self))
            run_end = int(self._run_ends[np.searchsorted(self._run_ends, start, side="right")])
            if run_end - start >= (stop - start) / 4:
                stop = min(stop, run_end)
                segment, first = self._segments[self._segment_of[start]], int(self._row_of[start])
                arrays = {name: segment.column(name)[first : first + stop - start] for name in names}
            else:
                arrays = {name: self.gather(name, np.arange(start, stop)) for name in names}
            yield slice(start, stop), arrays
            start = stop

    def _arrays(self, name: str, needed: Sequence[int]) -> dict[int, NDArray[Any]]:
        """The column in each segment that is needed, checked; new segments are checked in parallel."""
        new = [self._segments[number] for number in needed if not self._segments[number].is_checked(name)]
        if len(new) > 1:
            with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
                list(pool.map(lambda segment: segment.column(name), new))
        return {number: self._segments[number].column(name) for number in needed}

    def _spec(self, name: str) -> ColumnSpec:
        if name not in self.columns:
            raise UsageError(f"the index has no column {name!r}, only {', '.join(self.columns)}")
        return self.columns[name]

    def _checked(self, positions: Any) -> Positions:
        found = np.asarray(positions)
        if found.ndim != 1 or (found.size and not np.issubdtype(found.dtype, np.integer)):
            raise UsageError(
                f"expected positions as whole numbers [n], got {found.dtype} {list(found.shape)}"
            )
        if found.size and (found.min() < 0 or found.max() >= len(self)):
            raise UsageError(
                f"expected positions from 0 to {len(self) - 1}, got {found.min()} to {found.max()}"
            )
        return found.astype(np.int64)

    # ---- records -----------------------------------------------------------------------------------

    def positions(self, ids: Any) -> Positions:
        """Where the videos with these ids are.

        Raises:
            UsageError: the snapshot has no such id.
        """
        wanted = np.asarray(ids, np.int64).reshape(-1)
        found = np.searchsorted(self.ids, wanted)
        missing = (
            np.flatnonzero(self.ids[np.minimum(found, len(self) - 1)] != wanted) if len(self) else wanted
        )
        if len(missing):
            raise UsageError(
                f"the index has no video with id {wanted[missing[0]] if len(self) else wanted[0]}"
            )
        return found.astype(np.int64)

    def record(self, id: int) -> VideoRecord:
        """The video with an id, as it was at this commit."""
        return self.records([id])[0]

    def records(self, ids: Iterable[int] | None = None) -> list[VideoRecord]:
        """The videos with these ids, in that order, or all; as they were at this commit."""
        with self._catalog.read() as db:
            rows = self._rows(db, ids)
            contents = "WHERE v.id IN (SELECT value FROM json_each(?))"
            keys = json.dumps(sorted({row.content for row in rows}))
            hashes = {row.id: row.sha256 for row in scan(db, ContentRow, contents, (keys,))}
        if any(row.content not in hashes for row in rows):
            raise self._contradiction()
        return [make_record(row, hashes[row.content]) for row in rows]

    def labels(self, ids: Iterable[int]) -> list[Label]:
        """What a search shows of the videos with these ids, in that order: half the time of their records."""
        with self._catalog.read() as db:
            rows = self._rows(db, ids)
        return [Label(row.id, path_of(row.path), json.loads(row.metadata), row.duration) for row in rows]

    def _rows(self, db: Any, ids: Iterable[int] | None) -> list[VideoRow]:
        """The catalog's rows of these videos, in that order, or of all, at this commit."""
        if ids is None:
            clause, wanted = "", self.ids.tolist()
        else:
            clause, wanted = "AND v.id IN (SELECT value FROM json_each(:ids))", [int(id) for id in ids]
        at = self.positions(wanted)
        self._check_history(db)
        bound = {"version": self.version, "ids": json.dumps(wanted)}
        rows = {row.id: row for row in scan(db, VideoRow, f"WHERE {AT_VERSION} {clause}", bound)}
        contents = zip(wanted, self.contents[at].tolist(), strict=True)
        if any(id not in rows or rows[id].content != content for id, content in contents):
            raise self._contradiction()
        return [rows[id] for id in wanted]

    def _contradiction(self) -> IndexStoreError:
        return IndexStoreError(
            f"{self._catalog.directory}: the catalog is damaged: it says different things about a video; "
            "restore the index from a copy, or delete it and index again"
        )

    def select(self, where: Where) -> Positions:
        """The positions, ascending, of the videos for which ``where`` holds (see :mod:`vtr.index.where`)."""
        text, params = compile_where(where)
        with self._lock:
            if (text, params) in self._selections:
                return self._selections[text, params]
        if text == "1":
            found = np.arange(len(self))
        else:
            version = AT_VERSION.replace(":version", "?")
            query = f"SELECT v.id FROM videos AS v WHERE {version} AND {text}"
            with self._catalog.read() as db:
                self._check_history(db)
                ids = db.execute(query, (self.version, self.version, *params)).fetchall()
            found = self.positions(np.sort(np.array(ids, np.int64).reshape(-1)))
        found.flags.writeable = False
        with self._lock:
            if len(self._selections) >= SELECTIONS:
                self._selections.pop(next(iter(self._selections)))
            self._selections[text, params] = found
        return found

    def _check_history(self, db: Any) -> None:
        if self.version < get_setting(db, "purged"):
            raise IndexStoreError(
                f"{self._catalog.directory}: the index was compacted and no longer remembers the state of "
                f"commit {self.version}: take a new snapshot"
            )


def make_record(row: VideoRow, sha256: bytes) -> VideoRecord:
    """A catalog row as callers see it."""
    return VideoRecord(
        path=path_of(row.path),
        sha256=sha256.hex(),
        size=row.size,
        mtime_ns=row.mtime_ns,
        duration=row.duration,
        width=row.width,
        height=row.height,
        fps=row.fps,
        codec=row.codec,
        metadata=json.loads(row.metadata),
        id=row.id,
        added_at=row.added_at,
    )


def read_snapshot(
    catalog: Catalog, columns: Mapping[str, ColumnSpec], open_segment: Callable[[SegmentRow], Segment]
) -> Snapshot:
    """The state of the last commit.

    Args:
        open_segment: maps the file of a catalog row; raises ``SegmentMissing`` when it is gone.
    """
    with catalog.read() as db:
        version = get_setting(db, "version")
        segments = [open_segment(row) for row in select(db, SegmentRow, "ORDER BY v.id")]
        try:
            rows = db.execute("SELECT id, content FROM videos WHERE died IS NULL ORDER BY id")
            ids, contents = np.fromiter(chain.from_iterable(rows), np.int64).reshape(-1, 2).T.copy()
            segment_of, row_of = _places(contents, [segment.column(CONTENTS) for segment in segments])
            if (np.diff(ids) <= 0).any():
                raise ValueError("an id comes twice")
        except (TypeError, ValueError, OverflowError):  # NULL or text where a number was, or a gap
            raise IndexStoreError(
                f"{catalog.directory}: the catalog is damaged: it does not say where a video's features are; "
                "restore the index from a copy, or delete it and index again"
            ) from None
    return Snapshot(catalog, version, columns, segments, ids, contents, segment_of, row_of)


def _places(wanted: Positions, contents: Sequence[Positions]) -> tuple[Positions, Positions]:
    """Segment and row of each wanted content, given the contents of each segment's rows."""
    lengths = [len(part) for part in contents]
    every = np.concatenate([np.empty(0, np.int64), *contents])
    segment_of = np.repeat(np.arange(len(lengths)), lengths)
    row_of = np.concatenate([np.empty(0, np.int64), *map(np.arange, lengths)])
    order = np.argsort(every, kind="stable")
    found = np.searchsorted(every, wanted, sorter=order)
    if (found >= len(every)).any() or (every[order[found]] != wanted).any():
        raise ValueError("a content is in no segment")
    return segment_of[order[found]], row_of[order[found]]
