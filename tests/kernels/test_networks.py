"""Sorting networks: by the zero-one principle, and as the kernels run them."""

import kernel_cases  # noqa: F401, isort: skip  (before the kernels)

import itertools

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from vtr.kernels.networks import exchanges, largest


def run(pairs, values):
    """Columns of ``values [N, cases]`` through a network."""
    values = values.copy()
    for i, j in pairs:
        values[i], values[j] = np.maximum(values[i], values[j]), np.minimum(values[i], values[j])
    return values


@pytest.mark.parametrize("size", [1, 2, 4, 8, 16])
def test_a_network_that_sorts_zeros_and_ones_sorts_all(size):
    cases = np.array(list(itertools.product([0, 1], repeat=size)), np.int8).T
    got = run(exchanges(size), cases)
    assert (np.diff(got, axis=0) <= 0).all()
    assert (got.sum(0) == cases.sum(0)).all()


@pytest.mark.parametrize("size, count", [(32, 191), (64, 543)])
def test_larger_networks_sort_and_have_batchers_size(size, count):
    cases = np.random.default_rng(0).integers(0, 2, (size, 20000), dtype=np.int8)
    assert (np.diff(run(exchanges(size), cases), axis=0) <= 0).all()
    assert len(exchanges(size)) == count


@triton.jit
def largest_kernel(
    x, out, N: tl.constexpr, KEEP: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row, n, w = tl.arange(0, 4), tl.arange(0, N), tl.arange(0, WIDTH)
    a = tl.reshape(tl.load(x + row[:, None] * N + n[None, :]), (2, 2, N))
    best = tl.reshape(largest(a, 2, 2, N, KEEP, WIDTH, -5.0), (4, WIDTH))
    tl.store(out + row[:, None] * WIDTH + w[None, :], best)


@pytest.mark.parametrize("size, keep, width", [(16, 3, 4), (32, 22, 32), (32, 32, 32), (8, 1, 1)])
def test_the_largest_come_first_in_order(size, keep, width):
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 9, (4, size)).astype(np.float32))  # with ties
    out = torch.empty((4, width))
    largest_kernel[(1,)](x, out, size, keep, width)
    assert torch.equal(out[:, :keep], x.sort(dim=1, descending=True).values[:, :keep])
    assert (out[:, keep:] == -5).all()
