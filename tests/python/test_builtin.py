"""Built-in models: names find them, their files are checked, and an index finds its model again."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vtr
from vtr.builtin import HEADS, NAMES, SHARED, builtin_name, locate, models_folder
from vtr.bundle import Bundle, verify_bundle
from vtr.columns import ColumnSpec
from vtr.errors import BundleError, IndexStoreError
from vtr.index import IndexStore

COLUMNS = {"video": ColumnSpec((4,), "float16")}


@pytest.fixture
def copied(builtin_folder, tmp_path, monkeypatch):
    """Built-in models of one's own, to damage."""
    folder = shutil.copytree(builtin_folder, tmp_path / "models")
    monkeypatch.setenv("VTR_MODELS", str(folder))
    return folder


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# ---- names -------------------------------------------------------------------------------------------


def test_every_name_opens_its_family(random_mini, models):
    for name, family in HEADS.items():
        bundle = Bundle.open(name)
        assert (bundle.family, bundle.builtin, bundle.name, str(bundle)) == (family, name, name, name)
        assert verify_bundle(name) == []
        for file in bundle.manifest["files"]:
            assert bundle.file(file).parent.name == ("towers" if file in SHARED else family)
    _, path = models("xclip")
    mini, alone = Bundle.open("mini"), Bundle.open(path)
    assert mini.builtin == "mini-xclip" and mini.fingerprint == alone.fingerprint
    assert mini.tokenizer.encode(["a cat"], 8).tolist() == alone.tokenizer.encode(["a cat"], 8).tolist()
    assert alone.builtin is None and str(alone) == str(path)


def test_only_a_bare_text_is_a_name(random_mini, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, path = models("teachclip")
    shutil.copytree(path, "mini")
    assert Bundle.open("mini").family == "xclip"
    for given in ("./mini", Path("mini"), str(tmp_path / "mini")):
        assert Bundle.open(given).family == "teachclip", given
        assert builtin_name(given) is None
    with pytest.raises(BundleError, match=r"mini-3: expected a bundle.*mini, mini-clip4clip"):
        Bundle.open("mini-3")


def test_models_are_in_the_package_unless_the_variable_says_otherwise(monkeypatch, tmp_path):
    monkeypatch.delenv("VTR_MODELS", raising=False)
    assert models_folder() == Path(vtr.__file__).parent / "models"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VTR_MODELS", "elsewhere")
    assert models_folder() == tmp_path / "elsewhere"


def test_one_model_as_alone(random_mini, models):
    """Towers of the shared folder compute what the bundle's own do."""
    _, path = models("xclip")
    builtin, alone = (vtr.Engine(model, backend="onnxruntime", precision="fp32") for model in ("mini", path))
    assert repr(builtin).startswith("Engine('mini-xclip'")
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 64, 64, 3), np.uint8)
    one, other = (engine.score(engine.encode_text(["a cat", "two dogs"]), engine.encode_frames(frames))
                  for engine in (builtin, alone))  # fmt: skip
    assert np.array_equal(one, other)


# ---- damage ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SHARED)
def test_a_damaged_shared_file_is_refused_by_name(copied, file):
    flip(copied / "towers" / file)
    for name in NAMES:
        with pytest.raises(
            BundleError, match=rf"built-in model mini-.*towers/{file}: .*SHA-256.*install vtr again"
        ):
            Bundle.open(name).graph(file)
        (problem,) = [line for line in verify_bundle(name) if file in line and "SHA-256" in line]
        assert str(copied / "towers" / file) in problem


def test_a_missing_shared_file(copied):
    (copied / "towers" / "vision.onnx").unlink()
    with pytest.raises(BundleError, match=r"ea/vision\.onnx: missing, also from .*towers"):
        Bundle.open("mini-ea", verify=False)


def test_a_shared_file_may_not_be_a_link(copied, tmp_path):
    (copied / "towers" / "text.onnx").rename(tmp_path / "text.onnx")
    (copied / "towers" / "text.onnx").symlink_to(tmp_path / "text.onnx")
    with pytest.raises(BundleError, match=r"towers/text\.onnx: a symbolic link"):
        Bundle.open("mini")


def test_names_do_not_escape_into_or_through_the_second_folder(copied):
    path = copied / "xclip" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["../towers/vision.onnx"] = manifest["files"]["vision.onnx"]
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match=r"'\.\./towers/vision\.onnx' is refused"):
        Bundle.open("mini")


def test_the_bundle_s_own_file_comes_first(copied):
    own = copied / "ea" / "tokenizer.json"
    shutil.copy(copied / "towers" / "tokenizer.json", own)
    assert Bundle.open("mini-ea").file("tokenizer.json") == own
    flip(own)
    with pytest.raises(BundleError, match=r"ea/tokenizer\.json: .*SHA-256"):
        Bundle.open("mini-ea")


def test_missing_models_say_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("VTR_MODELS", str(tmp_path))
    for name in NAMES:
        with pytest.raises(BundleError, match=r"\$VTR_MODELS.*models\.json.*install vtr again.*vtr export"):
            Bundle.open(name)
        (problem,) = verify_bundle(name)
        assert "install vtr again" in problem


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"mini": "mini"}', '{"mini": "../x"}', '{"mini": 3}', "[" * 99999]
)
def test_a_damaged_catalog(copied, text):
    (copied / "models.json").write_text(text)
    with pytest.raises(BundleError, match=r"models\.json.*install vtr again"):
        locate("mini")


# ---- indexes -----------------------------------------------------------------------------------------


def test_an_index_finds_its_model_after_a_move(copied, clips, tmp_path, monkeypatch):
    """Made with "mini", found by the head's own name where vtr was moved to and "mini" is another head."""
    engine = vtr.Engine("mini", index=tmp_path / "index")
    engine.index([clips / "clip1.mp4", clips / "clip2.mp4"])
    expected = [(hit.path, hit.score) for hit in engine.search("a cat")]
    moved = copied.rename(tmp_path / "moved")
    (moved / "models.json").write_text('{"mini": "mini-ea"}')
    monkeypatch.setenv("VTR_MODELS", str(moved))
    again = vtr.Engine(None, index=tmp_path / "index")
    assert again.model.builtin == "mini-xclip"
    assert [(hit.path, hit.score) for hit in again.search("a cat")] == expected
    with pytest.raises(IndexStoreError, match=r"made with mini-xclip .* not with mini-ea"):
        vtr.Engine("mini", index=tmp_path / "index")


def test_an_index_of_a_model_that_is_no_more(random_mini, tmp_path):
    IndexStore.create(tmp_path / "index", "0" * 64, {"name": "old", "builtin": "mini-2019"}, COLUMNS).close()
    with pytest.raises(IndexStoreError, match=r"'mini-2019'.*does not have.*mini-xclip"):
        vtr.Engine(None, index=tmp_path / "index")


def test_from_another_directory_in_another_process(random_mini, clips, tmp_path):
    code = (
        "import sys, vtr\n"
        "engine = vtr.Engine('mini', index='i')\n"
        "report = engine.index(sys.argv[1])\n"
        "print(len(report.added), engine.model.builtin, len(engine.search('a cat', k=3)))\n"
    )
    run = [sys.executable, "-c", code, str(clips / "clip0.mp4")]
    output = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert output.split() == ["1", "mini-xclip", "1"]
    search = [sys.executable, "-m", "vtr", "search", "a cat", "--index", "i"]
    output = subprocess.run(search, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "clip0.mp4" in output


# ---- what is shipped ---------------------------------------------------------------------------------


def test_the_models_in_the_package(monkeypatch):
    from vtr.training.mini.package import LIMIT

    monkeypatch.delenv("VTR_MODELS", raising=False)
    folder = models_folder()
    if not (folder / "models.json").exists():
        pytest.skip("the package has no built-in models yet")
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= LIMIT
    for name in NAMES:
        assert verify_bundle(name) == []
        assert Bundle.open(name).manifest["trained"] is True
    assert not any(os.path.islink(path) for path in folder.rglob("*"))
