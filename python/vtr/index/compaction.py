"""Compaction: rewriting segments without the rows that no video uses, and merging small ones."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from vtr.index.catalog import (
    ContentRow,
    SegmentRow,
    VideoRow,
    as_index_errors,
    get_setting,
    insert_all,
    put_setting,
    scan,
    select,
)
from vtr.index.segment import gather_rows, runs
from vtr.index.session import Session

TARGET_BYTES = 128 << 20  # of a full segment; compaction holds one in memory
FANOUT = 8  # segments of like size that are merged while indexing goes on
HISTORY_SECONDS = 3600.0  # how long snapshots can read the records of what was removed or changed

_IS_LIVE = "EXISTS (SELECT 1 FROM videos AS w WHERE w.content = v.id AND w.died IS NULL)"


def compact(session: Session) -> None:
    """Drop all dead rows, merge what is small, and forget old history, in one commit."""
    with session.transaction(), as_index_errors(session.directory):
        _forget_history(session)
        segments = select(session.db, SegmentRow, "ORDER BY v.id")
        small = [segment for segment in segments if _is_small(segment)]
        chosen = {segment.id: segment for segment in (small if len(small) > 1 else [])}
        counts = dict(
            session.db.execute(
                f"SELECT v.segment, count(*) FROM contents AS v WHERE {_IS_LIVE} GROUP BY v.segment"
            ).fetchall()
        )
        chosen |= {segment.id: segment for segment in segments if counts.get(segment.id, 0) < segment.rows}
        _rewrite(session, list(chosen.values()))


def merge_small(session: Session) -> None:
    """Merge segments once :data:`FANOUT` of like size have come together, in one commit.

    So an index that grows by small commits has few segments, and a row is rewritten once for each
    eightfold in size.
    """
    with as_index_errors(session.directory):
        groups: dict[int, list[SegmentRow]] = defaultdict(list)
        for segment in select(session.db, SegmentRow, "ORDER BY v.id"):
            if _is_small(segment):
                groups[segment.bytes.bit_length() // 3].append(segment)
        for group in groups.values():
            if len(group) >= FANOUT:
                with session.transaction():
                    _rewrite(session, group)


def _is_small(segment: SegmentRow) -> bool:
    return segment.bytes < TARGET_BYTES // 2


def _rewrite(session: Session, segments: Sequence[SegmentRow]) -> None:
    """Put the live rows of some segments into new ones, in the order in which their contents came."""
    if not segments:
        return
    ids = [segment.id for segment in segments]
    marks = ", ".join("?" * len(ids))
    inside = f"WHERE v.segment IN ({marks}) AND"
    live = select(session.db, ContentRow, f"{inside} {_IS_LIVE} ORDER BY v.id", ids)
    dead = select(session.db, ContentRow, f"{inside} NOT {_IS_LIVE}", ids)
    row_bytes = 32 + sum(spec.row_bytes for spec in session.columns.values())
    step = max(1, TARGET_BYTES // row_bytes)
    opened = {segment.id: session.open_segment(segment) for segment in segments}
    for start in range(0, len(live), step):
        part = live[start : start + step]
        segment_of = np.array([content.segment for content in part], np.int64)
        row_of = np.array([content.row for content in part], np.int64)
        starts = runs(segment_of, row_of)
        arrays = {}
        for name, spec in session.columns.items():
            arrays[name] = np.empty((len(part), *spec.shape), spec.dtype)
            sources = {id: opened[id].column(name) for id in np.unique(segment_of).tolist()}
            gather_rows(sources, segment_of, row_of, starts, arrays[name])
        session.add_segment({content.id: content.sha256 for content in part}, arrays)
    insert_all(session.db, (content._replace(segment=None, row=None) for content in dead), replace=True)
    for segment in segments:
        session.drop_segment(segment)


def _forget_history(session: Session) -> None:
    """Delete the rows of removed and changed videos that ended long ago."""
    old = [
        (row.serial, row.died)
        for row in scan(
            session.db,
            VideoRow,
            "WHERE v.died IS NOT NULL AND v.died_at < ?",
            (time.time() - HISTORY_SECONDS,),
        )
    ]
    session.db.executemany("DELETE FROM videos WHERE serial = ?", ((serial,) for serial, _ in old))
    if old:
        purged = max(get_setting(session.db, "purged"), *(died for _, died in old))
        put_setting(session.db, "purged", purged)
    session.db.execute(
        "DELETE FROM contents WHERE segment IS NULL AND NOT EXISTS "
        "(SELECT 1 FROM videos WHERE videos.content = contents.id)"
    )
