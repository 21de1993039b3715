"""Running a bundle's graphs: one `Encoders` object over whichever runtime is there.

`Encoders` checks shapes and types on the way in and out; a backend (`vtr.encoders.openvino`,
`vtr.encoders.onnxruntime`, `vtr.encoders.tensorrt`) turns a graph's file into a function of arrays. Graphs
are loaded when they are first used, so that a search does not pay for the vision tower.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtr.bundle import Bundle
from vtr.encoders.choice import Choice, choose
from vtr.encoders.device_array import DeviceArray
from vtr.errors import BackendError, BundleError, UsageError

__all__ = ["Encoders", "open_encoders"]

Arrays = dict[str, NDArray[Any]]
Inputs = Mapping[str, NDArray[Any] | DeviceArray]

VISION = ("frames", "mask")  # inputs of vision.onnx
TEMPORAL = ("features", "mask")
OUTPUTS = {  # of temporal.onnx, by scoring
    "holistic": ("frames", "weights", "video"),
    "xclip": ("frames", "video"),
    "tcmgc": ("frames",),
    "cross": ("frames",),
}


class Graph(Protocol):
    """A loaded graph. Callable from many threads at once."""

    inputs: frozenset[str]
    outputs: frozenset[str]

    def __call__(self, inputs: Inputs) -> Arrays: ...


class Backend(Protocol):
    """A runtime set up for one device."""

    device_arrays: bool  # whether graphs take inputs that lie on the GPU

    def load(self, path: Path, exact: bool) -> Graph:
        """Load a graph; ``exact`` asks for float32 whatever precision was chosen."""


def open_encoders(
    bundle: Bundle,
    backend: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Encoders:
    """The bundle's encoders on a runtime.

    Args:
        backend: "openvino", "onnxruntime", "tensorrt" (or TensorRT-RTX, whichever is installed) or "auto".
        device: "cpu", "cuda" or "auto", which takes a CUDA device only where a backend can use one.
        precision: arithmetic of the towers: "fp32", "fp16", "bf16" or "auto". The temporal head and the
            cross encoder, which are small, always compute in float32.
        threads: threads that share the work of one call; ``None`` takes every core.

    Raises:
        BackendError: what was asked for is not installed, or cannot run this bundle.
    """
    if threads is not None and (type(threads) is not int or threads < 1):
        raise UsageError(f"expected threads as None or a whole number of at least 1, got {threads!r}")
    choice = choose(bundle.manifest["precision"], backend, device, precision)
    module = import_module(f"vtr.encoders.{choice.backend}")
    return Encoders(bundle, module.Backend(choice.device, choice.precision, threads, bundle), choice)


class Encoders:
    """The towers and heads of one bundle. All methods may be called from many threads at once.

    ``description`` says what runs them, and why where it was chosen automatically.
    """

    def __init__(self, bundle: Bundle, backend: Backend, choice: Choice) -> None:
        self._bundle = bundle
        self._backend = backend
        self._sizes = bundle.sizes
        self._graphs: dict[str, Graph] = {}
        self._lock = threading.Lock()  # of the dictionaries
        # One a graph: a search does not wait for the vision tower.
        self._loading: dict[str, threading.Lock] = {}
        self.device = choice.device  # "cpu" or "cuda"
        self.precision = choice.precision
        self.description = choice.description

    def text(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Token ids ``[B, L]`` int64 → sentence ``[B, D]``, words ``[B, L, D]``."""
        batch, L, D, vocab = len(ids), *(self._sizes[name] for name in ("words", "dim", "vocab"))
        _expect("ids", ids, np.int64, (batch, L))
        if batch and (ids.min() < 0 or ids.max() >= vocab):
            raise UsageError(f"expected ids in 0..{vocab - 1}, got {ids.min()}..{ids.max()}")
        out = self._run("text.onnx", {"ids": ids}, {"sentence": (batch, D), "words": (batch, L, D)})
        return out["sentence"], out["words"]

    def vision(
        self, frames: NDArray[np.uint8] | DeviceArray, mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Frames ``[B, n, S, S, 3]`` uint8, mask ``[B, n]`` float32 → features ``[B, n, D]``.

        n is F; where the model's frames do not see each other it may be any number. Frames may lie on the
        GPU already where ``device`` is "cuda": any object with ``__cuda_array_interface__``.
        """
        frames = self._as_given("frames", frames)
        S, D = self._sizes["image"], self._sizes["dim"]
        count = self._sizes["frames"] if self._bundle.frame_coupling or frames.ndim != 5 else frames.shape[1]
        batch = len(frames)
        _expect("frames", frames, np.uint8, (batch, count, S, S, 3))
        _expect("mask", mask, np.float32, (batch, count))
        inputs: Inputs = dict(zip(VISION, (frames, mask), strict=True))
        return self._run("vision.onnx", inputs, {"features": (batch, count, D)})["features"]

    def load_for_videos(self) -> None:
        """Load what encodes videos: for threads that have time before the first of them comes."""
        self._graph("vision.onnx", False, frozenset(VISION), frozenset(["features"]))
        self._graph("temporal.onnx", True, frozenset(TEMPORAL), frozenset(OUTPUTS[self._bundle.scoring]))

    def temporal(
        self, features: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> dict[str, NDArray[np.float32]]:
        """Frame features ``[B, F, D]``, mask ``[B, F]`` → what the scorer takes of a video.

        "frames" ``[B, F, D]``; for holistic scoring also "weights" ``[B, F]`` and "video" ``[B, D]``, their
        weighted sum; for X-CLIP "video".
        """
        batch, F, D = len(features), self._sizes["frames"], self._sizes["dim"]
        _expect("features", features, np.float32, (batch, F, D))
        _expect("mask", mask, np.float32, (batch, F))
        shapes = {"frames": (batch, F, D), "weights": (batch, F), "video": (batch, D)}
        wanted = {name: shapes[name] for name in OUTPUTS[self._bundle.scoring]}
        inputs = dict(zip(TEMPORAL, (features, mask), strict=True))
        return self._run("temporal.onnx", inputs, wanted, exact=True)

    def cross(
        self, sentence: NDArray[np.float32], frames: NDArray[np.float32], mask: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Aligned pairs, ``[B, D]``, ``[B, F, D]``, ``[B, F]`` → logits ``[B]``; tightTransf only."""
        if self._bundle.scoring != "cross":
            raise UsageError(
                f"{self._bundle.path} has no cross encoder: its scoring is {self._bundle.scoring}"
            )
        batch, F, D = len(sentence), self._sizes["frames"], self._sizes["dim"]
        _expect("sentence", sentence, np.float32, (batch, D))
        _expect("frames", frames, np.float32, (batch, F, D))
        _expect("mask", mask, np.float32, (batch, F))
        inputs = {"sentence": sentence, "frames": frames, "mask": mask}
        return self._run("cross.onnx", inputs, {"logit": (batch,)}, exact=True)["logit"]

    def _as_given(self, name: str, array: Any) -> Any:
        """``array``, as a `DeviceArray` if it lies on a GPU."""
        if (there := DeviceArray.of(array)) is None:
            return array
        if not self._backend.device_arrays:
            raise UsageError(f"expected {name} in main memory for {self.description}, got them on a GPU")
        return there

    def _run(
        self,
        file: str,
        inputs: Inputs,
        wanted: Mapping[str, tuple[int, ...]],
        exact: bool = False,
    ) -> Arrays:
        graph = self._graph(file, exact, frozenset(inputs), frozenset(wanted))
        if empty := not len(next(iter(inputs.values()))):  # runtimes differ on empty batches
            inputs = {name: np.zeros((1, *a.shape[1:]), a.dtype) for name, a in inputs.items()}
        try:
            outputs = graph({name: _contiguous(inputs[name]) for name in graph.inputs})
        except Exception as error:  # runtimes raise types of their own
            raise BackendError(f"{file} failed on {self.description}: {error}") from error
        if empty:
            outputs = {name: array[:0] for name, array in outputs.items()}
        for name, shape in wanted.items():
            if outputs[name].shape != shape or outputs[name].dtype != np.float32:
                raise BundleError(
                    f"{self._bundle.file(file)}: expected {name} as float32 {list(shape)}, got "
                    f"{outputs[name].dtype} {list(outputs[name].shape)}; export the bundle again"
                )
        return {name: outputs[name] for name in wanted}

    def _graph(self, file: str, exact: bool, inputs: frozenset[str], outputs: frozenset[str]) -> Graph:
        if (loaded := self._graphs.get(file)) is not None:
            return loaded
        with self._lock:
            loading = self._loading.setdefault(file, threading.Lock())
        with loading:
            if file not in self._graphs:
                path = self._bundle.graph(file)
                try:
                    graph = self._backend.load(path, exact)
                except Exception as error:  # runtimes raise types of their own
                    raise BackendError(f"{path} cannot be loaded by {self.description}: {error}") from error
                if not graph.inputs <= inputs or not outputs <= graph.outputs:
                    raise BundleError(
                        f"{path}: expected a graph of {sorted(inputs)} to {sorted(outputs)}, got "
                        f"{sorted(graph.inputs)} to {sorted(graph.outputs)}; export the bundle again"
                    )
                self._graphs[file] = graph
            return self._graphs[file]


def _contiguous(array: NDArray[Any] | DeviceArray) -> NDArray[Any] | DeviceArray:
    return array if isinstance(array, DeviceArray) else np.ascontiguousarray(array)


def _expect(
    name: str, array: NDArray[Any] | DeviceArray, dtype: type[np.generic], shape: tuple[int, ...]
) -> None:
    if array.shape != shape or array.dtype != dtype:
        raise UsageError(
            f"expected {name} as {np.dtype(dtype)} {list(shape)}, got {array.dtype} {list(array.shape)}"
        )
