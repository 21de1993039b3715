"""The k best of many scores: deterministic, over any number of blocks.

Better means a higher score, and among equal scores a smaller position. NaN is never among the best, whatever
else there is, so a text for which fewer than k scores are numbers gets fewer than k answers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.errors import UsageError

Positions = NDArray[np.int64]
Best = tuple[Positions, NDArray[np.float32]]


class TopK:
    """Keeps the ``k`` best of each of ``texts`` rows of scores, which come a block of columns at a time."""

    def __init__(self, texts: int, k: int) -> None:
        if k < 1:
            raise UsageError(f"expected k of at least 1, got {k}")
        self.k = k
        empty = np.empty(0, np.int64), np.empty(0, np.float32)
        self._best: list[Best] = [empty] * texts

    def add(self, scores: NDArray[Any], positions: ArrayLike) -> None:
        """Offer ``scores [texts, n]`` of the videos at ``positions [n]``, which may come in any order."""
        where = np.asarray(positions, np.int64)
        if scores.shape != (len(self._best), len(where)):
            raise UsageError(
                f"expected scores of shape {[len(self._best), len(where)]} for {len(where)} positions, "
                f"got {list(scores.shape)}"
            )
        for row, offered in enumerate(scores):
            self._best[row] = self._merge(self._best[row], offered, where)

    def _merge(self, best: Best, scores: NDArray[Any], positions: Positions) -> Best:
        positions_now, scores_now = best
        # NaN compares false, so it is dropped here. Equal scores stay in: their positions may be smaller.
        floor = scores_now[-1] if len(scores_now) == self.k else -np.inf
        if self.k < len(scores):
            # The k-th best of the block; NaN sorts last, after the negated scores.
            floor = np.fmax(floor, -np.partition(-scores, self.k - 1)[self.k - 1])
        chosen = np.flatnonzero(scores >= floor)
        if not len(chosen):
            return best
        all_scores = np.concatenate([scores_now, scores[chosen].astype(np.float32)])
        all_positions = np.concatenate([positions_now, positions[chosen]])
        order = np.lexsort((all_positions, -all_scores))[: self.k]
        return all_positions[order], all_scores[order]

    def result(self) -> list[Best]:
        """For each text ``(positions, scores)`` of its best, best first; at most ``k``."""
        return list(self._best)


def topk(scores: NDArray[Any], k: int, ids: ArrayLike | None = None) -> list[Best]:
    """The ``k`` best columns of each row of ``scores [T, V]``: ``(ids, scores)`` a row, best first.

    Args:
        ids: the number of each column, ``[V]``; ``None`` counts from 0. Ties go to the smaller number.
    """
    best = TopK(len(scores), k)
    best.add(scores, np.arange(scores.shape[1]) if ids is None else ids)
    return best.result()
