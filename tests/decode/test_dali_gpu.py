"""DALI on NVDEC against PyAV's path, on a machine with a GPU. The tolerance is that of test_dali.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vtr.decode import DaliPool, read_clip
from vtr.decode.dali_frames import DeviceFrames
from vtr.decode.dali_pipeline import DaliDecoder
from vtr.errors import BackendError
from vtr.types import Clip, Failure, Sampling

pytest.importorskip("nvidia.dali", reason="no DALI")

Maker = Callable[..., Path]
SMALL = Sampling(size=64)
MEAN = 1.5  # grey levels, for pictures made smaller by a third or more
CODECS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"b_frames": 3, "options": {"crf": "18"}},
    "h264-bt709.mkv": {"gop": 25, "colorspace": 1, "options": {"crf": "18"}},
    "full.mp4": {"pixels": "yuvj420p", "options": {"crf": "18"}},
    "hevc.mp4": {"codec": "libx265", "options": {"x265-params": "log-level=none", "crf": "18"}},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"crf": "10", "b": "0"}},
}


@pytest.fixture(autouse=True, scope="module")
def gpu() -> None:
    try:
        DaliDecoder(SMALL, "cuda")
    except BackendError as error:
        pytest.skip(f"no GPU: {error}")


def assert_on_device_like_pyav(clip: Clip | Failure, path: Path) -> None:
    expected = read_clip(path, SMALL)
    assert isinstance(clip, Clip), clip.reason
    assert isinstance(clip.frames, DeviceFrames)
    np.testing.assert_array_equal(clip.indices, expected.indices)
    np.testing.assert_array_equal(clip.timestamps, expected.timestamps)
    got = np.asarray(clip.frames)
    assert got.shape == expected.frames.shape
    assert np.abs(got.astype(np.int16) - expected.frames).mean(axis=(1, 2, 3)).max() < MEAN
    padded = np.asarray(clip.frames.padded())
    assert len(padded) == SMALL.frames and not padded[len(got) :].any()


def test_batches_of_uneven_videos(make_video: Maker) -> None:
    paths = [
        make_video(name, count=count, width=320, height=240, **options)
        for (name, options), count in zip(CODECS.items(), (60, 400, 1, 80, 26), strict=True)
    ]
    with DaliPool(1, SMALL, device="cuda", batch=3) as pool:
        found = dict(pool.map(paths))
        assert pool.declined == {}
    for path in paths:
        assert_on_device_like_pyav(found[path], path)


def test_bad_files_hurt_nobody(make_video: Maker, tmp_path: Path) -> None:
    good = make_video("good.mp4", count=60, width=320, height=240, **CODECS["h264.mp4"])
    turned = make_video("turned.mp4", width=320, height=240, rotation=90)
    text = tmp_path / "text.mp4"
    text.write_text("no video " * 100)
    with DaliPool(1, SMALL, device="cuda") as pool:
        found = dict(pool.map([text, turned, good]))
        assert list(pool.declined) == [turned]
    assert_on_device_like_pyav(found[good], good)
    assert isinstance(found[text], Failure)
    clip = found[turned]
    assert isinstance(clip, Clip)
    np.testing.assert_array_equal(clip.frames, read_clip(turned, SMALL).frames)


def test_the_shared_clips(shared_clips: list[Path]) -> None:
    with DaliPool(1, SMALL, device="cuda") as pool:
        found = dict(pool.map(shared_clips))
        assert pool.declined == {}
    for path in shared_clips:
        assert_on_device_like_pyav(found[path], path)
