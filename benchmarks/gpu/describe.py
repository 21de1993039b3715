"""The machine that a file of results speaks of: GPU, driver, clocks, versions."""

from __future__ import annotations

import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from ..machine import machine
from .place import Place

PACKAGES: tuple[str, ...] = ("torch", "triton", "numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "tensorrt")
PACKAGES += ("tensorrt-rtx-cu13", "nvidia-dali-cuda130", "av", "vtr")
ASKED: tuple[str, ...] = (
    "name",
    "driver_version",
    "memory.total",
    "power.limit",
    "clocks.max.sm",
    "clocks.max.memory",
)
ASKED += ("clocks.sm", "clocks.memory", "temperature.gpu", "mig.mode.current")  # now: before anything ran


def describe(place: Place) -> dict[str, Any]:
    """What can be known here; what cannot is left out."""
    found: dict[str, Any] = {"gpu": gpu_name(place), **machine(), "versions": versions()}
    if place.device.type == "cuda":
        properties = torch.cuda.get_device_properties(place.device)
        found |= {
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "gpu_memory_gib": round(properties.total_memory / 2**30, 1),
            "cuda_of_torch": torch.version.cuda,
            "nvidia_smi": nvidia_smi(place.device.index or 0),
        }
    return found


def gpu_name(place: Place) -> str:
    if place.device.type != "cuda":
        return "none: Triton's interpreter"
    return str(torch.cuda.get_device_name(place.device))


def versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def nvidia_smi(index: int) -> dict[str, str]:
    command = ["nvidia-smi", f"--id={index}", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return {}
    return dict(zip(ASKED, (value.strip() for value in done.stdout.split(",")), strict=False))
