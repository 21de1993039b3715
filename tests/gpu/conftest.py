"""The GPU that tests run on; a vtr that was not installed is taken from the checkout."""

import os
from importlib.util import find_spec

import pytest
from benchmarks.gpu.checkout import use_checkout

use_checkout()


@pytest.fixture(scope="session")
def place():
    """The GPU at full size. Kernels are imported by tests, so that another module may interpret them."""
    from benchmarks.gpu.place import gpu

    if os.environ["TRITON_INTERPRET"] != "0":
        pytest.skip("kernels are interpreted in this process: run TRITON_INTERPRET=0 pytest tests/gpu")
    return gpu()


if find_spec("xdist") is None:

    @pytest.fixture(scope="session")
    def worker_id():
        """What pytest-xdist has: the fixtures of tests/conftest.py ask for it."""
        return "master"
