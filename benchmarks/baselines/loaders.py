"""The decoding baselines by name, and those of them that are here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from vtr.types import Sampling

from .optional import missing as not_installed
from .sampled import Sampled

Load = Callable[[Path, Sampling, int], Sampled]  # file, sampling, threads

MODULES = {  # name → module of this package
    "OpenCV": "opencv",
    "PyAV, every frame": "every_frame",
    "decord": "decord",
    "torchcodec": "torchcodec",
}


def available() -> tuple[dict[str, Load], dict[str, str]]:
    """Loaders that can be used, and why the others cannot."""
    loaders: dict[str, Load] = {}
    missing: dict[str, str] = {}
    for name, module in MODULES.items():
        try:
            loaders[name] = import_module(f".{module}", __package__).load
        except ModuleNotFoundError as error:
            missing[name] = not_installed(error.name or module) or str(error)
        except (ImportError, OSError, RuntimeError) as error:  # installed, but not for this machine
            missing[name] = f"cannot be imported: {str(error).strip().splitlines()[0]:.120}"
    return loaders, missing
