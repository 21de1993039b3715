"""Reading the parameters of a scorer out of a bundle's head, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import BundleError
from vtr.scoring.numerics import Floats

Head = Mapping[str, NDArray[Any]]

_REMEDY = "export the checkpoint again"


def read_sizes(sizes: Mapping[str, Any], *names: str) -> list[int]:
    """The named sizes, each a whole number of at least 1."""
    values = [sizes.get(name) for name in names]
    for name, value in zip(names, values, strict=True):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise BundleError(
                f"expected the size {name!r} as a whole number of at least 1, got {value!r}: {_REMEDY}"
            )
    return values  # type: ignore[return-value]


def read_head(head: Head, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Floats]:
    """Every tensor of ``shapes`` as contiguous float32.

    Raises:
        BundleError: a tensor is missing, unknown, of another shape, not floating point or not finite.
    """
    missing, unknown = sorted(shapes.keys() - head.keys()), sorted(head.keys() - shapes.keys())
    if missing or unknown:
        raise BundleError(
            f"head.safetensors: missing {_listed(missing)}; unknown to this scoring {_listed(unknown)}: "
            f"{_REMEDY}"
        )
    tensors = {}
    for name, shape in shapes.items():
        array = np.asarray(head[name])
        if array.shape != shape or array.dtype.kind != "f":
            raise BundleError(
                f"head.safetensors: expected {name} as floating point {list(shape)}, "
                f"got {array.dtype} {list(array.shape)}: {_REMEDY}"
            )
        tensors[name] = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(tensors[name]).all():
            raise BundleError(
                f"head.safetensors: {name} has values that are not finite in float32: {_REMEDY}"
            )
    return tensors


def read_scale(tensors: Mapping[str, Floats]) -> np.float32:
    """exp(logit_scale), what every similarity is multiplied with."""
    with np.errstate(over="ignore"):
        scale = np.exp(tensors["logit_scale"][0])
    if not np.isfinite(scale):
        raw = tensors["logit_scale"][0]
        raise BundleError(f"head.safetensors: exp(logit_scale) overflows, logit_scale is {raw}: {_REMEDY}")
    return scale


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return shown or "nothing"
