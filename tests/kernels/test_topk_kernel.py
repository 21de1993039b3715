"""Top-k and holistic search in the interpreter, against a full sort."""

from kernel_cases import STORAGE, device, rounded  # isort: skip  (before the kernels)

import numpy as np
import pytest

from vtr.errors import UsageError
from vtr.kernels.config import TOPK_BLOCK, TOPK_MOST, Spec
from vtr.kernels.holistic import search
from vtr.kernels.topk import decode, topk
from vtr.scoring.numerics import unit
from vtr.scoring.topk import topk as reference


def best(scores, k, first=0):
    return decode(topk(device(scores), k, first).numpy())


@pytest.mark.parametrize("count, k", [(1, 1), (7, 3), (7, 10), (TOPK_BLOCK + 1, 10), (3 * TOPK_BLOCK, 33)])
def test_the_best_of_a_full_sort(count, k):
    scores = np.random.default_rng(0).standard_normal((2, count)).astype(np.float32)
    for (rows, values), (want_rows, want) in zip(best(scores, k, first=5), reference(scores, k), strict=True):
        assert np.array_equal(rows, want_rows + 5)
        assert np.array_equal(values, want)


def test_ties_go_to_the_smaller_row_and_nan_is_never_among_the_best():
    scores = np.array([[1, np.nan, 2, 2, -0.0, 0.0, -np.inf, -1, np.inf]], np.float32)
    rows, values = best(scores, 9)[0]
    assert rows.tolist() == [8, 2, 3, 0, 4, 5, 7, 6]
    assert values.tolist() == [np.inf, 2, 2, 1, 0, 0, -1, -np.inf]
    assert len(best(np.full((1, 3), np.nan, np.float32), 2)[0][0]) == 0


@pytest.mark.parametrize("k", [0, TOPK_MOST + 1])
def test_another_k_is_refused(k):
    with pytest.raises(UsageError, match=f"expected k from 1 to {TOPK_MOST}, got {k}"):
        best(np.zeros((1, 4), np.float32), k)


@pytest.mark.parametrize(
    "storage, dim, texts, count", [("fp16", 64, 17, 300), ("bf16", 192, 1, 5), ("fp16", 512, 2, 2)]
)
def test_holistic_search(storage, dim, texts, count):
    rng = np.random.default_rng(1)
    vectors, probes = (unit(rng.standard_normal((n, dim))).astype(np.float32) for n in (count, texts))
    dtype = STORAGE[storage]
    spec = Spec("holistic", 1, 1, dim, 1, storage)
    found = decode(search(spec, device(vectors, dtype), device(probes, dtype), 100.0, 4, first=9).numpy())
    scores = 100 * rounded(probes, storage) @ rounded(vectors, storage).T
    for (rows, values), line in zip(found, scores, strict=True):
        want = np.sort(line)[::-1][:4]
        # float32 sums of D products of exactly the same numbers
        assert np.allclose(values, want, atol=100 * dim * 2.0**-24)
        assert np.allclose(line[rows - 9], want, atol=100 * dim * 2.0**-24)
