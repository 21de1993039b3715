"""Test videos, made with PyAV: small moving pictures whose every frame is different."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when cv2 is imported

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image


def pictures(count: int, width: int, height: int, seed: int = 0) -> Iterator[NDArray[np.uint8]]:
    """``count`` RGB pictures: a smooth random texture that slides, and a patch that changes brightness."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    size = (width + 2 * count, height + count)
    texture = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    for i in range(count):
        picture = texture[i : i + height, 2 * i : 2 * i + width].copy()
        picture[: max(height // 8, 1), : max(width // 8, 1)] = i * 37 % 256
        yield picture


def write_video(
    path: Path,
    *,
    count: int = 30,
    width: int = 64,
    height: int = 48,
    rate: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    gop: int = 12,
    b_frames: int | None = None,
    times: Sequence[int]
    | None = None,  # presentation times in milliseconds; by default one frame every 1/rate
    options: dict[str, str] | None = None,
    muxer: str | None = None,
    muxer_options: dict[str, str] | None = None,
    colorspace: int | None = None,
    color_range: int | None = None,
    rotation: int = 0,
    aspect: Fraction | None = None,
) -> Path:
    time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
    with av.open(str(path), "w", format=muxer, options=muxer_options or {}) as container:
        stream = container.add_stream(codec, rate=rate, options=options or {})
        stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, pixels, time_base
        context = stream.codec_context
        context.time_base, context.gop_size, context.thread_count = time_base, gop, 1
        if b_frames is not None:
            context.max_b_frames = b_frames
        if colorspace is not None:
            context.colorspace = colorspace
        if color_range is not None:
            context.color_range = color_range
        if aspect is not None:
            context.sample_aspect_ratio = aspect
        if rotation:
            stream.set_display_rotation(rotation)
        for i, picture in enumerate(pictures(count, width, height)):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixels)
            frame.pts, frame.time_base = (i if times is None else times[i]), time_base
            if colorspace is not None:
                frame.colorspace = colorspace
            if color_range is not None:
                frame.color_range = color_range
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def make_video(tmp_path: Path) -> Callable[..., Path]:
    """``make_video("name.mp4", **options)`` writes a video into the test's folder and returns its path."""
    return lambda name, **options: write_video(tmp_path / name, **options)


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that keeps a worker busy for seconds if all its frames are wanted."""
    path = tmp_path_factory.mktemp("endless") / "endless.mp4"
    return write_video(path, count=1500, width=320, height=240, gop=10_000, options={"preset": "ultrafast"})


@pytest.fixture(scope="session")
def shared_clips() -> list[Path]:
    """Real clips, from $VTR_TEST_VIDEOS or the folder shared/videos beside the repository."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "videos"
    folder = Path(os.environ.get("VTR_TEST_VIDEOS", beside))
    clips = sorted(p for p in folder.glob("*") if p.suffix in (".mp4", ".mkv"))
    if not clips:
        pytest.skip(f"no shared clips in {folder} (set VTR_TEST_VIDEOS)")
    return clips
