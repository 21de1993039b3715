"""The process in which a pool decodes: it may crash, hang or run out of memory, and only it suffers.

It imports NumPy, PyAV and Pillow and nothing else of weight. It ends when its pool does, however that
happens: a thread waits for the end of the connection, and an alarm of the kernel ends a job that hangs in
a decoder even when no Python code runs any more.
"""

from __future__ import annotations

import math
import os
import queue
import resource
import signal
import socket
import threading
import time
from typing import Any

from vtr.decode.dali_plan import Declined, Plan
from vtr.decode.dali_planner import plan_clip
from vtr.decode.limits import Limits
from vtr.decode.reader import read_clip
from vtr.decode.wire import Wire, clip_header, plan_header
from vtr.errors import VtrError
from vtr.types import Clip, Sampling

GRACE = 2.0  # seconds past ``Limits.seconds`` after which the pool kills a worker


def main(descriptor: int) -> None:
    """Serve one pool over the socket with this file descriptor."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the pool, which then ends us
    wire = Wire(socket.socket(fileno=descriptor))
    jobs: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    try:
        settings = wire.receive()
        sampling, limits = Sampling(**settings["sampling"]), Limits(**settings["limits"])
        confine(limits)
        threading.Thread(target=_listen, args=(wire, jobs), daemon=True).start()
        wire.send({"ready": True})
        while True:
            job = jobs.get()
            signal.alarm(math.ceil(limits.seconds + 3 * GRACE))  # ends the process
            _answer(wire, job["path"], sampling, limits, settings["threads"], job.get("dali"))
            signal.alarm(0)
    except (EOFError, ConnectionError):
        return


def confine(limits: Limits) -> None:
    """Give up what decoding does not need: more memory than allowed, core dumps, writing files."""
    with open("/proc/self/statm") as file:
        in_use = int(file.read().split()[0]) * resource.getpagesize()
    _lower(resource.RLIMIT_AS, in_use + limits.memory)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)


def _lower(kind: int, value: int) -> None:
    most = resource.getrlimit(kind)[1]
    if most != resource.RLIM_INFINITY:
        value = min(value, most)
    resource.setrlimit(kind, (value, value))


def _listen(wire: Wire, jobs: queue.SimpleQueue[dict[str, Any]]) -> None:
    try:
        while True:
            jobs.put(wire.receive())
    except BaseException:  # the pool is gone; whatever else went wrong, nobody is left to hear of it
        os._exit(0)


def _answer(
    wire: Wire, path: str, sampling: Sampling, limits: Limits, threads: int, dali: str | None = None
) -> None:
    """Send the file's clip, or its plan for DALI on the device ``dali``, or why there is neither."""
    begin = time.perf_counter()
    header: dict[str, Any]
    payload: list[bytes | memoryview] = []
    result: Clip | Plan | Declined
    try:
        if dali is None:
            result = read_clip(path, sampling, limits, threads=threads)
        else:
            result = plan_clip(path, sampling, limits, dali, threads=threads)
    except VtrError as error:
        header = {"failure": str(error)}
    except Exception as error:  # a defect of ours or of a library: this file's failure, not the job's
        header = {"failure": f"unexpected {type(error).__name__}: {error}"}
    else:
        if isinstance(result, Plan):
            header, payload = {"plan": plan_header(result)}, [result.outline.frames.tobytes(), result.stream]
        elif isinstance(result, Declined):
            header = {"clip": clip_header(result.clip), "declined": result.reason}
            payload = [result.clip.frames.data.cast("B")]
        else:
            header, payload = {"clip": clip_header(result)}, [result.frames.data.cast("B")]
    wire.send({**header, "seconds": time.perf_counter() - begin}, *payload)
