"""Messages between pool and worker: a worker that lies is found out and cannot do harm."""

from __future__ import annotations

import json
import pickle
import socket
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from vtr.decode.wire import LONGEST_HEADER, Wire, WireError, clip_header, plain, receive_clip
from vtr.types import Clip, Sampling

SAMPLING = Sampling(frames=4, size=5)


@pytest.fixture
def ends() -> Iterator[tuple[Wire, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Wire(ours), theirs


def example(count: int = 3) -> Clip:
    rng = np.random.default_rng(count)
    frames = rng.integers(0, 256, (count, 5, 5, 3), dtype=np.uint8)
    return Clip(frames, np.arange(count) * 25, np.arange(count) * 1.001, 7.5, 29.97, 640, 272, "h264")


def message(header: Any) -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("!I", len(encoded)) + encoded


@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_clip_arrives_as_it_left(ends: tuple[Wire, socket.socket], count: int) -> None:
    ours, theirs = ends
    sent = example(count)
    sender = threading.Thread(
        target=Wire(theirs).send, args=({"clip": clip_header(sent)}, sent.frames.data.cast("B"))
    )
    sender.start()
    deadline = time.monotonic() + 5
    got = receive_clip(ours, ours.receive(deadline)["clip"], SAMPLING, deadline)
    sender.join()
    for name in ("frames", "indices", "timestamps"):
        np.testing.assert_array_equal(getattr(got, name), getattr(sent, name))
        assert getattr(got, name).dtype == getattr(sent, name).dtype
    assert clip_header(got) == clip_header(sent)


@pytest.mark.parametrize(
    "lie",
    [
        {"indices": [], "timestamps": []},
        {"indices": [0] * 5, "timestamps": [0.0] * 5},  # more frames than the sampling has
        {"indices": [0, 1]},  # and three timestamps
        {"indices": "abc"},
        {"indices": [0, 1, 2.5]},
        {"indices": [0, 1, -1]},
        {"indices": [0, 1, 1 << 70]},
        {"indices": [0, 1, True]},
        {"timestamps": [0, 1, float("nan")]},
        {"timestamps": [0, 1, None]},
        {"duration": float("inf")},
        {"fps": "25"},
        {"width": 0},
        {"height": 1 << 40},
        {"codec": None},
    ],
)
def test_a_header_that_lies(ends: tuple[Wire, socket.socket], lie: dict[str, Any]) -> None:
    ours, _ = ends
    receive_header = {**clip_header(example()), **lie}
    with pytest.raises(WireError, match="expected"):
        receive_clip(ours, receive_header, SAMPLING, time.monotonic() + 1)


@pytest.mark.parametrize(
    "sent",
    [
        struct.pack("!I", LONGEST_HEADER + 1),
        message(b"\xff\xfe{"),
        message(b"[" * 200_000),
        message([1, 2]),
        message(pickle.dumps({"clip": {}})),
    ],
)
def test_what_is_no_header(ends: tuple[Wire, socket.socket], sent: bytes) -> None:
    ours, theirs = ends
    sender = threading.Thread(target=theirs.sendall, args=(sent,))
    sender.start()
    with pytest.raises(WireError, match="expected"):
        ours.receive(time.monotonic() + 5)
    sender.join()


def test_silence_and_the_end(ends: tuple[Wire, socket.socket]) -> None:
    ours, theirs = ends
    theirs.sendall(b"\0\0")
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        ours.receive(begin + 0.1)
    assert 0.05 < time.monotonic() - begin < 2
    theirs.close()
    with pytest.raises(EOFError):
        ours.receive(time.monotonic() + 5)


def test_reasons_end_on_terminals() -> None:
    assert plain("bad\x1b[2J\nfile\u202e") == "bad [2J file "
    assert len(plain("x" * 10_000)) == 500
    with pytest.raises(WireError):
        plain(7)
