"""How far a bundle's numbers are from the reference model's, on seeded input that includes short videos.

The bundle is run as users will: from its files, through a runtime, padded frames and single frames included.
Logits come from the reference's own formula on the features of either side; the scorers that search uses are
held against it in their own tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vtr.bundle import Bundle
from vtr.encoders import Encoders, open_encoders
from vtr.errors import BundleError
from vtr.export.models import ReferenceModel

TEXTS = 4
CALIBRATION_SEED = 1  # check_parity has 0
Features = dict[str, np.ndarray]


@dataclass(frozen=True)
class Tolerance:
    """Largest differences that an export may have."""

    cosine: float  # 1 − cos between a feature vector and the reference's
    logits: float  # absolute; logits are of scale 100


# float32 graphs differ in the order of sums only. Otherwise every operation rounds: by 2⁻¹¹ in float16, 2⁻⁸
# in bfloat16; int8 rounds weights to 1/128 of the largest of their column. An angle θ between features, with
# 1 − cos θ ≈ θ²/2, moves a logit by up to 100·θ. Of a ViT-B/32 with random weights the cosines differ by
# 1e-6, 1e-4 and 2e-3 in the three, of an RN50 by 3e-7, 2e-5 and 6e-4; the limits leave room for deeper towers
# and trained weights. With static scales the ViT-B/32's differ by 7e-4, trained convolutions by 4e-3.
TOLERANCES = {
    "fp32": Tolerance(cosine=1e-6, logits=0.01),
    "fp16": Tolerance(cosine=1e-4, logits=0.5),
    "bf16": Tolerance(cosine=2e-3, logits=4.0),
    "int8": Tolerance(cosine=2e-2, logits=10.0),
    "int8-static": Tolerance(cosine=2e-2, logits=10.0),
}


def check_parity(bundle: Bundle, model: ReferenceModel, seed: int = 0) -> dict[str, Any]:
    """Run ``bundle`` against ``model``; returns the differences for the manifest.

    Raises:
        BundleError: they exceed the tolerance of the bundle's precision.
    """
    precision = bundle.manifest["precision"]
    # ONNX Runtime computes what the graph says and nothing less; on CPUs it has no bfloat16.
    backend = "openvino" if precision == "bf16" else "onnxruntime"
    encoders = open_encoders(bundle, backend, device="cpu")
    ids, frames, mask = random_input(model, bundle.tokenizer.start, bundle.tokenizer.end, seed)
    expected, expected_logits = _reference(model, ids, frames, mask)
    actual, actual_logits = _bundle(encoders, model, ids, frames, mask)
    tolerance = TOLERANCES[precision]
    report: dict[str, Any] = {
        "logits": _largest(actual_logits - expected_logits),
        "cosine": max(
            _cosine_distance(actual[name], expected[name]) for name in expected if name != "weights"
        ),
        **{name: _largest(actual[name] - expected[name]) for name in expected},
        "runtime": encoders.description,
        "input": {"texts": len(ids), "videos": len(frames), "seed": seed},
        "tolerance": {"logits": tolerance.logits, "cosine": tolerance.cosine},
    }
    _check_head(bundle, model)
    for name, limit in report["tolerance"].items():
        if not report[name] <= limit:  # so that NaN fails
            raise BundleError(
                f"the bundle disagrees with the reference model: {name} differs by {report[name]:.3g}, "
                f"expected at most {limit:g} in {precision}; export with a higher precision"
            )
    return report


def calibration(model: ReferenceModel, file: str) -> list[dict[str, np.ndarray]]:
    """Inputs of a tower's graph, to take scales from; not those that the bundle is compared on."""
    end = model.sizes["vocab"] - 1  # the highest id, in every vocabulary; any other may begin a text
    ids, frames, mask = random_input(model, end - 1, end, CALIBRATION_SEED)
    return [{"ids": ids}] if file == "text.onnx" else [{"frames": frames, "mask": mask}]


def random_input(
    model: ReferenceModel, start: int, end: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids ``[T,L]`` of short to cut texts, frames ``[V,F,S,S,3]`` of one to F real ones, their mask."""
    rng = np.random.default_rng(seed)
    F, L, S = (model.sizes[name] for name in ("frames", "words", "image"))
    ids = np.zeros((TEXTS, L), np.int64)
    for row, length in zip(ids, np.linspace(0, L - 2, TEXTS).astype(int), strict=True):
        row[: length + 2] = [start, *rng.integers(0, end, length), end]
    lengths = np.array(sorted({1, (F + 1) // 2, F}))
    mask = (np.arange(F) < lengths[:, None]).astype(np.float32)
    # Coarse tiles under fine noise, bright and dark: frames that a tower tells apart.
    side = -(-S // 8)
    tiles = rng.integers(0, 200, (len(lengths), F, side, side, 3)).repeat(8, 2).repeat(8, 3)[:, :, :S, :S]
    frames = (tiles + rng.integers(0, 56, tiles.shape)).astype(np.uint8)
    return ids, frames, mask


@torch.inference_mode()
def _reference(
    model: ReferenceModel, ids: np.ndarray, frames: np.ndarray, mask: np.ndarray
) -> tuple[Features, np.ndarray]:
    real = torch.from_numpy(mask)
    sentence, words = model.encode_text(torch.from_numpy(ids))
    features = model.encode_vision(torch.from_numpy(frames), real)
    video = model.temporal(features, real)
    logits = model.score(sentence, words, video, real)
    found = {"sentence": sentence, "words": words, "features": features, **video}
    return {name: tensor.numpy() for name, tensor in found.items()}, logits.numpy()


@torch.inference_mode()
def _bundle(
    encoders: Encoders, model: ReferenceModel, ids: np.ndarray, frames: np.ndarray, mask: np.ndarray
) -> tuple[Features, np.ndarray]:
    sentence, words = encoders.text(ids)
    features = encoders.vision(frames, mask)
    if not model.frame_coupling:  # then frames may also come one by one, as they do when indexing
        single = encoders.vision(frames[-1][:, None], mask[-1][:, None])
        features[-1] = single[:, 0]
    video = encoders.temporal(features, mask)
    if model.scoring == "cross":
        logits = np.stack(
            [encoders.cross(np.tile(s, (len(mask), 1)), video["frames"], mask) for s in sentence]
        )
    else:
        tensors = {name: torch.from_numpy(array) for name, array in video.items()}
        texts = torch.from_numpy(sentence), torch.from_numpy(words)
        logits = model.score(*texts, tensors, torch.from_numpy(mask)).numpy()
    return {"sentence": sentence, "words": words, "features": features, **video}, logits


def _check_head(bundle: Bundle, model: ReferenceModel) -> None:
    for name, tensor in model.head().items():
        if not np.array_equal(bundle.head[name], tensor.numpy()):
            raise BundleError(f"head.safetensors: {name} differs from the reference model's")


def _largest(difference: np.ndarray) -> float:
    return float(np.abs(difference).max())


def _cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """The largest 1 − cos between rows, of those that are not zero."""
    a, b = (x.reshape(-1, x.shape[-1]).astype(np.float64) for x in (a, b))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    distance = 1 - (a * b).sum(1) / np.where(norms == 0, 1, norms)
    return float(np.abs(np.where(norms == 0, np.abs(a - b).max(1), distance)).max())


def summary(report: Mapping[str, Any]) -> str:
    """One line for people."""
    return f"logits within {report['logits']:.2g}, features within {report['cosine']:.1g} of 1 in cosine"
