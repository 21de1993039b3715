"""The bank: one snapshot of an index made searchable. It never changes; a new commit makes a new bank."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.index import Snapshot, VideoRecord
from vtr.moments import moments
from vtr.scoring import Scorer, TopK
from vtr.types import Hit, TextFeatures, VideoFeatures

Rows = Mapping[str, NDArray[Any]]
Positions = NDArray[np.int64]
Best = tuple[Positions, NDArray[np.float32]]  # positions and scores, best first

BLOCK = 4096  # videos whose rows are looked at together; bounds the memory of a search


class Bank:
    """Searches one snapshot with one family's scorer. Safe from many threads."""

    def __init__(self, snapshot: Snapshot, scorer: Scorer) -> None:
        self.snapshot = snapshot
        self.version = snapshot.version
        self._scorer = scorer

    def __len__(self) -> int:
        return len(self.snapshot)

    # ---- scores ---------------------------------------------------------------------------------

    def scores(self, texts: TextFeatures, positions: Positions | None = None) -> NDArray[np.float32]:
        """Logits ``[texts, videos]`` of every video, or of those at ``positions``."""
        parts = [scores for _, scores in self._scored(self._scorer.prepare(texts), positions)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(texts), 0), np.float32)

    def _scored(
        self, query: Any, positions: Positions | None
    ) -> Iterator[tuple[Positions, NDArray[np.float32]]]:
        for chosen, rows in self._blocks(self._scorer.score_columns, positions):
            yield chosen, self._scorer.score(query, rows)

    def _blocks(
        self, names: tuple[str, ...], positions: Positions | None
    ) -> Iterator[tuple[Positions, Rows]]:
        """Stored rows, a block at a time; without positions as views of the mapped segments if possible."""
        if positions is None:
            for span, rows in self.snapshot.blocks(names, BLOCK):
                yield np.arange(span.start, span.stop), rows
            return
        for start in range(0, len(positions), BLOCK):
            chosen = positions[start : start + BLOCK]
            yield chosen, {name: self.snapshot.gather(name, chosen) for name in names}

    # ---- search ---------------------------------------------------------------------------------

    def search(self, texts: TextFeatures, k: int, candidates: int | None, where: Any) -> list[list[Hit]]:
        """The ``k`` best videos for each text; see :meth:`vtr.Engine.search`."""
        positions = self._select(where)
        query = self._scorer.prepare(texts)
        alone = [query] if len(texts) == 1 else [self._scorer.prepare(text) for text in _each(texts)]
        if candidates is None:
            found = self._best(query, len(texts), k, positions)
        else:
            nearest = self._nearest(query, len(texts), candidates, positions)
            found = [self._best(one, 1, k, near)[0] for one, near in zip(alone, nearest, strict=True)]
        return [self._hits(one, *best) for one, best in zip(alone, found, strict=True)]

    def _best(self, query: Any, texts: int, k: int, positions: Positions | None) -> list[Best]:
        """For each text the ``k`` best by the family's logits."""
        best = TopK(texts, k)
        for chosen, scores in self._scored(query, positions):
            best.add(scores, chosen)
        return best.result()

    def _nearest(self, query: Any, texts: int, count: int, positions: Positions | None) -> list[Positions]:
        """For each text the positions of the ``count`` best by holistic vectors, ascending."""
        best = TopK(texts, count)
        for chosen, rows in self._blocks(self._scorer.holistic_columns, positions):
            best.add(self._scorer.holistic(query, rows), chosen)
        return [np.sort(chosen) for chosen, _ in best.result()]

    def similar(self, videos: VideoFeatures, k: int, where: Any) -> list[list[Hit]]:
        """The ``k`` videos whose holistic vectors have the largest cosine with each of ``videos``."""
        rows = self._scorer.rows(videos)
        best = TopK(len(videos), k)
        for chosen, stored in self._blocks(self._scorer.holistic_columns, self._select(where)):
            best.add(self._scorer.similarity(rows, stored), chosen)
        return [self._hits(None, chosen, scores) for chosen, scores in best.result()]

    def _select(self, where: Any) -> Positions | None:
        return None if not where else self.snapshot.select(where)

    # ---- hits -----------------------------------------------------------------------------------

    def _hits(self, query: Any, chosen: Positions, scores: NDArray[np.float32]) -> list[Hit]:
        """Records of the videos found and, for the query of one text, their moments."""
        if not len(chosen):
            return []
        records = self.snapshot.records(self.snapshot.ids[chosen].tolist())
        if query is None:
            return [_hit(record, score, []) for record, score in zip(records, scores, strict=True)]
        rows = {name: self.snapshot.gather(name, chosen) for name in self._scorer.columns}
        times = self.snapshot.gather("timestamps", chosen)
        relevance = self._scorer.relevance(query, rows)[0]
        hits = []
        for number, (record, score) in enumerate(zip(records, scores, strict=True)):
            real = int(rows["mask"][number].sum())
            spans = moments(relevance[number, :real], times[number, :real], record.duration)
            hits.append(_hit(record, score, spans))
        return hits


def _each(texts: TextFeatures) -> Iterator[TextFeatures]:
    for row in range(len(texts)):
        yield texts[row : row + 1]


def _hit(record: VideoRecord, score: np.float32, spans: list[Any]) -> Hit:
    return Hit(record.id, record.path, float(score), spans, record.metadata, record.duration)
