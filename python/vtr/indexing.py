"""The indexing job: find, hash, decode, encode, commit. Decoding runs in worker processes meanwhile."""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtr.decode.limits import Limits
from vtr.files import content_hash, find_videos
from vtr.index import VideoRecord, Writer, check_metadata
from vtr.progress import Progress, make_progress
from vtr.types import Clip, Failure, IndexReport

if TYPE_CHECKING:
    from vtr.engine import Engine

ENCODE_CLIPS = 4  # clips encoded in one go
LARGEST_TIME = (1 << 63) - 1  # nanoseconds, of a catalog's integers: until April 2262
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
    small: list[Callable[[], object]] = field(default_factory=list)  # changes that wait for the next commit
    linked: list[Source] = field(default_factory=list)  # whose content is stored already
    again: list[Path] = field(default_factory=list)  # copies of a file that went away while it was read
    used_metadata: set[str] = field(default_factory=set)
    loading: threading.Thread | None = None  # of the encoders, once there is something to encode
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
    for name, fields in metadata.items():
        check_metadata(name, fields)
    unreadable: list[OSError] = []
    files = list(find_videos(paths, unreadable.append))
    with (
        engine.decode_pool(workers) as pool,  # first: its processes start while the index is made or opened
        engine.store(create=True).writer() as writer,
        make_progress(progress, "indexing") as shown,
    ):
        shown.total(len(files) + len(unreadable))
        job = Job(engine, writer, report, shown, metadata, retry)
        for error in unreadable:
            _fail(job, Path(error.filename), f"cannot be read: {error.strerror}", None)
        try:
            while files:
                for path, result in _awaited(job, pool.map(_new_files(job, files))):
                    _take(job, path, result)
                _encode(job)
                files, job.again = job.again, []
        finally:  # what is encoded is kept also when the job is interrupted
            _commit(job)
        job.seconds["decode"] = pool.seconds
        report.not_by_dali = dict(pool.declined)
    report.unused_metadata = sorted(set(metadata) - job.used_metadata)
    report.seconds = {**job.seconds, "total": time.perf_counter() - start}
    return report


def _awaited(
    job: Job, results: Iterator[tuple[Path, Clip | Failure]]
) -> Iterator[tuple[Path, Clip | Failure]]:
    """The decoders' results. What taking one takes, less the hashing and committing in there, is waiting."""
    while True:
        begin, busy = time.perf_counter(), job.seconds["hash"] + job.seconds["commit"]
        result = next(results, None)
        busy = job.seconds["hash"] + job.seconds["commit"] - busy
        job.seconds["wait"] += time.perf_counter() - begin - busy
        if result is None:
            return
        yield result


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
        _commit_if_due(job)
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            known = job.writer.find(path)
            if _settled_by_stat(job, path, status, known):
                continue
            if status.st_size > Limits.bytes:  # a sparse file of no content may take days to hash
                raise OSError(errno.EFBIG, f"it has {status.st_size} bytes, more than {Limits.bytes}")
            with _timed(job, "hash"):
                source = Source(path, *_stamp(status), content_hash(path))
        except OSError as error:
            _fail(job, path, f"cannot be read: {error.strerror or error}", None)
            continue
        if not _settled_by_content(job, source, known):
            _load_encoders(job)
            job.sources[path] = source
            yield path


def _load_encoders(job: Job) -> None:
    """Load what encodes clips while the first of them are decoded."""
    if job.loading is not None:
        return

    def load() -> None:
        with suppress(Exception):  # it comes again, and is told, where the first clips are encoded
            job.engine.encoders.load_for_videos()

    job.loading = threading.Thread(target=load, name="vtr-load")
    job.loading.start()


def _settled_by_stat(job: Job, path: Path, status: os.stat_result, known: VideoRecord | None) -> bool:
    """A file whose size and time of change are known needs no look inside."""
    now = _stamp(status)
    if known is not None and (known.size, known.mtime_ns) == now:
        _unchanged(job, path, known.id, known.metadata)
        return True
    failed = None if job.retry else job.writer.find_failure(path)
    if failed is not None and (failed.size, failed.mtime_ns) == now:
        job.report.skipped.append(Failure(path, failed.reason))
        job.progress.step(path.name, "skipped")
        return True
    return False


def _settled_by_content(job: Job, source: Source, known: VideoRecord | None) -> bool:
    """Content that is in the index already, or on its way into it, is not decoded again."""
    if known is not None and known.sha256 == source.sha256:  # only its time of change is new
        video = known.id
        job.small.append(lambda: job.writer.touch(video, source.size, source.mtime_ns))
        _unchanged(job, source.path, known.id, known.metadata)
        return True
    if job.writer.find_hash(source.sha256) is not None:
        job.linked.append(source)
        return True
    if source.sha256 in job.twins:
        job.twins[source.sha256].append(source)
        return True
    job.twins[source.sha256] = []
    return False


def _unchanged(job: Job, path: Path, video: int, stored: Mapping[str, Any]) -> None:
    given = _metadata(job, path)
    if given is not None and given != stored:
        job.small.append(lambda: job.writer.set_metadata(video, given))
    job.report.unchanged.append(path)
    job.progress.step(path.name, "unchanged")


def _take(job: Job, path: Path, result: Clip | Failure) -> None:
    """One decoder result: a clip waits for its batch, a failure goes into the report."""
    source = job.sources.pop(path)
    if not _as_hashed(source):
        # Whatever was decoded may not be what was hashed. Its copies are looked at on their own.
        _fail(job, path, "changed while it was being read; index it again", None)
        job.again += [twin.path for twin in job.twins.pop(source.sha256)]
    elif isinstance(result, Failure):
        _fail_content(job, source, result.reason)
    else:
        job.decoded.append((source, result))
        if len(job.decoded) >= ENCODE_CLIPS:
            _encode(job)
    _commit_if_due(job)


def _as_hashed(source: Source) -> bool:
    try:
        status = source.path.stat()
    except OSError:
        return False
    return _stamp(status) == (source.size, source.mtime_ns)


def _stamp(status: os.stat_result) -> tuple[int, int]:
    """Size and time of change. File systems hold times that the catalog cannot: broken clocks make such."""
    return status.st_size, max(-LARGEST_TIME, min(LARGEST_TIME, status.st_mtime_ns))


def _commit_if_due(job: Job) -> None:
    waiting = len(job.records) + len(job.small) + len(job.linked)
    waited = time.monotonic() - job.last_commit
    if waiting >= COMMIT_CLIPS or (waiting and waited >= COMMIT_SECONDS):
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
        with np.errstate(over="ignore"):  # fp16 may overflow; that is looked for below
            stored = {
                name: rows[name].astype(spec.dtype, copy=False)
                for name, spec in job.engine.store().columns.items()
            }
    sound = np.ones(len(times), bool)
    for values in stored.values():
        sound &= np.isfinite(values).reshape(len(values), -1).all(1)
    for keep, (source, clip) in zip(sound, job.decoded, strict=True):
        if keep:
            job.records.append(_record(job, source, clip))
        else:
            _fail_content(job, source, "its features are not finite: the model overflows on it")
    job.arrays.append({name: values[sound] for name, values in stored.items()})
    job.decoded = []


def _commit(job: Job) -> None:
    """Everything that waits, in one transaction; only then do rows count as added."""
    records, linked, small = job.records, job.linked, job.small
    if not (records or linked or small):
        return
    twins = [twin for record in records for twin in job.twins[record.sha256]]
    with _timed(job, "commit"), job.writer.transaction():
        for source in linked:  # before a new row takes the place of the one they were found by
            _link(job, source)
        if records:
            names = job.engine.store().columns
            job.writer.add(
                records, {name: np.concatenate([part[name] for part in job.arrays]) for name in names}
            )
        for twin in twins:
            _link(job, twin)
        for change in small:
            change()
    job.records, job.arrays, job.linked, job.small = [], [], [], []
    job.last_commit = time.monotonic()
    for record in records:
        del job.twins[record.sha256]
    done: list[Source | VideoRecord] = [*records, *linked, *twins]
    for item in done:
        job.report.added.append(item.path)
        job.progress.step(item.path.name, "added")


def _link(job: Job, source: Source) -> None:
    """Index a file by the features of a video with the same content."""
    known = job.writer.find_hash(source.sha256)
    assert known is not None, "a stored row is found by its content"
    job.writer.link(_record(job, source, known), known)


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
    for name in (str(path), path.name):
        if name in job.metadata:
            job.used_metadata.add(name)
            return dict(job.metadata[name])
    return None


def _fail_content(job: Job, source: Source, reason: str) -> None:
    """Fail a file and its copies: what is in them cannot be indexed."""
    for failed in [source, *job.twins.pop(source.sha256)]:
        _fail(job, failed.path, reason, failed)


def _fail(job: Job, path: Path, reason: str, source: Source | None) -> None:
    """Put a failure into the report. What was looked at and found bad goes into the index too, so that it is
    not tried again in vain, and what the index held of the path's former content leaves it."""
    job.report.failed.append(Failure(path, reason))
    job.progress.step(path.name, "failed")
    if source is not None:

        def record() -> None:
            job.writer.remove([path])
            job.writer.fail(path, source.size, source.mtime_ns, source.sha256, reason)

        job.small.append(record)
