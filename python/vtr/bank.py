"""The bank: one snapshot of an index made searchable. It never changes; a new commit makes a new bank."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.device import DeviceModel, DeviceRanking
from vtr.index import Snapshot, VideoRecord
from vtr.moments import moments
from vtr.native import NativeModel, NativeRanking
from vtr.ranking import NumpyRanking, Positions, Ranking, each, stored_rows
from vtr.scoring import Scorer, TopK
from vtr.types import Hit, TextFeatures, VideoFeatures


class Bank:
    """Searches one snapshot with one family's scorer. Safe from many threads.

    Args:
        scorer: what says which columns there are, compares videos and finds moments.
        native: the scorer in the native core, which then ranks for texts; ``None``: ``scorer`` does.
        device: a GPU for that, which the native scorer helps.
        previous: the bank of an earlier snapshot of the same index, to share memory with.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        scorer: Scorer,
        native: NativeModel | None = None,
        previous: Bank | None = None,
        device: DeviceModel | None = None,
    ) -> None:
        self.snapshot = snapshot
        self.version = snapshot.version
        self._scorer = scorer
        self._ranking: Ranking = _ranking(
            snapshot, scorer, native, device, None if previous is None else previous._ranking
        )

    def __len__(self) -> int:
        return len(self.snapshot)

    def scores(self, texts: TextFeatures, positions: Positions | None = None) -> NDArray[np.float32]:
        """Logits ``[texts, videos]`` of every video, or of those at ``positions``."""
        return self._ranking.scores(texts, positions)

    # ---- search ---------------------------------------------------------------------------------

    def search(self, texts: TextFeatures, k: int, candidates: int | None, where: Any) -> list[list[Hit]]:
        """The ``k`` best videos for each text; see :meth:`vtr.Engine.search`."""
        found = self._ranking.best(texts, k, candidates, self._select(where))
        return [self._hits(text, *best) for text, best in zip(each(texts), found, strict=True)]

    def similar(self, videos: VideoFeatures, k: int, where: Any) -> list[list[Hit]]:
        """The ``k`` videos whose holistic vectors have the largest cosine with each of ``videos``."""
        rows = self._scorer.rows(videos)
        best = TopK(len(videos), k)
        for chosen, stored in stored_rows(self.snapshot, self._scorer.holistic_columns, self._select(where)):
            best.add(self._scorer.similarity(rows, stored), chosen)
        return [self._hits(None, chosen, scores) for chosen, scores in best.result()]

    def _select(self, where: Any) -> Positions | None:
        return None if not where else self.snapshot.select(where)

    # ---- hits -----------------------------------------------------------------------------------

    def _hits(self, text: TextFeatures | None, chosen: Positions, scores: NDArray[np.float32]) -> list[Hit]:
        """Records of the videos found and, for one text, their moments."""
        if not len(chosen):
            return []
        records = self.snapshot.records(self.snapshot.ids[chosen].tolist())
        if text is None:
            return [_hit(record, score, []) for record, score in zip(records, scores, strict=True)]
        rows = {name: self.snapshot.gather(name, chosen) for name in self._scorer.columns}
        times = self.snapshot.gather("timestamps", chosen)
        relevance = self._scorer.relevance(text, rows)[0]
        hits = []
        for number, (record, score) in enumerate(zip(records, scores, strict=True)):
            real = int(rows["mask"][number].sum())
            spans = moments(relevance[number, :real], times[number, :real], record.duration)
            hits.append(_hit(record, score, spans))
        return hits


def _hit(record: VideoRecord, score: np.float32, spans: list[Any]) -> Hit:
    return Hit(record.id, record.path, float(score), spans, record.metadata, record.duration)


def _ranking(
    snapshot: Snapshot,
    scorer: Scorer,
    native: NativeModel | None,
    device: DeviceModel | None,
    before: Ranking | None,
) -> Ranking:
    """What ranks a snapshot's videos, made from the ranking of an earlier snapshot as far as it can be."""
    if native is None:
        return NumpyRanking(snapshot, scorer)
    on_device = before if isinstance(before, DeviceRanking) else None
    in_core = before if on_device is None else on_device.native
    ranking = NativeRanking(native, snapshot, in_core if isinstance(in_core, NativeRanking) else None)
    return ranking if device is None else DeviceRanking(device, snapshot, ranking, on_device)
