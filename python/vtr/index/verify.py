"""Checking an index byte by byte: the catalog, every segment, and whether they agree."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import numpy as np

from vtr.errors import IndexStoreError
from vtr.index.catalog import TABLES, SegmentRow, as_index_errors, is_sound, select
from vtr.index.segment import CONTENTS, HASHES, SEGMENTS, Segment, SegmentMissing, file_checksum
from vtr.index.store import IndexStore

ATTEMPTS = 10  # while another process compacts the index
MOST = 20  # lines about one kind of problem

# What must hold between rows: a query for those for which it does not, and what to say of them.
RULES = {
    "two videos have the path {0!r}": """
        SELECT path FROM videos WHERE died IS NULL GROUP BY path HAVING count(*) > 1""",
    "two videos have the id {0}": """
        SELECT id FROM videos WHERE died IS NULL GROUP BY id HAVING count(*) > 1""",
    "video {0} has no features": """
        SELECT v.id FROM videos AS v LEFT JOIN contents AS c ON c.id = v.content
        WHERE c.id IS NULL OR (v.died IS NULL AND c.segment IS NULL)""",
    "video {0} has numbers that no commit gave it": """
        SELECT id FROM videos WHERE id < 1 OR id >= :next_id OR born < 1 OR born > :version
        OR died < born OR died > :version""",
    "video {0} has metadata that is not an object": """
        SELECT id FROM videos WHERE substr(metadata, 1, 1) <> '{'""",
    "content {0} points outside the segments": """
        SELECT c.id FROM contents AS c LEFT JOIN segments AS s ON s.id = c.segment
        WHERE c.segment IS NOT NULL AND (s.id IS NULL OR c.row IS NULL OR c.row < 0 OR c.row >= s.rows)""",
    "row {1} of segment {0} belongs to two contents": """
        SELECT segment, row FROM contents WHERE segment IS NOT NULL
        GROUP BY segment, row HAVING count(*) > 1""",
}


def verify_index(
    path: str | os.PathLike[str], fast: bool = False, notes: list[str] | None = None
) -> list[str]:
    """Check an index, also while it is being written; changes nothing.

    Every row of the catalog and every byte of every segment is compared with its checksum, and the two
    with each other.

    Args:
        fast: look at structure and sizes only, not at the bytes of features.
        notes: takes lines about what is no problem but worth knowing, such as left-over files.

    Returns:
        What is wrong, a line each; empty for a sound index.
    """
    try:
        with IndexStore.open(path) as store:
            for _ in range(ATTEMPTS):
                version = store.version()
                problems, gone = _verify(store, fast)
                if not gone or store.version() == version:
                    if notes is not None:
                        notes += _notes(store)
                    return problems + gone
            return [f"{store.path} is compacted all the time: verify it when that is over"]
    except IndexStoreError as error:
        return [str(error)]


def _verify(store: IndexStore, fast: bool) -> tuple[list[str], list[str]]:
    """Problems, and lines about files that are gone, which a compaction meanwhile may explain."""
    problems: list[str] = []
    gone: list[str] = []
    with store.catalog.read() as db:  # one read transaction: one state of the index
        try:
            _check_catalog(db, fast, problems)
            for row in select(db, SegmentRow):
                try:
                    _check_segment(db, Segment(store.path, row, store.columns), row, fast, problems)
                except SegmentMissing as error:
                    gone.append(str(error))
                except (IndexStoreError, OSError) as error:
                    problems.append(str(error))
        except (sqlite3.Error, UnicodeDecodeError, IndexStoreError) as error:
            problems.append(f"catalog: cannot be read to its end: {error}")
    return problems, gone


# ---- the catalog -------------------------------------------------------------------------------------


def _check_catalog(db: sqlite3.Connection, fast: bool, problems: list[str]) -> None:
    check = "quick_check" if fast else "integrity_check"
    lines = [line for (text,) in db.execute(f"PRAGMA {check}({MOST})") for line in str(text).splitlines()]
    problems += [f"catalog: {line}" for line in lines[:MOST] if line != "ok" and not line.startswith("***")]
    for kind, table in TABLES.items():
        names = ", ".join(kind._fields)  # type: ignore[attr-defined]
        wrong = []
        for values in db.execute(f"SELECT {names}, crc FROM {table} NOT INDEXED"):
            if not is_sound(kind, values[:-1], values[-1]):
                wrong.append(values[0])
        problems += [f"catalog: {table}: row {key!r:.80} does not match its checksum" for key in wrong[:MOST]]
    try:
        settings = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM settings")}
        counters = {name: int(settings[name]) for name in ("version", "next_id", "purged")}
    except (KeyError, TypeError, ValueError) as error:
        problems.append(f"catalog: settings: {error!r}")
        return
    for message, query in RULES.items():
        for values in db.execute(f"{query} LIMIT {MOST}", counters):
            problems.append(f"catalog: {message.format(*values)}")


# ---- segments ----------------------------------------------------------------------------------------


def _check_segment(
    db: sqlite3.Connection, segment: Segment, row: SegmentRow, fast: bool, problems: list[str]
) -> None:
    """The bytes of a segment, and whether its rows belong to the contents that point at them."""
    found = [
        line for name in ([CONTENTS, HASHES] if fast else segment.names()) for line in segment.damage(name)
    ]
    if not found and not fast:
        with as_index_errors(segment.path):
            if file_checksum(segment.path) != row.checksum:
                found.append(f"{segment.path}: bytes outside the rows do not match the file's checksum")
    if not found:
        numbers, hashes = segment.column(CONTENTS), segment.column(HASHES)
        for number, sha256, place in db.execute(
            "SELECT id, sha256, row FROM contents WHERE segment = ? AND row >= 0 AND row < ?",
            (row.id, row.rows),
        ):
            if numbers[place] != number or hashes[place].tobytes() != sha256:
                found.append(f"{segment.path}: row {place} is not of content {number}, as the catalog says")
        if len(np.unique(numbers)) != len(numbers):
            found.append(f"{segment.path}: two rows are of one content")
    problems += found[:MOST]


def _notes(store: IndexStore) -> list[str]:
    """Files that no commit speaks of."""
    with store.catalog.read() as db:
        known = {f"{name}.safetensors" for (name,) in db.execute("SELECT name FROM segments")}
    folder = store.path / SEGMENTS
    return [
        f"{Path(folder, name)} is in no commit (left by an interrupted writer, which the next one removes, "
        "or by someone else)"
        for name in sorted(set(os.listdir(folder)) - known)
    ]
