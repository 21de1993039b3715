"""The cases about indexing and cold starts: both ways do the same, and where the time goes adds up."""

import json
import sys

import numpy as np
import pytest
from support import write_video

import vtr
from vtr.benchmarks import models as bench_models
from vtr.benchmarks.baselines.sampled import Sampled
from vtr.benchmarks.case import OURS, Context, Disagreement
from vtr.benchmarks.cases import coldstart, index
from vtr.benchmarks.results import _check_record

torch = pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def small(models, monkeypatch, tmp_path):
    """The tests' own small model in the place of the benchmark's; PyTorch's threads as before afterwards."""
    reference, bundle = models("clip4clip-meanP")
    monkeypatch.setattr(bench_models, "bundle", lambda context, family, precision="fp32": bundle)
    monkeypatch.setattr(bench_models, "reference", lambda context, family: reference)
    videos = [
        write_video(tmp_path / f"{seconds}.mp4", seconds, fps=8, seed=seconds) for seconds in (2, 3, 14)
    ]
    threads = torch.get_num_threads()
    yield reference, bundle, Context(1, True, videos, tmp_path)
    torch.set_num_threads(threads)


@pytest.fixture
def engine(small):
    return vtr.Engine(small[1], device="cpu", precision="fp32", threads=1)


# ---- indexing ----------------------------------------------------------------------------------------


def test_published_features(small, engine):
    """Batches of four and what is left over, each clip as the model encodes it alone."""
    from vtr.benchmarks.baselines.published import features

    model = small[0]
    rng = np.random.default_rng(0)
    size = model.sizes["image"]
    clips = [rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8) for n in (1, 3, 12, 2, 5)]
    loaded = [Sampled(np.arange(len(clip)), clip) for clip in clips]
    found = features(model, range(5), lambda paths: (loaded[path] for path in paths))
    assert [len(batch) for batch in found] == [4, 1]
    for clip, row in zip(clips, torch.cat(found), strict=True):
        with torch.inference_mode():
            alone = model.encode_vision(torch.from_numpy(clip)[None], torch.ones(1, len(clip)))[0]
        # float32 in batches of other sizes; features have lengths of about 10
        np.testing.assert_allclose(row[: len(clip)].numpy(), alone.numpy(), atol=1e-3)


def test_other_frames_or_features_stop_the_case(small, engine):
    model, _, context = small
    path = context.videos[1]
    clip = vtr.decode.read_clip(path, engine.model.sampling)
    with torch.inference_mode():
        mask = torch.ones(1, len(clip.frames))
        theirs = model.encode_vision(torch.from_numpy(clip.frames)[None], mask)[0].numpy()
    assert index.agreement(engine, path, clip.indices, theirs) > 0.9999
    with pytest.raises(Disagreement, match="where OpenCV gives"):
        index.agreement(engine, path, clip.indices + 1, theirs)
    with pytest.raises(Disagreement, match="features differ"):
        index.agreement(engine, path, clip.indices, theirs[:, ::-1])


def test_records(small):
    pytest.importorskip("cv2", reason="OpenCV is not installed")
    _, _, context = small
    records = list(index.prepare(context))
    for record in records:
        _check_record(record, "index")
    measured, work, job = records
    assert measured["name"].endswith(", 3 files")
    assert set(measured["times_faster"]) == {index.PUBLISHED, index.IN_WORKERS}
    assert measured["check"]["smallest cosine"] > index.LEAST_COSINE
    assert work["stages"]["decode, a worker"] > 0
    total = work["figures"]["from beginning to end, s"]
    # each stage is a median of its own, and rounded
    assert sum(job["stages"].values()) == pytest.approx(total, rel=0.3)
    assert not list(context.folder.glob("index-*")), "the indexes that were timed are gone"


def test_what_overlapped():
    seconds = {"decode": 6.0, "wait": 1.0, "hash": 0.5, "encode": 4.0, "commit": 0.25, "total": 6.0}
    work, job = index.split("x", seconds, workers=2)
    assert work["stages"] == {"decode, a worker": 3.0, "hash": 0.5, "encode": 4.0, "commit": 0.25}
    assert work["figures"]["overlapped, s"] == 1.75  # 7.75 of work in 6
    assert job["stages"]["rest"] == 0.25
    assert sum(job["stages"].values()) == 6.0


def test_an_index_run_tells_what_it_waited_for(small, engine, tmp_path):
    """Stages of the job's own thread do not overlap: together they are no more than the whole."""
    _, _, context = small
    report = engine.with_index(tmp_path / "index").index(context.videos, workers=1)
    seconds = report.seconds
    parts = [seconds[stage] for stage in ("hash", "wait", "encode", "commit")]
    assert min(parts) > 0
    assert sum(parts) <= seconds["total"]
    again = engine.with_index(tmp_path / "index").index(context.videos, workers=1)
    assert len(again.unchanged) == 3
    assert again.seconds["wait"] < seconds["wait"]


# ---- cold start --------------------------------------------------------------------------------------


def test_both_ways_find_the_same_videos(small, monkeypatch):
    """The two programs that go all the way, in fresh processes."""
    from vtr.export.synthetic import random_checkpoint

    from support import MODELS, SMALL  # isort: skip

    _, _, context = small
    checkpoint = context.folder / "checkpoint.pt"
    torch.save(random_checkpoint(**{**SMALL, **MODELS["clip4clip-meanP"]}), checkpoint)
    monkeypatch.setattr(bench_models, "checkpoint", lambda context, family: checkpoint)
    monkeypatch.setattr(coldstart, "VIDEOS", 60)
    *_, last = coldstart.prepare(context)
    assert last.name == "first hit, 60 videos"
    assert set(last.contenders) == {OURS, coldstart.PUBLISHED, coldstart.BARE}
    assert last.check["hits that both find"] >= 0.8
    hits = json.loads(last.contenders[OURS]())
    assert len(hits) == coldstart.HITS
    assert set(hits) <= set(range(1, 61))


def test_hits_that_differ_stop_the_case():
    ours = json.dumps(list(range(10)))
    assert coldstart.agreement(ours, json.dumps(list(range(2, 12)))) == 0.8
    with pytest.raises(Disagreement, match="PyTorch's"):
        coldstart.agreement(ours, json.dumps(list(range(3, 13))))


def test_a_program_that_fails_says_why():
    assert coldstart.run_program("import sys; print(sys.argv[1])", {"k": 1}) == '{"k": 1}'
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        coldstart.run_program("1 / 0", {})
    assert coldstart.run_program("import sys; print(sys.executable)", {}) == sys.executable
