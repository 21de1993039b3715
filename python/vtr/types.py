"""What goes in and out of the engine: plain, typed records of NumPy arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.files import plain


@dataclass(frozen=True)
class TextFeatures:
    """Encoded texts, un-normalised: what CLIP's text tower gives."""

    ids: NDArray[np.int64]  # [B, L]
    sentence: NDArray[np.float32]  # [B, D]
    words: NDArray[np.float32]  # [B, L, D], every position, padding included

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: slice) -> TextFeatures:
        return TextFeatures(self.ids[rows], self.sentence[rows], self.words[rows])


@dataclass(frozen=True)
class VideoFeatures:
    """Encoded videos, after the temporal head, as the family's scorer takes them.

    For holistic families ``video`` is the weighted sum of ``frames``:
    ``video = (weights[..., None] * frames).sum(1)``.
    """

    frames: NDArray[np.float32]  # [B, F, D]
    mask: NDArray[np.float32]  # [B, F], 1 on real frames, 0 on padding
    video: NDArray[np.float32] | None = None  # [B, D]
    weights: NDArray[np.float32] | None = None  # [B, F], each frame's share of the video vector

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, rows: slice) -> VideoFeatures:
        return VideoFeatures(
            self.frames[rows],
            self.mask[rows],
            None if self.video is None else self.video[rows],
            None if self.weights is None else self.weights[rows],
        )


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video a model sees, as CLIP4Clip's data loader chooses them."""

    frames: int = 12  # F, the most frames kept
    fps: int = 1  # candidate frames a second
    slice: str = "uniform"  # which candidates stay: "uniform", "head" or "tail"
    size: int = 224  # side of the square crop, pixels


@dataclass(frozen=True)
class Clip:
    """The sampled frames of one video file."""

    frames: NDArray[np.uint8]  # [n, size, size, 3] RGB, n <= sampling.frames
    indices: NDArray[np.int64]  # [n] frame numbers in the stream
    timestamps: NDArray[np.float64]  # [n] seconds from the start of the stream
    duration: float  # seconds
    fps: float
    width: int  # as displayed, after rotation
    height: int
    codec: str


@dataclass(frozen=True)
class Moment:
    """A time span of a video that matches the text; ``weight`` is its share of the relevance."""

    start: float  # seconds
    end: float
    weight: float  # in (0, 1]

    def __iter__(self) -> Iterator[float]:
        return iter((self.start, self.end, self.weight))


@dataclass(frozen=True)
class Hit:
    """One answer of a search."""

    id: int
    path: Path
    score: float  # the family's logit
    moments: list[Moment] = field(default_factory=list)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    duration: float = 0.0  # seconds

    def as_json(self) -> dict[str, Any]:
        """The hit in JSON's types, times in seconds; bytes of the path that are not UTF-8 are escaped."""
        return {
            "id": self.id,
            "path": plain(str(self.path)),
            "score": round(self.score, 5),
            "moments": [
                {"start": round(m.start, 3), "end": round(m.end, 3), "weight": round(m.weight, 4)}
                for m in self.moments
            ],
            "duration": round(self.duration, 3),
            "metadata": dict(self.metadata),
        }


@dataclass(frozen=True)
class TextHit:
    """One answer of a video-to-text search."""

    index: int  # position among the texts that were offered
    text: str
    score: float  # the family's logit


@dataclass(frozen=True)
class Failure:
    """A file that could not be indexed, and why."""

    path: Path
    reason: str


@dataclass
class IndexReport:
    """What an indexing run did. ``seconds`` splits its time by stage."""

    added: list[Path] = field(default_factory=list)
    unchanged: list[Path] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)
    skipped: list[Failure] = field(default_factory=list)  # failed before and have not changed since
    unused_metadata: list[str] = field(default_factory=list)  # names that matched no file
    not_by_dali: dict[Path, str] = field(default_factory=dict)  # left to PyAV although DALI decodes, and why
    seconds: dict[str, float] = field(default_factory=dict)
