"""Graphs on ONNX Runtime: on CPUs, and on CUDA with ``onnxruntime-gpu``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnxruntime
from numpy.typing import NDArray

from vtr.errors import BackendError

PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
}
QUIET = 3  # errors only: warnings concern where small nodes of a graph are placed


class Backend:
    """Computes in the precision of the graph, whatever was chosen."""

    def __init__(self, device: str, precision: str, threads: int | None) -> None:
        self._device = device
        self._threads = threads

    def load(self, path: Path, exact: bool) -> Graph:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = QUIET
        # Idle threads sleep instead of spinning: decoding needs the cores between two batches.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        session = onnxruntime.InferenceSession(str(path), options, providers=PROVIDERS[self._device])
        if (got := session.get_providers()[0]) != PROVIDERS[self._device][0]:
            raise BackendError(f"expected ONNX Runtime to run on {self._device}, it fell back to {got}")
        return Graph(session)


class Graph:
    def __init__(self, session: Any) -> None:
        self._session = session
        self._names = [value.name for value in session.get_outputs()]
        self.inputs = frozenset(value.name for value in session.get_inputs())
        self.outputs = frozenset(self._names)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        values = self._session.run(self._names, dict(inputs))
        return dict(zip(self._names, values, strict=True))
