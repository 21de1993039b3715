"""Decoding many files in worker processes, each of which may die without hurting the job."""

from __future__ import annotations

import dataclasses
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from vtr.decode.dali_plan import Declined, Plan
from vtr.decode.limits import Limits
from vtr.decode.sampling import check_sampling
from vtr.decode.wire import Wire, WireError, plain, receive_clip, receive_plan, seconds_of
from vtr.decode.worker import GRACE
from vtr.errors import BackendError, UsageError
from vtr.processes import python_command, signal_name
from vtr.types import Clip, Failure, Sampling

START_SECONDS = 60.0  # for a worker to start and import its libraries
START_ATTEMPTS = 3


Outcome = Clip | Plan | Declined | Failure


class DecodePool:
    """Worker processes that read clips. A context manager; ``close`` ends the workers at once.

    ``workers`` defaults to the number of usable cores; the cores are shared out among the workers' decoders.
    The pool is thread-safe. ``seconds`` is the time spent reading clips so far, all workers together.
    """

    def __init__(
        self,
        workers: int | None = None,
        sampling: Sampling | None = None,
        limits: Limits | None = None,
    ) -> None:
        cores = len(os.sched_getaffinity(0))
        workers = cores if workers is None else workers
        if isinstance(workers, bool) or not isinstance(workers, int) or not 1 <= workers <= 1024:
            raise UsageError(f"workers: expected an integer from 1 to 1024, got {workers!r}")
        self.declined: dict[Path, str] = {}  # for a DaliPool's users; here nothing is left to others
        self._sampling = check_sampling(sampling or Sampling())
        self._limits = limits or Limits()
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._workers = [
            _Worker(self._sampling, self._limits, threads=max(1, cores // workers)) for _ in range(workers)
        ]
        self._threads = [
            threading.Thread(target=self._tend, args=(worker,), daemon=True) for worker in self._workers
        ]
        for thread in self._threads:
            thread.start()

    def map(self, paths: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Clip | Failure]]:
        """Read every file of ``paths``; yields ``(path, Clip or Failure)`` as they get ready, in any order.

        ``paths`` is consumed by the caller's thread as results are taken: at most two files a worker are
        under way or waiting to be taken. A file whose worker crashes, hangs or runs out of memory is a
        ``Failure``; the worker is replaced. Raises ``BackendError`` if no worker can be started.
        """
        for path, outcome in self._map(paths, None):
            assert isinstance(outcome, (Clip, Failure)), "no plan was asked for"
            yield path, outcome

    def map_plans(
        self, paths: Iterable[str | os.PathLike[str]], device: str
    ) -> Iterator[tuple[Path, Plan | Declined | Failure]]:
        """As ``map``, but frames are left to DALI on ``device`` ("cpu" or "cuda") wherever that is sound."""
        for path, outcome in self._map(paths, device):
            assert not isinstance(outcome, Clip), "a plan was asked for"
            yield path, outcome

    def _map(
        self, paths: Iterable[str | os.PathLike[str]], dali: str | None
    ) -> Iterator[tuple[Path, Outcome]]:
        results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        run = _Run(results)
        pending = 0
        try:
            for path in paths:
                self._submit(_Job(Path(path), run, dali))
                pending += 1
                while pending >= 2 * len(self._workers) or (pending and not results.empty()):
                    yield results.get().unpack()
                    pending -= 1
            while pending:
                yield results.get().unpack()
                pending -= 1
        finally:
            run.abandoned = True

    @property
    def seconds(self) -> float:
        """Seconds spent reading clips, summed over the workers."""
        return sum(worker.seconds for worker in self._workers)

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that run now."""
        return [worker.pid for worker in self._workers if worker.pid is not None]

    def close(self) -> None:
        """End the workers, whatever they are doing. Results not yet taken are lost."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for _ in self._threads:
            self._jobs.put(None)
        for worker in self._workers:
            worker.end()
        for thread in self._threads:
            thread.join()
        while not self._jobs.empty():  # of other threads, still waiting for these
            job = self._jobs.get()
            if job is not None:
                job.run.results.put(_Result(job.path, UsageError("the DecodePool was closed")))

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise UsageError("the DecodePool is closed; make a new one")
            self._jobs.put(job)

    def _tend(self, worker: _Worker) -> None:
        """One thread a worker: start it at once, then hand it one job after the other."""
        with suppress(Exception):  # for want of memory or descriptors: the first job tries again, and tells
            worker.start()
        while (job := self._jobs.get()) is not None:
            if not job.run.abandoned:
                try:
                    outcome: Outcome | BaseException = worker.read(job.path, job.dali)
                except BaseException as error:  # to be raised where the results are taken
                    outcome = error
                job.run.results.put(_Result(job.path, outcome))
        worker.stop()


@dataclasses.dataclass
class _Run:
    """One call of ``map``."""

    results: queue.SimpleQueue[_Result]
    abandoned: bool = False


@dataclasses.dataclass(frozen=True)
class _Job:
    path: Path
    run: _Run
    dali: str | None  # the device that DALI decodes on, where a plan is wanted


@dataclasses.dataclass(frozen=True)
class _Result:
    path: Path
    outcome: Outcome | BaseException

    def unpack(self) -> tuple[Path, Outcome]:
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.path, self.outcome


class _Worker:
    """One worker process, started anew whenever it died."""

    def __init__(self, sampling: Sampling, limits: Limits, threads: int) -> None:
        self._sampling = sampling
        self._limits = limits
        self._settings = {
            "sampling": dataclasses.asdict(sampling),
            "limits": dataclasses.asdict(limits),
            "threads": threads,
        }
        self._lock = threading.Lock()  # around starting and stopping
        self._stopped = False
        self._ready = False
        self._process: subprocess.Popen[bytes] | None = None
        self._wire: Wire | None = None
        self.seconds = 0.0

    @property
    def pid(self) -> int | None:
        process = self._process
        return None if process is None else process.pid

    def start(self) -> None:
        """Start the process, without waiting for it to be ready."""
        with self._lock:
            if self._process is not None or self._stopped:
                return
            ours, theirs = socket.socketpair()
            with theirs:
                descriptor = theirs.fileno()
                try:
                    self._process = subprocess.Popen(
                        python_command("vtr.decode.worker", descriptor),
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        pass_fds=(descriptor,),
                        start_new_session=True,  # a Ctrl-C at the terminal reaches the pool alone
                        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
                    )
                except BaseException:
                    ours.close()
                    raise
            self._wire, self._ready = Wire(ours), False
            with suppress(OSError):  # it died at once, which who waits for its answer finds out
                self._wire.send(self._settings)

    def read(self, path: Path, dali: str | None = None) -> Outcome:
        """The clip of one file, or its plan for DALI, or why there is none."""
        wire = self._started()
        deadline = time.monotonic() + self._limits.seconds + GRACE
        try:
            wire.send({"path": os.fspath(path), "dali": dali})
            header = wire.receive(deadline)
            self.seconds += seconds_of(header)
            if dali and isinstance(header.get("plan"), dict):
                return receive_plan(wire, header["plan"], self._sampling, deadline)
            if isinstance(header.get("clip"), dict):
                clip = receive_clip(wire, header["clip"], self._sampling, deadline)
                return Declined(clip, plain(header.get("declined"))) if dali else clip
            return Failure(path, plain(header.get("failure")))
        except TimeoutError:
            self.stop()
            return Failure(path, f"expected to be read within {self._limits.seconds:g} s; the decoder hung")
        except (EOFError, ConnectionError):
            return Failure(path, f"the decoder process {_fate(self.stop())}")
        except WireError as error:
            self.stop()
            return Failure(path, f"the decoder process answered nonsense: {error}")
        except BaseException:
            self.stop()
            raise

    def end(self) -> None:
        """Kill the process, and start no other."""
        with self._lock:
            self._stopped = True
            if self._process is not None:
                self._process.kill()

    def _started(self) -> Wire:
        """The connection to a process that is ready."""
        for _ in range(START_ATTEMPTS):
            try:
                self.start()
            except OSError as error:
                raise BackendError(
                    f"expected a decoder process to start, but {error.strerror or error}"
                ) from error
            if self._wire is None:
                raise UsageError("the DecodePool was closed")
            if self._ready:
                return self._wire
            try:
                self._wire.receive(time.monotonic() + START_SECONDS)
                self._ready = True
                return self._wire
            except (EOFError, OSError, WireError):
                fate = _fate(self.stop())
        raise BackendError(
            f"expected a decoder process to start, but {START_ATTEMPTS} times it {fate}; "
            f"what it printed says why, or try: {sys.executable} -c 'import vtr.decode.worker'"
        )

    def stop(self) -> int:
        """Kill the process if it still runs; its exit status, negative for a signal."""
        with self._lock:
            process, wire = self._process, self._wire
            self._process, self._wire = None, None
        if process is None or wire is None:
            return 0
        try:
            status = process.wait(0.5)  # it may be dying by itself, and then its own status tells why
        except subprocess.TimeoutExpired:
            process.kill()
            status = process.wait()
        wire.close()
        return status


def _fate(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    hint = " (the system may be short of memory)" if -status == signal.SIGKILL else ""
    return f"was ended by {signal_name(-status)}{hint}"
