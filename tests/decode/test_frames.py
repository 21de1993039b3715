"""Frames by number: the same as by decoding everything, and with less work."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

import vtr.decode.frames
from vtr.decode import Limits
from vtr.decode.frames import FrameReader
from vtr.decode.numbering import Numbering
from vtr.decode.source import open_source
from vtr.errors import DecodeError


def planes(frame: av.VideoFrame) -> bytes:
    return frame.to_ndarray().tobytes()  # without the padding of the planes


def every_frame(path: Path) -> list[tuple[int, bytes]]:
    """(number, pixels) of all frames by decoding all, numbered by their distance in time from the first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        if path.suffix == ".avi":  # no times in there: count
            return [(place, planes(frame)) for place, frame in enumerate(frames)]
        times = [(frame.pts - frames[0].pts) * stream.time_base for frame in frames]
        return [
            (int(time * Fraction(stream.guessed_rate) + Fraction(1, 2)), planes(frame))
            for time, frame in zip(times, frames, strict=True)
        ]


def on_screen(frames: list[tuple[int, bytes]], number: int) -> bytes:
    """The last frame whose number is at most ``number``."""
    return [pixels for at, pixels in frames if at <= number][-1]


def read(path: Path, numbers: list[int], threads: int = 1) -> tuple[dict[int, bytes], int]:
    """The frames of ``path`` by number, and how many were decoded for them."""
    with open_source(path, Limits(), threads) as source:
        source.last_timestamp()
        source.rewind()
        reader = FrameReader(source, planes)
        shown = reader.read(numbers)
        return {number: frame.picture for number, frame in shown.items()}, reader._decoded


def assert_exact(path: Path, threads: int = 1) -> None:
    frames = every_frame(path)
    last = max(number for number, _ in frames)
    rng = random.Random(path.name)
    for count in (last + 1, 1, 2, 5, 12):
        numbers = sorted(rng.sample(range(last + 1), min(count, last + 1)))
        shown, _ = read(path, numbers, threads)
        assert list(shown) == numbers
        wrong = [number for number in numbers if shown[number] != on_screen(frames, number)]
        assert not wrong, f"frames {wrong} of {numbers}"


CASES = {
    "h264.mp4": {"b_frames": 3},
    "h264.mkv": {"b_frames": 3},
    "h264.ts": {"b_frames": 3},
    "h264.flv": {"b_frames": 3},
    "h264.avi": {"b_frames": 3},
    "pyramid-open-gop.avi": {"options": {"x264-params": "bframes=5:b-pyramid=normal:b-adapt=0:open-gop=1"}},
    "pyramid-open-gop.mp4": {"options": {"x264-params": "bframes=5:b-pyramid=normal:b-adapt=0:open-gop=1"}},
    "one-group.mp4": {"gop": 250, "b_frames": 2},
    "fragments.mp4": {"muxer_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:bframes=4:b-adapt=0:open-gop=1"},
    },
    "mpeg4.avi": {"codec": "mpeg4", "b_frames": 2},
    "mpeg4.mp4": {"codec": "mpeg4", "b_frames": 2},
    "mpeg1.mpg": {"codec": "mpeg1video", "b_frames": 2},
    "mpeg2.mpg": {"codec": "mpeg2video", "b_frames": 2},
    "mpeg2.ts": {"codec": "mpeg2video", "b_frames": 2},
    "vp8.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}},
    "no-cues.webm": {"codec": "libvpx", "muxer_options": {"live": "1"}},
    "wmv2.wmv": {"codec": "wmv2", "muxer": "asf"},
    "mjpeg.mov": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "loop.gif": {"codec": "gif", "pixels": "rgb8", "rate": 10},
    "late.mp4": {"times": [5000 + 40 * i for i in range(40)]},
    "late.mkv": {"times": [5000 + 40 * i for i in range(40)]},
    "edit-list.mp4": {
        "times": [-400 + 40 * i for i in range(40)],
        "muxer_options": {"avoid_negative_ts": "disabled"},
    },
}


@pytest.mark.parametrize("name", CASES)
def test_equals_decoding_everything(make_video: Callable[..., Path], name: str) -> None:
    assert_exact(make_video(name, **{"count": 40, **CASES[name]}))


@pytest.mark.parametrize("threads", [2, 5])
def test_threads_change_nothing(make_video: Callable[..., Path], threads: int) -> None:
    assert_exact(make_video("v.mp4", count=40, b_frames=3), threads)


def uneven(kind: str) -> list[int]:
    """Presentation times in milliseconds of a variable frame rate."""
    rng = random.Random(kind)
    steps = {
        "gaps": [40, 40, 40, 33, 500, 1700],
        "bursts": [1, 2, 5, 40, 41],
        "slides": [3000],
        "jitter": [28, 40, 52],
    }
    times = [0]
    for _ in range(39):
        times.append(times[-1] + rng.choice(steps[kind]))
    return times


@pytest.mark.parametrize("kind", ["gaps", "bursts", "slides", "jitter"])
@pytest.mark.parametrize("gop", [8, 250])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.webm"])
def test_variable_frame_rate_shows_what_is_on_screen(
    make_video: Callable[..., Path], kind: str, gop: int, name: str
) -> None:
    codec = {"codec": "libvpx"} if name == "v.webm" else {"b_frames": 3}
    assert_exact(make_video(name, count=40, gop=gop, times=uneven(kind), **codec))


def test_keyframes_that_are_none_are_found_out(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Periodic intra refresh: decoding from a marked frame is right only some frames later."""
    path = make_video("v.mp4", count=120, options={"x264-params": "intra-refresh=1:keyint=12"})
    attempts = []
    second = FrameReader._second_attempt
    monkeypatch.setattr(FrameReader, "_second_attempt", lambda self, n: attempts.append(n) or second(self, n))
    assert_exact(path)
    assert attempts, "this file was expected to need second attempts"


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts"])
def test_groups_between_are_not_decoded(make_video: Callable[..., Path], name: str) -> None:
    path = make_video(name, count=120, gop=12, b_frames=0)
    _, decoded = read(path, [0, 61, 110])
    assert decoded <= 1 + 2 + 3 + 2  # frame 0; 60 and 61; 108 to 110; what a decoder gives beyond the first


def test_frames_nothing_refers_to_are_skipped(make_video: Callable[..., Path]) -> None:
    path = make_video(
        "v.mp4", count=60, gop=250, options={"x264-params": "bframes=3:b-adapt=0:b-pyramid=none"}
    )
    shown, decoded = read(path, [0, 50])
    assert shown[50] == on_screen(every_frame(path), 50)
    assert decoded <= 20  # every fourth frame, and frame 50


def test_a_far_frame_is_sought_without_an_index(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtr.decode.frames, "LONG_WAY", 1.0)
    for name in ("v.ts", "v.mpg"):
        codec = {"codec": "mpeg2video"} if name == "v.mpg" else {}
        assert_exact(make_video(name, count=150, gop=12, **codec))


def test_little_memory_for_reading_ahead(
    make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vtr.decode.frames, "MOST_AHEAD", 500)
    assert_exact(make_video("v.mp4", count=40, b_frames=3))


def test_limit_of_frames(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=60, gop=250, b_frames=0)
    with open_source(path, Limits(frames=20)) as source:
        reader = FrameReader(source, planes)
        with pytest.raises(DecodeError, match="at most 20 frames"):
            reader.read([50])


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(25, 2)])
@pytest.mark.parametrize("time_base", [Fraction(1, 12800), Fraction(1, 1000), Fraction(1, 90000)])
def test_numbers_and_timestamps_agree(rate: Fraction, time_base: Fraction) -> None:
    numbering = Numbering(origin=33, time_base=time_base, rate=rate)
    for number in [*range(100), 10_007, 1_000_003]:
        exact = Fraction(number) / rate / time_base
        assert numbering.number(33 + round(exact)) == number  # as a container rounds
        assert 0 <= exact - (numbering.timestamp(number) - 33) < 1
    assert numbering.number(33 + int(Fraction(1, 2) / rate / time_base) + 1) == 1  # from half a frame on
