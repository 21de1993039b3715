"""From a score matrix to an :class:`Evaluation`: both directions, intervals, dual softmax if asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.evaluation.bootstrap import LEVEL, bootstrap_intervals
from vtr.evaluation.metrics import (
    check_scores,
    dual_softmax,
    summarize,
    text_to_video_ranks,
    video_to_text_ranks,
)
from vtr.evaluation.report import Direction, Evaluation

POOL_NOTES = {
    "sets": "video → text: the captions of a video are one answer that scores as the best of them",
    "each": "video → text: every caption is an answer; the best of a video's own counts",
}


def evaluate(
    scores: ArrayLike,
    targets: ArrayLike,
    *,
    protocol: str = "score matrix",
    dsl: bool = False,
    temperature: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
    pool: str = "sets",
    notes: Sequence[str] = (),
) -> Evaluation:
    """Measure ``scores [texts, videos]``, where text ``i`` belongs to video ``targets[i]``.

    Args:
        dsl: adds both directions with dual softmax, beside the plain ones.
        temperature: of the dual softmax, see ``dual_softmax``.
        resamples: of the bootstrap; 0 leaves the intervals out.
        pool: what video-to-text ranks, see ``video_to_text_ranks``.

    Raises:
        UsageError: shapes or values that do not fit.
    """
    matrix, own = check_scores(scores, targets)
    remarks = list(notes)
    unknown = int(np.isnan(matrix).sum())
    if unknown:
        remarks.append(f"{unknown:,} scores are NaN; they rank last")
    resampling = (resamples, seed)
    directions = [_text_to_video(matrix, own, resampling), _video_to_text(matrix, own, pool, resampling)]
    if len(np.unique(own)) < len(own):
        remarks.append(POOL_NOTES[pool])
    if dsl:
        remarks.append("dual softmax looks at all queries together: not comparable with plain figures")
        if (matrix < 0).any():
            remarks.append("some scores are negative: dual softmax turns their order round")
        directions += [
            _text_to_video(dual_softmax(matrix, 0, temperature), own, resampling, True),
            _video_to_text(dual_softmax(matrix, 1, temperature), own, pool, resampling, True),
        ]
    settings = {
        "bootstrap": resamples,
        "level": LEVEL,
        "seed": seed,
        "caption_pool": pool,
        "ties": "pessimistic",
    }
    if dsl:
        settings["dual_softmax_temperature"] = temperature
    return Evaluation(protocol, len(matrix), matrix.shape[1], directions, settings, remarks)


def _text_to_video(
    scores: NDArray[np.floating], own: NDArray[np.int64], resampling: tuple[int, int], dsl: bool = False
) -> Direction:
    ranks = text_to_video_ranks(scores, own)
    return _direction("text_to_video", ranks, own, scores.shape[1], resampling, dsl)


def _video_to_text(
    scores: NDArray[np.floating],
    own: NDArray[np.int64],
    pool: str,
    resampling: tuple[int, int],
    dsl: bool = False,
) -> Direction:
    videos, ranks = video_to_text_ranks(scores, own, pool)
    answers = len(videos) if pool == "sets" else len(own)
    return _direction("video_to_text", ranks, videos, answers, resampling, dsl)


def _direction(
    name: str,
    ranks: NDArray[np.int64],
    videos: NDArray[np.int64],
    candidates: int,
    resampling: tuple[int, int],
    dsl: bool,
) -> Direction:
    resamples, seed = resampling
    intervals = bootstrap_intervals(ranks, videos, resamples, seed) if resamples else None
    return Direction(name, ranks, videos, candidates, summarize(ranks), intervals, dsl)
