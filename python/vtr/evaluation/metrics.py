"""Ranks and what the papers report of them: R@1, R@5, R@10, median rank, mean rank; and reciprocal rank.

A score matrix ``scores [T, V]`` holds every text against every video, higher is better; ``targets [T]`` is
the column of each text's own video. Several texts may belong to one video, and a video may have none: then
it is only something to be confused with.

Ranks begin at 1 and are pessimistic: whatever scores the same as the right answer is counted before it, so
a model that gives everything one score gets the worst rank and not the best. NaN is below every number; a
right answer that is NaN is last.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.errors import UsageError

RECALLS = (1, 5, 10)
METRICS = (*(f"R@{k}" for k in RECALLS), "MdR", "MnR", "MRR")
CAPTION_POOLS = ("sets", "each")

CHUNK = 1 << 22  # scores compared at a time, so that comparing needs little memory beside the matrix


def check_scores(scores: ArrayLike, targets: ArrayLike) -> tuple[NDArray[np.floating], NDArray[np.int64]]:
    """The matrix and the targets as the functions below take them; ``UsageError`` if they do not fit."""
    matrix, own = np.asarray(scores), np.asarray(targets)
    if matrix.dtype.kind not in "fiu":
        raise UsageError(f"expected scores as real numbers, got {matrix.dtype}")
    if matrix.dtype.kind != "f" or matrix.dtype.itemsize < 4:
        matrix = matrix.astype(np.float64)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise UsageError(
            f"expected scores of shape [texts, videos], both at least 1, got {list(matrix.shape)}"
        )
    if own.shape != matrix.shape[:1] or own.dtype.kind not in "iu":
        raise UsageError(
            f"expected a video column for each of {len(matrix)} texts, as whole numbers; "
            f"got {own.dtype} of shape {list(own.shape)}"
        )
    if own.min() < 0 or own.max() >= matrix.shape[1]:
        raise UsageError(
            f"expected video columns from 0 to {matrix.shape[1] - 1}, got {own.min()} to {own.max()}"
        )
    return matrix, own.astype(np.int64)


def text_to_video_ranks(scores: ArrayLike, targets: ArrayLike) -> NDArray[np.int64]:
    """Rank of each text's video among all videos: int64 ``[T]``, 1 is best."""
    matrix, own = check_scores(scores, targets)
    ranks = np.empty(len(matrix), np.int64)
    for rows in _chunks(*matrix.shape):
        part = matrix[rows]
        ranks[rows] = _ranks(part, part[np.arange(len(part)), own[rows]])
    return ranks


def video_to_text_ranks(
    scores: ArrayLike, targets: ArrayLike, pool: str = "sets"
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rank of the captions of each video that has any.

    Args:
        pool: what is ranked where a video has several captions. ``"sets"``: the captions of each video are
            one answer that scores as its best caption, as in the published evaluation of CLIP4Clip for
            MSVD. ``"each"``: every caption is an answer; the rank is that of the best of the video's own
            among itself and the captions of other videos. With one caption a video they agree.

    Returns:
        The videos (columns, ascending) and their ranks, int64 ``[Q]`` each.
    """
    matrix, own = check_scores(scores, targets)
    if pool not in CAPTION_POOLS:
        raise UsageError(f"expected pool as one of {', '.join(CAPTION_POOLS)}, got {pool!r}")
    videos = np.unique(own)
    best = best_of_captions(matrix, own)
    right = best[np.arange(len(videos)), videos]
    if pool == "sets":
        return videos, _ranks(best[:, videos].T, right)
    ranks = np.empty(len(videos), np.int64)
    count = np.bincount(own, minlength=matrix.shape[1])
    for rows in _chunks(len(videos), len(matrix)):
        columns = matrix[:, videos[rows]].T
        others = own[None] != videos[rows, None]
        ranks[rows] = 1 + (others & (columns >= right[rows, None])).sum(1)
    lost = np.isnan(right)
    ranks[lost] = 1 + len(matrix) - count[videos[lost]]
    return videos, ranks


def best_of_captions(scores: NDArray[np.floating], targets: NDArray[np.int64]) -> NDArray[np.floating]:
    """``[Q, V]``: for each video that has captions (ascending), its best caption's score with every video."""
    order = np.argsort(targets, kind="stable")
    videos, starts = np.unique(targets[order], return_index=True)
    best = np.empty((len(videos), scores.shape[1]), scores.dtype)
    for row, members in enumerate(np.split(order, starts[1:])):
        best[row] = np.fmax.reduce(scores[members], axis=0)  # fmax passes over NaN
    return best


def _ranks(scores: NDArray[np.floating], right: NDArray[np.floating]) -> NDArray[np.int64]:
    """Ranks of ``right [N]`` in the rows of ``scores [N, M]`` that it is part of."""
    ranks = (scores >= right[:, None]).sum(1, dtype=np.int64)  # it counts itself, hence from 1
    ranks[np.isnan(right)] = scores.shape[1]
    return ranks


def _chunks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, CHUNK // max(1, columns))
    for start in range(0, rows, step):
        yield slice(start, start + step)


def summarize(ranks: ArrayLike) -> dict[str, float]:
    """R@1, R@5, R@10 in percent, median rank, mean rank, mean reciprocal rank."""
    values = np.asarray(ranks)
    if values.ndim != 1 or not len(values):
        raise UsageError(f"expected ranks of at least one query, got shape {list(values.shape)}")
    metrics = {f"R@{k}": 100.0 * float(np.mean(values <= k)) for k in RECALLS}
    metrics["MdR"] = float(np.median(values))
    metrics["MnR"] = float(np.mean(values))
    metrics["MRR"] = float(np.mean(1.0 / values))
    return metrics


def recall_curve(ranks: ArrayLike, ks: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
    """R@k in percent for each of ``ks``."""
    ordered = np.sort(np.asarray(ranks))
    return 100.0 * np.searchsorted(ordered, np.asarray(ks), side="right") / len(ordered)


def dual_softmax(scores: ArrayLike, axis: int, temperature: float = 1.0) -> NDArray[np.float64]:
    """Scores times their softmax over the queries: ``s ∘ softmax(s / temperature, axis)``, float64.

    The prior at inference of CAMoE ("Improving Video-Text Retrieval by Multi-Stream Corpus Alignment and
    Dual Softmax Loss", 2021). ``axis`` is the axis of the queries: 0 for text-to-video, 1 for
    video-to-text. It looks at all queries of the test set at once, which a search for one query cannot, so
    its figures must not be compared with plain ones. The scores are logits (cosines times the model's
    logit scale). The product assumes positive scores: among negative ones it turns the order round.
    """
    matrix = np.asarray(scores, np.float64)
    if not temperature > 0:
        raise UsageError(f"expected a temperature above 0, got {temperature}")
    if np.isposinf(matrix).any():
        raise UsageError("dual softmax needs scores below infinity")
    weights = matrix / temperature  # becomes the softmax and then the product in place: matrices are large
    weights[np.isnan(weights)] = -np.inf
    highest = weights.max(axis=axis, keepdims=True)
    weights -= np.where(np.isneginf(highest), 0.0, highest)
    np.exp(weights, out=weights)
    total = weights.sum(axis=axis, keepdims=True)
    weights /= np.where(total == 0, 1.0, total)
    with np.errstate(invalid="ignore"):  # -inf times a weight of 0: put right below
        weights *= matrix
    weights[np.isneginf(matrix)] = -np.inf
    return weights
