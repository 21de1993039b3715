"""The driver through ctypes, on the stand-in."""

import gc

import numpy as np
import pytest
import stand_in

from vtr.encoders import cuda_driver
from vtr.encoders.cuda_driver import Context, DeviceMemory, Driver, Gpu, HostMemory, Stream
from vtr.errors import BackendError


def round_trip(context, array):
    """The array to the GPU and back."""
    with context.current():
        memory, result, stream = (
            DeviceMemory(context, array.nbytes),
            HostMemory(context, array.nbytes),
            Stream(context),
        )
        stream.upload(array, memory.address)
        stream.download(memory.address, result, array.nbytes)
        stream.synchronize()
        return result.array(array.shape, array.dtype).copy()


@pytest.mark.parametrize("shape", [(1,), (19,), (3, 7, 5)])
@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
def test_what_goes_there_comes_back(gpu, shape, dtype):
    array = np.random.default_rng(0).integers(0, 200, shape).astype(dtype)
    array.flags.writeable = False
    back = round_trip(Context(), array)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)


def test_the_gpu(gpu):
    gpu.reset(capability=(12, 0))
    assert Context().gpu == Gpu("Stand-in GPU", 120)


def test_memory_is_given_back(gpu):
    context = Context()
    with context.current():
        kept = [DeviceMemory(context, 100), HostMemory(context, 100), Stream(context)]
    assert gpu.resources == 3 and gpu.device_bytes == 100
    del context  # what was made in it still can be given back
    kept.clear()
    gc.collect()
    assert gpu.resources == 0


@pytest.mark.parametrize(
    "function",
    ["cuMemAlloc_v2", "cuMemHostAlloc", "cuStreamCreate", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize"],
)
def test_errors_name_the_function_and_the_drivers_words(gpu, function):
    gpu.fail(function, stand_in.OUT_OF_MEMORY)
    with pytest.raises(BackendError, match=rf"{function} failed: CUDA_ERROR_OUT_OF_MEMORY \(as the stand-in"):
        round_trip(Context(), np.zeros(3))
    gc.collect()
    assert gpu.resources == 0


def test_an_error_without_a_name(gpu):
    gpu.fail("cuMemAlloc_v2", 4242)
    with pytest.raises(BackendError, match="error 4242 of the driver"):
        round_trip(Context(), np.zeros(3))


def test_no_such_gpu(gpu):
    gpu.reset(devices=1)
    with pytest.raises(BackendError, match="cuDeviceGet failed"):
        Context(3)


def test_no_driver(monkeypatch, tmp_path):
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    monkeypatch.delenv("VTR_CUDA_LIBRARY", raising=False)
    with pytest.raises(BackendError, match=r"no CUDA driver: .*install NVIDIA's driver"):
        Context()
    assert cuda_driver.gpus() == []


def test_a_library_that_is_no_driver():
    with pytest.raises(BackendError, match=r"libc\.so\.6 has no cuInit: install a driver"):
        Driver("libc.so.6")


def test_gpus_are_those_of_the_machines_own_driver(gpu, stand_in_driver, monkeypatch):
    monkeypatch.setattr(cuda_driver, "LIBRARY", str(stand_in_driver.path))
    assert cuda_driver.gpus() == [Gpu("Stand-in GPU", 90)]
    gpu.reset(devices=0)
    assert cuda_driver.gpus() == []
