"""A decoder process: takes one request after another, and may die without hurting anybody.

Request on standard input: a length (uint32, little-endian) and JSON. Reply on standard output: the same, and
then the raw bytes of the frames, so that the parent never unpickles what a broken decoder wrote.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
from typing import BinaryIO

from vtr.decode.limits import Limits
from vtr.decode.reader import read_clip
from vtr.errors import VtrError
from vtr.types import Sampling

LENGTH = struct.Struct("<I")
PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve until standard input ends."""
    requests, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the replies
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    set_up = json.loads(take(requests))
    sampling, limits, threads = Sampling(**set_up["sampling"]), Limits(**set_up["limits"]), set_up["threads"]
    _bound_memory(limits.memory)
    send(replies, {"ready": True})
    while request := take(requests):
        header, frames = answer(
            os.fsdecode(bytes.fromhex(json.loads(request)["path"])), sampling, limits, threads
        )
        send(replies, header, frames)


def answer(path: str, sampling: Sampling, limits: Limits, threads: int) -> tuple[dict[str, object], bytes]:
    """The reply's header and the bytes of its frames."""
    try:
        clip = read_clip(path, sampling, limits, threads=threads)
    except MemoryError:
        return {"reason": f"decoding it takes more than {limits.memory >> 20} MiB of memory"}, b""
    except VtrError as error:
        return {"reason": str(error)}, b""
    except Exception as error:  # a decoder library may raise anything; the reason goes into the report
        return {"reason": f"cannot be decoded: {type(error).__name__}: {error}"}, b""
    header = {
        "frames": len(clip.frames),
        "indices": clip.indices.tolist(),
        "timestamps": clip.timestamps.tolist(),
        "duration": clip.duration,
        "fps": clip.fps,
        "width": clip.width,
        "height": clip.height,
        "codec": clip.codec,
    }
    return header, clip.frames.tobytes()


def take(stream: BinaryIO) -> bytes:
    """One message; nothing at the end of the stream."""
    length = stream.read(LENGTH.size)
    return stream.read(*LENGTH.unpack(length)) if len(length) == LENGTH.size else b""


def send(stream: BinaryIO, header: dict[str, object], frames: bytes = b"") -> None:
    text = json.dumps(header).encode()
    stream.write(LENGTH.pack(len(text)) + text)
    stream.write(frames)
    stream.flush()


def _bound_memory(extra: int) -> None:
    """Let the process take ``extra`` bytes of address space beyond what it has now."""
    with open("/proc/self/statm") as statm:
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = now + extra
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_AS, (wanted, wanted))


if __name__ == "__main__":
    main()
