"""Made-up videos for the tests of the index store: everything about number ``i`` follows from ``i``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from vtr.index import ColumnSpec, IndexStore, VideoRecord

COLUMNS = {
    "video": ColumnSpec((5,), "float16"),
    "frames": ColumnSpec((3, 5), "float16"),
    "gram": ColumnSpec((2,), "float32"),
}
FINGERPRINT = "ab" * 32


def new_store(path: Path) -> IndexStore:
    return IndexStore.create(path, FINGERPRINT, {"name": "tiny", "family": "clip4clip"}, COLUMNS)


def sha(content: object) -> str:
    return hashlib.sha256(repr(content).encode()).hexdigest()


def record(i: int, content: object = None, **changes: object) -> VideoRecord:
    values = {
        "path": Path(f"/videos/{i:05d}.mp4"),
        "sha256": sha(i if content is None else content),
        "size": 1000 + i,
        "mtime_ns": 10**18 + i,
        "duration": i / 4,
        "width": 64 + i,
        "height": 48,
        "fps": 25.0,
        "codec": "h264",
        "metadata": {"n": i},
    }
    return VideoRecord(**{**values, **changes})


def features(contents: list[object]) -> dict[str, np.ndarray]:
    """What a model would say of these contents: arrays ``[n, …]`` by column, told apart by content."""
    rows = []
    for content in contents:
        seed = int(sha(content)[:8], 16)
        rows.append(np.random.default_rng(seed).standard_normal(22).astype(np.float32))
    table = np.array(rows, np.float32).reshape(-1, 22)
    return {
        "video": table[:, :5].astype(np.float16),
        "frames": table[:, 5:20].reshape(-1, 3, 5).astype(np.float16),
        "gram": table[:, 20:].copy(),
    }


def add(writer, numbers, **changes):
    numbers = list(numbers)
    return writer.add([record(i, **changes) for i in numbers], features(numbers))


def content_of(store: IndexStore) -> dict[str, object]:
    """All that an index says, without ids, times and the places of rows: equal for equal indexes."""
    snapshot = store.snapshot()
    columns = {name: snapshot.gather(name) for name in snapshot.columns}
    videos = {}
    for position, video in enumerate(snapshot.records()):
        rows = [columns[name][position].tobytes() for name in columns]
        seen = (video.sha256, video.size, video.mtime_ns, video.duration, video.width, video.codec)
        videos[video.path] = (*seen, dict(video.metadata), rows)
    failed = {failure.path: (failure.reason, failure.size, failure.mtime_ns) for failure in store.failures()}
    return {"videos": videos, "failed": failed}
