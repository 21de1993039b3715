"""The indexing job: find, hash, decode, encode, commit. Decoding runs in worker processes meanwhile."""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr.decode import DecodePool
from vtr.files import content_hash, find_videos
from vtr.index import VideoRecord, Writer
from vtr.progress import Progress, make_progress
from vtr.types import Clip, Failure, IndexReport

if TYPE_CHECKING:
    from vtr.engine import Engine

ENCODE_CLIPS = 4  # clips encoded in one go
COMMIT_CLIPS = 256  # rows a segment gets at most …
COMMIT_SECONDS = 15.0  # … and how long an encoded row waits for its commit


@dataclass(frozen=True)
class Source:
    """A file as it was when it was hashed."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str


@dataclass
class Job:
    """The state of one indexing run."""

    engine: Engine
    writer: Writer
    report: IndexReport
    progress: Progress
    metadata: Mapping[str, Mapping[str, Any]]
    retry: bool
    sources: dict[Path, Source] = field(default_factory=dict)  # being decoded
    twins: dict[str, list[Source]] = field(default_factory=dict)  # same content as one being decoded
    decoded: list[tuple[Source, Clip]] = field(default_factory=list)
    records: list[VideoRecord] = field(default_factory=list)  # encoded, not yet committed
    arrays: list[dict[str, np.ndarray]] = field(default_factory=list)
    last_commit: float = field(default_factory=time.monotonic)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))


def run_indexing(
    engine: Engine,
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    progress: bool | Callable[..., None],
    metadata: Mapping[str, Mapping[str, Any]],
    retry: bool,
    workers: int | None,
) -> IndexReport:
    """Do the job that :meth:`vtr.Engine.index` describes."""
    start = time.perf_counter()
    report = IndexReport()
    files = list(find_videos(paths))
    store = engine.store(create=True)
    with store.writer() as writer, make_progress(progress, "indexing") as shown:
        shown.total(len(files))
        job = Job(engine, writer, report, shown, metadata, retry)
        with DecodePool(workers or os.cpu_count() or 1, engine.model.sampling) as pool:
            try:
                for path, result in pool.map(_new_files(job, files)):
                    _take(job, path, result)
                _encode(job)
            finally:  # what is encoded is kept also when the job is interrupted
                _commit(job)
            job.seconds["decode"] = pool.seconds
    report.seconds = {**job.seconds, "total": time.perf_counter() - start}
    return report


@contextmanager
def _timed(job: Job, stage: str) -> Iterator[None]:
    start = time.perf_counter()
    try:
        yield
    finally:
        job.seconds[stage] += time.perf_counter() - start


def _new_files(job: Job, files: Iterable[Path]) -> Iterator[Path]:
    """The files that have to be decoded; the others are settled here."""
    for path in files:
        try:
            stat = path.stat()
            if _settled_by_stat(job, path, stat):
                continue
            with _timed(job, "hash"):
                source = Source(path, stat.st_size, stat.st_mtime_ns, content_hash(path))
        except OSError as error:
            _fail(job, path, f"cannot be read: {error.strerror or error}", None)
            continue
        if not _settled_by_content(job, source):
            job.sources[path] = source
            yield path


def _settled_by_stat(job: Job, path: Path, stat: os.stat_result) -> bool:
    """A file whose size and time of change are known needs no look inside."""
    known = job.writer.find(path)
    if known is not None and (known.size, known.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        _unchanged(job, path, known.id, known.metadata)
        return True
    failed = None if job.retry else job.writer.find_failure(path)
    if failed is not None and (failed.size, failed.mtime_ns) == (stat.st_size, stat.st_mtime_ns):
        job.report.skipped.append(Failure(path, failed.reason))
        job.progress.step(path.name, "skipped")
        return True
    return False


def _settled_by_content(job: Job, source: Source) -> bool:
    """Content that is in the index already, or on its way into it, is not decoded again."""
    known = job.writer.find(source.path)
    if known is not None and known.sha256 == source.sha256:  # only its time of change is new
        job.writer.touch(known.id, source.size, source.mtime_ns)
        _unchanged(job, source.path, known.id, known.metadata)
        return True
    if job.writer.find_hash(source.sha256) is not None:
        _added(job, _link(job, source))
        return True
    if source.sha256 in job.twins:
        job.twins[source.sha256].append(source)
        return True
    job.twins[source.sha256] = []
    return False


def _unchanged(job: Job, path: Path, video: int, stored: Mapping[str, Any]) -> None:
    given = _metadata(job, path)
    if given is not None and given != stored:
        job.writer.set_metadata(video, given)
    job.report.unchanged.append(path)
    job.progress.step(path.name, "unchanged")


def _take(job: Job, path: Path, result: Clip | Failure) -> None:
    """One decoder result: a clip waits for its batch, a failure goes into the report."""
    source = job.sources.pop(path)
    if isinstance(result, Failure):
        _fail_content(job, source, result.reason)
        return
    try:
        stat = path.stat()
        changed = (stat.st_size, stat.st_mtime_ns) != (source.size, source.mtime_ns)
    except OSError:
        changed = True
    if changed:
        for failed in [source, *job.twins.pop(source.sha256)]:
            _fail(job, failed.path, "changed while it was being read; index it again", None)
        return
    job.decoded.append((source, result))
    if len(job.decoded) >= ENCODE_CLIPS:
        _encode(job)
    waited = time.monotonic() - job.last_commit
    if len(job.records) >= COMMIT_CLIPS or (job.records and waited >= COMMIT_SECONDS):
        _commit(job)


def _encode(job: Job) -> None:
    """Encode the clips in hand into the rows that the scorer wants stored."""
    if not job.decoded:
        return
    with _timed(job, "encode"):
        features = job.engine.encode_clips([clip for _, clip in job.decoded])
        rows = dict(job.engine.scorer.rows(features))
        times = np.zeros((len(job.decoded), job.engine.model.sizes["frames"]), np.float32)
        for row, (_, clip) in enumerate(job.decoded):
            times[row, : len(clip.timestamps)] = clip.timestamps
        rows["timestamps"] = times
    sound = np.ones(len(times), bool)
    for values in rows.values():
        sound &= np.isfinite(values).reshape(len(values), -1).all(1)
    for keep, (source, clip) in zip(sound, job.decoded, strict=True):
        if keep:
            job.records.append(_record(job, source, clip))
        else:
            _fail_content(job, source, "its features are not finite: the model overflows on it")
    job.arrays.append({name: values[sound] for name, values in rows.items()})
    job.decoded = []


def _commit(job: Job) -> None:
    """One segment, one transaction; only then do the rows count as added."""
    if not job.records:
        return
    with _timed(job, "commit"):
        columns = job.engine.store().columns
        arrays = {
            name: np.concatenate([part[name] for part in job.arrays]).astype(spec.dtype, copy=False)
            for name, spec in columns.items()
        }
        with job.writer.transaction():
            job.writer.add(job.records, arrays)
            linked = [_link(job, twin) for record in job.records for twin in job.twins.get(record.sha256, [])]
    done: list[Source | VideoRecord] = [*job.records, *linked]
    for item in done:
        job.twins.pop(item.sha256, None)
        _added(job, item)
    job.records, job.arrays = [], []
    job.last_commit = time.monotonic()


def _link(job: Job, source: Source) -> Source:
    """Index a file by the features of a video with the same content."""
    known = job.writer.find_hash(source.sha256)
    assert known is not None, "a stored row is found by its content"
    job.writer.link(_record(job, source, known), known)
    return source


def _record(job: Job, source: Source, seen: Clip | VideoRecord) -> VideoRecord:
    return VideoRecord(
        path=source.path,
        sha256=source.sha256,
        size=source.size,
        mtime_ns=source.mtime_ns,
        duration=seen.duration,
        width=seen.width,
        height=seen.height,
        fps=seen.fps,
        codec=seen.codec,
        metadata=_metadata(job, source.path) or {},
    )


def _metadata(job: Job, path: Path) -> dict[str, Any] | None:
    given = job.metadata.get(str(path), job.metadata.get(path.name))
    return None if given is None else dict(given)


def _added(job: Job, item: Source | VideoRecord) -> None:
    job.report.added.append(item.path)
    job.progress.step(item.path.name, "added")


def _fail_content(job: Job, source: Source, reason: str) -> None:
    """Fail a file and its copies."""
    for failed in [source, *job.twins.pop(source.sha256)]:
        _fail(job, failed.path, reason, failed)


def _fail(job: Job, path: Path, reason: str, source: Source | None) -> None:
    """Put a failure into the report, and into the index so that it is not tried again in vain."""
    job.report.failed.append(Failure(path, reason))
    job.progress.step(path.name, "failed")
    if source is not None:
        job.writer.fail(path, source.size, source.mtime_ns, source.sha256, reason)
