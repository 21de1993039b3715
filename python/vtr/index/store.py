"""The index store: a directory with one catalog, immutable segments, one writer and many readers.

::

    catalog.sqlite          what there is: videos, metadata, failures, segments, settings
    segments/*.safetensors  the features, memory-mapped
    writer.lock             held by the one writer

A commit is one SQLite transaction, made after the segment it speaks of is durable under its name; it is
the only moment at which rows appear. A kill or a full disk at any instant leaves the last commit, and
files that no commit speaks of, which the next writer removes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from types import MappingProxyType
from typing import Any
from weakref import WeakValueDictionary

from vtr.columns import ColumnSpec
from vtr.errors import IndexStoreError
from vtr.files import sync_folder
from vtr.index.catalog import (
    CATALOG,
    Catalog,
    FailureRow,
    SegmentRow,
    SettingRow,
    as_index_errors,
    create_catalog,
    get_setting,
    scan,
    select,
)
from vtr.index.lock import LOCK, WriterLock
from vtr.index.records import FailedFile, checked_columns
from vtr.index.segment import SEGMENTS, Segment, SegmentMissing, check_segments_folder
from vtr.index.session import Session
from vtr.index.snapshot import Snapshot, read_snapshot
from vtr.index.writer import Writer, make_failure

ATTEMPTS = 100  # at a snapshot, while compactions of another process keep unlinking segments
_NEW = f"{CATALOG}.new"  # a catalog in the making; left over when creating is interrupted
_LEFTOVERS = {_NEW, f"{_NEW}-journal", f"{_NEW}-wal", f"{_NEW}-shm", LOCK, SEGMENTS}


class IndexStore:
    """An open index. All methods may be called from many threads, while others write.

    Attributes:
        path: the directory.
        fingerprint: of the model that made the features.
        model: what was said about that model when the index was made (name, family, path, …).
        columns: the arrays of every video, by name.
        settings: all settings as the catalog holds them, apart from its counters.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))
        with as_index_errors(self.path):
            self.catalog = Catalog(self.path)
            check_segments_folder(self.path)
            with self.catalog.read() as db:
                rows = select(db, SettingRow)
        try:
            settings = {row.key: json.loads(row.value) for row in rows}
            self.fingerprint = str(settings["fingerprint"])
            self.model: Mapping[str, Any] = MappingProxyType(dict(settings["model"]))
            columns = {name: ColumnSpec.from_json(entry) for name, entry in settings["columns"].items()}
            self.columns: Mapping[str, ColumnSpec] = MappingProxyType(checked_columns(columns))
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise IndexStoreError(f"{self.path}: the settings are damaged or forged: {error!r}") from None
        counters = ("version", "purged", "next_id")
        self.settings = MappingProxyType({k: v for k, v in settings.items() if k not in counters})
        self._segments: WeakValueDictionary[str, Segment] = WeakValueDictionary()
        self._lock = Lock()

    # ---- making and opening --------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        fingerprint: str,
        model: Mapping[str, Any],
        columns: Mapping[str, ColumnSpec],
    ) -> IndexStore:
        """Make an empty index in a new or empty directory.

        Raises:
            IndexStoreError: there is an index already, or something else; or it cannot be written.
        """
        directory = Path(os.path.abspath(path))
        settings = {
            "format": "vtr-index",
            "created_at": time.time(),
            "fingerprint": fingerprint,
            "model": dict(model),
            "columns": {name: spec.to_json() for name, spec in checked_columns(columns).items()},
            "version": 0,
            "purged": 0,
            "next_id": 1,
        }
        with as_index_errors(directory):
            directory.mkdir(parents=True, exist_ok=True)
            if cls.exists(directory):
                raise IndexStoreError(
                    f"{directory} is an index already: open it, or choose another directory"
                )
            if found := sorted(set(os.listdir(directory)) - _LEFTOVERS):
                raise IndexStoreError(f"{directory} is not empty ({found[0]!r}): choose another directory")
            lock = WriterLock(directory)
            try:
                for name in os.listdir(directory):
                    if name.startswith(_NEW):
                        os.unlink(directory / name)
                (directory / SEGMENTS).mkdir(exist_ok=True)
                create_catalog(directory / _NEW, settings)
                if cls.exists(directory):  # made by another process before the lock was ours
                    raise IndexStoreError(f"{directory} is an index already: open it")
                os.rename(directory / _NEW, directory / CATALOG)
                sync_folder(directory)
                sync_folder(directory.parent)
            finally:
                lock.release()
        return cls(directory)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> IndexStore:
        """Open an index.

        Raises:
            IndexStoreError: it is missing, not an index, of another format version, damaged or forged.
        """
        return cls(path)

    @staticmethod
    def exists(path: str | os.PathLike[str]) -> bool:
        """Whether there is an index to open. An interrupted :meth:`create` leaves none: repeat it."""
        return os.path.lexists(Path(path) / CATALOG)

    def check_model(self, fingerprint: str, name: str = "") -> None:
        """Refuse a model that did not make this index.

        Raises:
            IndexStoreError: another model; the message names both.
        """
        if fingerprint != self.fingerprint:
            made, given = self.model.get("name") or "a model", name or "the model given"
            raise IndexStoreError(
                f"{self.path} was made with {made} ({self.fingerprint[:16]}), not with {given} "
                f"({fingerprint[:16]}): use that model, or index into another directory"
            )

    def close(self) -> None:
        """Close the connections; the store can be used again and opens new ones."""
        self.catalog.close()

    def __enter__(self) -> IndexStore:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"IndexStore({str(self.path)!r})"

    # ---- reading -------------------------------------------------------------------------------------

    def version(self) -> int:
        """The number of commits so far, of all processes; takes microseconds."""
        with self.catalog.read() as db:
            return int(get_setting(db, "version"))

    def snapshot(self) -> Snapshot:
        """The index as of its last commit.

        Raises:
            IndexStoreError: a segment or the catalog is damaged.
        """
        for attempt in range(ATTEMPTS):
            before = self.version()
            try:
                with as_index_errors(self.path):
                    return read_snapshot(self.catalog, self.columns, self.segment)
            except SegmentMissing:  # compacted away between the catalog and the file?
                if self.version() == before and attempt:
                    raise
        raise IndexStoreError(f"{self.path} is compacted all the time: no snapshot in {ATTEMPTS} attempts")

    def segment(self, row: SegmentRow) -> Segment:
        """The mapped file of a segment, shared by all snapshots of this store."""
        with self._lock:
            known = self._segments.get(row.name)
        if known is not None:
            return known
        opened = Segment(self.path, row, self.columns)
        with self._lock:
            return self._segments.setdefault(row.name, opened)

    def failures(self) -> list[FailedFile]:
        """The files that could not be indexed, by path."""
        with self.catalog.read() as db:
            return [make_failure(row) for row in scan(db, FailureRow, "ORDER BY v.path")]

    def stats(self) -> dict[str, Any]:
        """Counts and sizes: ``videos``, their ``seconds``, distinct ``contents``, ``segments``, their
        ``rows``, the ``dead_rows`` among them that no video uses, ``bytes``, ``columns`` (bytes by name),
        ``catalog_bytes``, ``failures`` and ``version``."""
        with self.catalog.read() as db:
            videos, seconds, contents = db.execute(
                "SELECT count(*), total(duration), count(DISTINCT content) FROM videos WHERE died IS NULL"
            ).fetchone()
            (failures,) = db.execute("SELECT count(*) FROM failures").fetchone()
            segments = select(db, SegmentRow)
            version = get_setting(db, "version")
        rows = sum(segment.rows for segment in segments)
        return {
            "videos": videos,
            "seconds": seconds,
            "contents": contents,
            "segments": len(segments),
            "rows": rows,
            "dead_rows": rows - contents,
            "bytes": sum(segment.bytes for segment in segments),
            "columns": {name: rows * spec.row_bytes for name, spec in self.columns.items()},
            "catalog_bytes": sum(
                os.path.getsize(file)
                for file in (self.path / CATALOG, self.path / f"{CATALOG}-wal")
                if os.path.exists(file)
            ),
            "failures": failures,
            "version": version,
        }

    # ---- writing -------------------------------------------------------------------------------------

    def writer(self) -> Writer:
        """The right to write, to be used in a ``with`` block. Removes what interrupted writers left.

        Raises:
            IndexStoreError: another writer has it, or the directory cannot be written.
        """
        return Writer(Session(self.path, self.columns, self.segment))
