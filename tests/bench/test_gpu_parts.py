"""The proof's parts on encoders and decoders without a GPU: on the CPU, and on made-up pools."""

from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")

from benchmarks.gpu import decoding, encoders  # noqa: E402
from benchmarks.gpu.place import interpreter  # noqa: E402
from benchmarks.gpu.targets import TARGETS  # noqa: E402

CEILINGS = {"copy_gb_s": 1.0, "bf16_tflops": 1.0}
SIZES = {"dim": 64, "vision_width": 64, "layers": 1, "image": 32, "patch": 16}


@pytest.fixture
def place(monkeypatch):
    monkeypatch.setattr(encoders, "VIT_B_32", SIZES)
    place = interpreter()
    place.ceilings.update(CEILINGS)
    return place


# ---- encoders ----------------------------------------------------------------------------------------


def test_pytorch_is_timed_by_batch(place):
    from vtr.export.models import build_model
    from vtr.export.synthetic import random_checkpoint

    model = build_model(random_checkpoint("clip4clip", **SIZES))
    [record] = encoders.of_pytorch(model, place)
    assert record["name"] == "encode PyTorch eager bf16 5 frames from the GPU"
    assert record["frames_s"] > 0 and record["ms"]["p50"] > 0 and record["of_bf16_tflops"] >= 0


def test_a_runtime_is_timed_and_what_it_does_not_take_is_said(place, models, monkeypatch):
    pytest.importorskip("onnxruntime")
    import vtr.encoders

    real = vtr.encoders.open_encoders
    monkeypatch.setattr(
        vtr.encoders, "open_encoders", lambda bundle, *asked: real(bundle, "onnxruntime", "cpu")
    )
    path = models("clip4clip-meanP")[1]
    monkeypatch.setitem(encoders.VIT_B_32, "image", 64)
    records = list(encoders.of_runtime(path, "onnxruntime", "fp16", place))
    assert "ONNX Runtime on cpu" in records[0]["description"]
    assert records[1]["name"] == "encode onnxruntime fp16 from the GPU" and "failed" in records[1]
    assert records[2]["name"] == "encode onnxruntime fp16 5 frames from main memory"
    assert records[2]["frames_s"] > 0


def test_a_runtime_that_is_not_there(place, models):
    [record] = encoders.of_runtime(models("clip4clip-meanP")[1], "lost", "fp16", place)
    assert record["name"] == "encode lost fp16" and "expected backend auto" in record["failed"]


def test_the_target_is_for_runtimes():
    [target] = [target for target in TARGETS if target.record.startswith("encode")]
    assert fnmatchcase("encode tensorrt fp16 96 frames from the GPU", target.record)
    assert not fnmatchcase("encode PyTorch eager bf16 96 frames from the GPU", target.record)


# ---- decoders ----------------------------------------------------------------------------------------


class Pool:
    """Gives every file's outcome at once."""

    def __init__(self, bad=(), declined=()):
        self.rounds, self.bad = 0, bad
        self.declined = {path: "odd colours" for path in declined}

    def map(self, paths):
        self.rounds += 1
        for path in paths:
            yield path, SimpleNamespace(reason="broken") if path in self.bad else SimpleNamespace(frames=[])


def test_decoders_take_turns_and_failures_are_told(place):
    a, b = Path("a"), Path("b")
    pools = {"pyav": Pool(bad=[b]), "dali": Pool(bad=[b], declined=[a])}
    pyav, dali = decoding.compare("640x360", [a, b], pools, place)
    assert pools["pyav"].rounds == pools["dali"].rounds == 1 + place.repeats // 3
    assert pyav["name"] == "decode 640x360 pyav" and pyav["files"] == 2 and pyav["clips_s"] > 0
    assert pyav["failed_files"] == dali["failed_files"] == ["broken"]
    assert dali["left_to_pyav"] == {"files": 1, "reasons": ["odd colours"]} and "times_pyav" in dali


def test_videos_are_real_ones(tmp_path):
    from vtr.decode import read_clip
    from vtr.types import Sampling

    label, paths = decoding.files(tmp_path, ("libx264", ".mp4", 64, 48, 13), 2)
    assert label == "libx264-64x48-13s" and len(paths) == 2
    for path in paths:
        clip = read_clip(path, Sampling(frames=12, size=32))
        assert len(clip.frames) == 12 and clip.timestamps[-1] > 11
