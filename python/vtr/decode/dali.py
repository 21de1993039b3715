"""Decoding many files with DALI: planned in worker processes by PyAV, decoded in batches, PyAV where not."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, cast

import numpy as np

from vtr.decode.dali_pipeline import MOST_PIXELS, DaliDecoder, Frames, decoded_pixels
from vtr.decode.dali_plan import Declined, Plan
from vtr.decode.limits import Limits
from vtr.decode.pool import DecodePool
from vtr.errors import UsageError
from vtr.types import Clip, Failure, Sampling

# Grey levels, mean over the clip's first picture. Sound pictures differ by less than 4 even where they are
# noise; the wrong picture, the wrong colours or fields differ by more.
MOST_DIFFERENT = 8.0


class DaliPool:
    """Reads clips as ``DecodePool`` does, with the pictures decoded by DALI on ``device``.

    Every file is opened, limited and planned by PyAV in a worker process, which hands on the packets of the
    wanted frames in a container of its own making. So indices, timestamps and limits are PyAV's, and no
    file's container reaches DALI. What DALI is not known to decode alike, what it fails on, and what does
    not look like PyAV's first frame is decoded by PyAV; ``declined`` says why, by path.

    The coded pictures themselves are parsed by DALI and the GPU's driver in this process: a file that crashes
    those crashes it. Use ``DecodePool`` for files of enemies. Raises ``BackendError`` where DALI is missing.
    """

    def __init__(
        self,
        workers: int | None = None,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
        *,
        device: str = "cpu",
        batch: int = 8,
    ) -> None:
        if device not in ("cpu", "cuda"):
            raise UsageError(f"expected device as cpu or cuda, got {device!r}")
        if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= 256:
            raise UsageError(f"batch: expected an integer from 1 to 256, got {batch!r}")
        cores = len(os.sched_getaffinity(0))
        self.declined: dict[Path, str] = {}
        self._device = device
        self._decoding = 0.0  # seconds
        self._pool = DecodePool(workers, sampling, limits)
        try:
            self._dali = DaliDecoder(
                sampling or Sampling(), device, batch=batch, threads=max(1, min(8, cores))
            )
        except BaseException:
            self._pool.close()
            raise

    def map(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Clip | Failure]]:
        """Read every file of ``paths``; yields ``(path, Clip or Failure)`` as they get ready, in any order.

        ``Clip.frames`` lie on the device where DALI decoded them there. One thread at a time.
        """
        waiting: list[tuple[Path, Plan]] = []
        for path, outcome in self._pool.map_plans(paths, self._device):
            if isinstance(outcome, Plan) and decoded_pixels(outcome) <= MOST_PIXELS:
                waiting.append((path, outcome))
                if len(waiting) == self._dali.batch:
                    yield from self._decode(waiting)
                    waiting = []
            elif isinstance(outcome, Plan):
                yield path, self._by_pyav(path, f"its frames have more than {MOST_PIXELS} pixels together")
            elif isinstance(outcome, Declined):
                self.declined[path] = outcome.reason
                yield path, outcome.clip
            else:
                yield path, outcome
        yield from self._decode(waiting)

    @property
    def seconds(self) -> float:
        """Seconds spent planning and decoding in workers, summed over them, and decoding by DALI."""
        return self._pool.seconds + self._decoding

    def close(self) -> None:
        """End the workers, whatever they are doing. Frames that were given out stay."""
        self._pool.close()

    def __enter__(self) -> DaliPool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _decode(self, planned: list[tuple[Path, Plan]]) -> Iterator[tuple[Path, Clip | Failure]]:
        begin = time.perf_counter()
        results = self._dali.decode([plan for _, plan in planned])
        self._decoding += time.perf_counter() - begin
        for (path, plan), result in zip(planned, results, strict=True):
            if isinstance(result, str):
                yield path, self._by_pyav(path, f"DALI: {result}")
            elif problem := difference(plan, result):
                yield path, self._by_pyav(path, f"DALI: {problem}")
            else:  # NumPy's array or DeviceFrames, which does for one wherever shapes and bytes are wanted
                yield path, dataclasses.replace(plan.outline, frames=cast(Any, result))

    def _by_pyav(self, path: Path, reason: str) -> Clip | Failure:
        self.declined[path] = reason
        ((_, outcome),) = self._pool.map([path])
        return outcome


def difference(plan: Plan, frames: Frames) -> str | None:
    """What is wrong with DALI's frames, as far as the first one of them shows; None if nothing."""
    for expected in plan.outline.frames:
        got = np.asarray(frames[:1] if isinstance(frames, np.ndarray) else frames.first())[0]
        mean = np.abs(got.astype(np.int16) - expected).mean()
        if mean > MOST_DIFFERENT:
            return f"its first frame differs from PyAV's by {mean:.1f} grey levels"
    return None
