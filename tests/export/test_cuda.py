"""`vtr export --cuda`: kernels in bundles. They are compiled in a process that interprets none."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")


from support import run_command  # noqa: E402

from vtr.bundle import Bundle, verify_bundle  # noqa: E402
from vtr.cli import main  # noqa: E402
from vtr.errors import BackendError, BundleError, UsageError  # noqa: E402
from vtr.export import cuda, export_model, pipeline  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint  # noqa: E402
from vtr.manifest import KERNELS, check_manifest  # noqa: E402

TINY = {"family": "clip4clip", "dim": 64, "vision_width": 64, "layers": 1}
TINY |= {"image": 32, "patch": 16, "frames": 4, "words": 8}
SIZES = {"frames": 12, "words": 32, "dim": 512, "keep": None}
HEAD = ("--frames", 4, "--words", 8)


def vtr(*arguments, status=0):
    return run_command(main, *arguments, status=status).output


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.bin"
    torch.save(random_checkpoint(**TINY), path)
    return path


@pytest.fixture(scope="module")
def exported(checkpoint):
    """A holistic bundle with kernels for one architecture: those compile in seconds."""
    pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")
    output = checkpoint.with_name("bundle")
    command = [sys.executable, "-m", "vtr", "export", checkpoint, "-o", output, *HEAD]
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    done = subprocess.run(
        [*map(str, command), "--cuda", "--cuda-arch", "90"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "compiling kernels for sm_90\n" in done.stderr
    return output


@pytest.fixture
def bundle(exported, tmp_path):
    return Path(shutil.copytree(exported, tmp_path / "bundle"))


@pytest.fixture
def compiled(monkeypatch):
    """Kernels that "compile" to a description at once; what was asked for."""
    asked = []

    def add(writer, spec, arches):
        asked.append((spec, arches))
        writer.add(KERNELS, b"{}")
        return {"arches": list(arches), "triton": "0"}

    monkeypatch.setattr(pipeline, "add_kernels", add)
    monkeypatch.setattr(cuda, "find_spec", lambda name: True)
    return asked


# ---- really compiled ---------------------------------------------------------------------------------


def test_kernels_are_files_of_the_bundle(exported):
    opened = Bundle.open(exported)
    assert opened.manifest["cuda"]["arches"] == [90] and opened.manifest["cuda"]["triton"]
    described = json.loads(opened.file(KERNELS).read_text())
    assert described["spec"]["scoring"] == "holistic" and described["spec"]["dim"] == 64
    assert described["spec"]["storage"] == "fp16"
    files = {"kernels/kernels.json"}
    for kernel in described["kernels"].values():
        assert list(kernel["variants"]) == ["sm_90"] and kernel["variants"]["sm_90"]["spills"] == 0
        files |= {f"kernels/{kernel['ptx']['file']}", f"kernels/{kernel['variants']['sm_90']['file']}"}
    assert files == {name for name in opened.manifest["files"] if name.startswith("kernels/")}
    assert files == {f"kernels/{path.name}" for path in (exported / "kernels").iterdir()}


def test_info_shows_what_kernels_take(exported):
    said = vtr("info", exported)
    described = json.loads((exported / KERNELS).read_text())["kernels"]
    assert "sm_90; Triton " in said and ".cubin" not in said
    for name, kernel in described.items():
        variant = kernel["variants"]["sm_90"]
        assert f"sm_90 {variant['registers']} registers" in next(
            line for line in said.splitlines() if name in line
        )
    kernels = json.loads(vtr("info", exported, "--json"))["kernels"]
    assert kernels.keys() == described.keys()
    assert kernels["topk_merge"]["sm_90"]["shared"] == described["topk_merge"]["variants"]["sm_90"]["shared"]


def test_verify_sees_a_changed_bit(bundle):
    assert vtr("verify", bundle).endswith("sound\n")
    path = next((bundle / "kernels").glob("*.sm_90.cubin"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    problems = verify_bundle(bundle)
    assert len(problems) == 1 and path.name in problems[0] and "its content changed" in problems[0]
    assert path.name in vtr("verify", bundle, status=1)
    (bundle / KERNELS).unlink()
    assert "kernels.json: missing" in vtr("verify", bundle, status=1)


def test_kernels_are_no_part_of_the_model(bundle):
    """Another compilation leaves the fingerprint, and so the index."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    del manifest["cuda"]
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if "kernels/" not in name}
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert verify_bundle(bundle) == []
    with pytest.raises(BundleError, match="has no file 'kernels/kernels"):
        Bundle.open(bundle).file(KERNELS)


def test_info_of_a_strange_description(bundle):
    size = (bundle / KERNELS).stat().st_size
    for content in (b"[]", b'{"kernels": {"a": {"variants": {"sm_90": {}}}}}', b"\xff"):
        (bundle / KERNELS).write_bytes(content.ljust(size))
        assert "kernels.json: expected a description of kernels" in vtr("info", bundle, status=1)


# ---- what is asked of the compiler -------------------------------------------------------------------


@pytest.mark.parametrize(
    "scoring, sizes, expected",
    [
        ("holistic", {**SIZES, "frames": 200}, ("holistic", 1, 1, 512, 1)),
        ("xclip", SIZES, ("xclip", 12, 32, 512, 1)),
        ("tcmgc", {**SIZES, "keep": 22}, ("tcmgc", 12, 32, 512, 22)),
    ],
)
def test_spec(scoring, sizes, expected):
    spec = cuda.kernel_spec(scoring, sizes)
    assert (spec.scoring, spec.frames, spec.words, spec.dim, spec.keep) == expected
    assert spec.storage == "fp16"


def test_what_has_no_kernels_is_refused_before_anything_is_written(compiled, tmp_path):
    model = build_model(random_checkpoint(**TINY, sim_header="tightTransf"), ExportOptions(frames=4, words=8))
    with pytest.raises(UsageError, match="tightTransf has no kernels to compile"):
        export_model(model, tmp_path / "bundle", cuda=[90])
    with pytest.raises(UsageError, match="expected frames from 1 to 64, got 65"):
        cuda.kernel_spec("xclip", {**SIZES, "frames": 65})
    assert not compiled and not list(tmp_path.iterdir())


@pytest.mark.parametrize("given, arches", [((), (80, 86, 89, 90, 100, 120)), ((120, 80, 120), (80, 120))])
def test_all_architectures_or_those_named(given, arches, compiled, checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(pipeline, "graphs", lambda model: [])
    monkeypatch.setattr(pipeline, "check_parity", lambda bundle, model: {})
    monkeypatch.setattr(pipeline.Bundle, "open", lambda path: None)
    monkeypatch.setattr(pipeline, "summary", lambda parity: "")
    monkeypatch.setattr("vtr.export.bundle.check_manifest", lambda manifest: None)  # no graphs are there
    named = [part for arch in given for part in ("--cuda-arch", arch)]
    vtr("export", checkpoint, "-o", tmp_path / "bundle", *HEAD, "--cuda", *named)
    [(spec, wanted)] = compiled
    assert wanted == arches and spec.dim == 64
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["cuda"] == {"arches": list(arches), "triton": "0"}


@pytest.mark.parametrize(
    "options, message",
    [
        (("--cuda-arch", 90), "give --cuda too"),
        (("--cuda", "--cuda-arch", 75), "expected CUDA architectures out of 80, 86, 89, 90, 100, 120, got"),
    ],
)
def test_arguments_that_cannot_be_used(options, message, checkpoint, tmp_path):
    said = vtr("export", checkpoint, "-o", tmp_path / "bundle", *options, status=2)
    assert message in said and not list(tmp_path.iterdir())


def test_without_triton(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(cuda, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=r"needs Triton: pip install 'vtr\[gpu\]'"):
        cuda.check_arches([90])
    said = vtr("export", checkpoint, "-o", tmp_path / "bundle", "--cuda", status=1)
    assert "needs Triton" in said and not list(tmp_path.iterdir())


def test_a_spill_fails_the_export(compiled, checkpoint, tmp_path, monkeypatch):
    def add(writer, spec, arches):
        writer.add("kernels/half.cubin", b"")
        raise UsageError("topk_merge for sm_90: expected all in registers, 8 bytes a thread are in memory")

    monkeypatch.setattr(pipeline, "graphs", lambda model: [])
    monkeypatch.setattr(pipeline, "add_kernels", add)
    said = vtr("export", checkpoint, "-o", tmp_path / "bundle", *HEAD, "--cuda", status=2)
    assert "topk_merge for sm_90: expected all in registers" in said
    assert not list(tmp_path.iterdir()), "nothing is left of a bundle that could not be finished"


@pytest.mark.parametrize(
    "entry, message",
    [
        (None, "cuda to be an object"),
        ({"arches": [], "triton": "3.6.0"}, "cuda arches to be a list of CUDA architectures"),
        ({"arches": [True], "triton": "3.6.0"}, "cuda arches to be a list of CUDA architectures"),
        ({"arches": [90]}, "cuda triton to be a text"),
        ({"arches": [90], "triton": "3.6.0"}, "file kernels/kernels.json to be an object"),
    ],
)
def test_a_forged_entry(entry, message, models):
    manifest = dict(Bundle.open(models("clip4clip-meanP")[1], verify=False).manifest)
    with pytest.raises(BundleError, match=message):
        check_manifest({**manifest, "cuda": entry})
