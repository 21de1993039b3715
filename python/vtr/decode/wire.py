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
from contextlib import suppress
from typing import Any

import numpy as np

from vtr.decode.dali_plan import COLOURS, Plan
from vtr.errors import VtrError
from vtr.types import Clip, Sampling

LONGEST_HEADER = 1 << 20  # bytes
LONGEST_TEXT = 500  # characters of a reason or a codec's name
LONGEST_STREAM = 1 << 29  # bytes of packets in a plan
MATROSKA = b"\x1a\x45\xdf\xa3"  # how such a file begins

_LENGTH = struct.Struct("!I")


class WireError(VtrError):
    """A message that is not one."""


class Wire:
    """One end of a connection. Every call ends by ``deadline`` (monotonic clock) with ``TimeoutError``."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, header: dict[str, Any], *payload: bytes | memoryview) -> None:
        encoded = json.dumps(header).encode()
        self._connection.settimeout(None)
        self._connection.sendall(_LENGTH.pack(len(encoded)) + encoded)
        for part in payload:
            self._connection.sendall(part)

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
    indices = _listed(header, sampling)
    return _clip(wire, header, len(indices), sampling, deadline)


def plan_header(plan: Plan) -> dict[str, Any]:
    """Everything of a plan but its first picture and its packets."""
    return {
        **clip_header(plan.outline),
        "pictures": len(plan.outline.frames),
        "places": plan.places.tolist(),
        "colours": plan.colours,
        "bytes": len(plan.stream),
    }


def receive_plan(wire: Wire, header: dict[str, Any], sampling: Sampling, deadline: float) -> Plan:
    """The plan that ``header`` announces; its first picture and its packets are read off the wire."""
    count = len(_listed(header, sampling))
    places, colours = header.get("places"), header.get("colours")
    if not isinstance(places, list) or len(places) != count or colours not in COLOURS:
        raise WireError(f"expected {count} places, and colours as one of {', '.join(COLOURS)}")
    chosen = np.array([_whole(place, 0, 1 << 24) for place in places], dtype=np.int32)
    outline = _clip(wire, header, _whole(header.get("pictures"), 0, 1), sampling, deadline)
    stream = bytearray(_whole(header.get("bytes"), len(MATROSKA), LONGEST_STREAM))
    wire.receive_into(memoryview(stream), deadline)
    if not stream.startswith(MATROSKA):  # what else it might be, its reader would find out by looking inside
        raise WireError("expected a Matroska file")
    return Plan(outline, bytes(stream), chosen, colours)


def _listed(header: dict[str, Any], sampling: Sampling) -> list[Any]:
    indices, timestamps = header.get("indices"), header.get("timestamps")
    if not isinstance(indices, list) or not isinstance(timestamps, list):
        raise WireError("expected lists of indices and timestamps")
    if not 1 <= len(indices) <= sampling.frames or len(indices) != len(timestamps):
        raise WireError(f"expected 1 to {sampling.frames} frames, got {len(indices)}")
    return indices


def _clip(wire: Wire, header: dict[str, Any], pictures: int, sampling: Sampling, deadline: float) -> Clip:
    frames = np.empty((pictures, sampling.size, sampling.size, 3), dtype=np.uint8)
    clip = Clip(
        frames=frames,
        indices=np.array([_whole(index, 0, 1 << 62) for index in header["indices"]], dtype=np.int64),
        timestamps=np.array([_real(seconds) for seconds in header["timestamps"]]),
        duration=_real(header.get("duration")),
        fps=_real(header.get("fps")),
        width=_whole(header.get("width"), 1, 1 << 20),
        height=_whole(header.get("height"), 1, 1 << 20),
        codec=plain(header.get("codec")),
    )
    if pictures:  # an empty array has no bytes to look at
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
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        with suppress(OverflowError):  # of an integer beyond all floats
            if math.isfinite(value):
                return float(value)
    raise WireError(f"expected a finite number, got {str(value)[:40]!r}")


def _whole(value: Any, least: int, most: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise WireError(f"expected an integer from {least} to {most}, got {str(value)[:40]!r}")
    return value
