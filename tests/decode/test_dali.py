"""DALI on the CPU against PyAV's path, on real files of the codecs that it decodes there.

Frames cannot be equal: DALI converts colours exactly and interpolates chroma, PyAV's path repeats chroma and
rounds down (by a constant that is added back). Where the test pictures, which are coloured noise in blocks of
8 pixels, are made smaller, a difference of 0.5 to 1.1 grey levels remains on average, and of 9 at most, where
colours have their edges; near their own size it is up to 5.3 on average. A neighbouring frame differs more.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from vtr.decode import DaliPool, Limits, read_clip
from vtr.decode.dali import difference
from vtr.decode.dali_pipeline import DaliDecoder
from vtr.decode.dali_plan import Plan
from vtr.decode.dali_planner import plan_clip
from vtr.errors import UsageError
from vtr.types import Clip, Failure, Sampling

pytest.importorskip("nvidia.dali", reason="no DALI")

Maker = Callable[..., Path]
SMALL = Sampling(size=32)
MEAN, MOST = 1.5, 15  # grey levels, for pictures made smaller by a third or more
CODECS: dict[str, dict[str, Any]] = {
    "v.webm": {"codec": "libvpx-vp9", "options": {"crf": "10", "b": "0"}},
    "v.mp4": {"codec": "libvpx-vp9", "gop": 5},
    "vp8.webm": {"codec": "libvpx", "options": {"b": "2000000"}},
    "v.mkv": {"codec": "mjpeg", "pixels": "yuvj420p", "options": {"q": "2"}},
    "bt709.webm": {"codec": "libvpx-vp9", "colorspace": 1, "options": {"crf": "10", "b": "0"}},
}


def distances(got: NDArray[np.uint8], expected: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of each frame, the mean difference in grey levels."""
    assert got.shape == expected.shape and got.dtype == np.uint8
    return np.abs(got.astype(np.int16) - expected).mean(axis=(1, 2, 3))


def assert_like_pyav(clip: Clip | Failure, path: Path, sampling: Sampling) -> None:
    expected = read_clip(path, sampling)
    assert isinstance(clip, Clip), clip.reason
    assert distances(clip.frames, expected.frames).max() < MEAN
    assert np.abs(clip.frames.astype(np.int16) - expected.frames).max() <= MOST
    np.testing.assert_array_equal(clip.indices, expected.indices)
    np.testing.assert_array_equal(clip.timestamps, expected.timestamps)
    for name in ("duration", "fps", "width", "height", "codec"):
        assert getattr(clip, name) == getattr(expected, name)


def plan_of(path: Path, sampling: Sampling = SMALL) -> Plan:
    plan = plan_clip(path, sampling, Limits(), "cpu")
    assert isinstance(plan, Plan), plan.reason
    return plan


def test_batches_of_uneven_videos(make_video: Maker) -> None:
    """Of 1 to 12 frames, of all codecs and several sizes and shapes, three a run."""
    sizes, counts = [(64, 48), (130, 200), (160, 96), (96, 96), (64, 64)], [60, 1, 300, 2, 26]
    paths = [
        make_video(f"{i}{name}", count=count, width=width, height=height, **options)
        for i, ((name, options), count, (width, height)) in enumerate(
            zip(CODECS.items(), counts, sizes, strict=True)
        )
    ]
    with DaliPool(1, SMALL, batch=3) as pool:
        found = dict(pool.map(paths))
        assert pool.declined == {} and pool.seconds > 0
    for path in paths:
        assert_like_pyav(found[path], path, SMALL)
    assert sorted(len(clip.frames) for clip in found.values() if isinstance(clip, Clip)) == [1, 1, 2, 3, 12]


def test_a_neighbouring_frame_would_be_noticed(make_video: Maker) -> None:
    plan = plan_of(make_video("v.webm", count=60, **CODECS["v.webm"]))
    right, wrong = DaliDecoder(SMALL).decode(
        [dataclasses.replace(plan, places=places) for places in (plan.places[1:], plan.places[1:] - 1)]
    )
    assert isinstance(right, np.ndarray) and isinstance(wrong, np.ndarray)
    assert distances(right, wrong).min() > 3 * MEAN


def test_colours_by_the_matrix_that_the_file_declares(make_video: Maker) -> None:
    """BT.709 is what DALI does not convert by itself: without the correction it would be noticed."""
    path = make_video("v.webm", count=26, width=128, height=96, **CODECS["bt709.webm"])
    plan, expected = plan_of(path), read_clip(path, SMALL).frames
    right, wrong = DaliDecoder(SMALL).decode([plan, dataclasses.replace(plan, colours="bt601")])
    assert isinstance(right, np.ndarray) and isinstance(wrong, np.ndarray)
    assert distances(right, expected).max() < MEAN < 3 * MEAN < distances(wrong, expected).min()


@pytest.mark.parametrize("size", [48, 96, 224])
def test_pictures_near_their_own_size_and_larger(make_video: Maker, size: int) -> None:
    """There the edges of colours show: DALI's are smooth where PyAV's are square."""
    path = make_video("v.webm", count=26, **CODECS["v.webm"])
    (got,) = DaliDecoder(Sampling(size=size)).decode([plan_of(path, Sampling(size=size))])
    assert isinstance(got, np.ndarray)
    expected = read_clip(path, Sampling(size=size)).frames
    assert distances(got, expected).max() < 6
    bias = (got.astype(np.int16) - expected).mean(axis=(0, 1, 2))
    assert np.abs(bias).max() < 0.7  # whole pixels of another colour, but no other brightness


def test_bad_files_hurt_nobody(make_video: Maker, tmp_path: Path) -> None:
    good = [make_video(f"good{i}.webm", count=30 + i, **CODECS["v.webm"]) for i in range(3)]
    text, cut = tmp_path / "text.mp4", tmp_path / "cut.webm"
    text.write_text("no video " * 100)
    whole = make_video("whole.webm", count=100, **CODECS["v.webm"])
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    odd = make_video("odd.webm", codec="libvpx-vp9", width=65, height=49)
    h264 = make_video("h264.mp4")
    paths = [good[0], text, cut, good[1], odd, h264, good[2], tmp_path / "missing"]
    with DaliPool(1, SMALL, batch=4) as pool:
        found = dict(pool.map(paths))
        assert {path.name for path in pool.declined} == {"odd.webm", "h264.mp4"}
        assert "odd, 65x49" in pool.declined[odd]
        again = dict(pool.map([good[0]]))
    assert sorted(found) == sorted(paths)
    for path in (*good, cut):
        assert_like_pyav(found[path], path, SMALL)
    for path in (odd, h264):
        clip = found[path]
        assert isinstance(clip, Clip)
        np.testing.assert_array_equal(clip.frames, read_clip(path, SMALL).frames)
    for path in (text, tmp_path / "missing"):
        assert isinstance(found[path], Failure)
    assert_like_pyav(again[good[0]], good[0], SMALL)


def test_what_dali_fails_on_costs_the_others_nothing(make_video: Maker) -> None:
    """A run that fails leaves a pipeline that is of no more use; the next run has another one."""
    paths = [make_video(f"{i}.webm", count=30, **CODECS["v.webm"]) for i in range(3)]
    plans = [plan_of(path) for path in paths]
    beyond = dataclasses.replace(plans[1], places=np.array([0, 10_000], np.int32))
    rubbish = dataclasses.replace(plans[1], stream=b"\x1a\x45\xdf\xa3" + bytes(1000))
    decoder = DaliDecoder(SMALL, batch=2)
    results = decoder.decode([plans[0], rubbish, beyond, plans[2], plans[1]])
    assert [isinstance(result, str) for result in results] == [False, True, True, False, False]
    assert isinstance(results[2], str) and "10000" in results[2] and "\n" not in results[2]
    for place, path in ((0, paths[0]), (3, paths[2]), (4, paths[1])):
        frames = results[place]
        assert isinstance(frames, np.ndarray)
        assert distances(frames, read_clip(path, SMALL).frames).max() < MEAN


def test_what_dali_refuses_is_decoded_by_pyav(make_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [make_video(f"{i}.webm", count=30, **CODECS["v.webm"]) for i in range(2)]
    real = DaliDecoder.decode

    def refuses_the_first(self: DaliDecoder, plans: list[Plan]) -> list[Any]:
        return ["no such decoder", *real(self, plans)[1:]]

    monkeypatch.setattr(DaliDecoder, "decode", refuses_the_first)
    with DaliPool(1, SMALL) as pool:
        found = dict(pool.map(paths))
        assert pool.declined == {paths[0]: "DALI: no such decoder"}
    np.testing.assert_array_equal(found[paths[0]].frames, read_clip(paths[0], SMALL).frames)  # type: ignore[union-attr]
    assert_like_pyav(found[paths[1]], paths[1], SMALL)


def test_a_first_frame_unlike_pyavs_is_not_taken(make_video: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the reason, here a wrong place: the file goes to PyAV."""
    path = make_video("v.webm", count=60, **CODECS["v.webm"])
    plan = plan_of(path)
    real = DaliDecoder.decode

    def another_frame(self: DaliDecoder, plans: list[Plan]) -> list[Any]:
        return real(self, [dataclasses.replace(plan, places=plan.places[::-1].copy()) for plan in plans])

    assert difference(plan, read_clip(path, SMALL).frames) is None
    monkeypatch.setattr(DaliDecoder, "decode", another_frame)
    with DaliPool(1, SMALL) as pool:
        ((_, clip),) = pool.map([path])
        assert "first frame differs" in pool.declined[path]
    assert isinstance(clip, Clip)
    np.testing.assert_array_equal(clip.frames, read_clip(path, SMALL).frames)


def test_many_frames_and_many_pixels_are_several_runs(
    make_video: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video("v.webm", count=30, **CODECS["v.webm"])
    monkeypatch.setattr("vtr.decode.dali_pipeline.MOST_PIXELS", 64 * 48 * 2)
    decoder, plan = DaliDecoder(SMALL), plan_of(path)
    assert [len(part) for part in decoder._parts([plan] * 3)] == [1, 1, 1]
    assert all(isinstance(frames, np.ndarray) for frames in decoder.decode([plan] * 3))
    monkeypatch.setattr("vtr.decode.dali.MOST_PIXELS", 64 * 48)
    with DaliPool(1, SMALL) as pool:
        ((_, clip),) = pool.map([path])
        assert "pixels together" in pool.declined[path]
    assert isinstance(clip, Clip)


def test_wrong_use() -> None:
    with pytest.raises(UsageError, match="device"):
        DaliPool(1, SMALL, device="gpu")
    for batch in (0, True, 1.5, 1000):
        with pytest.raises(UsageError, match="batch"):
            DaliPool(1, SMALL, batch=batch)  # type: ignore[arg-type]
