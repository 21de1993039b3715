"""Plans for DALI: their packets hold the very frames that PyAV gives, or else PyAV gives the frames."""

from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from vtr.decode import DecodePool, Limits, read_clip
from vtr.decode.colour import to_image
from vtr.decode.dali_bitstream import Unreadable, pictures, units, vp9_frames
from vtr.decode.dali_plan import Declined, Plan
from vtr.decode.dali_planner import plan_clip
from vtr.decode.resize import centre_square
from vtr.errors import DecodeError
from vtr.types import Failure, Sampling

Maker = Callable[..., Path]
SMALL = Sampling(size=32)


def planned(path: Path, sampling: Sampling = SMALL, device: str = "cuda") -> Plan | Declined:
    return plan_clip(path, sampling, Limits(), device)


def decoded(plan: Plan, size: int) -> NDArray[np.uint8]:
    """The plan's frames, by decoding its whole stream with libavcodec."""
    with av.open(io.BytesIO(plan.stream)) as container:
        assert [stream.type for stream in container.streams] == ["video"]
        frames = list(container.decode(video=0))
    with av.open(io.BytesIO(plan.stream)) as container:
        packets = sum(packet.size > 0 for packet in container.demux(video=0))
    assert len(frames) == packets  # so that places are the same numbers for every decoder
    return np.stack([centre_square(to_image(frames[place]), size, 1 << 30) for place in plan.places])


def assert_same(path: Path, sampling: Sampling = SMALL, device: str = "cuda") -> Plan:
    plan, clip = planned(path, sampling, device), read_clip(path, sampling)
    assert isinstance(plan, Plan), plan.reason
    np.testing.assert_array_equal(decoded(plan, sampling.size), clip.frames)
    for name in ("indices", "timestamps"):
        np.testing.assert_array_equal(getattr(plan.outline, name), getattr(clip, name))
    for name in ("duration", "fps", "width", "height", "codec"):
        assert getattr(plan.outline, name) == getattr(clip, name)
    return plan


LARGE = {"width": 160, "height": 144}  # the least that a plan for NVDEC takes
SOUND: dict[str, dict[str, Any]] = {
    "h264.mp4": {"b_frames": 3},
    "h264.mkv": {"gop": 250},
    "h264.ts": {"gop": 25},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none"}},  # open groups
    "hevc-closed.mkv": {"codec": "libx265", "options": {"x265-params": "log-level=none:open-gop=0"}},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"lag-in-frames": "16", "auto-alt-ref": "1"}},
    "vp9.mp4": {"codec": "libvpx-vp9", "gop": 50},
    "mjpeg.mkv": {"codec": "mjpeg", "pixels": "yuvj420p"},
    "full.mp4": {"pixels": "yuvj420p"},
    "bt709.mp4": {"colorspace": 1},
    "29.97.mp4": {"rate": Fraction(30000, 1001)},
    "late.mp4": {"times": [5000 + 40 * i for i in range(80)]},
    "edit-list.mp4": {
        "times": [-400 + 40 * i for i in range(80)],
        "muxer_options": {"avoid_negative_ts": "disabled"},
    },
    "slides.mp4": {"count": 5, "times": [0, 3000, 3040, 6000, 7500]},
    "one.webm": {"codec": "libvpx-vp9", "count": 1},
    "two.mp4": {"count": 2},
}


@pytest.mark.parametrize("name", SOUND)
def test_the_packets_hold_the_frames_of_read_clip(make_video: Maker, name: str) -> None:
    path = make_video(name, **{"count": 80, **LARGE, **SOUND[name]})
    plan = assert_same(path)
    np.testing.assert_array_equal(plan.outline.frames, read_clip(path, SMALL).frames[:1])
    assert plan.colours == {"full.mp4": "bt601 full range", "mjpeg.mkv": "bt601 full range"}.get(
        name, "bt709" if name == "bt709.mp4" else "bt601"
    )


@pytest.mark.parametrize("slicing", ["uniform", "head", "tail"])
def test_only_what_is_needed_travels(make_video: Maker, slicing: str) -> None:
    path = make_video("v.mp4", count=400, gop=20, **LARGE)
    plan = assert_same(path, Sampling(frames=3, slice=slicing, size=32))
    assert len(plan.stream) < path.stat().st_size / 4
    assert len(plan.outline.frames) == (slicing != "tail")  # the first frame is decoded in any case


def test_the_shared_clips(shared_clips: list[Path]) -> None:
    for path in shared_clips:
        assert_same(path, Sampling(size=64))


DOUBTFUL: dict[str, tuple[dict[str, Any], str]] = {
    "v.avi": ({}, "when each frame is shown"),
    "mpeg2.mkv": ({"codec": "mpeg2video"}, "mpeg2video is not among"),
    "open-group.mp4": ({"gop": 10, "options": {"x264-params": "open-gop=1:bframes=3"}}, "cannot begin"),
    "turned.mp4": ({"rotation": 90}, "turned by"),
    "interlaced.mp4": ({"options": {"x264-params": "interlaced=1"}}, "interlaced"),
    "odd.webm": ({"codec": "libvpx-vp9", "width": 161, "height": 145}, "odd, 161x145"),
    "small.mp4": ({"width": 96, "height": 64}, "96x64, and not every NVDEC"),
    "10-bit.mp4": ({"pixels": "yuv420p10le"}, "yuv420p10le, not"),
    "4-4-4.webm": ({"codec": "libvpx-vp9", "pixels": "yuv444p"}, "yuv444p, not"),
    "bt2020.mp4": ({"colorspace": 9}, "matrix 9"),
    "full-709.mp4": ({"pixels": "yuvj420p", "colorspace": 1}, "full range"),
    "full-vp9.webm": ({"codec": "libvpx-vp9", "color_range": 2}, "full range"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_what_is_doubtful_is_decoded_by_pyav(make_video: Maker, name: str) -> None:
    options, reason = DOUBTFUL[name]
    path = make_video(name, **{"count": 30, **LARGE, **options})
    plan = planned(path)
    assert isinstance(plan, Declined) and reason in plan.reason
    np.testing.assert_array_equal(plan.clip.frames, read_clip(path, SMALL).frames)


def test_what_dali_decodes_depends_on_the_device(make_video: Maker) -> None:
    small = make_video("small.webm", codec="libvpx-vp9")
    assert isinstance(planned(small, device="cpu"), Plan)
    declined = planned(make_video("v.mp4", **LARGE), device="cpu")
    assert (
        isinstance(declined, Declined) and "h264 is not among what DALI decodes on the CPU" in declined.reason
    )


def rewritten(path: Path, sources: list[Path], change: Callable[[int, bytes], bytes]) -> Path:
    """A Matroska file of the packets of several, one after the other, each passed through ``change``."""
    with av.open(str(path), "w") as container:
        stream, number = None, 0
        for source in sources:
            with av.open(str(source)) as given:
                stream = stream or container.add_stream_from_template(given.streams.video[0])
                for old in given.demux(video=0):
                    if old.size:
                        packet = av.Packet(change(number, bytes(old)))
                        packet.stream, packet.time_base = stream, Fraction(1, 1000)
                        packet.pts = packet.dts = 40 * number
                        packet.is_keyframe = old.is_keyframe
                        container.mux(packet)
                        number += 1
    return path


def unchanged(number: int, data: bytes) -> bytes:
    return data


def test_a_packet_that_shows_nothing(make_video: Maker, tmp_path: Path) -> None:
    """A decoder gives no picture for it, so that places and pictures would part."""
    path = make_video("v.webm", codec="libvpx", count=60, gop=30, **LARGE)

    def hide(number: int, data: bytes) -> bytes:
        return bytes([data[0] & ~16]) + data[1:] if number == 20 else data

    same = rewritten(tmp_path / "same.mkv", [path], unchanged)
    hidden = planned(rewritten(tmp_path / "hidden.mkv", [path], hide), Sampling(fps=2, size=32))
    assert isinstance(planned(same), Plan)
    assert isinstance(hidden, Declined) and "shows 0 pictures" in hidden.reason


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9", "libx264"])
def test_pictures_that_change_size(make_video: Maker, tmp_path: Path, codec: str) -> None:
    options = {"x264-params": "repeat-headers=1:bframes=0"} if codec == "libx264" else {}
    common = {"codec": codec, "count": 26, "options": options}
    first = make_video("a.mkv", **common, **LARGE)
    other = make_video("b.mkv", **common, width=320, height=240)
    assert isinstance(planned(rewritten(tmp_path / "same.mkv", [first, first], unchanged)), Plan)
    declined = planned(rewritten(tmp_path / "both.mkv", [first, other], unchanged))
    assert isinstance(declined, Declined) and "chang" in declined.reason


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.webm"])
def test_a_truncated_file(make_video: Maker, name: str, share: float) -> None:
    options = {"muxer_options": {"movflags": "faststart"}} if name == "v.mp4" else {}
    codec = "libvpx-vp9" if name == "v.webm" else "libx264"
    path = make_video(name, count=100, codec=codec, **LARGE, **options)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    plan, clip = planned(path), read_clip(path, SMALL)
    if isinstance(plan, Declined):
        np.testing.assert_array_equal(plan.clip.frames, clip.frames)
    else:
        assert_same(path)


def test_what_is_no_video_fails_as_without_dali(tmp_path: Path) -> None:
    path = tmp_path / "text.mp4"
    path.write_text("no video " * 100)
    with pytest.raises(DecodeError) as expected:
        read_clip(path)
    with pytest.raises(DecodeError) as got:
        planned(path)
    assert str(got.value) == str(expected.value)


def test_limits_hold(make_video: Maker) -> None:
    path = make_video("v.mp4", count=60, **LARGE)
    for limits in (Limits(bytes=100), Limits(duration=1.0), Limits(frames=10), Limits(pixels=100)):
        with pytest.raises(DecodeError):
            plan_clip(path, Sampling(fps=25, frames=60), limits, "cuda")


def test_plans_come_out_of_worker_processes(make_video: Maker, tmp_path: Path) -> None:
    good, odd = make_video("good.mp4", **LARGE), make_video("odd.mp4", rotation=90, **LARGE)
    with DecodePool(1, SMALL) as pool:
        found = {path.name: outcome for path, outcome in pool.map_plans([good, odd, "/missing"], "cuda")}
    plan, declined, clip = found["good.mp4"], found["odd.mp4"], read_clip(good, SMALL)
    assert isinstance(plan, Plan) and plan.places.dtype == np.int32 and plan.colours == "bt601"
    np.testing.assert_array_equal(decoded(plan, 32), clip.frames)
    np.testing.assert_array_equal(plan.outline.frames, clip.frames[:1])
    np.testing.assert_array_equal(plan.outline.timestamps, clip.timestamps)
    assert isinstance(declined, Declined) and "turned" in declined.reason
    np.testing.assert_array_equal(declined.clip.frames, read_clip(odd, SMALL).frames)
    assert isinstance(found["missing"], Failure)


# -- headers of pictures ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("codec", "name"), [("libvpx", "vp8"), ("libvpx-vp9", "vp9"), ("mjpeg", "mjpeg")])
def test_sizes_of_pictures(make_video: Maker, codec: str, name: str) -> None:
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = make_video("v.mkv", codec=codec, pixels=pixels, count=5, width=66, height=50)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    found = [list(pictures(name, data)) for data in packets]
    assert all(len(frames) == 1 and frames[0][0] for frames in found)
    assert found[0][0][1] == (66, 50)
    assert all(frames[0][1] in (None, (66, 50)) for frames in found)
    for end in range(1, 12):
        with pytest.raises(Unreadable):
            list(pictures(name, b"\0" * end if name != "vp8" else packets[0][:end][:9]))


def bits(text: str) -> bytes:
    digits = text.replace(" ", "")
    return int(digits.ljust(-(-len(digits) // 8) * 8, "0"), 2).to_bytes(-(-len(digits) // 8), "big")


VP9_INTER = "10 00 0 1 1 1"  # marker, profile 0, not a repeat, inter, shown, resilient
VP9_REFERENCES = "11111111" + "000 0" * 3


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("10 00 1 000", (True, None)),  # shows a frame decoded before
        (VP9_INTER + VP9_REFERENCES + "1", (True, None)),  # of the first reference's size
        (VP9_INTER + VP9_REFERENCES + "001", (True, None)),
        (VP9_INTER + VP9_REFERENCES + f"000 {319:016b} {239:016b}", (True, (320, 240))),
        (f"10 00 0 0 0 0 {0x498342:024b} 001 0 {63:016b} {47:016b}", (False, (64, 48))),  # hidden key
        (f"10 00 0 1 0 0 1 00 {0x498342:024b} {255:08b} {7:016b} {8:016b}", (False, (8, 9))),  # intra only
    ],
)
def test_vp9_headers(header: str, expected: tuple[bool, tuple[int, int] | None]) -> None:
    assert list(pictures("vp9", bits(header))) == [expected]


@pytest.mark.parametrize("header", ["01 00", "10 01 0", "10 00 0 0 1 0" + "0" * 24 + "111", "10 00 0 0"])
def test_vp9_headers_that_are_none(header: str) -> None:
    with pytest.raises(Unreadable):
        list(pictures("vp9", bits(header)))


def test_vp9_superframes() -> None:
    frames, marker = [b"a" * 5, b"b" * 300], 0b11001001  # two frames, sizes of two bytes
    index = bytes([marker]) + b"".join(len(f).to_bytes(2, "little") for f in frames) + bytes([marker])
    assert vp9_frames(b"".join(frames) + index) == frames
    assert vp9_frames(b"no superframe") == [b"no superframe"]
    with pytest.raises(Unreadable):
        vp9_frames(b"short" + index)


def test_nal_units() -> None:
    one, two = b"\x67abc", b"\x65" + bytes(range(1, 200))
    prefixed = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (one, two))
    assert list(units(prefixed, True)) == [one, two]
    assert list(units(b"\0\0\0\1" + one + b"\0\0\1" + two, False)) == [one, two]
    with pytest.raises(Unreadable):
        list(units(prefixed[:-1], True))
