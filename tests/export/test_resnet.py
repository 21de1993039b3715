"""CLIP's convolutional image tower: against OpenAI's own, read from every layout, in every precision."""

import json
from collections import Counter

import numpy as np
import pytest
from openai_clip import draw_ids, openai_module, pixels

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
safetensors = pytest.importorskip("safetensors.torch")

from vtr.bundle import Bundle  # noqa: E402
from vtr.errors import CheckpointError, UsageError  # noqa: E402
from vtr.export import export_checkpoint, export_model  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.parity import TOLERANCES  # noqa: E402
from vtr.export.resnet import Bottleneck, ResNetTower  # noqa: E402
from vtr.export.resnet_graph import ResNetGraph, fold  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip, to_huggingface  # noqa: E402

torch.set_num_threads(1)

CLIP = {"vision_width": 8, "blocks": (1, 1, 2, 1), "image": 64, "layers": 1, "context": 40}
SMALL = {**CLIP, "vocab": 97}
SCALARS = ("input_resolution", "context_length", "vocab_size")
# Features are of size 1 and both sides are float32: sums of a few hundred terms in another order.
CLOSE = {"rtol": 0, "atol": 1e-5}


def draw(batch, frames, side, seed=0):
    """Coarse tiles: the tower averages away what differs between frames of pure noise."""
    generator = torch.Generator().manual_seed(seed)
    tiles = torch.randint(0, 256, (batch, frames, side // 8, side // 8, 3), generator=generator)
    return tiles.repeat_interleave(8, 2).repeat_interleave(8, 3).to(torch.uint8)


def refused(state, *words, **options):
    with pytest.raises(CheckpointError) as error:
        build_model(state, ExportOptions(**options))
    for word in words:
        assert word in str(error.value), error.value


# --- the numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "dim, width, blocks, image",
    [(64, 16, (1, 1, 2, 1), 96), (19, 10, (2, 1, 1, 2), 64), (5, 8, (1,) * 4, 32)],
)
def test_tower_equals_openai(dim, width, blocks, image):
    clip = random_clip(dim=dim, vision_width=width, blocks=blocks, image=image, layers=1, vocab=211, seed=dim)
    theirs = openai_module().CLIP(dim, image, blocks, width, None, 77, 211, 64, 1, 1)
    theirs.load_state_dict({key: value for key, value in clip.items() if key not in SCALARS})
    ours = build_model(clip)
    frames, ids = draw(2, 3, image), draw_ids([2, 7, 32], 32, 211)
    with torch.inference_mode():
        got = ours.encode_vision(frames, torch.ones(2, 3))
        want = theirs.eval().encode_image(pixels(frames)).reshape(2, 3, dim)
        assert want.std() > 0.1 and (want[0, 0] - want[0, 1]).abs().max() > 0.05  # frames do differ
        torch.testing.assert_close(got, want, **CLOSE)
        full = torch.nn.functional.pad(ids, (0, 77 - 32))
        torch.testing.assert_close(ours.encode_text(ids)[0], theirs.encode_text(full), rtol=0, atol=2e-5)
        graph = ResNetGraph(ours.clip.visual)
        torch.testing.assert_close(graph(frames, torch.ones(2, 3)), want, **CLOSE)
    sizes = {"frames": 12, "words": 32, "dim": dim, "image": image, "patch": 32, "vocab": 211, "keep": None}
    assert ours.sizes == sizes and not ours.frame_coupling and ours.notes == []


def test_a_masked_frame_is_zero_after_normalisation():
    model = build_model(random_clip(**SMALL))
    mask = torch.tensor([[1.0, 1, 0], [1, 0, 0]])
    a, b = (model.encode_vision(draw(2, 3, 64, seed=seed), mask) for seed in (1, 2))
    padded = mask == 0
    torch.testing.assert_close(a[padded], b[padded], rtol=0, atol=1e-6)
    assert (a[~padded] - b[~padded]).abs().max() > 0.05


def test_folding_against_float64():
    conv, norm = torch.nn.Conv2d(3, 7, 3, padding=1, bias=False), torch.nn.BatchNorm2d(7, eps=1e-3)
    generator = torch.Generator().manual_seed(0)
    for tensor in (conv.weight, norm.weight, norm.bias, norm.running_mean):
        tensor.data = torch.randn(tensor.shape, generator=generator)
    norm.running_var = torch.tensor([0.0, 1e-6, 0.1, 1, 2, 3, 100])
    x = torch.randn(2, 3, 5, 4, generator=generator)
    folded = fold(conv, norm)
    with torch.no_grad():
        want = norm.double().eval()(conv.double()(x.double()))
        # Relative: a variance of 0 makes factors of 1/√0.001.
        torch.testing.assert_close(folded(x).double(), want, rtol=1e-5, atol=1e-4)


def test_training_moves_the_statistics_and_evaluation_takes_them():
    state = random_clip(**SMALL)
    model = build_model({key: value.clone() for key, value in state.items()})
    frames, mask = draw(1, 4, 64), torch.ones(1, 4)
    with torch.no_grad():
        before = model.encode_vision(frames, mask)
        trained = model.train().encode_vision(frames, mask)
        after = model.eval().encode_vision(frames, mask)
    assert (trained - before).abs().max() > 0.01 and (after - before).abs().max() > 1e-3
    counts = [value for key, value in model.state_dict().items() if key.endswith("num_batches_tracked")]
    assert len(counts) == 22 and all(count == 1 for count in counts)
    again = build_model({key.removeprefix("family_head."): v for key, v in model.state_dict().items()})
    torch.testing.assert_close(again.encode_vision(frames, mask), after, rtol=0, atol=0)


def test_downsampling_where_channels_or_sizes_change():
    assert Bottleneck(32, 8, 1).downsample is None
    assert Bottleneck(8, 8, 1).downsample is not None and Bottleneck(32, 8, 2).downsample is not None


# --- reading --------------------------------------------------------------------------------------


def test_openai_and_clip4clip_layouts(tmp_path):
    clip = random_clip(**SMALL)
    torch.save(clip, tmp_path / "clip.pt")
    loaded = load_checkpoint(tmp_path / "clip.pt")
    dropped = {key for key in clip if key.endswith("num_batches_tracked")}
    assert len(dropped) == 22 and clip["visual.bn1.num_batches_tracked"].dtype == torch.int64
    assert loaded.keys() == {f"clip.{key}" for key in clip.keys() - dropped - set(SCALARS)}
    assert torch.equal(loaded["clip.visual.bn1.running_var"], clip["visual.bn1.running_var"])
    for family in ("clip4clip", "tcmgc"):
        model = build_model(random_checkpoint(family, **SMALL))
        assert model.family == family and isinstance(model.clip.visual, ResNetTower)
        assert torch.equal(model.clip.visual.layer3[1].conv2.weight, clip["visual.layer3.1.conv2.weight"])


@pytest.mark.parametrize(
    "head_width, layers, named", [(64, [1, 1, 2, 1], None), (32, [1, 1, 1, 1], "(1, 1, 2, 1)")]
)
def test_open_clip_directory(tmp_path, head_width, layers, named):
    clip = random_clip(**SMALL)
    tower = {"width": 8, "layers": layers, "patch_size": None, "head_width": head_width, "image_size": 64}
    config = {"embed_dim": 64, "vision_cfg": tower, "text_cfg": {"width": 64, "layers": 1, "heads": 1}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    bare = {key: value for key, value in clip.items() if key not in SCALARS}
    safetensors.save_file(bare, tmp_path / "open_clip_model.safetensors")
    loaded = load_checkpoint(tmp_path)
    assert loaded.facts.vision_heads == 256 // head_width and loaded.facts.activation == "gelu"
    if named:
        refused(loaded, f"image tower has {named} layers, its configuration says (1, 1, 1, 1)")
    else:
        assert build_model(loaded).clip.visual.attnpool.heads == 4


def test_heads_can_be_told_and_matter():
    clip, frames, mask = random_clip(**SMALL), draw(1, 2, 64), torch.ones(1, 2)
    plain, told = build_model(clip), build_model(clip, ExportOptions(vision_heads=8))
    assert (plain.clip.visual.attnpool.heads, told.clip.visual.attnpool.heads) == (4, 8)
    assert (plain.encode_vision(frames, mask) - told.encode_vision(frames, mask)).abs().max() > 1e-4
    refused(clip, "256 channels cannot be split into 7", vision_heads=7)


VISUAL = "clip.visual."


@pytest.mark.parametrize(
    "key, shape, words",
    [
        ("conv1.weight", None, ["incomplete CLIP: missing clip.visual.conv1.weight"]),
        ("layer4.0.conv1.weight", None, ["missing clip.visual.layer4.0.conv1.weight"]),
        ("bn2.running_mean", None, ["missing tensors", "clip.visual.bn2.running_mean"]),
        ("layer2.0.downsample.1.bias", None, ["missing tensors", "layer2.0.downsample.1.bias"]),
        ("layer1.0.conv1.weight", [8, 4, 1, 1], ["expected shape [w, w, 1, 1]", "got [8, 4, 1, 1]"]),
        ("layer1.0.conv1.weight", [7, 7, 1, 1], ["even w", "got [7, 7, 1, 1]"]),
        ("layer1.0.conv1.weight", [8], ["expected 4 non-empty axes, got shape [8]"]),
        ("layer3.5.conv1.weight", [2], ["clip.visual.layer3: expected blocks 0 to n - 1, got [0, 1, 5]"]),
        (
            "layer5.0.conv1.weight",
            [2],
            ["tensors that no clip4clip meanP model has", "layer5.0.conv1.weight"],
        ),
        ("attnpool.positional_embedding", [4, 256], ["grid² + 1 rows, got 4", "square"]),
        ("attnpool.c_proj.weight", [63, 256], ["c_proj.weight [63, 256] instead of [64, 256]"]),
        ("conv2.weight", [4, 3, 3, 32, 32], ["linear_patch 3d needs a ViT", "ResNet"]),
        ("proj", [64, 64], ["tensors that no clip4clip meanP model has: clip.visual.proj"]),
    ],
)
def test_wrong_tensors_are_named(key, shape, words):
    state = random_checkpoint(**SMALL)
    state.pop(VISUAL + key, None)
    if shape is not None:
        state[VISUAL + key] = torch.zeros(shape)
    refused(state, *words)


def test_forged_sizes_do_not_allocate():
    state = random_checkpoint(**SMALL)
    wide = torch.zeros(1).expand(1 << 16, 1 << 16, 1, 1)
    refused({**state, f"{VISUAL}layer1.0.conv1.weight": wide}, "wrong shape")


@pytest.mark.parametrize("value, words", [(-0.5, "negative"), (float("nan"), "NaN")])
def test_variances_that_are_none(value, words):
    state = random_checkpoint(**SMALL)
    state[f"{VISUAL}bn3.running_var"][2] = value
    refused(state, words, "clip.visual.bn3.running_var")


def test_synthetic_towers_that_cannot_be():
    for wrong in ({"blocks": (1, 1, 1)}, {"vision_width": 7}, {"image": 48}):
        with pytest.raises(UsageError, match="expected 4 numbers of blocks"):
            random_clip(**{**SMALL, **wrong})
    with pytest.raises(UsageError, match="without blocks"):
        random_checkpoint(**SMALL, linear_patch="3d")
    with pytest.raises(UsageError, match="no convolutional image tower"):
        to_huggingface(random_clip(**SMALL))


# --- exporting ------------------------------------------------------------------------------------

OPTIONS = ExportOptions(frames=3, words=8)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A bundle in float32, and the model that it is of; exporting takes seconds."""
    folder = tmp_path_factory.mktemp("resnet")
    state = random_checkpoint(**CLIP)
    torch.save(state, folder / "model.bin")
    return export_checkpoint(folder / "model.bin", folder / "bundle", OPTIONS), build_model(state, OPTIONS)


def test_bundle_and_graph(exported):
    report, model = exported
    assert Bundle.open(report.path).sizes["patch"] == 32
    assert 0 < report.parity["logits"] <= 0.01 and report.parity["cosine"] <= 1e-6
    content = (report.path / "vision.onnx").read_bytes()
    kinds = Counter(node.op_type for node in onnx.load_from_string(content).graph.node)
    assert (kinds["Conv"], kinds["AveragePool"], kinds["BatchNormalization"]) == (22, 8, 0)
    assert kinds["Shape"] <= 2 and kinds["Gemm"] == 0  # a Gemm would stay float32 in int8
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for batch, count in [(1, 1), (3, 5)]:
        frames, mask = draw(batch, count, 64), torch.ones(batch, count)
        mask[0, 1:] = 0
        (features,) = session.run(None, {"frames": frames.numpy(), "mask": mask.numpy()})
        np.testing.assert_allclose(features, model.encode_vision(frames, mask), rtol=0, atol=1e-5)


@pytest.mark.parametrize("precision, share", [("fp16", 0.55), ("bf16", 0.55), ("int8", 0.35)])
def test_precisions(exported, tmp_path, monkeypatch, precision, share):
    from vtr.export import pipeline

    if precision == "bf16":
        pytest.importorskip("openvino")
    whole, model = exported
    real = pipeline.to_onnx
    stored = pipeline.TOWERS  # taken from the bundle at hand, which saves seconds
    monkeypatch.setattr(
        pipeline,
        "to_onnx",
        lambda graph: onnx.load(str(whole.path / graph.file)) if graph.file in stored else real(graph),
    )
    report = export_model(model.train(), tmp_path / "b", precision)
    assert not model.training
    small, large = (made.manifest["files"]["vision.onnx"]["bytes"] for made in (report, whole))
    assert small < share * large
    limit = TOLERANCES[precision]
    assert 10 * whole.parity["logits"] < report.parity["logits"] <= limit.logits
    assert 1e-9 < report.parity["cosine"] <= limit.cosine


def test_openvino_runs_it_too(exported):
    pytest.importorskip("openvino")
    from vtr.encoders import open_encoders

    report, model = exported
    frames, mask = draw(2, 3, 64), torch.tensor([[1.0, 1, 1], [1, 0, 0]])
    encoders = open_encoders(Bundle.open(report.path), "openvino", device="cpu", precision="fp32")
    features = encoders.vision(frames.numpy(), mask.numpy())
    np.testing.assert_allclose(features, model.encode_vision(frames, mask), rtol=0, atol=1e-5)
