"""Graphs on OpenVINO: the fastest on CPUs, in bfloat16 where the processor multiplies it.

One call uses all threads (the LATENCY hint): measured on two cores, two streams of one thread each encode no
more frames a second, and one frame takes twice as long. Shapes stay dynamic, which costs nothing measurable.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import openvino
from numpy.typing import NDArray

from vtr.bundle import Bundle

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
        # Threads are not pinned to cores: decoding runs beside them.
        self._settings: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        if threads is not None:
            self._settings["INFERENCE_NUM_THREADS"] = threads

    def load(self, path: Path, exact: bool) -> Graph:
        kind = TYPES["fp32" if exact else self._precision]
        settings = {**self._settings, "INFERENCE_PRECISION_HINT": kind}
        return Graph(self._core.compile_model(str(path), self._device, settings))


class Graph:
    """A compiled model with as many requests as there were calls at once."""

    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled
        self._idle: list[Any] = []  # append and pop are atomic
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
