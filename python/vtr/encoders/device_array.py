"""Arrays that lie in a GPU's memory already: frames that DALI decoded, tensors of PyTorch or CuPy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from vtr.encoders.cuda_driver import Context
from vtr.errors import UsageError

ANY_STREAM = -1  # no stream's handle


@dataclass(frozen=True)
class DeviceArray:
    """A C-contiguous array on a GPU, read where it lies.

    ``stream`` is the CUDA stream whose work must be done before it is read, ``None`` if all is, `ANY_STREAM`
    where it is not known. ``owner`` is what keeps the memory alive.
    """

    address: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    stream: int | None = None
    owner: Any = None

    @classmethod
    def of(cls, given: Any) -> DeviceArray | None:
        """What an object with ``__cuda_array_interface__`` describes; ``None`` for any other object.

        Raises:
            UsageError: its numbers do not lie one after the other, or some are masked out.
        """
        if isinstance(given, cls):
            return given
        if (interface := getattr(given, "__cuda_array_interface__", None)) is None:
            return None
        shape, dtype = tuple(interface["shape"]), np.dtype(interface["typestr"])
        strides = interface.get("strides")
        if strides is not None and not _contiguous(shape, tuple(strides), dtype.itemsize):
            raise UsageError(
                f"expected a C-contiguous array on the GPU, got strides {list(strides)} for {dtype} "
                f"{list(shape)}: make it contiguous first"
            )
        if interface.get("mask") is not None:
            raise UsageError("expected an array on the GPU without a mask of its own")
        # Version 2 of the interface, PyTorch's, does not say which stream writes the array.
        stream = interface.get("stream") if interface["version"] >= 3 else ANY_STREAM
        return cls(interface["data"][0], shape, dtype, stream, given)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __getitem__(self, rows: slice) -> DeviceArray:
        """A range of rows, without a step."""
        start, stop, _ = rows.indices(len(self))
        row = int(np.prod(self.shape[1:])) * self.dtype.itemsize
        return replace(self, address=self.address + start * row, shape=(stop - start, *self.shape[1:]))

    def finish(self) -> None:
        """Wait, on the host, until what wrote it is done."""
        if self.stream is not None:
            context = Context()
            with context.current():
                if self.stream == ANY_STREAM:
                    context.driver.call("cuCtxSynchronize")
                else:
                    context.driver.call("cuStreamSynchronize", self.stream)

    def reshape(self, *shape: int) -> DeviceArray:
        """The same numbers in another shape, which is given in full."""
        if np.prod(shape) != np.prod(self.shape):
            raise UsageError(f"expected a shape of as many numbers as {list(self.shape)}, got {list(shape)}")
        return replace(self, shape=shape)


def _contiguous(shape: tuple[int, ...], strides: tuple[int, ...], itemsize: int) -> bool:
    expected = itemsize
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True
