"""Bundles: what is read is what was written, and every kind of damage is named."""

import contextlib
import hashlib
import json
import os
import shutil

import numpy as np
import pytest

from vtr.bundle import Bundle, verify_bundle
from vtr.errors import BundleError, UsageError
from vtr.export.bundle import new_bundle
from vtr.export.tokenizer import tokenizer_json
from vtr.manifest import fingerprint, head_shapes, parse_manifest

VOCAB = 515
SIZES = {"frames": 3, "words": 5, "dim": 4, "image": 8, "patch": 4, "vocab": VOCAB, "keep": None}
ENTRIES = {
    "name": "small",
    "trained": False,
    "family": "clip4clip",
    "sim_header": "meanP",
    "variant": None,
    "scoring": "holistic",
    "frame_coupling": False,
    "precision": "fp32",
    "sizes": SIZES,
    "sampling": {"frames": 3, "fps": 1, "slice": "uniform", "size": 8},
    "preprocessing": {"mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "resize": "bicubic", "crop": "center"},
    "parity": {},
}
TCMGC = {"family": "tcmgc", "sim_header": "seqTransf", "scoring": "tcmgc", "sizes": {**SIZES, "keep": 2}}
XCLIP = {"family": "xclip", "sim_header": "seqTransf", "scoring": "xclip"}
TIGHT = {"sim_header": "tightTransf", "scoring": "cross"}


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """The smallest vocabulary of CLIP's kind: the bytes, one merge, start and end."""
    merges = tmp_path_factory.mktemp("vocabulary") / "merges.txt"
    merges.write_text("#version\na n</w>\n")
    return tokenizer_json(merges, VOCAB).encode()


@pytest.fixture
def make(tmp_path, tokenizer_file):
    """``make(**entries)`` writes a bundle whose graphs are stand-ins; returns its path."""

    def write(tensors=None, **entries):
        entries = {**ENTRIES, **entries}
        rng = np.random.default_rng(0)
        shapes = head_shapes(entries["scoring"], entries["sizes"])
        head = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
        with new_bundle(tmp_path / "bundle", force=True) as writer:
            for name in ("text.onnx", "vision.onnx", "temporal.onnx", "cross.onnx"):
                if name != "cross.onnx" or entries["scoring"] == "cross":
                    writer.add(name, f"stand-in of {name}".encode())
            writer.add("tokenizer.json", tokenizer_file)
            writer.add_tensors("head.safetensors", {**head, **(tensors or {})})
            writer.write_manifest(entries)
        return tmp_path / "bundle"

    return write


def rewrite(path, change, forge=True):
    """Change the manifest's entries; ``forge`` makes the fingerprint fit again where it can be made."""
    manifest = json.loads((path / "manifest.json").read_text())
    change(manifest)
    if forge:
        with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
            manifest["fingerprint"] = fingerprint(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


# ---- sound bundles -----------------------------------------------------------------------------------


@pytest.mark.parametrize("entries", [{}, TIGHT, XCLIP, TCMGC], ids=["holistic", "cross", "xclip", "tcmgc"])
@pytest.mark.parametrize("verify", [True, False])
def test_round_trip(make, entries, verify):
    path = make(**entries)
    bundle = Bundle.open(path, verify=verify)
    assert verify_bundle(path) == []
    expected = {**ENTRIES, **entries}
    assert (bundle.family, bundle.scoring) == (expected["family"], expected["scoring"])
    assert bundle.sizes == expected["sizes"] and bundle.path == path and bundle.name == "small"
    assert vars(bundle.sampling) == expected["sampling"] and bundle.frame_coupling is False
    assert {name: array.shape for name, array in bundle.head.items()} == head_shapes(
        bundle.scoring, bundle.sizes
    )
    assert bundle.file("text.onnx").read_bytes() == b"stand-in of text.onnx"
    assert bundle.tokenizer.encode(["an a"], 5).tolist() == [[513, 512, 320, 514, 0]]
    assert len(bundle.fingerprint) == 64


def test_fingerprint_covers_the_model_and_nothing_else(make):
    base = Bundle.open(make()).fingerprint
    assert Bundle.open(make(name="other", parity={"logits": 1.0}, trained=True)).fingerprint == base
    for change in (
        {"sampling": {**ENTRIES["sampling"], "fps": 2}},
        {"preprocessing": {**ENTRIES["preprocessing"], "mean": [0.5, 0.5, 0.4]}},
        {"variant": "excitation"},
        {"frame_coupling": True},
        {"family": "teachclip"},
        {"tensors": {"logit_scale": np.ones(1, np.float32)}},
    ):
        assert Bundle.open(make(**change)).fingerprint != base, change


def test_unlisted_files_and_a_link_to_the_bundle_are_fine(make, tmp_path):
    path = make()
    (path / "engines").mkdir()
    (path / "engines" / "a.plan").write_bytes(b"made on first use")
    (tmp_path / "link").symlink_to(path)
    assert verify_bundle(tmp_path / "link") == []
    with pytest.raises(BundleError, match=r"no file 'engines/a\.plan', only head"):
        Bundle.open(path).file("engines/a.plan")


# ---- damaged files -----------------------------------------------------------------------------------

FILES = ["text.onnx", "vision.onnx", "temporal.onnx", "head.safetensors", "tokenizer.json"]


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def append(path):
    path.write_bytes(path.read_bytes() + b"\0")


def replace_by_directory(path):
    path.unlink()
    path.mkdir()


def replace_by_link(path):
    target = path.with_name("elsewhere")
    path.rename(target)
    path.symlink_to(target)


@pytest.mark.parametrize("file", FILES[:3])
@pytest.mark.parametrize(
    "damage, message",
    [
        (flip, "SHA-256"),
        (truncate, r"expected \d+ bytes"),
        (os.unlink, "missing"),
        (replace_by_link, "symbolic link"),
    ],
)
def test_graphs_are_looked_at_again_when_they_are_loaded(make, file, damage, message):
    path = make()
    bundle, unverified = Bundle.open(path), Bundle.open(path, verify=False)
    assert bundle.graph(file) == path / file
    damage(path / file)
    for other in FILES[:3]:
        if other != file:
            bundle.graph(other)
    with pytest.raises(BundleError, match=rf"bundle/{file}: .*{message}.*export it again"):
        bundle.graph(file)
    if damage is flip:
        assert unverified.graph(file) == path / file
    else:
        with pytest.raises(BundleError, match=message):
            unverified.graph(file)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "damage, message",
    [
        (flip, "SHA-256"),
        (truncate, r"expected \d+ bytes"),
        (append, r"expected \d+ bytes"),
        (os.unlink, "missing"),
        (replace_by_directory, "not a regular file"),
        (replace_by_link, "symbolic link"),
    ],
)
def test_damaged_files(make, file, damage, message):
    path = make()
    damage(path / file)
    with pytest.raises(BundleError, match=f"{file}: .*{message}.*export it again"):
        bundle = Bundle.open(path)
        assert damage is flip and file.endswith(".onnx"), "only contents of graphs may wait"
        bundle.graph(file)
    (problem,) = verify_bundle(path)
    assert file in problem
    if damage is not flip:  # sizes are compared even when hashes are not
        with pytest.raises(BundleError, match=message):
            Bundle.open(path, verify=False)


def test_verify_names_every_problem(make):
    path = make()
    flip(path / "text.onnx")
    (path / "vision.onnx").unlink()
    rewrite(path, lambda m: m.update(name="changed", family="teachclip"), forge=False)
    problems = verify_bundle(path)
    assert len(problems) == 3
    for file in ("text.onnx", "vision.onnx", "manifest.json"):
        assert any(file in problem for problem in problems)


# Files are read in parts of 2^20 bytes; the word may begin in one part and end in the next.
@pytest.mark.parametrize(
    "before", [0, 9, (1 << 20) - 8, (1 << 20) - 7, (1 << 20) - 1, 1 << 20, (2 << 20) - 3]
)
def test_graphs_with_weights_elsewhere_are_refused(make, before):
    path = make()
    content = bytes(before) + b"location\x12\x09/etc/data"
    (path / "text.onnx").write_bytes(content)
    entry = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    rewrite(path, lambda m: m["files"].update({"text.onnx": entry}))
    bundle = Bundle.open(path)
    with pytest.raises(BundleError, match=r"text\.onnx: refers to weights in other files"):
        bundle.graph("text.onnx")
    assert len(verify_bundle(path)) == 1
    bundle.graph("vision.onnx")


# ---- forged manifests --------------------------------------------------------------------------------


def put(manifest, name, value):
    *way, last = name.split("/")
    for step in way:
        manifest = manifest[step]
    manifest[last] = value


FORGED = [
    ("format", "zip", "no bundle"),
    ("format_version", 2, "update vtr"),
    ("format_version", 0, "export the bundle again"),
    ("format_version", True, "format version 1"),
    ("format_version", "1", "format version 1"),
    ("family", "dino", "family"),
    ("family", ["clip4clip"], "family"),
    ("sim_header", "maxP", "sim_header"),
    ("scoring", "cosine", "scoring"),
    ("scoring", "xclip", "scoring to be one of holistic"),
    ("precision", "fp8", "precision"),
    ("frame_coupling", 1, "frame_coupling"),
    ("name", "n" * 201, "name"),
    ("name", None, "name"),
    ("variant", 3, "variant"),
    ("sizes", [1, 2], "sizes to be an object"),
    ("sizes/frames", 10**9, "size frames to be a whole number"),
    ("sizes/frames", 0, "size frames"),
    ("sizes/frames", -3, "size frames"),
    ("sizes/frames", 3.0, "size frames"),
    ("sizes/frames", True, "size frames"),
    ("sizes/frames", "3", "size frames"),
    ("sizes/words", 1, "size words"),
    ("sizes/dim", 1 << 70, "size dim"),
    ("sizes/vocab", None, "size vocab"),
    ("sizes/patch", 9, "size patch"),
    ("sizes/keep", 2, "size keep to be null"),
    ("sampling", {}, "sampling fps"),
    ("sampling/frames", 4, "sampling frames"),
    ("sampling/size", 224, "sampling size"),
    ("sampling/fps", 0, "sampling fps"),
    ("sampling/slice", "middle", "sampling slice"),
    ("sampling/crop", "none", "got also 'crop'"),
    ("preprocessing/mean", [0.5, 0.5], "mean to be three numbers"),
    ("preprocessing/std", [0.2, 0.2, 0], "std to be three numbers above 0"),
    ("preprocessing/std", [0.2, 0.2, "a"], "std"),
    ("preprocessing/resize", "nearest", "resize"),
    ("files", {}, r"file text\.onnx"),
    ("files", None, "files to be an object"),
    ("fingerprint", "0" * 64, "the manifest was altered"),
    ("fingerprint", "abc", "64 hexadecimal"),
]


@pytest.mark.parametrize("name, value, message", FORGED)
def test_forged_entries(make, name, value, message):
    path = make()
    rewrite(path, lambda m: put(m, name, value), forge=name != "fingerprint")
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.open(path)
    assert str(path / "manifest.json") in str(caught.value)
    assert verify_bundle(path) == [str(caught.value)]


@pytest.mark.parametrize(
    "name", ["variant", "sizes/keep", "sizes/frames", "parity", "trained", "fingerprint"]
)
def test_missing_entries(make, name):
    def remove(manifest):
        *way, last = name.split("/")
        for step in way:
            manifest = manifest[step]
        del manifest[last]

    path = make()
    rewrite(path, remove, forge=name != "fingerprint")
    with pytest.raises(BundleError, match=f"{name.split('/')[-1]} to be .*got nothing"):
        Bundle.open(path)


def test_sizes_whose_product_is_absurd(make):
    path = make()

    def change(manifest):
        manifest["sizes"].update(frames=4096, image=4096)
        manifest["sampling"].update(frames=4096, size=4096)

    rewrite(path, change)
    with pytest.raises(BundleError, match="a clip of at most"):
        Bundle.open(path)


HOSTILE = [
    "../secret",
    "/etc/passwd",
    "a/../../b",
    "a//b",
    "./a",
    "a/.",
    "..",
    "",
    "a\\b",
    "C:/x",
    ".hidden",
    "a\0b",
]
HOSTILE += ["manifest.json", "a\nb", "é", "x" * 201, "a/.b/c", "a b"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_lead_elsewhere(make, tmp_path, name):
    path = make()
    (tmp_path / "secret").write_bytes(b"")
    entry = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bytes": 0}
    rewrite(path, lambda m: m["files"].update({name: entry}))
    with pytest.raises(BundleError, match="is refused"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "entry, message",
    [
        (None, "object"),
        ({"bytes": 0}, "sha256"),
        ({"sha256": "0" * 64}, "bytes"),
        ({"sha256": "0" * 64, "bytes": -1}, "bytes"),
        ({"sha256": "Z" * 64, "bytes": 0}, "sha256"),
        ({"sha256": "0" * 64, "bytes": 1e3}, "bytes"),
    ],
)
def test_forged_file_entries(make, entry, message):
    path = make()
    rewrite(path, lambda m: m["files"].update({"kernels/sm_90.cubin": entry}))
    with pytest.raises(BundleError, match=message):
        Bundle.open(path)


def test_links_in_the_middle_of_a_name(make, tmp_path):
    path = make()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x").write_bytes(b"")
    (path / "kernels").symlink_to(tmp_path / "outside")
    entry = {"sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "bytes": 0}
    rewrite(path, lambda m: m["files"].update({"kernels/x": entry}))
    with pytest.raises(BundleError, match="symbolic link"):
        Bundle.open(path)


@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "not a readable manifest"),
        (b"\xff\xfe", "not a readable manifest"),
        (b'{"format": "vtr-bundle"', "not a readable manifest"),
        (b"[" * 100_000, "not a readable manifest"),
        (b"[]", "no bundle"),
        (b"null", "no bundle"),
        (b'{"format": "vtr-bundle", "format": "vtr-bundle"}', "'format' stands there twice"),
        (b'{"format": "vtr-bundle", "x": {"a": 1, "a": 2}}', "'a' stands there twice"),
        (b'{"x": NaN}', "finite"),
        (b'{"x": -Infinity}', "finite"),
        (b'{"x": 1e999}', "finite"),
        (b'{"format": "' + b"x" * (1 << 20) + b'"}', "at most 1048576"),
    ],
)
def test_unreadable_manifests(make, text, message):
    path = make()
    (path / "manifest.json").write_bytes(text)
    with pytest.raises(BundleError, match=message):
        Bundle.open(path)
    assert len(verify_bundle(path)) == 1


def test_parse_manifest_needs_no_files():
    with pytest.raises(BundleError, match="no bundle"):
        parse_manifest(b"{}")


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_no_bundle_there(tmp_path, name):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(BundleError, match="vtr export"):
        Bundle.open(tmp_path / name)


# ---- head and tokenizer ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "entries, tensors, message",
    [
        ({}, {"logit_scale": np.zeros((), np.float32)}, "logit_scale of shape"),
        ({}, {"logit_scale": np.zeros(1, np.float64)}, "float32"),
        ({}, {"logit_scale": np.array([np.nan], np.float32)}, "finite"),
        ({}, {"logit_scale": np.array([89.0], np.float32)}, "within ±50"),
        ({}, {"extra": np.zeros(1, np.float32)}, "extra of shape None"),
        (XCLIP, {"frame_mat_weight": np.zeros((4, 4), np.float32)}, "frame_mat_weight"),
        (TCMGC, {"concat_frame_word_logit_weight": np.zeros((2, 2), np.float32)}, "concat_frame"),
        (TCMGC, {"local_mat_weight": np.full((4, 4), np.inf, np.float32)}, "local_mat_weight"),
    ],
)
def test_heads_that_do_not_fit(make, entries, tensors, message):
    path = make(tensors=tensors, **entries)
    with pytest.raises(BundleError, match=message):
        Bundle.open(path)
    (problem,) = verify_bundle(path)
    assert "head.safetensors" in problem


def test_tokenizer_larger_than_the_embeddings(make):
    path = make(sizes={**SIZES, "vocab": 514})
    with pytest.raises(BundleError, match=r"tokenizer\.json.*at most 514"):
        _ = Bundle.open(path).tokenizer
    assert len(verify_bundle(path)) == 1


# ---- writing -----------------------------------------------------------------------------------------


def test_a_failure_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), new_bundle(tmp_path / "b") as writer:
        writer.add("text.onnx", b"x")
        raise RuntimeError("disk full, say")
    assert list(tmp_path.iterdir()) == []


def test_a_failure_leaves_the_old_bundle(make, tmp_path):
    path = make()
    before = Bundle.open(path).fingerprint
    with pytest.raises(KeyboardInterrupt), new_bundle(path, force=True) as writer:
        writer.add("text.onnx", b"x")
        raise KeyboardInterrupt
    assert Bundle.open(path).fingerprint == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]


def test_targets(make, tmp_path):
    path = make()
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "precious").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    for name, force, message in [
        ("bundle", False, "--force"),
        ("file", True, "choose another name"),
        ("link", True, "choose another name"),
        ("other", True, "other files than a bundle"),
        ("no/such/parent", True, "found none"),
    ]:
        with pytest.raises(UsageError, match=message), new_bundle(tmp_path / name, force):
            pytest.fail("the block was entered")
    assert (tmp_path / "other" / "precious").exists()
    shutil.copytree(path, tmp_path / "source")
    with new_bundle(tmp_path / "empty") as writer:
        for file in FILES:
            writer.add(file, (path / file).read_bytes())
        writer.write_manifest(ENTRIES)
    assert Bundle.open(tmp_path / "empty").fingerprint == Bundle.open(path).fingerprint


def test_a_manifest_that_no_reader_takes_is_not_written(tmp_path):
    with pytest.raises(BundleError, match=r"file text\.onnx"), new_bundle(tmp_path / "b") as writer:
        writer.write_manifest(ENTRIES)
    assert list(tmp_path.iterdir()) == []
