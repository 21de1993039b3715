"""Top-k and holistic search in the interpreter, against a full sort."""

from kernel_cases import STORAGE, UNIT, device, rounded, wide  # isort: skip  (before the kernels)

import numpy as np
import pytest
import torch

from vtr.errors import UsageError
from vtr.kernels.config import TOPK_BLOCK, TOPK_MOST, Spec
from vtr.kernels.holistic import holistic_reference, score, search
from vtr.kernels.topk import decode, topk, topk_reference
from vtr.scoring.numerics import unit
from vtr.scoring.topk import topk as scorers_topk


def best(scores, k, first=0, live=None):
    return decode(topk(device(scores), k, first, live).numpy())


def equal(found, want):
    """Whether rows and scores of all texts are the same."""
    return all(
        np.array_equal(rows, want_rows) and np.array_equal(values, want_values)
        for (rows, values), (want_rows, want_values) in zip(found, want, strict=True)
    )


@pytest.mark.parametrize("count, k", [(1, 1), (7, 3), (7, 10), (TOPK_BLOCK + 1, 10), (3 * TOPK_BLOCK, 33)])
def test_the_best_of_a_full_sort(count, k):
    scores = np.random.default_rng(0).standard_normal((2, count)).astype(np.float32)
    want = topk_reference(device(scores), k, first=5)
    assert equal(best(scores, k, first=5), want)
    assert equal([(rows - 5, values) for rows, values in want], scorers_topk(scores, k))


def test_ties_go_to_the_smaller_row_and_nan_is_never_among_the_best():
    scores = np.array([[1, np.nan, 2, 2, -0.0, 0.0, -np.inf, -1, np.inf]], np.float32)
    rows, values = best(scores, 9)[0]
    assert rows.tolist() == [8, 2, 3, 0, 4, 5, 7, 6]
    assert values.tolist() == [np.inf, 2, 2, 1, 0, 0, -1, -np.inf]
    assert len(best(np.full((1, 3), np.nan, np.float32), 2)[0][0]) == 0


@pytest.mark.parametrize("count", [1, 7, TOPK_BLOCK + 3])
def test_rows_that_are_not_live_are_never_found(count):
    rng = np.random.default_rng(2)
    scores = rng.standard_normal((2, count)).astype(np.float32)
    live = rng.integers(0, 2, count).astype(np.uint8)
    live[scores[0].argmax()] = 0
    live = device(live, torch.uint8)
    want = topk_reference(device(scores), 5, 3, live)
    assert all((live[rows - 3] == 1).all() for rows, _ in want)
    assert equal(best(scores, 5, 3, live), want)


def test_another_mask_is_refused():
    with pytest.raises(UsageError, match=r"expected live of shape \[4\], got \[3\]"):
        best(np.zeros((1, 4), np.float32), 1, live=torch.ones(3, dtype=torch.uint8))
    with pytest.raises(UsageError, match=r"expected live as uint8, got torch\.bool"):
        best(np.zeros((1, 4), np.float32), 1, live=torch.ones(4, dtype=torch.bool))


@pytest.mark.parametrize("k", [0, TOPK_MOST + 1])
def test_another_k_is_refused(k):
    with pytest.raises(UsageError, match=f"expected k from 1 to {TOPK_MOST}, got {k}"):
        best(np.zeros((1, 4), np.float32), k)


@pytest.mark.parametrize(
    "storage, dim, texts, count", [("fp16", 64, 17, 300), ("bf16", 192, 1, 5), ("fp16", 512, 2, 2)]
)
def test_holistic_scores_and_search(storage, dim, texts, count):
    rng = np.random.default_rng(1)
    vectors, probes = (unit(rng.standard_normal((n, dim))).astype(np.float32) for n in (count, texts))
    dtype = STORAGE[storage]
    given = Spec("holistic", 1, 1, dim, 1, storage), device(vectors, dtype), device(probes, dtype), 100.0
    want = 100 * rounded(probes, storage) @ rounded(vectors, storage).T
    plain = holistic_reference(wide(probes), wide(vectors), 100.0).numpy()
    assert np.abs(want - plain).max() < 100 * 2 * UNIT[storage]  # both factors rounded
    tolerance = 100 * dim * 2.0**-24  # float32 sums of D products of exactly the same numbers
    scores = score(*given).numpy()
    assert np.allclose(scores, want, rtol=0, atol=tolerance)

    live = np.ones(count, np.uint8)
    live[[0, scores[0].argmax()]] = 0
    for mask in (None, live):
        found = decode(search(*given, 4, 9, None if mask is None else device(mask, torch.uint8)).numpy())
        left = np.arange(count) if mask is None else np.flatnonzero(mask)
        for (rows, values), line in zip(found, want, strict=True):
            assert np.isin(rows - 9, left).all()
            assert np.allclose(values, np.sort(line[left])[::-1][:4], rtol=0, atol=tolerance)
            assert np.allclose(values, line[rows - 9], rtol=0, atol=tolerance)
