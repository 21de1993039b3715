"""OpenAI's own CLIP, and its inputs, for tests that compare with it."""

import importlib.metadata
import importlib.util

import numpy as np
import pytest

torch = pytest.importorskip("torch")


def openai_module():
    """``clip/model.py`` by its path: the package itself imports torchvision."""
    try:
        files = importlib.metadata.files("clip-anytorch") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no clip-anytorch (pip install --no-deps clip-anytorch)")
    (path,) = [file.locate() for file in files if str(file).endswith("clip/model.py")]
    spec = importlib.util.spec_from_file_location("openai_clip_model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def draw_ids(lengths, width, vocab, seed=0):
    """Token rows as CLIP's: start, words, end (the highest id), zeros."""
    ids = np.zeros((len(lengths), width), np.int64)
    rng = np.random.default_rng(seed)
    for row, length in zip(ids, lengths, strict=True):
        row[:length] = [vocab - 2, *rng.integers(1, vocab - 2, length - 2), vocab - 1]
    return torch.from_numpy(ids)


def pixels(frames):
    """What OpenAI's preprocessing makes of uint8 frames: ``[B,F,H,W,3]`` -> ``[B*F,3,H,W]``."""
    mean = np.array([0.48145466, 0.4578275, 0.40821073])
    std = np.array([0.26862954, 0.26130258, 0.27577711])
    scaled = (frames.numpy().astype(np.float64) / 255 - mean) / std
    return torch.from_numpy(scaled.reshape(-1, *frames.shape[2:]).transpose(0, 3, 1, 2)).float()
