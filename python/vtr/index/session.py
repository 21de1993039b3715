"""A writing session: the lock, the writer's connection, and transactions that also own segment files."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from vtr.columns import ColumnSpec
from vtr.errors import IndexStoreError
from vtr.index.catalog import (
    CATALOG,
    ContentRow,
    SegmentRow,
    as_index_errors,
    check_identity,
    connect,
    get_setting,
    insert,
    insert_all,
    put_setting,
    select,
)
from vtr.index.lock import WriterLock
from vtr.index.segment import SEGMENTS, Segment, is_segment_file, segment_path, write_segment


class Session:
    """What one writer holds. ``open_segment`` maps the file of a catalog row.

    Raises:
        IndexStoreError: another writer is at work, or the directory cannot be written.
    """

    def __init__(
        self,
        directory: Path,
        columns: Mapping[str, ColumnSpec],
        open_segment: Callable[[SegmentRow], Segment],
    ) -> None:
        self.directory = directory
        self.columns = columns
        self.open_segment = open_segment
        self.turn = threading.RLock()
        self.depth = 0  # of nested transactions
        self.version = 0  # of the commit in the making
        self._written: list[Path] = []  # files that only the running transaction knows of
        self._obsolete: list[Path] = []  # files to unlink once it is committed
        with as_index_errors(directory), ExitStack() as undo:
            self._lock = WriterLock(directory)
            undo.callback(self._lock.release)
            self.db = connect(directory / CATALOG, "rw")
            undo.callback(self.db.close)
            check_identity(self.db, directory)
            self._collect_orphans()
            undo.pop_all()

    def _collect_orphans(self) -> None:
        """Remove the segment files that no commit speaks of; nobody else makes any while we hold the lock."""
        known = {segment_path(self.directory, row.name).name for row in select(self.db, SegmentRow)}
        for name in os.listdir(self.directory / SEGMENTS):
            if is_segment_file(name) and name not in known:
                os.unlink(self.directory / SEGMENTS / name)

    def close(self) -> None:
        """Close the connection and free the lock. Closing twice does nothing."""
        with self.turn:
            try:  # leave the catalog in one file if no reader is in the way
                self.db.execute("PRAGMA busy_timeout = 100")
                self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            except sqlite3.Error:
                pass  # everything is committed; the next connection carries on from the log
            finally:
                self.db.close()
                self._lock.release()

    # ---- transactions --------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make everything inside the block one commit, or nothing if an exception leaves it.

        Blocks may be nested; an exception that leaves an inner one undoes that one only.
        """
        with self.turn:
            written, obsolete, changes = len(self._written), len(self._obsolete), self.db.total_changes
            self._still_open()
            self._run("BEGIN IMMEDIATE" if self.depth == 0 else f"SAVEPOINT level_{self.depth}")
            self.depth += 1
            try:
                if self.depth == 1:
                    with as_index_errors(self.directory):
                        self.version = int(get_setting(self.db, "version")) + 1
                yield
                self._still_open()
                if self.depth == 1 and self.db.total_changes != changes:
                    with as_index_errors(self.directory):
                        put_setting(self.db, "version", self.version)
            except BaseException:
                self._undo()
                for path in self._written[written:]:
                    path.unlink(missing_ok=True)
                del self._written[written:], self._obsolete[obsolete:]
                raise
            finally:
                self.depth -= 1
            if self.depth:
                self._run(f"RELEASE level_{self.depth}")
            else:
                self._commit()

    def _undo(self) -> None:
        if self.db.in_transaction:  # a full disk makes SQLite roll back by itself
            level = self.depth - 1
            self._run(f"ROLLBACK TO level_{level}" if level else "ROLLBACK")
            if level:
                self._run(f"RELEASE level_{level}")

    def _still_open(self) -> None:
        if self.depth and not self.db.in_transaction:
            raise IndexStoreError(
                f"{self.directory}: the transaction was undone after an error: repeat all of it"
            )

    def _commit(self) -> None:
        # When COMMIT itself fails the log may hold it all the same, and a later reader may find it there.
        # So the new files stay; the next writer, which knows the outcome, removes them if they are unused.
        obsolete = self._obsolete
        self._written, self._obsolete = [], []
        try:
            self._run("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self._run("ROLLBACK")
            raise
        for path in obsolete:
            path.unlink(missing_ok=True)

    def _run(self, statement: str) -> None:
        with as_index_errors(self.directory):
            self.db.execute(statement)

    # ---- segments, inside a transaction --------------------------------------------------------------

    def add_segment(self, contents: Mapping[int, bytes], arrays: Mapping[str, NDArray[Any]]) -> SegmentRow:
        """Write a segment with the features of these contents (number and SHA-256), make it durable, and
        enter it and the places of the contents into the catalog."""
        row = write_segment(self.directory, contents, arrays)
        self._written.append(segment_path(self.directory, row.name))
        row = row._replace(id=self.next_key("segments"))
        insert(self.db, row)
        places = ((number, sha256, row.id, place) for place, (number, sha256) in enumerate(contents.items()))
        insert_all(self.db, map(ContentRow._make, places), replace=True)
        return row

    def drop_segment(self, row: SegmentRow) -> None:
        """Take a segment out of the catalog; its file goes once that is committed."""
        self.db.execute("DELETE FROM segments WHERE id = ?", (row.id,))
        self._obsolete.append(segment_path(self.directory, row.name))

    def next_key(self, table: str) -> int:
        """A key that no row of the table has."""
        (highest,) = self.db.execute(f"SELECT max(rowid) FROM {table}").fetchone()
        return int(highest or 0) + 1
