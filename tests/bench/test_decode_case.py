"""The case about decoding: baselines give vtr's frames, readers that do not are not timed, its records."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from vtr.benchmarks import made_videos
from vtr.benchmarks.baselines import loaders
from vtr.benchmarks.baselines.sampled import Sampled, prepare
from vtr.benchmarks.case import OURS, Context, Disagreement, run_case
from vtr.benchmarks.cases import decode
from vtr.benchmarks.given_videos import given_videos
from vtr.benchmarks.made_videos import Kind, make_videos, remuxed
from vtr.benchmarks.results import _check_record
from vtr.decode import read_clip
from vtr.types import Sampling

KINDS = (
    Kind("libx264", ".mp4", 96, 64, 3),
    Kind("libvpx-vp9", ".webm", 64, 96, 3),
    Kind("mpeg4", ".avi", 96, 64, 3),
    Kind("libx264", ".mkv", 96, 64, 3),  # pictures out of order, and the first packets have no decoding time
)


def plain(path, sampling):
    """Frames 0, 25, 50 … of a constant frame rate of 25, found by decoding all of them."""
    with av.open(str(path)) as container:
        pictures = [frame.to_image() for frame in container.decode(video=0)]
    numbers = np.arange(0, len(pictures), made_videos.RATE)[: sampling.frames]
    return Sampled(numbers, np.stack([prepare(pictures[number], sampling.size) for number in numbers]))


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(made_videos, "QUICK_KINDS", KINDS)
        made, missing = make_videos(folder, quick=True)
    assert not missing
    return made


@pytest.fixture
def context(tmp_path, monkeypatch):
    monkeypatch.setattr(made_videos, "QUICK_KINDS", KINDS[:1])
    return Context(1, True, [], tmp_path)


# ---- baselines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["OpenCV", "PyAV, every frame", "decord"])
@pytest.mark.parametrize("number", range(len(KINDS)))
def test_baselines_give_the_frames(name, number, videos):
    found, missing = loaders.available()
    if name in missing:
        pytest.skip(missing[name])
    expected, got = plain(videos[number], Sampling()), found[name](videos[number], Sampling(), 1)
    assert got.indices.tolist() == [0, 25, 50] == expected.indices.tolist()
    # Conversions to RGB may round in other ways; another frame of these videos is some 40 grey levels off.
    np.testing.assert_allclose(got.frames.astype(int), expected.frames.astype(int), atol=3)


@pytest.mark.parametrize("frames", [1, 2, 12])
def test_of_many_candidates_some_are_kept(frames, videos):
    sampling = Sampling(frames=frames)
    clip = read_clip(videos[0], sampling)
    for load in loaders.available()[0].values():
        assert load(videos[0], sampling, 1).indices.tolist() == clip.indices.tolist()


def test_torchcodec_is_asked_for_the_frames(videos, monkeypatch):
    """By a stand-in of its interface: torchcodec itself needs libraries that few machines have."""
    asked = {}

    class VideoDecoder:
        def __init__(self, source, **options):
            asked.update(options)
            with av.open(source) as container:
                self.pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
            self.metadata = SimpleNamespace(num_frames=len(self.pictures), average_fps=25.0)

        def get_frames_at(self, indices):
            batch = np.stack([self.pictures[number] for number in indices])
            return SimpleNamespace(data=SimpleNamespace(numpy=lambda: batch))

    decoders = ModuleType("torchcodec.decoders")
    decoders.VideoDecoder = VideoDecoder
    monkeypatch.setitem(sys.modules, "torchcodec", ModuleType("torchcodec"))
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    monkeypatch.delitem(sys.modules, "vtr.benchmarks.baselines.torchcodec", raising=False)
    load = loaders.available()[0]["torchcodec"]
    monkeypatch.delitem(sys.modules, "vtr.benchmarks.baselines.torchcodec")
    expected, got = plain(videos[0], Sampling()), load(videos[0], Sampling(), 2)
    assert got.indices.tolist() == expected.indices.tolist()
    np.testing.assert_array_equal(got.frames, expected.frames)
    assert asked == {"dimension_order": "NHWC", "num_ffmpeg_threads": 2, "seek_mode": "approximate"}


def test_readers_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    monkeypatch.delitem(sys.modules, "vtr.benchmarks.baselines.decord", raising=False)
    found, missing = loaders.available()
    assert "decord" not in found
    assert missing["decord"].startswith("decord is not installed: pip install")


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (333, 100), (50, 50)])
def test_the_picture_is_a_centre_square(size):
    marked = Image.new("RGB", size, "black")
    marked.paste((255, 255, 255), (size[0] // 2 - 4, size[1] // 2 - 4, size[0] // 2 + 4, size[1] // 2 + 4))
    square = prepare(marked, 32)
    assert square.shape == (32, 32, 3)
    bright = square[..., 0].astype(float)
    rows, columns = np.indices(bright.shape)
    assert abs((bright * rows).sum() / bright.sum() - 15.5) < 1
    assert abs((bright * columns).sum() / bright.sum() - 15.5) < 1


# ---- what is compared and timed ------------------------------------------------------------------------


def test_readers_that_differ_are_not_timed(videos, context):
    clip = read_clip(videos[0], Sampling())

    def broken(path, sampling, threads):
        raise RuntimeError("no such codec")

    readers = {
        "OpenCV": lambda *given: Sampled(clip.indices, clip.frames),
        "slightly off": lambda *given: Sampled(clip.indices, np.minimum(clip.frames, 254) + 1),
        "next second": lambda *given: Sampled(clip.indices, np.roll(clip.frames, 1, axis=0)),
        "other numbers": lambda *given: Sampled(clip.indices + 1, clip.frames),
        "broken": broken,
    }
    agreeing, check, differing = decode.compare(videos[:1], [clip], readers, context)
    assert list(agreeing) == ["OpenCV", "slightly off"]
    assert check == {"grey levels from OpenCV": 0, "grey levels from slightly off": 1}
    assert "mean difference" in differing["next second"]
    assert differing["other numbers"] == "samples frames of other numbers"
    assert differing["broken"] == "fails: RuntimeError: no such codec"


def test_a_file_on_which_vtr_stands_alone_is_not_timed(videos, context):
    clip = read_clip(videos[0], Sampling())
    readers = {
        "OpenCV": lambda *given: Sampled(clip.indices, 255 - clip.frames),
        "decord": lambda *given: Sampled(clip.indices, clip.frames),  # its word alone does not count
    }
    with pytest.raises(Disagreement, match=videos[0].name):
        decode.compare(videos[:1], [clip], readers, context)


def test_records(videos, context):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    given = Context(1, True, [videos[1]], context.folder)
    records = run_case(decode.CASE, given)
    for record in records:
        _check_record(record, "decode")
        assert record["microseconds"][OURS]["p50"] > 0
        assert "OpenCV" in record["times_faster"]
    each, made, together, processes = records
    assert each["name"] == f"{videos[1].name}: vp9, 64×96, 3 s"
    assert made["name"].startswith("libx264-96x64-3s.mp4: h264, 96×64")
    assert together["name"] == "all files in one process, 1 files"
    assert processes["name"] == "all files in worker processes, 1 files, 1 workers"
    assert each["settings"]["frames"] == 3
    assert each["check"]["grey levels from OpenCV"] <= decode.CLOSE


# ---- given and made videos -----------------------------------------------------------------------------


def test_files_that_cannot_be_read_are_left_out_by_name(videos, tmp_path, monkeypatch):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    given = Context(1, True, [damaged, *videos], tmp_path)
    readable, left_out = given_videos(given)
    assert readable == videos
    assert list(left_out) == ["damaged.mp4"]
    monkeypatch.setattr("vtr.benchmarks.given_videos.MOST", 2)
    readable, left_out = given_videos(given)
    assert readable == videos[:2]
    assert left_out["further files"] == "a run takes 2 of the 5 given"


def test_an_encoder_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(made_videos, "QUICK_KINDS", (Kind("no-such-encoder", ".mp4", 64, 64, 1), KINDS[0]))
    monkeypatch.setitem(made_videos.SPEED, "no-such-encoder", {})
    made, missing = make_videos(tmp_path, quick=True)
    assert [path.name for path in made] == ["libx264-96x64-3s.mp4"]
    assert missing == {"no-such-encoder-64x64-1s.mp4": "this PyAV has no encoder no-such-encoder"}


@pytest.mark.parametrize("number", range(len(KINDS)))
def test_copies_show_the_same_and_are_other_files(number, videos, tmp_path):
    copies = remuxed(videos[number], tmp_path, 2)
    assert len({path.read_bytes() for path in [*copies, videos[number]]}) == 3
    expected = read_clip(videos[number], Sampling())
    for copy in copies:
        np.testing.assert_array_equal(read_clip(copy, Sampling()).frames, expected.frames)


def test_what_cannot_be_copied_gives_no_copies(tmp_path):
    damaged = tmp_path / "damaged.mp4"
    damaged.write_bytes(b"no video")
    assert remuxed(Path(damaged), tmp_path / "copies", 2) == []
