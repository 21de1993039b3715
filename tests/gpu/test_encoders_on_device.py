"""Encoders on the GPU against ONNX Runtime on the CPU: the same features within the precision's rounding."""

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

import gpu.needs_gpu  # noqa: F401

from vtr.bundle import Bundle
from vtr.encoders import open_encoders
from vtr.errors import BackendError

# float32 graphs: runtimes add up in another order, and a GPU's may take TF32 for products.
COSINE = 1 - 1e-4


def cosines(a, b):
    a, b = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (a, b))
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime"])
@pytest.mark.parametrize("name", ["clip4clip-meanP", "ea", "teachclip", "xclip", "tcmgc", "clip4clip-3d"])
def test_features_of_the_cpu(name, backend, models, place):
    bundle = Bundle.open(models(name)[1])
    try:
        ours = open_encoders(bundle, backend, "cuda")
    except BackendError as error:
        pytest.skip(f"{backend}: {error}")
    reference = open_encoders(bundle, "onnxruntime", "cpu", "fp32")
    sizes, rng = bundle.sizes, np.random.default_rng(0)
    ids = rng.integers(1, sizes["vocab"], (3, sizes["words"]))
    for got, want in zip(ours.text(ids), reference.text(ids), strict=True):
        assert cosines(got, want).min() > COSINE
    frames = rng.integers(0, 256, (3, sizes["frames"], sizes["image"], sizes["image"], 3), np.uint8)
    mask = (np.arange(sizes["frames"]) < [[1], [5], [sizes["frames"]]]).astype(np.float32)
    got, want = (encoders.vision(frames, mask) for encoders in (ours, reference))
    assert cosines(got[mask > 0], want[mask > 0]).min() > COSINE
    for key, value in reference.temporal(want, mask).items():
        rows = mask > 0 if value.ndim == 3 else slice(None)
        if key != "weights":
            assert cosines(ours.temporal(want, mask)[key][rows], value[rows]).min() > COSINE
