"""Clips: equal to the published loader's on real videos, and right on awkward ones."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vtr.decode import Limits, probe, read_clip
from vtr.errors import DecodeError, UsageError
from vtr.types import Clip, Sampling

cv2 = pytest.importorskip("cv2", reason="no OpenCV")
CURRENT = tuple(int(part) for part in cv2.__version__.split(".")[:2]) >= (4, 13)


def published_candidates(path: Path, rate: int, size: int) -> tuple[list[int], list[NDArray[np.uint8]]]:
    """CLIP4Clip's data loader: OpenCV seeks and reads each candidate, torchvision's transforms on PIL."""
    capture = cv2.VideoCapture(str(path))
    count, fps = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), int(capture.get(cv2.CAP_PROP_FPS))
    numbers: list[int] = []
    pictures: list[NDArray[np.uint8]] = []
    for second in range((count + fps - 1) // fps):
        for offset in list(range(0, fps, fps // rate))[:rate]:
            capture.set(cv2.CAP_PROP_POS_FRAMES, second * fps + offset)
            ok, picture = capture.read()
            if not ok:
                return numbers, pictures
            numbers.append(second * fps + offset)
            pictures.append(square(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), size))
    return numbers, pictures


def published_loader(
    path: Path, frames: int = 12, rate: int = 1, size: int = 224
) -> tuple[list[int], NDArray[np.uint8]]:
    return evenly(*published_candidates(path, rate, size), frames)


def evenly(
    numbers: list[int], pictures: list[NDArray[np.uint8]], frames: int
) -> tuple[list[int], NDArray[np.uint8]]:
    """The loader's ``slice_framepos`` 2."""
    places = range(len(numbers))
    if len(numbers) > frames:
        places = np.linspace(0, len(numbers) - 1, num=frames, dtype=int)
    return [numbers[place] for place in places], np.stack([pictures[place] for place in places])


def square(picture: NDArray[np.uint8], size: int = 224) -> NDArray[np.uint8]:
    image = Image.fromarray(picture)
    width, height = image.size
    wide = width > height
    target = (int(size * width / height), size) if wide else (size, int(size * height / width))
    image = image.resize(target, Image.BICUBIC)
    left, top = round((target[0] - size) / 2), round((target[1] - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def opencv_in_sequence(path: Path) -> list[NDArray[np.uint8]]:
    capture, frames = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        frames.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    return frames


def test_frames_equal_to_opencv_plus_pil_on_the_shared_clips(shared_clips: list[Path]) -> None:
    for path in shared_clips:
        with av.open(str(path)) as container:
            matrix = container.streams.video[0].codec_context.colorspace
        if matrix not in (2, 5, 6) and not CURRENT:
            continue  # this OpenCV takes BT.709 for BT.601
        for rate in (1, 2) if path.stat().st_size < 3e5 else (1,):
            candidates = published_candidates(path, rate, 224)
            for frames in (12, 5, 64):
                numbers, pictures = evenly(*candidates, frames)
                clip = read_clip(path, Sampling(frames=frames, fps=rate))
                assert clip.indices.tolist() == numbers, path.name
                np.testing.assert_array_equal(clip.frames, pictures, err_msg=path.name)


def test_a_clip_of_a_plain_video(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=80, width=96, height=64, b_frames=3)
    clip = read_clip(path, Sampling(size=32))
    numbers, pictures = published_loader(path, size=32)
    assert clip.indices.tolist() == numbers == [0, 25, 50, 75]
    np.testing.assert_array_equal(clip.frames, pictures)
    assert clip.frames.shape == (4, 32, 32, 3) and clip.frames.dtype == np.uint8
    np.testing.assert_allclose(clip.timestamps, [0, 1, 2, 3])
    assert (clip.duration, clip.fps, clip.width, clip.height, clip.codec) == (3.2, 25.0, 96, 64, "h264")


@pytest.mark.parametrize("slicing", ["uniform", "head", "tail"])
def test_slices(make_video: Callable[..., Path], slicing: str) -> None:
    path = make_video("v.mp4", count=60, rate=5)
    frames = opencv_in_sequence(path)
    clip = read_clip(path, Sampling(frames=4, slice=slicing, size=32))
    expected = {"uniform": [0, 15, 35, 55], "head": [0, 5, 10, 15], "tail": [40, 45, 50, 55]}[slicing]
    assert clip.indices.tolist() == expected
    np.testing.assert_array_equal(clip.frames, np.stack([square(frames[i], 32) for i in expected]))


AWKWARD = {
    "first frame at 5 s": {"times": [5000 + 40 * i for i in range(60)]},
    "edit list": {
        "times": [-400 + 40 * i for i in range(60)],
        "muxer_options": {"avoid_negative_ts": "disabled"},
    },
    "29.97": {"rate": Fraction(30000, 1001)},
    "12.5": {"rate": Fraction(25, 2)},
    "odd size": {"codec": "mpeg4", "width": 65, "height": 49},
    "narrow": {"width": 32, "height": 96},
    "10 bit": {"pixels": "yuv420p10le"},
    "full range": {"pixels": "yuvj420p"},
    "turned 90": {"rotation": 90},
    "turned 180": {"rotation": 180},
    "turned -90": {"rotation": -90},
    "wide pixels": {"aspect": Fraction(2, 1)},
    "one frame": {"count": 1},
    "two frames": {"count": 2},
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_videos_equal_opencv(make_video: Callable[..., Path], name: str) -> None:
    path = make_video("v.mp4", **{"count": 60, **AWKWARD[name]})
    if name in ("10 bit", "odd size") and not CURRENT:
        pytest.skip(f"OpenCV {cv2.__version__} has another libswscale")
    numbers, pictures = published_loader(path, size=48)
    clip = read_clip(path, Sampling(size=48))
    assert clip.indices.tolist() == numbers
    np.testing.assert_array_equal(clip.frames, pictures)
    height, width = opencv_in_sequence(path)[0].shape[:2]
    assert (clip.width, clip.height) == (width, height)


@pytest.mark.parametrize("name", ["v.ts", "v.mpg", "v.flv", "v.webm", "v.gif", "v.avi"])
def test_containers_where_opencv_seeks_wrong_equal_reading_in_sequence(
    make_video: Callable[..., Path], name: str
) -> None:
    codec = {"v.mpg": "mpeg2video", "v.webm": "libvpx", "v.gif": "gif"}.get(name, "libx264")
    path = make_video(name, count=60, codec=codec, pixels="rgb8" if codec == "gif" else "yuv420p")
    frames = opencv_in_sequence(path)
    clip = read_clip(path, Sampling(size=32))
    assert clip.indices.tolist() == [0, 25, 50]
    np.testing.assert_array_equal(clip.frames, np.stack([square(frames[i], 32) for i in clip.indices]))


def test_what_is_on_screen_counts_for_a_slide_show(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=4, times=[0, 3000, 6000, 7500], rate=25)
    info = probe(path)
    clip = read_clip(path, Sampling(frames=64, size=32))
    frames = opencv_in_sequence(path)
    step = max(int(info.fps), 1)
    assert clip.indices.tolist() == list(range(0, info.frames, step))
    seconds = clip.indices / info.fps
    shown = np.searchsorted([0, 3, 6, 7.5], seconds + 0.5 / info.fps) - 1  # numbers are rounded times
    np.testing.assert_array_equal(clip.frames, np.stack([square(frames[i], 32) for i in shown]))
    assert np.all(np.diff(clip.timestamps) > 0)  # when it was asked for, where a picture stays


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
def test_a_truncated_file_gives_what_is_left(
    make_video: Callable[..., Path], name: str, share: float
) -> None:
    options = {"muxer_options": {"movflags": "faststart"}} if name == "v.mp4" else {}
    path = make_video(name, count=100, width=128, height=96, **options)
    whole = read_clip(path, Sampling(size=32))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    clip = read_clip(path, Sampling(size=32))
    assert 1 <= len(clip.frames) <= len(whole.frames)
    sound = len(clip.frames) - 1  # the last may be the broken one
    np.testing.assert_array_equal(clip.frames[:sound], whole.frames[:sound])


def test_damage_in_the_middle_loses_only_its_surroundings(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=150, gop=10, b_frames=0)
    whole = read_clip(path, Sampling(size=32))
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        places = [(packet.pos, packet.size) for packet in packets[50:60]]
    data = bytearray(path.read_bytes())
    for position, size in places:
        data[position + 4 : position + size] = bytes(size - 4)
    path.write_bytes(data)
    clip = read_clip(path, Sampling(size=32))
    assert clip.indices.tolist() == whole.indices.tolist() == [0, 25, 50, 75, 100, 125]
    for place in (0, 1, 3, 4, 5):
        np.testing.assert_array_equal(clip.frames[place], whole.frames[place])
    assert not np.array_equal(clip.frames[2], whole.frames[2])


def write_with_cover(path: Path, kind: str) -> Path:
    """A cover picture beside sound or film."""
    with av.open(str(path), "w") as container:
        if kind == "film":
            stream = container.add_stream("libx264", rate=25, width=64, height=48, pix_fmt="yuv420p")
            frames = [av.VideoFrame(64, 48, "yuv420p") for _ in range(30)]
        else:
            stream = container.add_stream("aac", rate=8000, layout="mono")
            silence = np.zeros((1, 1024), np.float32)
            frames = [av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono") for _ in range(10)]
        cover = container.add_stream("mjpeg", rate=1, width=32, height=32, pix_fmt="yuvj420p")
        cover.disposition = av.stream.Disposition.attached_pic
        for i, frame in enumerate(frames):
            frame.pts = i if kind == "film" else 1024 * i
            frame.time_base = Fraction(1, 25 if kind == "film" else 8000)
            if kind == "sound":
                frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        container.mux(cover.encode(av.VideoFrame(32, 32, "yuvj420p")))
        container.mux(cover.encode(None))
    with av.open(str(path)) as container:
        dispositions = [stream.disposition for stream in container.streams.video]
        assert any(d & av.stream.Disposition.attached_pic for d in dispositions)
    return path


def test_a_cover_picture_is_not_the_video(tmp_path: Path) -> None:
    clip = read_clip(write_with_cover(tmp_path / "film.mp4", "film"), Sampling(size=32))
    assert (clip.width, clip.height, clip.codec, clip.indices.tolist()) == (64, 48, "h264", [0, 25])


def test_sound_only(tmp_path: Path) -> None:
    path = write_with_cover(tmp_path / "sound.mp4", "sound")
    for read in (read_clip, probe):
        with pytest.raises(DecodeError, match="expected a video stream, found none"):
            read(path)


def test_interlaced_pictures_are_converted_whole(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """As OpenCV up to 4.12 does; later ones fail on them. So OpenCV gets the same planes without the mark."""
    path = make_video("v.mp4", count=30, codec="mpeg2video", options={"flags": "+ilme+ildct"})
    unmarked = tmp_path / "unmarked.mkv"
    with av.open(str(path)) as marked, av.open(str(unmarked), "w") as container:
        stream = container.add_stream("ffv1", rate=25, width=64, height=48, pix_fmt="yuv420p")
        for i, frame in enumerate(marked.decode(video=0)):
            assert frame.interlaced_frame
            copy = av.VideoFrame.from_ndarray(frame.to_ndarray(), "yuv420p")
            copy.pts, copy.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(copy))
        container.mux(stream.encode(None))
    _, pictures = published_loader(unmarked, size=32)
    np.testing.assert_array_equal(read_clip(path, Sampling(size=32)).frames, pictures)


def test_no_claim_of_duration_or_frames(make_video: Callable[..., Path]) -> None:
    path = make_video("v.webm", count=60, codec="libvpx", muxer_options={"live": "1"})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert not stream.frames and not stream.duration and not container.duration
    info = probe(path)
    assert (info.frames, info.codec, info.container) == (60, "vp8", "matroska,webm")
    assert info.duration == pytest.approx(60 / 25)
    assert read_clip(path, Sampling(size=32)).indices.tolist() == [0, 25, 50]


def test_probe(make_video: Callable[..., Path]) -> None:
    info = probe(make_video("v.mp4", count=50, width=96, height=64, rotation=90))
    assert (info.codec, info.width, info.height, info.fps, info.duration, info.frames) == (
        *("h264", 64, 96, 25.0, 2.0, 50),
    )


def test_threads_change_nothing(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mp4", count=60)
    one, three = read_clip(path), read_clip(path, threads=3)
    np.testing.assert_array_equal(one.frames, three.frames)


def test_kinds_of_path_and_wrong_sampling(make_video: Callable[..., Path]) -> None:
    path = make_video("v mit Umlaut ü.mp4", count=2)
    assert isinstance(read_clip(str(path)), Clip)
    with pytest.raises(UsageError, match=r"Sampling\.slice"):
        read_clip(path, Sampling(slice="2"))
    with pytest.raises(UsageError, match=r"Limits\.seconds"):
        Limits(seconds=0)
