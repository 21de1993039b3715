"""Frames that lie on a CUDA device, where a decoder left them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class DeviceFrames:
    """uint8 frames ``[n, S, S, 3]``, or as many bytes in another shape, contiguous in device memory.

    What takes ``__cuda_array_interface__`` (version 3) reads them where they lie; they are ready, and no
    stream has to be waited for. ``numpy.asarray`` copies them to the host. They are followed in memory by
    frames of zeros, to the model's F.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, address: int, shape: tuple[int, ...], owner: Any) -> None:
        self.address, self.shape = address, shape
        self.owner = owner  # DALI's tensor [F, S, S, 3]: holding on to it keeps the memory

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {
            "shape": self.shape,
            "typestr": "|u1",
            "data": (self.address, True),
            "strides": None,
            "version": 3,
            "stream": None,
        }

    def __len__(self) -> int:
        return self.shape[0]

    def first(self) -> DeviceFrames:
        """The first frame alone, ``[1, S, S, 3]``."""
        return DeviceFrames(self.address, (1, *self.shape[1:]), self.owner)

    def padded(self) -> DeviceFrames:
        """The frames and the zeros after them, ``[F, S, S, 3]``."""
        return DeviceFrames(self.address, tuple(self.owner.shape()), self.owner)

    def reshape(self, *shape: int) -> DeviceFrames:
        """The same memory in another shape."""
        other = DeviceFrames(self.address, shape, self.owner)
        if other.nbytes != self.nbytes:
            raise ValueError(f"expected a shape of {self.nbytes} bytes, got {list(shape)}")
        return other

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("frames on a device cannot be seen by NumPy without copying them")
        host: NDArray[Any] = np.array(self.owner.as_cpu()).reshape(-1)
        return host[: self.nbytes].reshape(self.shape).astype(dtype or np.uint8, copy=False)
