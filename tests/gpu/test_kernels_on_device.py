"""Every kernel on the device against float64: the checks of `make gpu-proof`, one test each."""

import pytest

pytest.importorskip("triton", reason="no Triton: pip install 'vtr[gpu]'")

import gpu.needs_gpu  # noqa: F401
import torch
from benchmarks.gpu.checks import checks
from benchmarks.gpu.place import Place

CHECKS = {check.name: check for check in checks(Place(torch.device("cuda"), tiny=False))}


@pytest.mark.parametrize("name", CHECKS)
def test_error_is_within_tolerance(name, place):
    check = CHECKS[name]
    assert check.error(place) <= check.tolerance
