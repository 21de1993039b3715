"""What an index keeps for every video: the declaration that a scorer makes and a store fulfils."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from vtr.errors import UsageError

NUMBER_TYPES = tuple(
    np.dtype(name) for name in ("<f2", "<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1", "<u2", "<u4", "<u8")
)


@dataclass(frozen=True)
class ColumnSpec:
    """One array that every video has: its shape without the row axis, and its dtype.

    Raises:
        UsageError: a size below 1, or a dtype that is not a little-endian number.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __init__(self, shape: tuple[int, ...], dtype: DTypeLike) -> None:
        object.__setattr__(self, "shape", tuple(int(size) for size in shape))
        object.__setattr__(self, "dtype", np.dtype(dtype))
        if any(size < 1 for size in self.shape) or self.dtype not in NUMBER_TYPES:
            raise UsageError(
                f"expected a column of positive sizes and a little-endian number type, got {shape} {dtype}"
            )

    @property
    def row_bytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize

    def to_json(self) -> dict[str, Any]:
        return {"shape": list(self.shape), "dtype": self.dtype.name}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> ColumnSpec:
        return cls(tuple(entry["shape"]), entry["dtype"])
