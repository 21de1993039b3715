"""Captions with their videos, whatever file they came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vtr.errors import UsageError

Pair = tuple[str, str]  # video, caption


@dataclass(frozen=True)
class Annotations:
    """The captions of a test set: text ``i`` describes video ``videos[targets[i]]``."""

    protocol: str  # a key of protocols.PROTOCOLS
    texts: list[str]
    videos: list[str]  # names as the file gives them, in order of first appearance
    targets: NDArray[np.int64]  # [texts]
    notes: list[str] = field(default_factory=list)  # what was detected and what was left out

    def __len__(self) -> int:
        return len(self.texts)

    def kept(self, videos: Sequence[bool]) -> Annotations:
        """Without the videos whose entry is false, and without their captions."""
        keep = np.asarray(videos, bool)
        texts = keep[self.targets]
        return replace(
            self,
            texts=[text for text, stays in zip(self.texts, texts, strict=True) if stays],
            videos=[video for video, stays in zip(self.videos, keep, strict=True) if stays],
            targets=(np.cumsum(keep) - 1)[self.targets[texts]],
        )


def from_pairs(protocol: str, pairs: Iterable[Pair], notes: Sequence[str] = ()) -> Annotations:
    """Annotations from (video, caption) pairs in file order."""
    columns: dict[str, int] = {}
    texts, targets = [], []
    for video, text in pairs:
        text = " ".join(text.split())
        if not text:
            raise UsageError(f"an empty caption for the video {video!r}: give it a text or take the line out")
        texts.append(text)
        targets.append(columns.setdefault(video, len(columns)))
    if not texts:
        raise UsageError("expected at least one caption, found none")
    return Annotations(protocol, texts, list(columns), np.array(targets, np.int64), list(notes))
