"""Planning in a process of its own: a graph that crashes TensorRT's parser ends that process and no other.

A bundle can come from anyone, and the parser is native code that a malformed graph can bring down. The
process is told what to plan by a line of JSON on its input, behind which come the timings that are known; it
answers on its output with a line of JSON, behind which come the plan and the timings.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from vtr.encoders.tensorrt_build import Library, plan_here
from vtr.errors import BackendError
from vtr.processes import python_command, signal_name

MOST_SECONDS = 3600.0  # TensorRT measures kernels for minutes, for a large graph on a slow GPU for many
PARENT_SECONDS = 1.0  # between two looks at whether anybody still waits for the plan


def plan_apart(
    library: Library, path: Path, arch: int, frames: int, timings: bytes | None
) -> tuple[bytes, bytes | None]:
    """As :func:`vtr.encoders.tensorrt_build.plan_here`, in another process, which ends when this call does.

    Raises:
        BackendError: as there; or the process died, or took longer than an hour.
    """
    job = {"library": library.name, "path": str(path.resolve()), "arch": arch, "frames": frames}
    job["timings"] = None if timings is None else len(timings)
    request = json.dumps(job).encode() + b"\n" + (timings or b"")
    command = python_command("vtr.encoders.tensorrt_apart", os.getpid())
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            answer, _ = process.communicate(request, timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise BackendError(
                f"expected {library.title} to plan {path} within {MOST_SECONDS:g} seconds, it did not: "
                "export the bundle again, or use backend onnxruntime"
            ) from None
        except BaseException:  # Ctrl-C
            process.kill()
            raise
    if (found := _parsed(answer)) is None:
        raise BackendError(
            f"expected {path} to be a graph that {library.title} can plan, but the process that planned it "
            f"{_end(process.returncode)}: export the bundle again, or use backend onnxruntime"
        )
    return found


def _end(status: int) -> str:
    """How a process ended that gave no whole answer."""
    if status >= 0:
        return f"ended with status {status} and no plan"
    memory = ", as where memory runs out" if -status == signal.SIGKILL else ""
    return f"ended by {signal_name(-status)}{memory}"


def _parsed(answer: bytes) -> tuple[bytes, bytes | None] | None:
    """The plan and the timings; ``None`` if the answer is not whole. Raises what planning raised."""
    line, _, rest = answer.partition(b"\n")
    try:
        head = json.loads(line)
    except ValueError:
        return None
    if not isinstance(head, dict):
        return None
    if "error" in head:
        raise BackendError(head["error"])
    plan, timings = head["plan"], head["timings"]
    if len(rest) != plan + (timings or 0):
        return None
    return rest[:plan], None if timings is None else rest[plan:]


# ---- the other process -------------------------------------------------------------------------------


def main(parent: int) -> None:
    """Plan what the input asks for. Run by `plan_apart` in a process of its own."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal, which who waits for the plan gets too
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # gigabytes of libraries, of a crash that is reported
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    line, _, rest = sys.stdin.buffer.read().partition(b"\n")
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print is not part of the answer
    head, parts = _answer(json.loads(line), rest)
    output.write(json.dumps(head).encode() + b"\n" + b"".join(parts))
    output.flush()
    os._exit(0)  # what TensorRT does when a process ends is of no use here


def _answer(job: dict[str, Any], rest: bytes) -> tuple[dict[str, Any], list[bytes]]:
    try:
        plan, timings = _plan(job, None if job["timings"] is None else rest)
    except BackendError as error:
        return {"error": str(error)}, []
    except Exception as error:  # of the file, of the GPU, of memory
        return {"error": f"cannot plan {job['path']}: {type(error).__name__}: {error}"}, []
    return {"plan": len(plan), "timings": None if timings is None else len(timings)}, [plan, timings or b""]


def _plan(job: dict[str, Any], timings: bytes | None) -> tuple[bytes, bytes | None]:
    library = Library.named(job["library"])
    wanted = library, Path(job["path"]), job["arch"], job["frames"], timings
    if library.is_rtx:
        return plan_here(*wanted)
    from vtr.encoders.cuda_driver import Context

    with Context().current():  # it plans for the GPU that is there, and measures on it
        return plan_here(*wanted)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os._exit(1)
