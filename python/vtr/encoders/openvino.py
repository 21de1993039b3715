"""Graphs on OpenVINO: the fastest on CPUs, in bfloat16 where the processor multiplies it.

One call uses all threads (the LATENCY hint): measured on two cores, two streams of one thread each encode no
more frames a second, and one frame takes twice as long. Shapes stay dynamic, which costs nothing measurable.

The text tower, which every search needs, is kept on disk as it was compiled (`vtr.encoders.blobs`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from vtr.bundle import Bundle
from vtr.encoders.blobs import read_blob, write_blob

KEPT = "text.onnx"  # compiled, in the user's cache …
KEPT_BYTES = 16 << 20  # … if it has so many: smaller ones compile in no time
TYPES = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}


@cache
def shared_core() -> Any:
    """The process's one ``openvino.Core``, kept to its end.

    On processors with AMX a Core's CPU plugin replaces the thread's stack for signal handlers, and puts
    back the one before when it goes. Where Cores go in another order than they came, that one is gone
    already, and the next signal (Ctrl-C, or a child's end) kills the process.
    """
    return openvino.Core()


class Backend:
    device_arrays = False

    def __init__(self, device: str, precision: str, threads: int | None, bundle: Bundle) -> None:
        self._core = shared_core()
        self._device = device.upper()
        self._precision = precision
        self._bundle = bundle
        # Threads are not pinned to cores: decoding runs beside them.
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads

    def load(self, path: Path, exact: bool) -> Graph:
        kind = TYPES["fp32" if exact else self._precision]
        settings = {**self._settings, "INFERENCE_PRECISION_HINT": kind}
        if (key := self._key(path, settings)) is None:
            return Graph(self._core.compile_model(str(path), self._device, settings))
        if (blob := read_blob(key)) is not None:
            try:
                tensor = openvino.Tensor(blob, shared_memory=True)
                return Graph(self._core.import_model(tensor, self._device, settings), (tensor, blob))
            except Exception:  # OpenVINO's are RuntimeErrors of many kinds: the blob is made again
                pass
        compiled = self._core.compile_model(str(path), self._device, settings)
        with suppress(Exception):  # what is compiled can be used, whether or not it can be kept
            write_blob(key, compiled.export_model().getbuffer())
        return Graph(compiled)

    def _key(self, path: Path, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """What a compiled graph depends on; ``None`` for those that are not kept.

        A graph is known by its hash, which was compared with its content just before it is loaded.
        """
        entry = self._bundle.manifest["files"][path.name]
        if path.name != KEPT or entry["bytes"] < KEPT_BYTES or not self._bundle.verified:
            return None
        about = [self._core.get_property(self._device, "FULL_DEVICE_NAME")]
        about += sorted(self._core.get_property(self._device, "OPTIMIZATION_CAPABILITIES"))
        return {
            "graph": entry["sha256"],
            "openvino": openvino.get_version(),
            "processor": about,
            "cores": os.cpu_count(),
            "settings": dict(settings),
        }


class Graph:
    """A compiled model with as many requests as there were calls at once."""

    def __init__(self, compiled: Any, memory: Any = None) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []  # append and pop are atomic
        self._memory = memory  # that the compiled model may look into: the last to go
        self.inputs = frozenset(port.any_name for port in compiled.inputs)
        self.outputs = frozenset(name for port in compiled.outputs for name in port.names)

    def __call__(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._compiled.create_infer_request()
        try:
            request.infer(dict(inputs), share_inputs=True)
            # The request's own memory is written again by the next call.
            return {name: np.array(request.get_tensor(name).data) for name in self.outputs}
        finally:
            self._idle.append(request)
