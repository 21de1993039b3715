"""The engine on a GPU: when it opens it, and that it finds what it finds on the CPU; stand-in driver."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import stand_in
from device_cases import TOLERANCE, K, searches

import vtr


@pytest.fixture(scope="module")
def with_kernels(models, tmp_path_factory):
    """``with_kernels(name)`` → a copy of a model's bundle that lists kernels for the stand-in."""

    def get(name):
        folder = tmp_path_factory.mktemp("bundle") / name
        shutil.copytree(models(name)[1], folder)
        manifest = json.loads((folder / "manifest.json").read_text())
        stand_in.write_kernels(folder / "kernels", manifest["scoring"], manifest["sizes"], K)
        for path in sorted((folder / "kernels").iterdir()):
            data = path.read_bytes()
            entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
            manifest["files"][f"kernels/{path.name}"] = entry
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    return get


@pytest.mark.parametrize("name", ["clip4clip-meanP", "xclip", "tcmgc"])
def test_an_engine_searches_on_the_gpu(gpu, with_kernels, clips, tmp_path, name):
    engine = vtr.Engine(with_kernels(name), tmp_path / "index", precision="fp32")
    assert "searches on a GPU, which the first" in repr(engine) and engine.model.kernels.name == "kernels"
    files = sorted(clips.iterdir())
    assert len(engine.index(files[:6]).added) == 6
    size = engine.model.sizes["image"]
    frames = np.zeros((1, 2, size, size, 3), np.uint8)
    assert engine.score(engine.encode_text("two dogs"), engine.encode_frames(frames)).shape == (1, 1)
    assert gpu.calls("cuInit") == gpu.resources == 0, "only a search needs the GPU"
    plain = vtr.Engine(engine.model.path, tmp_path / "index", "cpu", "fp32")
    assert "Stand-in" not in plain.description
    kind = engine.model.scoring
    texts = ["a man is cooking", "two dogs", "red squares"]

    def assert_same():
        expected = {text: {hit.path: hit.score for hit in plain.search(text, k=8)} for text in texts}
        launched = searches(gpu, kind)
        for text, hits in zip(texts, engine.search(texts, k=8), strict=True):
            assert {hit.path for hit in hits} == set(expected[text])
            for hit in hits:
                assert hit.score == pytest.approx(expected[text][hit.path], abs=TOLERANCE)
                assert hit.moments
        assert searches(gpu, kind) > launched

    assert_same()
    assert "searches on Stand-in GPU, sm_90" in repr(engine)
    engine.index(files)
    engine.remove(files[0])
    assert_same()
    other = engine.with_index(tmp_path / "index")
    launched = searches(gpu, kind)
    assert [h.path for h in other.search(texts[0], k=3)] == [h.path for h in engine.search(texts[0], k=3)]
    assert searches(gpu, kind) == launched + 2


def test_a_gpu_that_cannot_be_had_stops_searches_and_nothing_else(gpu, models, clips, tmp_path, monkeypatch):
    """Encoders have a choice of their own: here they stay on the CPU."""
    import vtr.engine

    opened = vtr.engine.open_encoders
    monkeypatch.setattr(
        vtr.engine, "open_encoders", lambda *a, **named: opened(*a, **{**named, "device": "cpu"})
    )
    engine = vtr.Engine(models("xclip")[1], tmp_path / "index", "cuda", "fp32")
    assert len(engine.index(sorted(clips.iterdir())[:2]).added) == 2
    assert "not on a GPU" in engine.description
    with pytest.raises(vtr.BackendError, match=r"has no kernels for GPUs.*vtr export --cuda"):
        engine.search("two dogs")
    by_name = vtr.Engine(models("xclip")[1], tmp_path / "index", "cuda", "fp32", scoring="native")
    assert len(by_name.search("two dogs")) == 2
