"""Messages between a pool and its workers: a length, a JSON header, and raw bytes if the header says so.

A worker may have been taken over by the file it decoded. So nothing it sends is unpickled or trusted: the
header is checked value by value, and pixels are only pixels.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import time
from typing import Any

import numpy as np

from vtr.errors import VtrError
from vtr.types import Clip, Sampling

LONGEST_HEADER = 1 << 20  # bytes
LONGEST_TEXT = 500  # characters of a reason or a codec's name

_LENGTH = struct.Struct("!I")


class WireError(VtrError):
    """A message that is not one."""


class Wire:
    """One end of a connection. Every call ends by ``deadline`` (monotonic clock) with ``TimeoutError``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, header: dict[str, Any], payload: memoryview | None = None) -> None:
        encoded = json.dumps(header).encode()
        self._connection.settimeout(None)
        self._connection.sendall(_LENGTH.pack(len(encoded)) + encoded)
        if payload is not None:
            self._connection.sendall(payload)

    def receive(self, deadline: float | None = None) -> dict[str, Any]:
        """The next header. Raises ``EOFError`` when the other end is gone."""
        length = bytearray(_LENGTH.size)
        self.receive_into(memoryview(length), deadline)
        (size,) = _LENGTH.unpack(length)
        if size > LONGEST_HEADER:
            raise WireError(f"expected a header of at most {LONGEST_HEADER} bytes, got {size}")
        encoded = bytearray(size)
        self.receive_into(memoryview(encoded), deadline)
        try:
            header = json.loads(encoded)
        except (ValueError, RecursionError):
            raise WireError("expected a header in JSON, got something else") from None
        if not isinstance(header, dict):
            raise WireError(f"expected a JSON object, got a {type(header).__name__}")
        return header

    def receive_into(self, buffer: memoryview, deadline: float | None = None) -> None:
        while buffer:
            if deadline is None:
                self._connection.settimeout(None)
            else:
                self._connection.settimeout(max(deadline - time.monotonic(), 1e-3))
            count = self._connection.recv_into(buffer)
            if count == 0:
                raise EOFError
            buffer = buffer[count:]

    def close(self) -> None:
        self._connection.close()


def clip_header(clip: Clip) -> dict[str, Any]:
    """Everything of a clip but its pixels."""
    return {
        "indices": clip.indices.tolist(),
        "timestamps": clip.timestamps.tolist(),
        "duration": clip.duration,
        "fps": clip.fps,
        "width": clip.width,
        "height": clip.height,
        "codec": clip.codec,
    }


def receive_clip(wire: Wire, header: dict[str, Any], sampling: Sampling, deadline: float) -> Clip:
    """The clip that ``header`` announces; its pixels are read off the wire."""
    indices, timestamps = header.get("indices"), header.get("timestamps")
    if not isinstance(indices, list) or not isinstance(timestamps, list):
        raise WireError("expected lists of indices and timestamps")
    if not 1 <= len(indices) <= sampling.frames or len(indices) != len(timestamps):
        raise WireError(f"expected 1 to {sampling.frames} frames, got {len(indices)}")
    frames = np.empty((len(indices), sampling.size, sampling.size, 3), dtype=np.uint8)
    clip = Clip(
        frames=frames,
        indices=np.array([_whole(index, 0, 1 << 62) for index in indices], dtype=np.int64),
        timestamps=np.array([_real(seconds) for seconds in timestamps]),
        duration=_real(header.get("duration")),
        fps=_real(header.get("fps")),
        width=_whole(header.get("width"), 1, 1 << 20),
        height=_whole(header.get("height"), 1, 1 << 20),
        codec=plain(header.get("codec")),
    )
    wire.receive_into(frames.data.cast("B"), deadline)
    return clip


def plain(text: Any) -> str:
    """One line of printable characters, whatever came: it may end on a terminal."""
    if not isinstance(text, str):
        raise WireError(f"expected a text, got a {type(text).__name__}")
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST_TEXT])


def seconds_of(header: dict[str, Any]) -> float:
    return _real(header.get("seconds"))


def _real(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise WireError(f"expected a finite number, got {str(value)[:40]!r}")
    return float(value)


def _whole(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise WireError(f"expected an integer from {least} to {most}, got {str(value)[:40]!r}")
    return value
