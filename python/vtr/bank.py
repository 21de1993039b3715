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
        parts = [scores for _, scores in self._scored(texts, positions)]
        return np.concatenate(parts, axis=1) if parts else np.empty((len(texts), 0), np.float32)

    def _scored(
        self, texts: TextFeatures, positions: Positions | None
    ) -> Iterator[tuple[Positions, NDArray[np.float32]]]:
        query = self._scorer.prepare(texts)
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
        if candidates is None:
            best = TopK(len(texts), k)
            for chosen, scores in self._scored(texts, positions):
                best.add(scores, chosen)
            found = best.result()
        else:
            found = [
                self._rerank(texts[row : row + 1], k, near)
                for row, near in enumerate(self._nearest(texts, candidates, positions))
            ]
        return [
            self._hits(texts[row : row + 1], chosen, scores) for row, (chosen, scores) in enumerate(found)
        ]

    def _nearest(self, texts: TextFeatures, count: int, positions: Positions | None) -> list[Positions]:
        """For each text the positions of the ``count`` best by holistic vectors, ascending."""
        query = self._scorer.prepare(texts)
        best = TopK(len(texts), count)
        for chosen, rows in self._blocks(self._scorer.holistic_columns, positions):
            best.add(self._scorer.holistic(query, rows), chosen)
        return [np.sort(chosen) for chosen, _ in best.result()]

    def _rerank(self, text: TextFeatures, k: int, near: Positions) -> tuple[Positions, NDArray[np.float32]]:
        best = TopK(1, k)
        for chosen, scores in self._scored(text, near):
            best.add(scores, chosen)
        return best.result()[0]

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

    def _hits(self, text: TextFeatures | None, chosen: Positions, scores: NDArray[np.float32]) -> list[Hit]:
        """Records and, for a text, moments of the videos found."""
        if not len(chosen):
            return []
        records = self.snapshot.records(self.snapshot.ids[chosen].tolist())
        if text is None:
            return [_hit(record, score, []) for record, score in zip(records, scores, strict=True)]
        rows = {name: self.snapshot.gather(name, chosen) for name in self._scorer.columns}
        times = self.snapshot.gather("timestamps", chosen)
        relevance = self._scorer.relevance(self._scorer.prepare(text), rows)[0]
        hits = []
        for number, (record, score) in enumerate(zip(records, scores, strict=True)):
            real = int(rows["mask"][number].sum())
            spans = moments(relevance[number, :real], times[number, :real], record.duration)
            hits.append(_hit(record, score, spans))
        return hits


def _hit(record: VideoRecord, score: np.float32, spans: list[Any]) -> Hit:
    return Hit(record.id, record.path, float(score), spans, record.metadata, record.duration)
