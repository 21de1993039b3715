"""What figures were measured on: processor, memory, and the version of every library that took part."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import vtr

# Modules that cases and baselines may load, and the packages that they come from.
LIBRARIES = {
    "numpy": ("numpy",),
    "torch": ("torch",),
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "faiss": ("faiss-cpu", "faiss-gpu"),
    "cv2": ("opencv-python-headless", "opencv-python"),
    "av": ("av",),
    "PIL": ("pillow",),
    "decord": ("decord", "eva-decord"),
    "torchcodec": ("torchcodec",),
    "tokenizers": ("tokenizers",),
}


def machine() -> dict[str, Any]:
    """Processor, cores that this process may use, the native core's instruction set, memory in GiB."""
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)),
        "isa": native_isa(),
        "memory_gib": round(memory("MemTotal") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """vtr's version, and that of each library that is loaded in this process."""
    found = {"vtr": vtr.__version__}
    for module, packages in LIBRARIES.items():
        if module in sys.modules:
            found[packages[0]] = next(filter(None, map(_version, packages)), "unknown")
    return found


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def native_isa() -> str:
    """The widest instruction set that the native core takes here."""
    try:
        from vtr import _core
    except ImportError:
        return "no native core"
    return str(_core.isas()[0])


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def memory(field: str, table: str = "meminfo") -> int:
    """Bytes that a table of ``/proc`` tells.

    Of "meminfo": "MemTotal", or "MemAvailable" for what can still be had. Of "self/status", this process:
    "RssAnon" now, "VmHWM" at the peak.
    """
    for line in Path("/proc", table).read_text(encoding="utf-8").splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    raise ValueError(f"/proc/{table} has no {field}")
