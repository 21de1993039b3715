"""Moments: from the relevance of sampled frames to time spans of the video.

A frame stands for the time around it: from the midpoint with its predecessor to the midpoint with its
successor, the first from 0 on and the last to the end. Frames more relevant than if all were equally
relevant are kept, neighbours among them joined, and a span's weight is the sum of its frames'.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.errors import UsageError
from vtr.types import Moment

ABOVE = 1.001  # times 1/n: rounding in a softmax of equal numbers must not pick frames


def moments(relevance: ArrayLike, timestamps: ArrayLike, duration: float, limit: int = 3) -> list[Moment]:
    """The spans of one video that matter most to a text, by weight, heaviest first.

    Args:
        relevance: ``[n]`` of the real frames, ≥ 0, summing to 1.
        timestamps: ``[n]`` seconds, ascending.
        duration: seconds; 0, NaN or infinite if unknown. The video is then taken to end half a sampling
            interval after its last frame (at that frame, if it is the only one).
        limit: spans at most.

    Returns:
        Disjoint spans within [0, duration]. The whole video if it has one frame or if no frame stands out;
        nothing for no frames. Where spans of no length meet a repeated timestamp, so be it.
    """
    shares, times = _checked(relevance, timestamps, limit)
    if not len(shares):
        return []
    edges = _edges(times, duration)
    kept = shares > ABOVE / len(shares)
    if not kept.any():
        kept[:] = True
    steps = np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8))
    spans = [
        Moment(float(edges[first]), float(edges[last]), min(1.0, float(shares[first:last].sum())))
        for first, last in zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
    ]
    return sorted(spans, key=lambda span: (-span.weight, span.start))[:limit]


def _checked(
    relevance: ArrayLike, timestamps: ArrayLike, limit: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    shares, times = np.asarray(relevance, np.float64), np.asarray(timestamps, np.float64)
    if shares.ndim != 1 or shares.shape != times.shape:
        raise UsageError(
            "expected one relevance and one timestamp a frame, "
            f"got {list(shares.shape)} and {list(times.shape)}"
        )
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.isfinite(times).all()):
        raise UsageError(
            "expected finite timestamps and relevance of at least 0: the features may be damaged"
        )
    if limit < 1:
        raise UsageError(f"expected a limit of at least 1, got {limit}")
    return shares, times


def _edges(times: NDArray[np.float64], duration: float) -> NDArray[np.float64]:
    """Where the time of each frame begins, and the end: ``[n + 1]``, ascending, within the video."""
    middles = (times[:-1] + times[1:]) / 2
    if math.isfinite(duration) and duration > 0:
        end = duration
    else:
        end = times[-1] + (times[-1] - times[0]) / max(1, len(times) - 1) / 2
    inner = np.clip(np.maximum.accumulate(middles), 0, max(0, end)) if len(middles) else middles
    return np.concatenate([[0], inner, [max(0, end)]])
