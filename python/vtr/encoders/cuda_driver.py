"""The part of NVIDIA's driver that the encoders use: memory, copies and streams, through ctypes alone.

The library is libcuda.so.1, or the one that ``$VTR_CUDA_LIBRARY`` names, as in libvtr. Everything is made in
a GPU's primary context, which is the one that TensorRT and ONNX Runtime use too.
"""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import POINTER, byref, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.errors import BackendError

LIBRARY = "libcuda.so.1"
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76  # CUdevice_attribute
NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: does not wait for the default stream
NAME_BYTES = 256

# Parameters of each function; all return a CUresult, 0 if all is well.
FUNCTIONS: dict[str, list[Any]] = {
    "cuInit": [c_uint],
    "cuGetErrorName": [c_int, POINTER(c_char_p)],
    "cuGetErrorString": [c_int, POINTER(c_char_p)],
    "cuDeviceGetCount": [POINTER(c_int)],
    "cuDeviceGet": [POINTER(c_int), c_int],
    "cuDeviceGetName": [c_char_p, c_int, c_int],
    "cuDeviceGetAttribute": [POINTER(c_int), c_int, c_int],
    "cuDevicePrimaryCtxRetain": [POINTER(c_void_p), c_int],
    "cuDevicePrimaryCtxRelease_v2": [c_int],
    "cuCtxPushCurrent_v2": [c_void_p],
    "cuCtxPopCurrent_v2": [POINTER(c_void_p)],
    "cuCtxSynchronize": [],
    "cuMemAlloc_v2": [POINTER(c_uint64), c_size_t],
    "cuMemFree_v2": [c_uint64],
    "cuMemHostAlloc": [POINTER(c_void_p), c_size_t, c_uint],
    "cuMemFreeHost": [c_void_p],
    "cuMemcpyHtoDAsync_v2": [c_uint64, c_void_p, c_size_t, c_void_p],
    "cuMemcpyDtoHAsync_v2": [c_void_p, c_uint64, c_size_t, c_void_p],
    "cuStreamCreate": [POINTER(c_void_p), c_uint],
    "cuStreamDestroy_v2": [c_void_p],
    "cuStreamSynchronize": [c_void_p],
}


class Driver:
    """The opened library, initialised. Get one from `open_driver`."""

    def __init__(self, path: str) -> None:
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            raise BackendError(
                f"no CUDA driver: {error}: install NVIDIA's driver, or use device cpu"
            ) from None
        self._functions = {}
        for symbol, parameters in FUNCTIONS.items():
            try:
                function = getattr(library, symbol)
            except AttributeError:
                raise BackendError(f"{path} has no {symbol}: install a driver of CUDA 12 or newer") from None
            function.argtypes, function.restype = parameters, c_int
            self._functions[symbol] = function
        self.call("cuInit", 0)

    def call(self, symbol: str, *arguments: Any) -> None:
        """Call a function of the driver.

        Raises:
            BackendError: it failed; the message has its name and the driver's words for the error.
        """
        if result := self.attempt(symbol, *arguments):
            raise BackendError(f"{symbol} failed: {self.describe(result)}")

    def attempt(self, symbol: str, *arguments: Any) -> int:
        """The same without a check: what the function returned."""
        return int(self._functions[symbol](*arguments))

    def describe(self, result: int) -> str:
        """ "CUDA_ERROR_OUT_OF_MEMORY (out of memory)" """
        name, text = c_char_p(), c_char_p()
        if self.attempt("cuGetErrorName", result, byref(name)) or not name.value:
            return f"error {result} of the driver"
        if self.attempt("cuGetErrorString", result, byref(text)) or not text.value:
            return name.value.decode()
        return f"{name.value.decode()} ({text.value.decode(errors='replace')})"


def open_driver() -> Driver:
    """The driver of this process, or the one that ``$VTR_CUDA_LIBRARY`` names.

    Raises:
        BackendError: there is none, it is too old, or it finds no GPU.
    """
    return _open(os.environ.get("VTR_CUDA_LIBRARY") or LIBRARY)


@cache
def _open(path: str) -> Driver:
    return Driver(path)


# ---- GPUs --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gpu:
    """``arch`` is the compute capability without its point: 89 for 8.9, 120 for 12.0."""

    name: str
    arch: int


def gpus() -> list[Gpu]:
    """What the machine's own driver shows, which the runtimes open too; nothing where there is none."""
    try:
        driver = _open(LIBRARY)
        count = c_int()
        driver.call("cuDeviceGetCount", byref(count))
        return [_gpu(driver, ordinal) for ordinal in range(count.value)]
    except BackendError:
        return []


def _gpu(driver: Driver, ordinal: int) -> Gpu:
    device = _device(driver, ordinal)
    name = ctypes.create_string_buffer(NAME_BYTES)
    major, minor = c_int(), c_int()
    driver.call("cuDeviceGetName", name, NAME_BYTES, device)
    driver.call("cuDeviceGetAttribute", byref(major), COMPUTE_CAPABILITY_MAJOR, device)
    driver.call("cuDeviceGetAttribute", byref(minor), COMPUTE_CAPABILITY_MINOR, device)
    return Gpu(name.value.decode(errors="replace"), 10 * major.value + minor.value)


def _device(driver: Driver, ordinal: int) -> int:
    device = c_int()
    driver.call("cuDeviceGet", byref(device), ordinal)
    return device.value


# ---- what is made on a GPU ---------------------------------------------------------------------------


class Context:
    """The primary context of a GPU, held until nothing refers to it any more.

    Raises:
        BackendError: no driver, no such GPU, or the driver refuses.
    """

    def __init__(self, ordinal: int = 0) -> None:
        self.driver = open_driver()
        self.gpu = _gpu(self.driver, ordinal)
        device, handle = _device(self.driver, ordinal), c_void_p()
        self.driver.call("cuDevicePrimaryCtxRetain", byref(handle), device)
        self._handle = handle
        _when_dropped(self, self.driver.attempt, "cuDevicePrimaryCtxRelease_v2", device)

    @contextmanager
    def current(self) -> Iterator[None]:
        """The calling thread works in this context until the block ends."""
        self.driver.call("cuCtxPushCurrent_v2", self._handle)
        try:
            yield
        finally:
            self.driver.call("cuCtxPopCurrent_v2", byref(c_void_p()))

    def give_back(self, symbol: str, handle: Any) -> None:
        """Free something that was made here. No error where that fails: on a lost device it always does."""
        if not self.driver.attempt("cuCtxPushCurrent_v2", self._handle):
            self.driver.attempt(symbol, handle)
            self.driver.attempt("cuCtxPopCurrent_v2", byref(c_void_p()))


class DeviceMemory:
    """``nbytes`` (at least 1) of the GPU's memory at ``address``, which is aligned to 256 bytes.

    Making one, as everything below, wants its context to be current.
    """

    def __init__(self, context: Context, nbytes: int) -> None:
        address = c_uint64()
        context.driver.call("cuMemAlloc_v2", byref(address), nbytes)
        self.address, self.nbytes = address.value, nbytes
        _when_dropped(self, context.give_back, "cuMemFree_v2", self.address)


class HostMemory:
    """Page-locked memory of the host: what the GPU writes to without a copy between."""

    def __init__(self, context: Context, nbytes: int) -> None:
        address = c_void_p()
        context.driver.call("cuMemHostAlloc", byref(address), nbytes, 0)
        self.address, self.nbytes = int(address.value or 0), nbytes
        _when_dropped(self, context.give_back, "cuMemFreeHost", self.address)

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        """The first bytes as an array, which must not outlive this object."""
        view = memoryview((ctypes.c_uint8 * self.nbytes).from_address(self.address))
        return np.frombuffer(view, dtype, int(np.prod(shape))).reshape(shape)


class Stream:
    """Copies and kernels, one after the other."""

    def __init__(self, context: Context) -> None:
        handle = c_void_p()
        context.driver.call("cuStreamCreate", byref(handle), NON_BLOCKING)
        self._driver = context.driver
        self.handle = int(handle.value or 0)
        _when_dropped(self, context.give_back, "cuStreamDestroy_v2", self.handle)

    def upload(self, array: NDArray[Any], address: int) -> None:
        """Copy a C-contiguous array to the GPU; it must stay as it is until `synchronize` has returned."""
        self._driver.call("cuMemcpyHtoDAsync_v2", address, array.ctypes.data, array.nbytes, self.handle)

    def download(self, address: int, memory: HostMemory, nbytes: int) -> None:
        """Copy from the GPU; the bytes are there after `synchronize`."""
        self._driver.call("cuMemcpyDtoHAsync_v2", memory.address, address, nbytes, self.handle)

    def synchronize(self) -> None:
        """Wait until all work is done; what failed since the last time is raised here."""
        self._driver.call("cuStreamSynchronize", self.handle)

    def drain(self) -> None:
        """Wait as `synchronize` does, whatever comes of it."""
        self._driver.attempt("cuStreamSynchronize", self.handle)


def _when_dropped(thing: object, function: Any, *arguments: Any) -> None:
    """Not at the interpreter's exit, when the driver may be gone: the process's end frees everything."""
    weakref.finalize(thing, function, *arguments).atexit = False
