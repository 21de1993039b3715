"""Which runtime, device and precision the encoders take: what was asked for, or the best that is there."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from vtr.encoders import cuda_driver, tensorrt_build
from vtr.errors import BackendError, UsageError

BACKENDS = ("openvino", "onnxruntime", "tensorrt")
DEVICES = ("cpu", "cuda")
PRECISIONS = ("fp32", "fp16", "bf16")
TITLES = {"openvino": "OpenVINO", "onnxruntime": "ONNX Runtime", **tensorrt_build.MODULES}
NO_DEVICE = "no CUDA device: no NVIDIA driver or no GPU on this machine; use device cpu"
FIRST_WITH_BF16 = 80  # of compute capabilities
ON_CUDA = ("tensorrt", "onnxruntime")  # the faster first
INSTALL = {
    "openvino": "pip install 'vtr[cpu]'",
    "onnxruntime": "pip install 'vtr[cpu]'",
    "cuda": "pip install 'onnxruntime-gpu[cuda,cudnn]'",
    "tensorrt": tensorrt_build.INSTALL,
}


@dataclass(frozen=True)
class Choice:
    """``precision`` is that of the towers: "fp32", "fp16", "bf16", "int8" or "int8-static"."""

    backend: str
    device: str
    precision: str
    reasons: tuple[str, ...] = ()  # of what was chosen automatically

    @property
    def description(self) -> str:
        what = f"{_title(self.backend)} on {self.device}, {self.precision}"
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
        device, reason = _choose_device(exported, backend)
        reasons.append(f"device auto: {reason}")
    if backend == "auto":
        backend, reason = _choose_backend(exported, device)
        reasons.append(f"backend auto: {reason}")
    _require(exported, backend, device)
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


def _title(backend: str) -> str:
    """What a user knows a backend as; "tensorrt" is one of two libraries."""
    return TITLES[(tensorrt_build.module_name() or backend) if backend == "tensorrt" else backend]


def _choose_device(exported: str, backend: str) -> tuple[str, str]:
    if backend == "openvino":
        return "cpu", "OpenVINO has no CUDA"
    if backend == "tensorrt":
        return "cuda", "TensorRT has no CPUs"
    if not _gpus():
        return "cpu", "no CUDA to use"
    lacking = {name: _lack(exported, name) for name in (ON_CUDA if backend == "auto" else (backend,))}
    if all(lacking.values()):
        return "cpu", f"no CUDA to use: {'; '.join(filter(None, lacking.values()))}"
    return "cuda", "a CUDA device is there"


def _choose_backend(exported: str, device: str) -> tuple[str, str]:
    if device == "cuda":
        lacking: list[str] = []
        for name in ON_CUDA:
            if (lack := _lack(exported, name)) is None:
                return name, "; ".join(lacking) or f"{_title(name)} is there"
            lacking.append(lack)
        raise BackendError(f"no encoder backend can use CUDA: {'; '.join(lacking)}")
    # OpenVINO runs fp32 and bf16 faster, ONNX Runtime the integer products of int8 bundles.
    order = ("onnxruntime", "openvino") if exported.startswith("int8") else ("openvino", "onnxruntime")
    for name in order:
        if find_spec(name) is not None:
            first = name == order[0]
            return name, f"the faster for {exported}" if first else f"{TITLES[order[0]]} is not installed"
    raise BackendError(f"no encoder backend is installed: {INSTALL['openvino']}")


def _require(exported: str, backend: str, device: str) -> None:
    """Raise BackendError, with the remedy, unless the backend can run such a bundle on the device."""
    if device == "cuda":
        if backend == "openvino":
            raise BackendError("OpenVINO has no CUDA devices: use backend onnxruntime, or device cpu")
        if lack := _lack(exported, backend):
            raise BackendError(lack)
    elif backend == "tensorrt":
        raise BackendError("TensorRT has no CPUs: use device cuda, or backend openvino or onnxruntime")
    elif find_spec(backend) is None:
        raise BackendError(f"{TITLES[backend]} is not installed: {INSTALL[backend]}")


def _lack(exported: str, backend: str) -> str | None:
    """What keeps a backend from running such a bundle on CUDA, with the remedy; ``None`` if nothing does."""
    return _tensorrt_lack(exported) if backend == "tensorrt" else _onnxruntime_lack()


def _tensorrt_lack(exported: str) -> str | None:
    if (module := tensorrt_build.module_name()) is None:
        return f"TensorRT is not installed: {INSTALL['tensorrt']}"
    if not _gpus():
        return NO_DEVICE
    if exported == "int8":
        return tensorrt_build.NO_INT8
    gpu = _gpus()[0]
    if exported == "bf16" and gpu.arch < FIRST_WITH_BF16:
        return f"the {gpu.name} (sm_{gpu.arch}) has no bfloat16: export with --precision fp16"
    if module != "tensorrt_rtx":
        return None
    try:
        known = tensorrt_build.Library.load().architectures() or []
    except BackendError as error:
        return str(error)
    if gpu.arch not in known:
        return f"TensorRT-RTX does not know the {gpu.name} (sm_{gpu.arch}): pip install tensorrt"
    return None


def _onnxruntime_lack() -> str | None:
    if find_spec("onnxruntime") is None:
        return f"ONNX Runtime is not installed: {INSTALL['cuda']}"
    if "CUDAExecutionProvider" not in _onnxruntime_providers():
        return f"this ONNX Runtime has no CUDA: {INSTALL['cuda']}, or use device cpu"
    return None if _gpus() else NO_DEVICE


def _onnxruntime_providers() -> list[str]:
    import onnxruntime

    return list(onnxruntime.get_available_providers())


@cache
def _gpus() -> list[cuda_driver.Gpu]:
    return cuda_driver.gpus()


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
            f"{_title(backend)} computes in the precision of the bundle, {exported}, not in {precision}: "
            f"export with --precision {precision}, use backend openvino, or precision auto"
        )


@cache
def openvino_precisions() -> tuple[str, ...]:
    """What OpenVINO can compute in on this processor."""
    from vtr.encoders.openvino import shared_core

    able = shared_core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    names = {"fp32": "FP32", "fp16": "FP16", "bf16": "BF16"}
    return tuple(name for name, capability in names.items() if capability in able)
