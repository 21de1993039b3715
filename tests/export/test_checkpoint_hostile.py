"""Whatever is not a sound checkpoint is refused in one clear line, and nothing in it runs or balloons."""

import contextlib
import io
import json
import os
import pickle
import struct
import zipfile
from argparse import Namespace

import pytest

torch = pytest.importorskip("torch")
safetensors = pytest.importorskip("safetensors.torch")

from vtr.errors import BackendError, CheckpointError  # noqa: E402
from vtr.export import checkpoint  # noqa: E402
from vtr.export.checkpoint import load_checkpoint  # noqa: E402
from vtr.export.models import build_model  # noqa: E402
from vtr.export.synthetic import write_huggingface  # noqa: E402


def refused(path, *words):
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message, message


def write(tmp_path, data, name="model.bin"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_archives_name_the_conversion(tmp_path):
    torch.jit.script(Scripted()).save(str(tmp_path / "ViT-B-32.pt"))
    refused(tmp_path / "ViT-B-32.pt", "TorchScript", "torch.jit.load", "state_dict()")


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_pickle_never_runs(tmp_path, monkeypatch, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1), "b": Evil()}, "evil.pt", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "evil.pt", "system")
    refused(write(tmp_path, pickle.dumps(Evil())))
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    "value, words",
    [
        (
            {"args": Namespace(lr=1), "state_dict": {}},
            ["argparse.Namespace", "torch.save(model.state_dict()"],
        ),
        ([torch.zeros(1)], ["expected a dict of tensors, got list"]),
        ({}, ["got nothing"]),
        ({"clip.a": torch.zeros(1), "note": "x"}, ["'note': str"]),
        ({1: torch.zeros(1)}, ["1: Tensor"]),
        ({"model": {"model": {"model": {"model": {"clip.a": torch.zeros(1)}}}}}, ["'model': dict"]),
        ({"clip.a": bytearray(8)}, ["bytearray"]),
        ({"clip.a": torch.zeros(2, dtype=torch.complex64)}, ["clip.a", "torch.complex64"]),
        ({"clip.a": torch.zeros(1).expand(1 << 40)}, ["forged sizes"]),
        ({"clip.a": torch.eye(2).to_sparse()}, ["_rebuild_sparse_tensor"]),
        ({"bert.embeddings.weight": torch.zeros(2)}, ["no CLIP towers found", "bert.embeddings.weight"]),
    ],
)
def test_contents_that_are_not_a_checkpoint(tmp_path, value, words):
    refused(write(tmp_path, saved(value)), *words)


def test_files_that_are_damaged(tmp_path, state):
    whole = saved(state)
    refused(write(tmp_path, b""), "torch.load", "EOFError")
    refused(write(tmp_path, b"PK\x03\x04"), "damaged or truncated")
    for length in (1, 1000, len(whole) // 2, len(whole) - 1):
        refused(write(tmp_path, whole[:length]))
    refused(write(tmp_path, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n"))
    refused(write(tmp_path, b"version https://git-lfs.github.com/spec/v1\n", "a.safetensors"), "Git LFS")
    refused(tmp_path / "absent.pt", "no such file")
    refused(tmp_path, "config.json")


def test_random_bytes_never_escape(tmp_path, state):
    """Flipped bytes either give a checkpoint or a CheckpointError, nothing else."""
    generator = torch.Generator().manual_seed(0)
    for name, whole in (("a.bin", saved(state)), ("a.safetensors", safetensors.save(state))):
        for _ in range(60):
            damaged = bytearray(whole)
            for at in torch.randint(0, min(len(whole), 4000), (3,), generator=generator).tolist():
                damaged[at] ^= 1 << int(torch.randint(0, 8, (1,), generator=generator))
            with contextlib.suppress(CheckpointError):
                load_checkpoint(write(tmp_path, bytes(damaged), name))


def repacked(data, compression=zipfile.ZIP_STORED, skip=(), extra=()):
    """A torch archive with other compression, entries left out or added."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for entry in old.infolist():
            if not entry.filename.endswith(skip or ("\0",)):
                new.writestr(entry.filename, old.read(entry))
        for name, content in extra:
            new.writestr(name, content)
    return buffer.getvalue()


def test_archives_that_unpack_to_more_than_they_are(tmp_path):
    bomb = saved({"clip.a": torch.zeros(1 << 20)})
    refused(write(tmp_path, repacked(bomb, zipfile.ZIP_DEFLATED)), "compressed or overlapping")
    refused(write(tmp_path, repacked(bomb, skip=("data.pkl",))), "expected one data.pkl")
    huge = [("archive/data.pkl", b"0" * (checkpoint.MAX_PICKLE + 1))]
    refused(write(tmp_path, repacked(bomb, skip=("data.pkl",), extra=huge)), "data.pkl of at most")


def test_safetensors_headers(tmp_path):
    small = safetensors.save({"clip.a": torch.zeros(4)})
    (length,) = struct.unpack("<Q", small[:8])
    header = json.loads(small[8 : 8 + length])

    def with_header(text):
        return write(tmp_path, struct.pack("<Q", len(text)) + text + small[8 + length :], "a.safetensors")

    refused(write(tmp_path, struct.pack("<Q", 1 << 62) + small[8:], "a.safetensors"), "at most 1048576")
    padded = json.dumps(header).encode() + b" " * checkpoint.MAX_HEADER
    refused(with_header(padded), f"header of {len(padded)} bytes")
    header["clip.a"]["shape"] = [1 << 62, 4]
    refused(with_header(json.dumps(header).encode()), "not a sound safetensors file")
    header["clip.a"]["shape"], header["clip.a"]["data_offsets"] = [4], [0, 1 << 40]
    refused(with_header(json.dumps(header).encode()), "not a sound safetensors file")
    refused(with_header(b"[" * 5000), "not a sound safetensors file")


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/etc/passwd", "a/b.safetensors", "model.bin", 3, ".."]
)
def test_shards_stay_in_their_directory(tmp_path, clip, name):
    folder = write_huggingface(clip, tmp_path, shards=2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["logit_scale"] = name
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "not the plain name")


def test_shards_must_be_whole(tmp_path, clip):
    folder = write_huggingface(clip, tmp_path, shards=2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    first = sorted(index["weight_map"])[0]
    del index["weight_map"][first]
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(folder, "does not hold what the index says", first)
    (folder / "model-00001-of-00002.safetensors").unlink()
    refused(folder, "model-00001-of-00002.safetensors is missing")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"model_type": "siglip"}, "expected model_type 'clip', got 'siglip'"),
        ({"text_config": {"hidden_act": "gelu"}}, "one hidden_act"),
        ({"text_config": {"hidden_act": "relu"}, "vision_config": {"hidden_act": "relu"}}, "got ['relu']"),
        ({"vision_config": {"layer_norm_eps": 1e-6}}, "layer_norm_eps is 1e-06"),
        ({"vision_config": {"num_attention_heads": 0}}, "positive integer for num_attention_heads, got 0"),
        ({"vision_config": {"num_attention_heads": 7}}, "width 64 cannot be split into 7"),
        ({"vision_config": [1]}, "expected an object for vision_config"),
        ({"text_config": {"num_hidden_layers": 9}}, "text tower has 1 layers, its configuration says 9"),
    ],
)
def test_huggingface_configurations_that_are_not_clip(tmp_path, clip, change, words):
    folder = write_huggingface(clip, tmp_path)
    config = json.loads((folder / "config.json").read_text())
    for key, value in change.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError) as error:
        build_model(load_checkpoint(folder))
    assert words in str(error.value)


def test_half_a_huggingface_attention_is_refused(tmp_path, clip):
    folder = write_huggingface(clip, tmp_path)
    tensors = safetensors.load_file(folder / "model.safetensors")
    key = "text_model.encoder.layers.0.self_attn.k_proj.bias"
    safetensors.save_file({**tensors, key: torch.zeros(63)}, folder / "model.safetensors")
    refused(folder, "clip.transformer.resblocks.0.attn.in_proj_bias", "of one shape", "'k': [63]")
    del tensors[key]
    safetensors.save_file(tensors, folder / "model.safetensors")
    refused(folder, "clip.transformer.resblocks.0.attn.in_proj_bias", "got only q, v")


def test_quantised_weights_are_refused(tmp_path, state):
    """Eight-bit integers without their scales are not the model."""
    rounded = {**state, "clip.visual.proj": state["clip.visual.proj"].to(torch.int8)}
    with pytest.raises(CheckpointError, match=r"floating-point numbers, got torch\.int8: clip\.visual\.proj"):
        build_model(load_checkpoint(write(tmp_path, saved(rounded))))


def test_an_old_torch_is_refused(tmp_path, monkeypatch, state):
    monkeypatch.setattr(torch, "__version__", "2.5.1+cpu")
    path = write(tmp_path, saved(state))
    with pytest.raises(BackendError, match=r"torch >= 2\.10, got 2\.5\.1"):
        load_checkpoint(path)
