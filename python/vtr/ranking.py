"""Ranking a snapshot's videos for texts: what a bank asks for, and the way that NumPy's scorers do it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtr.index import Snapshot
from vtr.scoring import Scorer, TopK
from vtr.types import TextFeatures

Rows = Mapping[str, NDArray[Any]]
Positions = NDArray[np.int64]
Scores = NDArray[np.float32]
Best = tuple[Positions, Scores]  # positions and scores, best first

BLOCK = 4096  # videos whose rows are looked at together; bounds the memory of a search


class Ranking(Protocol):
    """Videos by the family's logits; ties go to the smaller position. Safe from many threads."""

    def scores(self, texts: TextFeatures, positions: Positions | None) -> Scores:
        """Logits ``[texts, videos]`` of the videos at ``positions``, or of all."""

    def best(
        self, texts: TextFeatures, k: int, candidates: int | None, positions: Positions | None
    ) -> list[Best]:
        """For each text the ``k`` best of the videos at ``positions`` (ascending), or of all.

        Args:
            candidates: only so many of them are scored, the best by holistic vectors; ``None``: all.
        """


class NumpyRanking:
    """Scores stored rows as they lie in the index's segments; keeps nothing."""

    def __init__(self, snapshot: Snapshot, scorer: Scorer) -> None:
        self._snapshot = snapshot
        self._scorer = scorer

    def scores(self, texts: TextFeatures, positions: Positions | None) -> Scores:
        parts = [scores for _, scores in self._scored(self._scorer.prepare(texts), positions)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(texts), 0), np.float32)

    def best(
        self, texts: TextFeatures, k: int, candidates: int | None, positions: Positions | None
    ) -> list[Best]:
        query = self._scorer.prepare(texts)
        if candidates is None:
            return self._best(query, len(texts), k, positions)
        nearest = self._nearest(query, len(texts), candidates, positions)
        alone = [query] if len(texts) == 1 else [self._scorer.prepare(text) for text in each(texts)]
        return [self._best(one, 1, k, near)[0] for one, near in zip(alone, nearest, strict=True)]

    def _scored(self, query: Any, positions: Positions | None) -> Iterator[tuple[Positions, Scores]]:
        for chosen, rows in stored_rows(self._snapshot, self._scorer.score_columns, positions):
            yield chosen, self._scorer.score(query, rows)

    def _best(self, query: Any, texts: int, k: int, positions: Positions | None) -> list[Best]:
        """For each text the ``k`` best by the family's logits."""
        best = TopK(texts, k)
        for chosen, scores in self._scored(query, positions):
            best.add(scores, chosen)
        return best.result()

    def _nearest(self, query: Any, texts: int, count: int, positions: Positions | None) -> list[Positions]:
        """For each text the positions of the ``count`` best by holistic vectors, ascending."""
        best = TopK(texts, count)
        for chosen, rows in stored_rows(self._snapshot, self._scorer.holistic_columns, positions):
            best.add(self._scorer.holistic(query, rows), chosen)
        return [np.sort(chosen) for chosen, _ in best.result()]


def stored_rows(
    snapshot: Snapshot, names: tuple[str, ...], positions: Positions | None, rows: int = BLOCK
) -> Iterator[tuple[Positions, Rows]]:
    """Stored rows, a block at a time; without positions as views of the mapped segments if possible."""
    if positions is None:
        for span, columns in snapshot.blocks(names, rows):
            yield np.arange(span.start, span.stop), columns
        return
    for start in range(0, len(positions), rows):
        chosen = positions[start : start + rows]
        yield chosen, snapshot.rows(names, chosen)


def each(texts: TextFeatures) -> Iterator[TextFeatures]:
    """Every text alone."""
    for row in range(len(texts)):
        yield texts[row : row + 1]
