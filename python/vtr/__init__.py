"""vtr: search video by text with CLIP4Clip-family models.

``Engine`` is the whole of it: encode, score, index, search. Names are loaded on first use, so that
``import vtr`` costs milliseconds and never imports PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vtr.bundle import Bundle
    from vtr.engine import Engine
    from vtr.errors import (
        BackendError,
        BundleError,
        CheckpointError,
        DecodeError,
        DeviceError,
        IndexStoreError,
        UnsupportedError,
        UsageError,
        VtrError,
    )
    from vtr.types import (
        Clip,
        Failure,
        Hit,
        IndexReport,
        Moment,
        Sampling,
        TextFeatures,
        TextHit,
        VideoFeatures,
    )

__version__ = "0.1.0"

_HOMES = {
    "vtr.bundle": ["Bundle"],
    "vtr.engine": ["Engine"],
    "vtr.errors": [
        "BackendError",
        "BundleError",
        "CheckpointError",
        "DecodeError",
        "DeviceError",
        "IndexStoreError",
        "UnsupportedError",
        "UsageError",
        "VtrError",
    ],
    "vtr.types": [
        "Clip",
        "Failure",
        "Hit",
        "IndexReport",
        "Moment",
        "Sampling",
        "TextFeatures",
        "TextHit",
        "VideoFeatures",
    ],
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}
_SUBMODULES = {"decode", "export", "index", "scoring"}

__all__ = [  # noqa: RUF022 (grouped as a reader meets them)
    "Engine",
    "Bundle",
    "Clip",
    "Failure",
    "Hit",
    "IndexReport",
    "Moment",
    "Sampling",
    "TextFeatures",
    "TextHit",
    "VideoFeatures",
    "BackendError",
    "BundleError",
    "CheckpointError",
    "DecodeError",
    "DeviceError",
    "IndexStoreError",
    "UnsupportedError",
    "UsageError",
    "VtrError",
]


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        return getattr(import_module(_HOME_OF[name]), name)
    if name in _SUBMODULES:
        return import_module(f"vtr.{name}")
    raise AttributeError(f"module 'vtr' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_SUBMODULES, "__version__"])
