"""Messages between pool and worker: a worker that lies is found out and cannot do harm."""

from __future__ import annotations

import dataclasses
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

from vtr.decode.dali_plan import Plan
from vtr.decode.wire import (
    LONGEST_HEADER,
    LONGEST_STREAM,
    MATROSKA,
    Wire,
    WireError,
    clip_header,
    plain,
    plan_header,
    receive_clip,
    receive_plan,
)
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
        {"fps": 10**400},
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


def example_plan(pictures: int = 1, stream: bytes = MATROSKA + b"and so on") -> Plan:
    clip = example()
    outline = dataclasses.replace(clip, frames=clip.frames[:pictures])
    return Plan(outline, stream, np.array([0, 4, 4], np.int32), "bt709")


def send_plan(theirs: socket.socket, plan: Plan) -> threading.Thread:
    payload = plan.outline.frames.tobytes(), plan.stream
    sender = threading.Thread(target=Wire(theirs).send, args=({"plan": plan_header(plan)}, *payload))
    sender.start()
    return sender


@pytest.mark.parametrize("pictures", [0, 1])
def test_a_plan_arrives_as_it_left(ends: tuple[Wire, socket.socket], pictures: int) -> None:
    ours, theirs = ends
    sent = example_plan(pictures)
    sender = send_plan(theirs, sent)
    deadline = time.monotonic() + 5
    got = receive_plan(ours, ours.receive(deadline)["plan"], SAMPLING, deadline)
    sender.join()
    np.testing.assert_array_equal(got.outline.frames, sent.outline.frames)
    np.testing.assert_array_equal(got.places, sent.places)
    assert got.places.dtype == np.int32 and plan_header(got) == plan_header(sent)
    assert got.stream == sent.stream


@pytest.mark.parametrize(
    "lie",
    [
        {"places": [0, 4]},  # and three frames
        {"places": [0, 4, -1]},
        {"places": [0, 4, 1 << 31]},
        {"places": [0, 4, 1.0]},
        {"places": None},
        {"colours": "bt2020"},
        {"colours": ["bt601"]},
        {"pictures": 2},
        {"pictures": -1},
        {"bytes": LONGEST_STREAM + 1},
        {"bytes": 0},
        {"width": 0},
        {"indices": [0, 1, -1]},
    ],
)
def test_a_plan_that_lies(ends: tuple[Wire, socket.socket], lie: dict[str, Any]) -> None:
    ours, theirs = ends
    theirs.sendall(bytes(1000))  # whatever it reads before it finds out
    header = {**plan_header(example_plan()), **lie}
    with pytest.raises(WireError, match="expected"):
        receive_plan(ours, header, SAMPLING, time.monotonic() + 1)


@pytest.mark.parametrize("stream", [b"#EXTM3U\nhttp://192.0.2.1/", b"ffconcat version 1.0", b"\0" * 20])
def test_a_plan_of_something_else_than_matroska(ends: tuple[Wire, socket.socket], stream: bytes) -> None:
    """A playlist would have its reader open what it names."""
    ours, theirs = ends
    sender = send_plan(theirs, example_plan(stream=stream))
    deadline = time.monotonic() + 5
    with pytest.raises(WireError, match="Matroska"):
        receive_plan(ours, ours.receive(deadline)["plan"], SAMPLING, deadline)
    sender.join()


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
