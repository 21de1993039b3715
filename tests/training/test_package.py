"""Packing five bundles into the folder of built-in models: its layout, and what is refused."""

import json
import shutil

import numpy as np
import pytest

from vtr.builtin import HEADS, SHARED
from vtr.bundle import Bundle
from vtr.errors import BundleError, UsageError
from vtr.export.bundle import new_bundle
from vtr.export.tokenizer import tokenizer_json
from vtr.manifest import head_shapes, scoring_of
from vtr.training.mini.package import LIMIT, main, package

VOCAB = 515


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    merges = tmp_path_factory.mktemp("vocabulary") / "merges.txt"
    merges.write_text("#version\na n</w>\n")
    return tokenizer_json(merges, VOCAB).encode()


@pytest.fixture
def bundles(tmp_path, tokenizer_file):
    """``bundles()``: one of each family, with stand-ins for graphs; ``odd``'s text tower is ``content``."""

    def write(odd="", content=b"another text tower", trained=True):
        paths = []
        for family in HEADS.values():
            sim_header = "meanP" if family in ("clip4clip", "ea") else "seqTransf"
            scoring = scoring_of(family, sim_header)
            sizes = {"frames": 3, "words": 5, "dim": 4, "image": 8, "patch": 4, "vocab": VOCAB}
            sizes["keep"] = 2 if family == "tcmgc" else None
            entries = {
                "name": "small", "trained": trained, "family": family, "sim_header": sim_header,
                "variant": None, "scoring": scoring, "frame_coupling": False, "precision": "fp32",
                "sizes": sizes, "parity": {},
                "sampling": {"frames": 3, "fps": 1, "slice": "uniform", "size": 8},
                "preprocessing": {"mean": [0.5] * 3, "std": [0.2] * 3, "resize": "bicubic", "crop": "center"},
            }  # fmt: skip
            shapes = head_shapes(scoring, sizes)
            with new_bundle(tmp_path / family, force=True) as writer:
                writer.add("vision.onnx", b"vision tower")
                writer.add("text.onnx", content if family == odd else b"text tower")
                writer.add("temporal.onnx", f"head of {family}".encode())
                writer.add("tokenizer.json", tokenizer_file)
                writer.add_tensors(
                    "head.safetensors", {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
                )
                writer.write_manifest(entries)
            paths.append(tmp_path / family)
        return paths

    return write


def test_layout(bundles, tmp_path):
    paths = bundles()
    into = tmp_path / "models"
    size = package(paths[::-1], into, "tcmgc")  # the order does not matter
    assert json.loads((into / "models.json").read_text()) == {"mini": "mini-tcmgc"}
    assert {path.name for path in (into / "towers").iterdir()} == set(SHARED)
    files = [path for path in into.rglob("*") if path.is_file()]
    assert size == sum(path.stat().st_size for path in files)
    for name, family in HEADS.items():
        own = {path.name for path in (into / family).iterdir()}
        assert own == {"manifest.json", "temporal.onnx", "head.safetensors"}
        packed = Bundle.open(into / family, shared=into / "towers")
        assert packed.name == name
        assert packed.fingerprint == Bundle.open(tmp_path / family).fingerprint
    with pytest.raises(BundleError, match="missing"):
        Bundle.open(into / "ea")  # alone it is not whole


@pytest.mark.parametrize("content", [b"another text tower", b"text tower\0", b"text towes"])
def test_differing_towers_are_refused(bundles, tmp_path, content):
    with pytest.raises(
        BundleError, match=r"clip4clip/text\.onnx and .*xclip/text\.onnx differ.*one training run"
    ):
        package(bundles(odd="xclip", content=content), tmp_path / "models", "xclip")
    assert not (tmp_path / "models").exists()


def test_too_many_bytes(bundles, tmp_path):
    paths = bundles()
    size = package(paths, tmp_path / "models", "tcmgc")
    assert package(paths, tmp_path / "models", "tcmgc", limit=size) == size <= LIMIT == 16_000_000
    before = (tmp_path / "models" / "models.json").read_bytes()
    with pytest.raises(UsageError, match=rf"may have {size - 1} bytes together, these have {size}"):
        package(paths, tmp_path / "models", "tcmgc", limit=size - 1)
    assert (tmp_path / "models" / "models.json").read_bytes() == before  # the old ones stay
    assert not list(tmp_path.glob(".models*"))


def test_what_else_is_refused(bundles, tmp_path):
    paths = bundles()
    into = tmp_path / "models"
    with pytest.raises(UsageError, match=r"one bundle of each of .*; got clip4clip, ea, teachclip, xclip$"):
        package(paths[:-1], into, "ea")
    with pytest.raises(UsageError, match="one bundle of each"):
        package([*paths, paths[0]], into, "ea")
    with pytest.raises(UsageError, match="the best as one of"):
        package(paths, into, "clip")
    with pytest.raises(UsageError, match="found none"):
        package(paths, tmp_path / "no" / "models", "ea")
    shutil.copytree(paths[0], tmp_path / "precious")
    with pytest.raises(UsageError, match="other files than built-in models"):
        package(paths, tmp_path / "precious", "ea")
    assert (tmp_path / "precious" / "text.onnx").exists()
    (paths[2] / "temporal.onnx").write_bytes(b"head of teachcliq")
    with pytest.raises(BundleError, match=r"teachclip/temporal\.onnx.*SHA-256"):
        package(paths, into, "ea")
    assert not into.exists()


def test_random_weights_are_refused(bundles, tmp_path, capsys):
    paths = [str(path) for path in bundles(trained=False)]
    arguments = [*paths, "--best", "ea", "--into", str(tmp_path / "models")]
    assert main(arguments) == 1
    assert "random weights" in capsys.readouterr().err and not (tmp_path / "models").exists()
    assert main([*arguments, "--untrained"]) == 0
    assert "mini is ea" in capsys.readouterr().out
