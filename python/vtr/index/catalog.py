"""The catalog of an index: one SQLite file that says which videos there are and where their rows lie.

Every row carries a CRC-32 of its values, which SQLite itself does not keep, so that a flipped bit is
found and not served. A video's row is never changed in place: it is live from the commit ``born`` until
the commit ``died``, and an update ends one row and begins another. So the state at any commit can be
asked for at any time with one condition (:data:`AT_VERSION`), and no reader holds a transaction open,
which would keep SQLite from recycling its write-ahead log.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args, get_type_hints
from urllib.parse import quote

from vtr.errors import IndexStoreError

CATALOG = "catalog.sqlite"
APPLICATION_ID = 0x56545249  # "VTRI"
FORMAT_VERSION = 1
BUSY_SECONDS = 30.0  # how long a statement waits for another connection's commit

AT_VERSION = "v.born <= :version AND (v.died IS NULL OR v.died > :version)"

SCHEMA = """
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE segments (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, rows INTEGER NOT NULL, bytes INTEGER NOT NULL,
    checksum INTEGER NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE contents (
    id INTEGER PRIMARY KEY, sha256 BLOB NOT NULL UNIQUE, segment INTEGER, row INTEGER, crc INTEGER NOT NULL);
CREATE INDEX contents_segment ON contents (segment);
CREATE TABLE videos (
    serial INTEGER PRIMARY KEY, id INTEGER NOT NULL, path BLOB NOT NULL, content INTEGER NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, duration REAL NOT NULL, width INTEGER NOT NULL,
    height INTEGER NOT NULL, fps REAL NOT NULL, codec TEXT NOT NULL, metadata TEXT NOT NULL,
    added_at REAL NOT NULL, born INTEGER NOT NULL, died INTEGER, died_at REAL, crc INTEGER NOT NULL);
CREATE UNIQUE INDEX videos_live_path ON videos (path) WHERE died IS NULL;
CREATE INDEX videos_live ON videos (id, content, died) WHERE died IS NULL;
CREATE INDEX videos_id ON videos (id);
CREATE INDEX videos_content ON videos (content);
CREATE TABLE failures (
    path BLOB PRIMARY KEY, reason TEXT NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    sha256 BLOB, failed_at REAL NOT NULL, crc INTEGER NOT NULL);
"""


class SettingRow(NamedTuple):
    key: str
    value: str  # JSON


class SegmentRow(NamedTuple):
    id: int
    name: str  # of the file, without its suffix
    rows: int
    bytes: int
    checksum: int  # CRC-32 of the whole file


class ContentRow(NamedTuple):
    """A distinct content and the place of its features; files with equal bytes share one."""

    id: int
    sha256: bytes
    segment: int | None  # None: compaction dropped the features, only history speaks of the content
    row: int | None


class VideoRow(NamedTuple):
    serial: int
    id: int  # never used again
    path: bytes
    content: int
    size: int
    mtime_ns: int
    duration: float
    width: int
    height: int
    fps: float
    codec: str
    metadata: str  # JSON object
    added_at: float
    born: int  # the commit that brought the row
    died: int | None  # the commit that ended it
    died_at: float | None


class FailureRow(NamedTuple):
    path: bytes
    reason: str
    size: int
    mtime_ns: int
    sha256: bytes | None
    failed_at: float


TABLES: dict[type, str] = {
    SettingRow: "settings",
    SegmentRow: "segments",
    ContentRow: "contents",
    VideoRow: "videos",
    FailureRow: "failures",
}
Row = TypeVar("Row", SettingRow, SegmentRow, ContentRow, VideoRow, FailureRow)
AnyRow = SettingRow | SegmentRow | ContentRow | VideoRow | FailureRow


# ---- rows --------------------------------------------------------------------------------------------


def row_crc(table: str, values: tuple[Any, ...]) -> int:
    return zlib.crc32(ascii((table, *values)).encode())  # the same text in every version of Python


@cache
def _types(kind: type) -> list[tuple[type, ...]]:
    """What each field of a row may be: SQLite's columns take a value of any type."""
    return [get_args(hint) or (hint,) for hint in get_type_hints(kind).values()]


def is_sound(kind: type, values: tuple[Any, ...], crc: Any) -> bool:
    """Whether values that were read are of the right types and match their checksum."""
    return all(map(isinstance, values, _types(kind))) and crc == row_crc(TABLES[kind], values)


def select(db: sqlite3.Connection, kind: type[Row], clause: str = "", params: Any = ()) -> list[Row]:
    """The rows of a table, each checked against its CRC; the table is called ``v`` in ``clause``."""
    return list(scan(db, kind, clause, params))


def scan(db: sqlite3.Connection, kind: type[Row], clause: str = "", params: Any = ()) -> Iterator[Row]:
    table = TABLES[kind]
    names = ", ".join(f"v.{name}" for name in kind._fields)
    for values in db.execute(f"SELECT {names}, v.crc FROM {table} AS v {clause}", params):
        if not is_sound(kind, values[:-1], values[-1]):
            raise IndexStoreError(
                f"the catalog is damaged: a row of {table} ({values[0]!r:.80}) does not match its checksum; "
                "restore the index from a copy, or delete it and index again"
            )
        yield kind._make(values[:-1])


def insert(db: sqlite3.Connection, row: AnyRow, *, replace: bool = False) -> None:
    insert_all(db, [row], replace=replace)


def insert_all(db: sqlite3.Connection, rows: Iterable[AnyRow], *, replace: bool = False) -> None:
    """Insert rows of one table, or put them in the place of those with the same key."""
    rows = iter(rows)
    first = next(rows, None)
    if first is not None:
        table = TABLES[type(first)]
        marks = ", ".join("?" * (len(first) + 1))
        verb = "INSERT OR REPLACE" if replace else "INSERT"
        values = ((*row, row_crc(table, row)) for row in chain([first], rows))
        db.executemany(f"{verb} INTO {table} VALUES ({marks})", values)


def update(db: sqlite3.Connection, row: AnyRow) -> None:
    """Overwrite the row with the same key, which is the first field."""
    table = TABLES[type(row)]
    names = ", ".join(f"{name} = ?" for name in row._fields[1:])
    db.execute(
        f"UPDATE {table} SET {names}, crc = ? WHERE {row._fields[0]} = ?",
        (*row[1:], row_crc(table, row), row[0]),
    )


def get_setting(db: sqlite3.Connection, key: str) -> Any:
    rows = select(db, SettingRow, "WHERE v.key = ?", (key,))
    try:
        return json.loads(rows[0].value)
    except (IndexError, ValueError, RecursionError):
        raise IndexStoreError(f"the catalog is damaged: it has no setting {key!r}") from None


def put_setting(db: sqlite3.Connection, key: str, value: Any) -> None:
    insert(db, SettingRow(key, json.dumps(value)), replace=True)


# ---- connections -------------------------------------------------------------------------------------


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """A connection in autocommit. ``mode``: "ro", "rw", "rwc" or "ro&immutable=1"."""
    uri = f"file:{quote(os.fsencode(path))}?mode={mode}"
    db = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        db.execute("PRAGMA trusted_schema = OFF")  # a forged schema calls no functions
        db.execute("PRAGMA synchronous = FULL")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def as_index_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into an IndexStoreError that says what to do."""
    try:
        yield
    except IndexStoreError as error:
        if str(path) in str(error):
            raise
        raise IndexStoreError(f"{path}: {error}") from error
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema makes messages no UTF-8
        raise IndexStoreError(f"{path}: {_advice(str(error))}") from error
    except OSError as error:
        raise IndexStoreError(f"{path}: {_advice(error.strerror or str(error))}") from error


def _advice(reason: str) -> str:
    text = reason.lower()
    if "full" in text or "no space" in text or "quota" in text or "too large" in text:
        return f"no room to write ({reason}): free some space and run again; what was committed is intact"
    if "locked" in text or "busy" in text:
        return f"another process keeps the catalog busy ({reason}): try again when it is done"
    if "readonly" in text or "read-only" in text or "permission" in text or "unable to open" in text:
        return f"cannot be opened or written ({reason}): check the permissions of the directory and its files"
    if "malformed" in text or "not a database" in text or "corrupt" in text or "decode" in text:
        return (
            f"the catalog is damaged ({reason}): restore it from a copy, or delete the index and index again"
        )
    return f"cannot be read or written ({reason}); what was committed is intact if the disk is"


class Catalog:
    """Read access for many threads: a connection is lent to one thread at a time."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.Lock()
        # By process: a connection must not be used, nor closed, on the other side of a fork.
        self._idle: dict[int, list[sqlite3.Connection]] = {}
        self.directory = directory
        self.path = directory / CATALOG
        found = _regular(self.path)
        self._file = (found.st_dev, found.st_ino)
        # On a file system that nobody can write, SQLite cannot make its shared-memory file.
        frozen = os.statvfs(directory).f_flag & os.ST_RDONLY and not os.path.exists(f"{self.path}-wal")
        self._mode = "ro&immutable=1" if frozen else "ro"
        with self.read() as db:
            check_identity(db, directory)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """A connection inside one read transaction."""
        with as_index_errors(self.directory):
            found = _regular(self.path)
            if (found.st_dev, found.st_ino) != self._file:
                raise IndexStoreError(f"{self.directory}: the index was replaced by another: open it again")
            db = self._take()
            try:
                db.execute("BEGIN")
                yield db
                db.execute("ROLLBACK")
            except BaseException:
                db.close()
                raise
            self._give(db)

    def _take(self) -> sqlite3.Connection:
        with self._lock:
            idle = self._idle.setdefault(os.getpid(), [])
            if idle:
                return idle.pop()
        return connect(self.path, self._mode)

    def _give(self, db: sqlite3.Connection) -> None:
        with self._lock:
            self._idle.setdefault(os.getpid(), []).append(db)

    def close(self) -> None:
        with self._lock:
            for db in self._idle.pop(os.getpid(), []):
                db.close()

    def __del__(self) -> None:
        self.close()


def _regular(path: Path) -> os.stat_result:
    """``lstat`` of a file that must be a plain one: not a link out of the index, not a pipe."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise IndexStoreError(_missing(path.parent)) from None
    if not stat.S_ISREG(found.st_mode):
        raise IndexStoreError(f"{path}: expected a plain file, got a link or something else: not an index")
    return found


def _missing(directory: Path) -> str:
    if not os.path.lexists(directory):
        return f"{directory} does not exist: make an index with `vtr index` first"
    if not directory.is_dir():
        return f"{directory} is not a directory, and so not an index"
    return f"{directory} holds no {CATALOG}: it is not an index (or its making was interrupted: index again)"


@cache
def _expected_schema() -> frozenset[tuple[str, str, str]]:
    db = sqlite3.connect(":memory:")
    db.executescript(SCHEMA)
    found = _schema(db)
    db.close()
    return found


def _schema(db: sqlite3.Connection) -> frozenset[tuple[str, str, str]]:
    return frozenset(db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL"))


def check_identity(db: sqlite3.Connection, directory: Path) -> None:
    """Refuse what is not a catalog that this version reads."""
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise IndexStoreError(
            f"{directory}: expected a vtr index, but {CATALOG} is empty, damaged or of another program "
            f"(application id {application:#x}, expected {APPLICATION_ID:#x})"
        )
    if version != FORMAT_VERSION:
        raise IndexStoreError(
            f"{directory}: the index has format {version}, this vtr reads format {FORMAT_VERSION}: "
            + ("use a newer vtr" if version > FORMAT_VERSION else "index again with this one")
        )
    if _schema(db) != _expected_schema():
        raise IndexStoreError(
            f"{directory}: the tables of {CATALOG} are not those of an index: it is damaged or was altered; "
            "restore it from a copy, or delete the index and index again"
        )


def create_catalog(path: Path, settings: dict[str, Any]) -> None:
    """Write a new catalog with no videos; it is durable when this returns, under a name of the caller's."""
    db = connect(path, "rwc")
    try:
        db.executescript(f"BEGIN; {SCHEMA}")
        for key, value in settings.items():
            put_setting(db, key, value)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {FORMAT_VERSION}")
        db.execute("COMMIT")
        db.execute("PRAGMA journal_mode = WAL")
    finally:
        db.close()
