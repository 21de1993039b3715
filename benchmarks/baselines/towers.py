"""The two towers of an exported model, run as one would without vtr: raw runtimes, and PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from vtr.export.models import ReferenceModel

OPENVINO_TYPES = {"fp32": "f32", "bf16": "bf16"}


@dataclass(frozen=True)
class Towers:
    """``frames``: uint8 ``[B, S, S, 3]`` → float32 ``[B, D]``; ``texts``: ids int64 ``[B, L]`` → the same."""

    frames: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    texts: Callable[[NDArray[np.int64]], NDArray[np.float32]]


def openvino_towers(bundle: Path, precision: str, threads: int) -> Towers:
    """OpenVINO with its LATENCY hint. An int8 bundle's own quantised products stay; the rest is float32."""
    from vtr.encoders.openvino import shared_core

    core = shared_core()
    settings: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": OPENVINO_TYPES.get(precision, "f32"),
    }
    vision, text = (
        core.compile_model(str(bundle / name), "CPU", settings) for name in ("vision.onnx", "text.onnx")
    )
    return Towers(
        lambda frames: vision({"frames": frames[:, None], "mask": _ones(frames)})["features"][:, 0],
        lambda ids: text({"ids": ids})["sentence"],
    )


def onnxruntime_towers(bundle: Path, threads: int) -> Towers:
    """ONNX Runtime with its defaults, in the precision of the bundle."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only
    vision, text = (
        onnxruntime.InferenceSession(str(bundle / name), options, providers=["CPUExecutionProvider"])
        for name in ("vision.onnx", "text.onnx")
    )
    return Towers(
        lambda frames: vision.run(["features"], {"frames": frames[:, None], "mask": _ones(frames)})[0][:, 0],
        lambda ids: text.run(["sentence"], {"ids": ids})[0],
    )


def torch_towers(model: ReferenceModel, precision: str, compiled: bool) -> Towers:
    """PyTorch with as many threads as it is set to; bf16 converts the whole model by ``.bfloat16()``."""
    import torch

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    clip = deepcopy(model.clip).to(kind)
    vision: Any = clip.visual
    text: Any = clip.text
    if compiled:  # for any batch: one graph is compiled, not one a size
        vision, text = torch.compile(vision, dynamic=True), torch.compile(text, dynamic=True)

    @torch.inference_mode()
    def frames_of(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        mask = torch.ones(len(frames), 1, dtype=kind)
        found: NDArray[np.float32] = vision(torch.from_numpy(frames)[:, None], mask)[:, 0].float().numpy()
        return found

    @torch.inference_mode()
    def texts_of(ids: NDArray[np.int64]) -> NDArray[np.float32]:
        found: NDArray[np.float32] = text(torch.from_numpy(ids))[0].float().numpy()
        return found

    return Towers(frames_of, texts_of)


def _ones(frames: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.ones((len(frames), 1), np.float32)
