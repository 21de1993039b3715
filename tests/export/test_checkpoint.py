"""Checkpoints of every published layout are read, to the same tensors under the same keys."""

import collections
import json
import shutil
import sys
import types
from pathlib import Path

import pytest
from support import TINY

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from vtr.errors import BackendError, CheckpointError  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.options import ExportOptions  # noqa: E402
from vtr.export.synthetic import random_checkpoint, random_clip, write_huggingface  # noqa: E402

SCALARS = ("input_resolution", "context_length", "vocab_size")


def same(loaded, wanted):
    assert loaded.keys() == wanted.keys()
    for key, value in loaded.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, wanted[key].float(), rtol=0, atol=0)


def canonical_clip(clip):
    return {f"clip.{key}": value for key, value in clip.items() if key not in SCALARS}


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: collections.OrderedDict(s),
        lambda s: {"model_state_dict": s, "epoch": 3, "optimizer": {"state": {}, "lr": 1e-4}},
        lambda s: {"state_dict": {f"module.{key}": value for key, value in s.items()}, "loss": 0.5},
        lambda s: {"model": {"module": s}},
        lambda s: {f"module._orig_mod.{key}": value for key, value in s.items()},
        lambda s: {key: torch.nn.Parameter(value) for key, value in s.items()},
    ],
    ids=["plain", "ordered", "model_state_dict", "state_dict", "nested", "prefixed", "parameters"],
)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_files(tmp_path, state, wrap, zipped):
    path = tmp_path / "pytorch_model.bin.4"
    torch.save(wrap(state), path, _use_new_zipfile_serialization=zipped)
    same(load_checkpoint(path), state)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["model.pt", "model.safetensors"])
def test_other_precisions_are_lifted(tmp_path, state, dtype, name):
    lowered = {key: value.to(dtype) for key, value in state.items()}
    save = safetensors.save_file if name.endswith("safetensors") else torch.save
    save(lowered, tmp_path / name)
    loaded = load_checkpoint(tmp_path / name)
    same(loaded, lowered)
    assert build_model(loaded).sim_header == "seqTransf"


def test_openai_layout(tmp_path, clip):
    torch.save(clip, tmp_path / "clip.pt")
    loaded = load_checkpoint(str(tmp_path / "clip.pt"))
    same(loaded, canonical_clip(clip))
    model = build_model(loaded)
    assert (model.family, model.sim_header, model.scoring, model.notes) == (
        "clip4clip",
        "meanP",
        "holistic",
        [],
    )


def test_openai_layout_without_its_scalars_says_what_it_assumed(clip):
    model = build_model({key: value for key, value in clip.items() if key not in SCALARS})
    assert len(model.notes) == 1 and "--activation gelu" in model.notes[0]


@pytest.mark.parametrize("form", ["file", "directory", "shards", "bin"])
def test_huggingface_layout(tmp_path, clip, form):
    folder = write_huggingface(clip, tmp_path, hidden_act="gelu", shards=3 if form == "shards" else 1)
    if form == "bin":
        torch.save(safetensors.load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    loaded = load_checkpoint(folder / "model.safetensors" if form == "file" else folder)
    same(loaded, canonical_clip(clip))
    assert (loaded.facts.layout, loaded.facts.activation, loaded.facts.vision_heads) == (
        "huggingface",
        "gelu",
        1,
    )


def test_huggingface_file_alone_needs_the_activation(tmp_path, clip):
    write_huggingface(clip, tmp_path)
    (tmp_path / "config.json").unlink()
    loaded = load_checkpoint(tmp_path / "model.safetensors")
    with pytest.raises(CheckpointError, match="--activation gelu"):
        build_model(loaded)
    assert build_model(loaded, ExportOptions(activation="gelu")).family == "clip4clip"


def test_huggingface_defaults_and_pixels(tmp_path, clip):
    """Old configurations leave out defaults, override them under a second name, and keep pixels elsewhere."""
    folder = write_huggingface(clip, tmp_path)
    config = {
        "model_type": "clip",
        "text_config": {"num_hidden_layers": 1, "num_attention_heads": 4},
        "text_config_dict": {"num_attention_heads": 2},
        "vision_config": {"num_hidden_layers": 1, "num_attention_heads": 4},
        "vision_config_dict": None,
    }
    (folder / "config.json").write_text(json.dumps(config))
    pixels = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.5, 0.5, 1], "resample": 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    facts = load_checkpoint(folder).facts
    assert (facts.activation, facts.vision_heads, facts.text_heads) == ("quick_gelu", 4, 2)
    model = build_model(load_checkpoint(folder))
    assert model.preprocessing["mean"] == [0.5, 0.4, 0.3] and model.preprocessing["std"] == [0.5, 0.5, 1.0]
    assert model.clip.visual.mean.tolist() == pytest.approx([0.5, 0.4, 0.3])
    assert model.clip.transformer.resblocks[0].attn.heads == 2


def open_clip_directory(folder, clip, config=None, **settings):
    tower = {"width": 64, "layers": 1, **settings.pop("vision", {})}
    text = {"width": 64, "layers": 1, "heads": 1, **settings.pop("text", {})}
    model = {"embed_dim": 64, "vision_cfg": tower, "text_cfg": text, **settings}
    (folder / "open_clip_config.json").write_text(json.dumps(config or {"model_cfg": model}))
    bare = {key: value for key, value in clip.items() if key not in SCALARS}
    safetensors.save_file(bare, folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("quick", [True, False])
def test_open_clip_directory(tmp_path, clip, quick):
    folder = open_clip_directory(tmp_path, clip, quick_gelu=quick, vision={"head_width": 16})
    for source in (folder, folder / "open_clip_model.safetensors"):
        loaded = load_checkpoint(source)
        same(loaded, canonical_clip(clip))
        assert loaded.facts.activation == ("quick_gelu" if quick else "gelu")
        assert (loaded.facts.vision_heads, loaded.facts.text_heads) == (4, 1)


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"vision": {"timm_model_name": "vit_base"}}, "timm_model_name = 'vit_base'"),
        ({"vision": {"attentional_pool": True}}, "attentional_pool = True"),
        ({"vision": {"layers": [3, 4, 6, 3]}}, "has 1 layers, its configuration says (3, 4, 6, 3)"),
        ({"vision": {"layers": [3, 4, 6]}}, "expected 4 stages of layers, got [3, 4, 6]"),
        ({"vision": {"layers": [3, 4, 6, "3"]}}, "positive integer for layers, got '3'"),
        ({"vision": {"norm_kwargs": {"eps": 1e-6}}}, "norm_kwargs"),
        ({"text": {"pool_type": "last"}}, "pool_type = 'last'"),
        ({"text": {"hf_tokenizer_name": "bert"}}, "hf_tokenizer_name = 'bert'"),
        ({"init_logit_bias": -10}, "init_logit_bias = -10"),
        ({"vision": {"width": "64"}}, "positive integer for width, got '64'"),
        ({"vision": {"layers": 7}}, "has 1 layers, its configuration says 7"),
    ],
)
def test_open_clip_architectures_that_are_not_clip(tmp_path, clip, settings, named):
    with pytest.raises(CheckpointError) as error:
        build_model(load_checkpoint(open_clip_directory(tmp_path, clip, **settings)))
    assert named in str(error.value)


@pytest.mark.parametrize("projection", ["text_projection", "text.text_projection.weight"])
def test_open_clip_training_checkpoint(tmp_path, clip, projection):
    """Saved by open_clip's trainer: wrapped, prefixed, perhaps with the text tower under ``text.``."""
    text = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection")
    prefix = projection.rpartition("text_projection")[0]
    bare = {
        f"{prefix if key.startswith(text) else ''}{key}": value
        for key, value in clip.items()
        if key not in SCALARS
    }
    if prefix:
        bare[projection] = bare.pop("text.text_projection").T.contiguous()
    bare = {f"module.{key}": value for key, value in bare.items()}
    bare["module.attn_mask" if not prefix else "module.text.attn_mask"] = torch.zeros(32, 32)
    torch.save({"epoch": 3, "name": "run", "state_dict": bare}, tmp_path / "epoch_3.pt")
    loaded = load_checkpoint(tmp_path / "epoch_3.pt")
    same(loaded, canonical_clip(clip))
    with pytest.raises(CheckpointError, match="--activation gelu"):
        build_model(loaded)


def test_wide_towers_of_unknown_origin_need_their_heads():
    wide = random_clip(vision_width=1280, **TINY)
    with pytest.raises(CheckpointError, match=r"vision tower of width 1280.*--vision-heads"):
        build_model(wide)
    model = build_model(wide, ExportOptions(vision_heads=16))
    assert model.clip.visual.transformer.resblocks[0].attn.heads == 16


# --- hf:// ----------------------------------------------------------------------------------------


def fake_hub(monkeypatch, folder, calls, there=None):
    """``there``: fetch into this folder what the patterns name, as the hub does; else all is there."""

    def snapshot_download(name, revision=None, allow_patterns=None):
        calls.append((name, revision, tuple(allow_patterns)))
        if there is None:
            return str(folder)
        for pattern in allow_patterns:
            for path in Path(folder).glob(pattern):
                shutil.copy(path, there)
        return str(there)

    hub = types.ModuleType("huggingface_hub")
    hub.snapshot_download = snapshot_download
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)


def test_hub_names(tmp_path, monkeypatch, clip):
    calls = []
    fake_hub(monkeypatch, write_huggingface(clip, tmp_path), calls)
    same(load_checkpoint("hf://openai/clip-vit-base-patch32@main"), canonical_clip(clip))
    ((name, revision, patterns),) = calls
    assert (name, revision) == ("openai/clip-vit-base-patch32", "main")
    assert not any(pattern.endswith((".bin", ".py", "*", ".pt")) for pattern in patterns)


def test_a_repository_without_safetensors_gives_its_pytorch_file(tmp_path, monkeypatch, clip):
    """As OpenAI's own, which the README names."""
    repository, there, calls = tmp_path / "repository", tmp_path / "there", []
    repository.mkdir(), there.mkdir()
    write_huggingface(clip, repository)
    torch.save(safetensors.load_file(repository / "model.safetensors"), repository / "pytorch_model.bin")
    (repository / "model.safetensors").unlink()
    (repository / "convert.py").write_text("raise SystemExit")
    fake_hub(monkeypatch, repository, calls, there)
    same(load_checkpoint("hf://openai/clip-vit-base-patch32"), canonical_clip(clip))
    assert calls[-1][2] == ("pytorch_model.bin",) and len(calls) == 3
    assert not (there / "convert.py").exists()


def test_what_lies_beside_the_configurations_decides(tmp_path, clip):
    """open_clip's repositories may have a config.json for other libraries, without its weights."""
    folder = open_clip_directory(tmp_path, clip)
    (folder / "config.json").write_text("{}")
    assert load_checkpoint(folder).facts.layout == "open_clip"
    (folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors.*open_clip_model\.safetensors"):
        load_checkpoint(folder)


def test_counters_of_training_code_may_be_ignored():
    state = {**random_checkpoint("clip4clip", **TINY), "queue_ptr": torch.zeros(1, dtype=torch.int64)}
    with pytest.raises(CheckpointError, match="queue_ptr; if they do not change the logits"):
        build_model(state)
    assert build_model(state, ExportOptions(ignore=("queue",))).family == "clip4clip"
    del state["queue_ptr"]
    state["clip.text_projection"] = state["clip.text_projection"].to(torch.int8)
    with pytest.raises(CheckpointError, match=r"floating-point numbers, got torch\.int8: .*text_projection"):
        build_model(state)


def test_hub_falls_back_to_open_clip_files(tmp_path, monkeypatch, clip):
    calls, there = [], tmp_path / "there"
    there.mkdir()
    fake_hub(monkeypatch, open_clip_directory(tmp_path, clip), calls, there)
    assert load_checkpoint("hf://org/name").facts.layout == "open_clip"
    assert len(calls) == 2 and "open_clip_model.safetensors" in calls[1][2]


@pytest.mark.parametrize("name", ["hf://", "hf:org/name", "hf://name", "hf://org/name/more", "hf://../.."])
def test_hub_names_that_are_none(monkeypatch, name):
    fake_hub(monkeypatch, "/nowhere", [])
    with pytest.raises(CheckpointError):
        load_checkpoint(name)


def test_hub_package_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(BackendError, match="pip install"):
        load_checkpoint("hf://org/name")
