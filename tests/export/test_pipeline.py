"""The whole export: checkpoint in, checked bundle out, and nothing left behind where it fails."""

import json

import numpy as np
import pytest

from vtr.bundle import Bundle, verify_bundle
from vtr.errors import BundleError, CheckpointError, UsageError
from vtr.export import ExportOptions, export_checkpoint, export_model
from vtr.export.models import build_model
from vtr.export.parity import TOLERANCES, check_parity
from vtr.export.synthetic import random_checkpoint

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

TINY = {"family": "clip4clip", "dim": 64, "vision_width": 64, "layers": 1}
TINY |= {"image": 32, "patch": 16, "frames": 4, "words": 8}
OPTIONS = ExportOptions(frames=4, words=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "pytorch_model.bin.4"
    torch.save(random_checkpoint(**TINY), path)
    return path


@pytest.fixture(scope="module")
def reference():
    return build_model(random_checkpoint(**TINY), OPTIONS)


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    lines = []
    output = tmp_path_factory.mktemp("exported") / "bundle"
    report = export_checkpoint(checkpoint, output, OPTIONS, progress=lines.append)
    return report, lines


@pytest.fixture
def stored_towers(exported, monkeypatch):
    """Towers come from the bundle at hand instead of being exported again, which takes seconds each."""
    import onnx

    from vtr.export import pipeline

    path = exported[0].path
    real = pipeline.to_onnx
    monkeypatch.setattr(
        pipeline,
        "to_onnx",
        lambda graph: onnx.load(str(path / graph.file)) if graph.file in pipeline.TOWERS else real(graph),
    )


def test_report(exported, checkpoint):
    report, lines = exported
    bundle = Bundle.open(report.path)
    assert verify_bundle(report.path) == [] and bundle.manifest == report.manifest
    assert bundle.manifest == json.loads((report.path / "manifest.json").read_text())
    assert (bundle.name, bundle.family, bundle.scoring) == ("pytorch_model.bin.4", "clip4clip", "holistic")
    assert bundle.manifest["trained"] is True and bundle.manifest["precision"] == "fp32"
    assert bundle.sizes == {
        "frames": 4, "words": 8, "dim": 64, "image": 32, "patch": 16, "vocab": 49408, "keep": None,
    }  # fmt: skip
    assert report.parity == bundle.manifest["parity"]
    assert report.parity["logits"] <= 0.01 and report.parity["cosine"] <= 1e-6
    assert report.parity["logits"] > 0, "a comparison of a thing with itself"
    assert lines[0] == f"reading {checkpoint}" and "exporting vision.onnx" in lines and len(lines) == 6
    assert [entry.name for entry in report.path.parent.iterdir()] == ["bundle"]


def test_exporting_again_gives_the_same_bundle(exported, reference, tmp_path, stored_towers):
    report, _ = exported
    again = export_model(reference, tmp_path / "b", name="other", trained=False)
    assert again.manifest["files"] == report.manifest["files"]
    assert again.manifest["fingerprint"] == report.manifest["fingerprint"]
    assert again.manifest["trained"] is False and again.manifest["name"] == "other"


@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8", "int8-static"])
def test_precisions(exported, reference, tmp_path, precision, stored_towers):
    if precision == "bf16":
        pytest.importorskip("openvino")
    fp32, _ = exported
    report = export_model(reference, tmp_path / "b", precision)
    assert report.manifest["precision"] == precision
    assert report.manifest["fingerprint"] != fp32.manifest["fingerprint"]
    small, large = report.manifest["files"], fp32.manifest["files"]
    share = {name: small[name]["bytes"] / large[name]["bytes"] for name in small}
    assert share["temporal.onnx"] == 1, "heads stay in float32"
    assert share["vision.onnx"] < 0.85  # a third of this small tower is its convolution
    limit = TOLERANCES[precision]
    assert TOLERANCES["fp32"].logits < report.parity["logits"] <= limit.logits
    assert 1e-9 < report.parity["cosine"] <= limit.cosine


def test_disagreement_is_found(exported, reference):
    """The bundle of one model against another that differs in one bias of one layer."""
    report, _ = exported
    state = random_checkpoint(**TINY)
    state["clip.visual.transformer.resblocks.0.mlp.c_proj.bias"][0] += 0.02
    other = build_model(state, OPTIONS)
    bundle = Bundle.open(report.path)
    assert check_parity(bundle, reference)["logits"] <= 0.01
    with pytest.raises(
        BundleError, match=r"the bundle disagrees with the reference model: .* expected at most"
    ):
        check_parity(bundle, other)


def test_a_head_that_differs_is_found(exported):
    report, _ = exported
    state = random_checkpoint(**TINY)
    state["clip.logit_scale"] += 1e-6
    with pytest.raises(BundleError, match="logit_scale differs"):
        check_parity(Bundle.open(report.path), build_model(state, OPTIONS))


def test_numbers_that_are_not_finite_are_found(exported, reference, monkeypatch):
    from vtr.export import parity

    def broken(*arguments):
        features, logits = kept(*arguments)
        logits[0, 0] = np.nan
        return features, logits

    kept = parity._bundle
    monkeypatch.setattr(parity, "_bundle", broken)
    with pytest.raises(BundleError, match="logits differs by nan"):
        check_parity(Bundle.open(exported[0].path), reference)


def test_a_failed_export_leaves_nothing(exported, reference, tmp_path, monkeypatch):
    from vtr.export import pipeline

    source = exported[0].path

    class Stored:
        def __init__(self, file):
            self.file = file

    monkeypatch.setattr(pipeline, "graphs", lambda model: map(Stored, ("text.onnx", "vision.onnx")))
    monkeypatch.setattr(pipeline, "to_onnx", lambda graph: graph)
    monkeypatch.setattr(pipeline, "serialize", lambda graph, file: (source / file).read_bytes())
    with pytest.raises(BundleError, match=r"file temporal\.onnx"):
        export_model(reference, tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_targets_are_checked_before_any_work(exported, tmp_path):
    report, _ = exported
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_bytes(b"")
    for output, force, message in [
        (report.path, False, "--force"),
        (tmp_path / "other", True, "other files than a bundle"),
        (tmp_path / "no" / "b", False, "found none"),
    ]:
        with pytest.raises(UsageError, match=message):
            export_checkpoint("no such checkpoint", output, force=force)
    with pytest.raises(UsageError, match="fp32, fp16, bf16, int8"):
        export_checkpoint("no such checkpoint", tmp_path / "b", precision="fp8")
    with pytest.raises(CheckpointError, match="no such"):
        export_checkpoint("no such checkpoint", tmp_path / "b")


def test_hub_names_bring_their_vocabulary(checkpoint, tmp_path, monkeypatch):
    """What huggingface_hub fetched is read as the directory it is, tokenizer included."""
    from vtr.export import pipeline

    taken = {}
    monkeypatch.setattr(pipeline, "download", lambda name: tmp_path)
    monkeypatch.setattr(pipeline, "load_checkpoint", lambda path: taken.update(path=path))
    monkeypatch.setattr(pipeline, "build_model", lambda state, options: None)
    monkeypatch.setattr(pipeline, "export_model", lambda *given, **named: taken.update(named))
    (tmp_path / "tokenizer.json").write_text("{}")
    export_checkpoint("hf://organisation/clip.v2", tmp_path / "b")
    assert taken == {"path": tmp_path, "name": "clip.v2", "vocab": tmp_path, "cuda": None}


def test_vocabularies(checkpoint, tmp_path):
    """A vocabulary beside a directory's weights is taken, a given one before it, a misfit refused."""
    from vtr.export.tokenizer import has_tokenizer

    assert not has_tokenizer(checkpoint) and not has_tokenizer(tmp_path)
    (tmp_path / "vocab.json").write_text("{}")
    assert has_tokenizer(tmp_path)
    with pytest.raises(CheckpointError, match=r"merges\.txt"):
        export_checkpoint(checkpoint, tmp_path / "b", OPTIONS, vocab=tmp_path)
    small = {**TINY, "vocab": 600}
    with pytest.raises(CheckpointError, match=r"built-in.*--vocab"):
        export_model(build_model(random_checkpoint(**small), OPTIONS), tmp_path / "b")
    assert [entry.name for entry in tmp_path.iterdir()] == ["vocab.json"]
