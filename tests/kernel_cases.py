"""Kernels under Triton's interpreter, which tests/conftest.py asks for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")

STORAGE = {"fp16": torch.float16, "bf16": torch.bfloat16}
UNIT = {"fp16": 2.0**-11, "bf16": 2.0**-8}  # relative rounding


def device(array, dtype=torch.float32):
    """A NumPy array as the kernels take it."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)


def rounded(array, storage):
    """A float32 array as the storage type leaves it, in float64."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(STORAGE[storage]).double().numpy()


def wide(array):
    """An array, or the arrays of a dictionary, in float64, as the references take them."""
    if isinstance(array, dict):
        return {name: wide(value) for name, value in array.items()}
    return torch.from_numpy(np.asarray(array, np.float64))
