"""Checkpoints in, bundles out: reading, reference models, ONNX graphs, verification.

Needs PyTorch (``pip install "vtr[export]"``); nothing here is imported at search time. Names are loaded on
first use, so importing the package costs nothing.
"""

from importlib import import_module
from typing import Any

from vtr.errors import BackendError

_HOMES = {
    "ExportOptions": "options",
    "ReferenceModel": "models",
    "build_model": "models",
    "load_checkpoint": "checkpoint",
    "random_checkpoint": "synthetic",
    "ExportReport": "pipeline",
    "export_checkpoint": "pipeline",
    "export_model": "pipeline",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        home = import_module(f".{_HOMES[name]}", __name__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("vtr"):
            raise
        raise BackendError(f'vtr.export.{name} needs {error.name}: pip install "vtr[export]"') from error
    return getattr(home, name)


def __dir__() -> list[str]:
    return __all__
