"""Graphs on ONNX Runtime: on CPUs, and on CUDA with ``onnxruntime-gpu``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from vtr.bundle import Bundle
from vtr.encoders.choice import INSTALL
from vtr.encoders.device_array import DeviceArray
from vtr.errors import BackendError

# Without use_tf32 = 0, "fp32" would be products of 10 bits on CUDA.
PROVIDERS: dict[str, list[Any]] = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"],
}
FIRST = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
QUIET = 3  # errors only: warnings concern where small nodes of a graph are placed


class Backend:
    """Computes in the precision of the graph, whatever was chosen."""

    def __init__(self, device: str, precision: str, threads: int | None, bundle: Bundle) -> None:
        self._device = device
        self._threads = threads
        self.device_arrays = device == "cuda"

    def load(self, path: Path, exact: bool) -> Graph | BoundGraph:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = QUIET
        # Threads that wait for work spin while a call lasts (without, int8 towers took 1.3 times as long) and
        # sleep after it: decoding needs the cores between two batches.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        if self._device == "cuda":
            preload()
        session = onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS[self._device])
        if (got := session.get_providers()[0]) != FIRST[self._device]:
            raise BackendError(
                f"expected ONNX Runtime to run on {self._device}, it fell back to {got}: its CUDA libraries "
                f"cannot be loaded ({INSTALL['cuda']}), or use device cpu"
            )
        return BoundGraph(session, self._device) if self._device == "cuda" else Graph(session)


@cache
def preload() -> None:
    """Load cuBLAS, cuDNN and what else CUDA needs from packages of PyPI, where these are installed."""
    if (load := getattr(onnxruntime, "preload_dlls", None)) is not None:
        with suppress(Exception):  # what is missing is found out, and told, when a session is made
            load()


class Graph:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [value.name for value in session.get_outputs()]
        self.inputs = frozenset(value.name for value in session.get_inputs())
        self.outputs = frozenset(self._names)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        values = self._session.run(self._names, dict(inputs))
        return dict(zip(self._names, values, strict=True))


class BoundGraph(Graph):
    """Inputs copied to the device once, into memory that is kept, outputs back once.

    As many bindings as there were calls at once; one keeps the memory of its latest shapes.
    """

    def __init__(self, session: Any, device: str) -> None:
        super().__init__(session)
        self._device = device
        self._idle: list[Binding] = []  # append and pop are atomic

    def __call__(self, inputs: Mapping[str, NDArray[Any] | DeviceArray]) -> dict[str, NDArray[Any]]:
        try:
            binding = self._idle.pop()
        except IndexError:
            binding = Binding(self._session.io_binding(), self._device)
        outputs = binding.run(self._session, self._names, inputs)  # after an error it is not used again
        self._idle.append(binding)
        return outputs


class Binding:
    """What one run reads and writes."""

    def __init__(self, binding: Any, device: str) -> None:
        self._binding, self._device = binding, device
        self._kept: dict[str, Any] = {}  # OrtValues on the device, by input

    def run(
        self, session: Any, outputs: list[str], inputs: Mapping[str, NDArray[Any] | DeviceArray]
    ) -> dict[str, NDArray[Any]]:
        binding = self._binding
        binding.clear_binding_inputs()
        binding.clear_binding_outputs()
        for name, array in inputs.items():
            if isinstance(array, DeviceArray):
                array.finish()
                binding.bind_input(name, self._device, 0, array.dtype.type, list(array.shape), array.address)
            else:
                binding.bind_ortvalue_input(name, self._placed(name, array))
        for name in outputs:
            binding.bind_output(name, self._device)  # of a shape that only the run knows
        binding.synchronize_inputs()
        session.run_with_iobinding(binding)
        values = binding.copy_outputs_to_cpu()
        binding.clear_binding_outputs()  # their memory goes back to ONNX Runtime's pool
        return dict(zip(outputs, values, strict=True))

    def _placed(self, name: str, array: NDArray[Any]) -> Any:
        """``array`` on the device."""
        array = np.ascontiguousarray(array)
        kept = self._kept.get(name)
        if kept is None or tuple(kept.shape()) != array.shape:
            make = onnxruntime.OrtValue.ortvalue_from_shape_and_type
            kept = self._kept[name] = make(array.shape, array.dtype.type, self._device, 0)
        kept.update_inplace(array)
        return kept
