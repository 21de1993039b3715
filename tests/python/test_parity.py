"""For every family: checkpoint → bundle → engine gives the reference model's logits."""

import numpy as np
import pytest
import torch
from support import MODELS

import vtr

# Logits are of scale 100. The towers' graphs and the scorers differ from PyTorch in the order of sums only.
TOLERANCE = 0.01


def random_input(reference, videos=5, texts=4, seed=0):
    """Frames of videos of 1 to F frames, and token ids of different lengths."""
    rng = np.random.default_rng(seed)
    count, size = reference.sizes["frames"], reference.sizes["image"]
    frames = rng.integers(0, 256, (videos, count, size, size, 3), dtype=np.uint8)
    lengths = np.linspace(1, count, videos).astype(int)
    mask = (np.arange(count) < lengths[:, None]).astype(np.float32)
    words = ["a", "man is cooking", "two dogs run over the wet grass", "x " * 60]
    return frames, mask, words[:texts]


@torch.inference_mode()
def reference_logits(reference, ids, frames, mask):
    """The straightforward way: PyTorch float32, every frame encoded, the direct form of the head."""
    sentence, words = reference.encode_text(torch.from_numpy(ids))
    real = torch.from_numpy(mask)
    video = reference.temporal(reference.encode_vision(torch.from_numpy(frames), real), real)
    return reference.score(sentence, words, video, real).numpy()


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_equal_the_reference(models, name, backend):
    reference, bundle = models(name)
    engine = vtr.Engine(bundle, precision="fp32", backend=backend)
    frames, mask, texts = random_input(reference)
    text = engine.encode_text(texts)
    logits = engine.score(text, engine.encode_frames(frames, mask))
    expected = reference_logits(reference, text.ids, frames, mask)
    assert logits.dtype == np.float32 and logits.shape == (len(texts), len(frames))
    assert np.ptp(expected) > 0.1, "a reference that hardly varies would prove nothing"
    np.testing.assert_allclose(logits, expected, rtol=0, atol=TOLERANCE)


def test_padding_may_be_left_out(models):
    reference, bundle = models("tcmgc")
    engine = vtr.Engine(bundle, precision="fp32")
    frames, mask, texts = random_input(reference, videos=1)
    frames, mask = frames[:, :3], np.ones((1, 3), np.float32)
    short = engine.encode_frames(frames)
    padded = engine.encode_frames(
        np.pad(frames, [(0, 0), (0, 9), (0, 0), (0, 0), (0, 0)]), np.pad(mask, [(0, 0), (0, 9)])
    )
    np.testing.assert_array_equal(short.mask, padded.mask)
    text = engine.encode_text(texts)
    np.testing.assert_allclose(engine.score(text, short), engine.score(text, padded), atol=1e-4)


def test_pixels_of_padded_frames_are_not_looked_at(models):
    reference, bundle = models("xclip")
    engine = vtr.Engine(bundle, precision="fp32")
    frames, mask, _ = random_input(reference)
    blank = frames * mask[..., None, None, None].astype(np.uint8)
    np.testing.assert_allclose(
        engine.encode_frames(frames, mask).frames, engine.encode_frames(blank, mask).frames, atol=1e-5
    )


@pytest.mark.parametrize(
    ("frames", "mask", "message"),
    [
        (np.zeros((1, 2, 64, 64, 3), np.float32), None, "uint8"),
        (np.zeros((1, 13, 64, 64, 3), np.uint8), None, r"1\.\.12"),
        (np.zeros((1, 2, 64, 32, 3), np.uint8), None, "shape"),
        (np.zeros((2, 64, 64, 3), np.uint8), None, "shape"),
        (np.zeros((1, 2, 64, 64, 3), np.uint8), [[0, 1]], "padding"),
        (np.zeros((1, 2, 64, 64, 3), np.uint8), [[0, 0]], "at least one"),
        (np.zeros((1, 2, 64, 64, 3), np.uint8), [[1, 0.5]], "ones"),
        (np.zeros((1, 2, 64, 64, 3), np.uint8), [[1]], "mask"),
        (np.zeros((0, 2, 64, 64, 3), np.uint8), None, "none"),
    ],
)
def test_wrong_frames_are_refused(models, frames, mask, message):
    engine = vtr.Engine(models("clip4clip-meanP")[1])
    with pytest.raises(vtr.UsageError, match=message):
        engine.encode_frames(frames, mask)


@pytest.mark.parametrize("texts", [[1], [None], [b"bytes"]])
def test_wrong_texts_are_refused(models, texts):
    with pytest.raises(vtr.UsageError, match="str"):
        vtr.Engine(models("clip4clip-meanP")[1]).encode_text(texts)


def test_no_texts_are_no_rows(models):
    features = vtr.Engine(models("clip4clip-meanP")[1]).encode_text([])
    assert features.sentence.shape == (0, 64) and features.words.shape == (0, 32, 64)
