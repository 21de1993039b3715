"""Moments: from the relevance of sampled frames to time spans of the video.

A frame stands for the time around it: from the midpoint with its predecessor to the midpoint with its
successor, the first from 0 on and the last to the end. Frames more relevant than if all were equally
relevant are kept, neighbours among them joined, and a span's weight is the sum of its frames'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.errors import UsageError
from vtr.types import Moment

Doubles = NDArray[np.float64]

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
    shares, times = np.asarray(relevance, np.float64), np.asarray(timestamps, np.float64)
    if shares.ndim != 1 or shares.shape != times.shape:
        raise UsageError(
            "expected one relevance and one timestamp a frame, "
            f"got {list(shares.shape)} and {list(times.shape)}"
        )
    return moments_of_videos(shares[None], times[None], [shares.size], [duration], limit)[0]


def moments_of_videos(
    relevance: NDArray[Any],
    timestamps: NDArray[Any],
    frames: ArrayLike,
    durations: Sequence[float],
    limit: int = 3,
) -> list[list[Moment]]:
    """:func:`moments` of several videos at once: for a hundred in a tenth of the time of one by one.

    Args:
        relevance, timestamps: ``[V, F]``; what lies behind a video's real frames is not looked at.
        frames: ``[V]``, how many frames of each are real.
        durations: ``[V]`` seconds.
    """
    shares, times = np.asarray(relevance, np.float64), np.asarray(timestamps, np.float64)
    count = np.asarray(frames).astype(np.int64)
    real = np.arange(shares.shape[1]) < count[:, None]
    shares = np.where(real, shares, 0)
    if not (np.isfinite(shares).all() and (shares >= 0).all() and np.isfinite(times).all(where=real)):
        raise UsageError(
            "expected finite timestamps and relevance of at least 0: the features may be damaged"
        )
    if limit < 1:
        raise UsageError(f"expected a limit of at least 1, got {limit}")
    found: list[list[Moment]] = [[] for _ in range(len(shares))]
    if shares.size:
        for video, *span in _spans(shares, real, _edges(times, count, np.asarray(durations, np.float64))):
            if len(found[video]) < limit:
                found[video].append(Moment(*span))
    return found


def _spans(shares: Doubles, real: NDArray[np.bool_], edges: Doubles) -> Iterator[tuple[Any, ...]]:
    """Video, start, end and weight of each span, those of one video by weight, then by start."""
    videos, frames = shares.shape
    count = real.sum(axis=1, keepdims=True)
    kept = shares > ABOVE / np.maximum(count, 1)
    kept |= real & ~kept.any(axis=1, keepdims=True)
    closed = np.zeros((videos, frames + 2), np.int8)  # nothing is kept before the first and after the last
    closed[:, 1:-1] = kept
    # Where spans begin and end, in turn: numbers into [videos, frames + 1], as edges has them.
    bounds = np.flatnonzero(np.diff(closed, axis=1))
    starts, ends = edges.reshape(-1)[bounds].reshape(-1, 2).T
    padded = np.zeros((videos, frames + 1))
    padded[:, :-1] = shares
    weights = np.minimum(1, np.add.reduceat(padded.reshape(-1), bounds)[::2]) if len(bounds) else starts
    video = bounds[::2] // (frames + 1)
    order = np.lexsort((starts, -weights, video))
    columns = (video, starts, ends, weights)
    return zip(*(column[order].tolist() for column in columns), strict=True)


def _edges(times: Doubles, count: NDArray[np.int64], durations: Doubles) -> Doubles:
    """Where the time of each frame begins, and the end: ``[V, F + 1]``, ascending, within the video.

    What stands behind a video's end means nothing.
    """
    videos, frames = times.shape
    every, last = np.arange(videos), np.maximum(count, 1) - 1
    final = times[every, last]
    ends = np.where(
        np.isfinite(durations) & (durations > 0),
        durations,
        final + (final - times[:, 0]) / np.maximum(1, last) / 2,
    )
    ends = np.maximum(0, ends)
    edges = np.zeros((videos, frames + 1))
    middles = (times[:, :-1] + times[:, 1:]) / 2
    edges[:, 1:-1] = np.clip(np.maximum.accumulate(middles, axis=1), 0, ends[:, None])
    edges[every, last + 1] = ends
    return edges
