"""The bank: one snapshot of an index made searchable. It never changes; a new commit makes a new bank."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.device import DeviceModel, DeviceRanking
from vtr.index import Label, Snapshot
from vtr.moments import moments_of_videos
from vtr.native import NativeModel, NativeRanking
from vtr.ranking import Best, NumpyRanking, Positions, Ranking, stored_rows
from vtr.scoring import Scorer, TopK
from vtr.types import Hit, Moment, TextFeatures, VideoFeatures

SHOWN_TOGETHER = 1024  # hits whose frames are in memory at a time


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
        return self._hits(self._ranking.best(texts, k, candidates, self._select(where)), texts)

    def similar(self, videos: VideoFeatures, k: int, where: Any) -> list[list[Hit]]:
        """The ``k`` videos whose holistic vectors have the largest cosine with each of ``videos``."""
        rows = self._scorer.rows(videos)
        best = TopK(len(videos), k)
        for chosen, stored in stored_rows(self.snapshot, self._scorer.holistic_columns, self._select(where)):
            best.add(self._scorer.similarity(rows, stored), chosen)
        return self._hits(best.result(), None)

    def _select(self, where: Any) -> Positions | None:
        return None if not where else self.snapshot.select(where)

    # ---- hits -----------------------------------------------------------------------------------

    def _hits(self, found: Sequence[Best], texts: TextFeatures | None) -> list[list[Hit]]:
        """What there is to show of the videos found for each query and, if these are texts, their moments."""
        ids = [self.snapshot.ids[chosen].tolist() for chosen, _ in found]
        labels = {label.id: label for label in self.snapshot.labels({*chain(*ids)})} if any(ids) else {}
        hits = []
        for query, (chosen, scores) in enumerate(found):
            shown = [labels[id] for id in ids[query]]
            spans: Iterable[list[Moment]] = ([] for _ in shown)
            if texts is not None and shown:
                spans = self._moments(texts[query : query + 1], chosen, [label.duration for label in shown])
            hits.append([_hit(*hit) for hit in zip(shown, scores.tolist(), spans, strict=True)])
        return hits

    def _moments(
        self, text: TextFeatures, chosen: Positions, durations: Sequence[float]
    ) -> list[list[Moment]]:
        spans = []
        for start in range(0, len(chosen), SHOWN_TOGETHER):
            part = slice(start, start + SHOWN_TOGETHER)
            rows = self.snapshot.rows((*self._scorer.relevance_columns, "timestamps"), chosen[part])
            relevance = self._scorer.relevance(text, rows)[0]
            real = rows["mask"].sum(axis=1)
            spans += moments_of_videos(relevance, rows["timestamps"], real, durations[part])
        return spans


def _hit(label: Label, score: float, spans: list[Moment]) -> Hit:
    return Hit(label.id, label.path, score, spans, label.metadata, label.duration)


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
