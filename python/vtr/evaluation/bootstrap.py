"""How far a metric would move with another draw of the test set: percentile bootstrap over queries."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from vtr.errors import UsageError
from vtr.evaluation.metrics import METRICS, summarize

LEVEL = 0.95


def bootstrap_intervals(
    ranks: ArrayLike,
    clusters: ArrayLike,
    resamples: int = 1000,
    seed: int = 0,
    level: float = LEVEL,
) -> dict[str, tuple[float, float]]:
    """Confidence interval of every metric of ``summarize`` (Efron's percentile method).

    The captions of one video are not independent, so whole videos are drawn: each resample takes as many
    clusters as there are, with replacement, with all their queries. The candidates stay as they are.

    Args:
        ranks: ``[Q]``, one of each query.
        clusters: ``[Q]`` integers: the video that a query belongs to. One query a video: plain bootstrap.
        resamples: at least 20 for the ends of the interval to mean anything.
        level: share of the resamples inside the interval.
    """
    values, groups = np.asarray(ranks), np.asarray(clusters)
    if values.ndim != 1 or not len(values) or values.shape != groups.shape:
        raise UsageError(
            f"expected ranks and clusters of one length, at least 1; got {values.shape} and {groups.shape}"
        )
    if resamples < 20:
        raise UsageError(f"expected at least 20 resamples, got {resamples}")
    if not 0 < level < 1:
        raise UsageError(f"expected a level between 0 and 1, got {level}")
    names, cluster = np.unique(groups, return_inverse=True)
    random = np.random.default_rng(seed)
    draws = np.empty((resamples, len(METRICS)))
    for row in range(resamples):
        times = np.bincount(random.integers(len(names), size=len(names)), minlength=len(names))
        drawn = summarize(np.repeat(values, times[cluster]))
        draws[row] = [drawn[name] for name in METRICS]
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail], axis=0)
    return {name: (float(low[i]), float(high[i])) for i, name in enumerate(METRICS)}
