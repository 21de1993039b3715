"""Which runtime, device and precision the encoders take: what was asked for, or the best that is there."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from vtr.errors import BackendError, UsageError

BACKENDS = ("openvino", "onnxruntime")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")
TITLES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}
INSTALL = {
    "openvino": "pip install 'vtr[cpu]'",
    "onnxruntime": "pip install 'vtr[cpu]'",
    "cuda": "pip install onnxruntime-gpu",
}


@dataclass(frozen=True)
class Choice:
    """``precision`` is that of the towers: "fp32", "fp16", "bf16" or "int8"."""

    backend: str
    device: str
    precision: str
    reasons: tuple[str, ...] = ()  # of what was chosen automatically

    @property
    def description(self) -> str:
        what = f"{TITLES[self.backend]} on {self.device}, {self.precision}"
        return f"{what} ({'; '.join(self.reasons)})" if self.reasons else what


def choose(exported: str, backend: str, device: str, precision: str) -> Choice:
    """What runs a bundle that was exported in precision ``exported``.

    Raises:
        UsageError: a name that is not known.
        BackendError: what was asked for is missing or cannot be done; the message names the remedy.
    """
    for name, value, known in (
        ("backend", backend, BACKENDS),
        ("device", device, DEVICES),
        ("precision", precision, PRECISIONS),
    ):
        if value not in ("auto", *known):
            raise UsageError(f"expected {name} auto, {', '.join(known)}; got {value!r}")
    reasons: list[str] = []
    if device == "auto":
        device = "cuda" if backend != "openvino" and _cuda_is_ready() else "cpu"
        reasons.append(f"device auto: {'a CUDA device is there' if device == 'cuda' else 'no CUDA to use'}")
    if backend == "auto":
        backend, reason = _choose_backend(exported, device)
        reasons.append(f"backend auto: {reason}")
    _require(backend, device)
    if precision == "auto":
        precision, reason = _choose_precision(exported, backend)
        reasons.append(f"precision auto: {reason}")
    else:
        _require_precision(exported, backend, precision)
    if exported == "bf16" and backend == "onnxruntime" and device == "cpu":
        raise BackendError(
            "ONNX Runtime has no bfloat16 on CPUs: run this bf16 bundle with backend openvino "
            f"({INSTALL['openvino']}), or export it with --precision fp32"
        )
    return Choice(backend, device, precision, tuple(reasons))


# ---- backends and devices ----------------------------------------------------------------------------


def _choose_backend(exported: str, device: str) -> tuple[str, str]:
    if device == "cuda":
        return "onnxruntime", "it has CUDA"
    # OpenVINO runs fp32 and bf16 faster, ONNX Runtime the integer products of int8 bundles.
    order = ("onnxruntime", "openvino") if exported == "int8" else ("openvino", "onnxruntime")
    for name in order:
        if find_spec(name) is not None:
            first = name == order[0]
            return name, f"the faster for {exported}" if first else f"{TITLES[order[0]]} is not installed"
    raise BackendError(f"no encoder backend is installed: {INSTALL['openvino']}")


def _require(backend: str, device: str) -> None:
    if find_spec(backend) is None:
        remedy = INSTALL["cuda" if device == "cuda" else backend]
        raise BackendError(f"{TITLES[backend]} is not installed: {remedy}")
    if device == "cuda":
        if backend == "openvino":
            raise BackendError("OpenVINO has no CUDA devices: use backend onnxruntime, or device cpu")
        if "CUDAExecutionProvider" not in _onnxruntime_providers():
            raise BackendError(f"this ONNX Runtime has no CUDA: {INSTALL['cuda']}, or use device cpu")
        if not _cuda_devices():
            raise BackendError("no CUDA device: no NVIDIA driver or no GPU on this machine; use device cpu")


def _cuda_is_ready() -> bool:
    return (
        _cuda_devices() > 0
        and find_spec("onnxruntime") is not None
        and "CUDAExecutionProvider" in _onnxruntime_providers()
    )


def _onnxruntime_providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


@cache
def _cuda_devices() -> int:
    """How many devices the NVIDIA driver shows, without any CUDA library."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


# ---- precision ---------------------------------------------------------------------------------------


def _choose_precision(exported: str, backend: str) -> tuple[str, str]:
    if backend == "openvino":
        if "bf16" in openvino_precisions():
            return "bf16", "this processor multiplies it in hardware"
        return "fp32", "this processor has no bfloat16"
    return exported, "as exported"


def _require_precision(exported: str, backend: str, precision: str) -> None:
    if backend == "openvino":
        if precision not in (able := openvino_precisions()):
            raise BackendError(
                f"this processor has no {precision} arithmetic, only {', '.join(able)}: use precision auto"
            )
    elif precision != exported:
        raise BackendError(
            f"ONNX Runtime computes in the precision of the bundle, {exported}, not in {precision}: export "
            f"with --precision {precision}, use backend openvino, or precision auto"
        )


@cache
def openvino_precisions() -> tuple[str, ...]:
    """What OpenVINO can compute in on this processor."""
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
    return tuple(name for name, capability in names.items() if capability in able)
