"""The k best: against sorting everything, whatever the blocks."""

import numpy as np
import pytest

from vtr.errors import UsageError
from vtr.scoring import TopK, topk


def by_sorting(scores, k, ids):
    """One row, the slow way: numbers only, score downwards, then id upwards."""
    pairs = [
        (-score, number)
        for score, number in zip(scores.tolist(), ids.tolist(), strict=True)
        if score == score
    ]
    return [(number, -negated) for negated, number in sorted(pairs)[:k]]


def pairs(best):
    positions, scores = best
    assert positions.dtype == np.int64 and scores.dtype == np.float32
    return list(zip(positions.tolist(), scores.tolist(), strict=True))


@pytest.mark.parametrize("count", [0, 1, 2, 19, 111])
@pytest.mark.parametrize("k", [1, 3, 19, 200])
@pytest.mark.parametrize("block", [1, 7, 1000])
def test_blocks_give_what_sorting_gives(count, k, block):
    rng = np.random.default_rng(count * k)
    scores = rng.integers(0, 8, (3, count)).astype(np.float32)  # ties everywhere
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[rng.random(scores.shape) < 0.1] = -np.inf
    scores[rng.random(scores.shape) < 0.05] = np.inf
    ids = rng.permutation(count) * 5
    best = TopK(3, k)
    for start in range(0, count, block):
        best.add(scores[:, start : start + block], ids[start : start + block])
    expected = [by_sorting(row, k, ids) for row in scores]
    assert [pairs(row) for row in best.result()] == expected
    assert [pairs(row) for row in topk(scores, k, ids)] == expected


def test_ids_count_from_zero_if_not_given():
    assert pairs(topk(np.array([[1, 3, 3, 2]], np.float32), 3)[0]) == [(1, 3), (2, 3), (3, 2)]


def test_nan_never_wins():
    scores = np.array([[np.nan, 1, np.nan], [np.nan] * 3], np.float32)
    assert [pairs(row) for row in topk(scores, 2)] == [[(1, 1)], []]


def test_negative_zero_ties_with_zero():
    assert [p for p, _ in pairs(topk(np.array([[-0.0, 0.0, -0.0]], np.float32), 3)[0])] == [0, 1, 2]


def test_strided_read_only_and_float64_scores():
    scores = np.arange(20.0).reshape(2, 10)[:, ::2]
    scores.flags.writeable = False
    assert [pairs(row) for row in topk(scores, 2)] == [[(4, 8), (3, 6)], [(4, 18), (3, 16)]]


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(k):
    with pytest.raises(UsageError, match="k of"):
        TopK(1, k)


def test_scores_and_positions_must_fit():
    with pytest.raises(UsageError, match="positions"):
        TopK(2, 1).add(np.zeros((2, 3), np.float32), [0, 1])
    with pytest.raises(UsageError, match="shape"):
        TopK(2, 1).add(np.zeros((1, 2), np.float32), [0, 1])
