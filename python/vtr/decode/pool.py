"""Decoding in worker processes: a file may crash, hang or exhaust one, and only that file is lost."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Any

import numpy as np

from vtr.decode.limits import Limits
from vtr.decode.worker import LENGTH
from vtr.errors import UsageError
from vtr.types import Clip, Failure, Sampling

GRACE = 5.0  # seconds beyond its time limit after which a worker counts as hung
START = 60.0  # seconds a worker may take to start
MAX_HEADER = 1 << 20  # bytes

Result = tuple[Path, Clip | Failure]


class WorkerLost(Exception):
    """A worker died, hung or talked nonsense; the message is the reason for the report."""


class DecodePool:
    """Decodes many files in ``workers`` processes. Use it in a ``with`` block.

    ``seconds`` is the time that workers have spent on files so far, all of them together. At most twice as
    many files as there are workers are under way or wait to be taken.
    """

    def __init__(self, workers: int, sampling: Sampling | None = None, limits: Limits | None = None) -> None:
        if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
            raise UsageError(f"expected workers as a whole number of at least 1, got {workers!r}")
        self.workers = workers
        self.sampling = sampling or Sampling()
        self.limits = limits or Limits()
        self.seconds = 0.0
        self._tasks: SimpleQueue[Path | None] = SimpleQueue()
        self._results: SimpleQueue[Result] = SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the workers, also those that are at work."""
        self._closing.set()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._threads = []

    def map(self, paths: Iterable[Path]) -> Iterator[Result]:
        """Each path with its clip, or with the reason why there is none, in the order in which they finish.

        ``paths`` is read as workers become free, in the caller's thread.
        """
        waiting = iter(paths)
        under_way, more = 0, True
        while more or under_way:
            while more and under_way < 2 * self.workers:
                path = next(waiting, None)
                if path is None:
                    more = False
                    break
                self._submit(path)
                under_way += 1
            if under_way:
                yield self._results.get()
                under_way -= 1

    def _submit(self, path: Path) -> None:
        if self._closing.is_set():
            raise UsageError("the pool is closed: make a new one")
        if len(self._threads) < self.workers:  # workers start when there is work for them
            thread = threading.Thread(target=self._serve, name="vtr-decode", daemon=True)
            thread.start()
            self._threads.append(thread)
        self._tasks.put(path)

    def _serve(self) -> None:
        """One thread keeps one worker busy, and replaces it when it is lost."""
        worker: Worker | None = None
        try:
            while (path := self._tasks.get()) is not None and not self._closing.is_set():
                start = time.monotonic()
                try:
                    worker = worker or Worker(self)
                    result: Clip | Failure = worker.decode(path)
                except WorkerLost as lost:
                    result = Failure(path, str(lost))
                    worker = worker.kill() if worker else None
                with self._lock:
                    self.seconds += time.monotonic() - start
                self._results.put((path, result))
        finally:
            if worker:
                worker.kill()

    @property
    def closing(self) -> bool:
        return self._closing.is_set()


class Worker:
    """One decoder process and the pipes to it."""

    def __init__(self, pool: DecodePool) -> None:
        self._pool = pool
        threads = max(1, (os.cpu_count() or 1) // pool.workers)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "vtr.decode.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        set_up = {"sampling": asdict(pool.sampling), "limits": asdict(pool.limits), "threads": threads}
        try:
            self._send(set_up)
            self._header(time.monotonic() + START)
        except WorkerLost as lost:
            self.kill()
            raise WorkerLost(f"no decoder could be started: {lost}") from None

    def kill(self) -> None:
        """End the process and close the pipes."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                pipe.close()

    def decode(self, path: Path) -> Clip | Failure:
        """What the worker says about one file. Raises WorkerLost."""
        self._send({"path": os.fsencode(path).hex()})
        deadline = time.monotonic() + self._pool.limits.seconds + GRACE
        header = self._header(deadline)
        if "reason" in header:
            return Failure(path, " ".join(str(header["reason"]).split()))
        sampling = self._pool.sampling
        try:
            count = int(header["frames"])
            if not 1 <= count <= sampling.frames:
                raise ValueError(count)
            shape = (count, sampling.size, sampling.size, 3)
            data = self._read(int(np.prod(shape)), deadline)
            return Clip(
                frames=np.frombuffer(data, np.uint8).reshape(shape),
                indices=np.array(header["indices"], np.int64).reshape(count),
                timestamps=np.array(header["timestamps"], np.float64).reshape(count),
                duration=float(header["duration"]),
                fps=float(header["fps"]),
                width=int(header["width"]),
                height=int(header["height"]),
                codec=str(header["codec"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise WorkerLost(f"the decoder gave a reply that makes no sense: {error!r}") from None

    def _send(self, message: dict[str, Any]) -> None:
        text = json.dumps(message).encode()
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(LENGTH.pack(len(text)) + text)
        except OSError:
            raise WorkerLost(self._cause_of_death()) from None

    def _header(self, deadline: float) -> dict[str, Any]:
        (length,) = LENGTH.unpack(self._read(LENGTH.size, deadline))
        if length > MAX_HEADER:
            raise WorkerLost("the decoder gave a reply that makes no sense")
        try:
            header = json.loads(self._read(length, deadline))
        except ValueError:
            header = None
        if not isinstance(header, dict):
            raise WorkerLost("the decoder gave a reply that makes no sense")
        return header

    def _read(self, count: int, deadline: float) -> bytearray:
        """Exactly ``count`` bytes, while the clock and the pool allow."""
        assert self._process.stdout is not None
        pipe = self._process.stdout.fileno()
        data = bytearray()
        while len(data) < count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise WorkerLost(f"decoding it took longer than {self._pool.limits.seconds:g} s")
            if self._pool.closing:
                raise WorkerLost("the job was stopped")
            if not select.select([pipe], [], [], min(left, 0.2))[0]:
                continue
            part = os.read(pipe, min(count - len(data), 1 << 20))
            if not part:
                raise WorkerLost(self._cause_of_death())
            data += part
        return data

    def _cause_of_death(self) -> str:
        try:
            status = self._process.wait(timeout=GRACE)
        except subprocess.TimeoutExpired:
            return "the decoder stopped talking"
        if status < 0:
            return f"the decoder crashed on it ({signal.Signals(-status).name})"
        return f"the decoder gave up on it (status {status})"
