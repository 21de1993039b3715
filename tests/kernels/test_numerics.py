"""Products of float32 from pieces of fp16, in the interpreter, against float64."""

from kernel_cases import device  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from vtr.kernels.numerics import exact_product


@triton.jit
def product_kernel(
    a, b, out, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr,
):  # fmt: skip
    m, n, k = tl.arange(0, M), tl.arange(0, N), tl.arange(0, K)
    x = tl.load(a + m[:, None] * K + k[None, :])
    y = tl.load(b + k[:, None] * N + n[None, :])
    tl.store(out + m[:, None] * N + n[None, :], exact_product(x, y))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 3e4])
def test_products_are_as_good_as_float32(scale):
    rng = np.random.default_rng(0)
    a = rng.dirichlet(np.ones(32), 16).astype(np.float32)  # rows of a softmax
    b = (scale * rng.standard_normal((32, 16)).clip(-2, 2)).astype(np.float32)
    out = torch.empty((16, 16))
    product_kernel[(1,)](device(a), device(b), out, 16, 16, 32)
    error = np.abs(out.numpy() - a.astype(np.float64) @ b.astype(np.float64)).max()
    # Of each factor 22 bits are kept, of small ones all above 2^-25; plain fp16 is 1000 times as far off.
    assert error < 2.0**-21 * np.abs(b).max() + 2.0**-24
