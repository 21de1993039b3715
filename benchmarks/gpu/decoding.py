"""Part "decoding": files to the frames that a model sees, by DALI on NVDEC and by PyAV in worker processes.

The files are copies of one that is made here. Both sides plan, seek and resize as an indexing run does; pools
are started beforehand.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..measure import ratio, summary
from .place import Place

FILES = 32
SOURCES = (  # encoder, suffix, width, height, seconds
    ("libx264", ".mp4", 640, 360, 12),
    ("libx264", ".mp4", 1280, 720, 12),
    ("libvpx-vp9", ".webm", 640, 360, 12),
)


def measure(place: Place) -> Iterator[dict[str, Any]]:
    place.require_gpu()
    from vtr.decode.dali import DaliPool
    from vtr.decode.pool import DecodePool

    for source in SOURCES:
        with tempfile.TemporaryDirectory() as folder:
            label, paths = files(Path(folder), source, FILES)
            with DecodePool() as pyav, DaliPool(device="cuda", batch=16) as dali:
                yield from compare(label, paths, {"pyav": pyav, "dali": dali}, place)


def files(folder: Path, source: tuple[str, str, int, int, int], count: int) -> tuple[str, list[Path]]:
    """What they are, and ``count`` files of the same packets."""
    from ..made_videos import Kind, remuxed, write

    kind = Kind(*source)
    path = folder / kind.file_name
    write(path, kind)
    return path.stem, remuxed(path, folder / "copies", count)


def compare(label: str, paths: list[Path], pools: dict[str, Any], place: Place) -> Iterator[dict[str, Any]]:
    """Seconds of all files in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in pools}
    failures: dict[str, list[str]] = {name: [] for name in pools}
    for number in range(1 + max(1, place.repeats // 3)):
        for name, pool in pools.items():
            start = time.perf_counter()
            results = list(pool.map(paths))
            if number:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
            failures[name] = [str(clip.reason) for _, clip in results if not hasattr(clip, "frames")]
    for name, times in seconds.items():
        record: dict[str, Any] = {
            "name": f"decode {label} {name}",
            "files": len(paths),
            "ms": summary(times, 1e-3, digits=2),
            "clips_s": round(len(paths) / float(np.median(times)), 2),
            "failed_files": failures[name][:3],
        }
        if name == "dali":
            declined = pools[name].declined
            record["times_pyav"] = ratio(seconds["pyav"], times)
            record["left_to_pyav"] = {"files": len(declined), "reasons": sorted(set(declined.values()))[:3]}
        yield record
