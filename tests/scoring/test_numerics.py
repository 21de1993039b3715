"""The arithmetic under the scorers, against NumPy's own."""

import threading

import numpy as np
import pytest

from vtr.columns import ColumnSpec
from vtr.errors import UsageError
from vtr.scoring.numerics import dots, for_blocks, softmax, to_float32, transform, unit


def test_every_finite_half_is_widened_exactly():
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    wide = to_float32(halves)
    assert wide.dtype == np.float32
    np.testing.assert_array_equal(wide.view(np.uint32), halves.astype(np.float32).view(np.uint32))


def test_widening_keeps_the_order_of_axes():
    x = np.random.default_rng(0).standard_normal((5, 3, 8)).astype(np.float16)
    x.flags.writeable = False
    swapped = to_float32(x.swapaxes(0, 1)[:, ::2])
    assert swapped.flags.c_contiguous
    np.testing.assert_array_equal(swapped, x.swapaxes(0, 1)[:, ::2].astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
def test_other_types_become_float32(dtype):
    x = np.arange(6).reshape(2, 3).astype(dtype)
    assert to_float32(x).dtype == np.float32
    np.testing.assert_array_equal(to_float32(x.T), x.T)


@pytest.mark.parametrize("rows", [0, 1, 3, 19, 111])
@pytest.mark.parametrize("probes", [0, 1, 2, 33, 64, 65, 200])
@pytest.mark.parametrize("dim", [1, 32, 700])
def test_dots_are_the_matrix_product(rows, probes, dim):
    rng = np.random.default_rng(0)
    x, p = rng.standard_normal((rows, dim)), rng.standard_normal((probes, dim))
    x32, p32 = x.astype(np.float32), p.astype(np.float32)
    # Sums of `dim` products of numbers around 1 in float32, in any order.
    close = {"rtol": 0, "atol": 1e-6 * dim + 1e-6}
    np.testing.assert_allclose(dots(x32, p32), x @ p.T, **close)
    turned = np.full((probes, rows), np.nan, np.float32)
    dots(x32, p32, turned.T)
    np.testing.assert_allclose(turned, p @ x.T, **close)
    np.testing.assert_allclose(transform(x32, np.ascontiguousarray(p32.T)), x @ p.T, **close)


def test_unit_of_zero_is_zero():
    np.testing.assert_array_equal(unit(np.array([[0.0, 0], [3, 4]])), [[0, 0], [0.6, 0.8]])


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_softmax_of_large_numbers(axis):
    x = np.array([[1e4, 1e4, -1e4], [0, 5e3, 5e3]], np.float32)
    e = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    np.testing.assert_allclose(softmax(x.copy(), axis), e / e.sum(axis=axis, keepdims=True), atol=1e-6)


@pytest.mark.parametrize("videos", [0, 1, 100, 10_000])
@pytest.mark.parametrize("row_bytes", [1, 1 << 18, 1 << 30])
def test_blocks_cover_every_video_once(videos, row_bytes):
    seen, lock = np.zeros(videos, int), threading.Lock()

    def work(block):
        with lock:
            seen[block] += 1

    for_blocks(work, videos, row_bytes, weight=3)
    assert (seen == 1).all()


def test_an_error_in_a_block_comes_out():
    def work(block):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        for_blocks(work, 100, 1 << 20)


def test_column_specs():
    spec = ColumnSpec((3, 4), "float16")
    assert spec.row_bytes == 24 and spec.dtype == np.float16
    assert ColumnSpec.from_json(spec.to_json()) == spec
    for shape, dtype in [((0,), "float32"), ((2,), ">f4"), ((2,), "O"), ((2,), "U3")]:
        with pytest.raises(UsageError):
            ColumnSpec(shape, dtype)
