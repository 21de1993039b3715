"""What a training step consumes, and what gives it: a source is a map from step numbers to batches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """B captioned videos, text i belonging to video i. Real frames only: padding is `encode`'s work."""

    frames: Tensor  # uint8 [N,H,W,3] RGB: the frames of all videos, one video after another
    counts: Tensor  # int64 [B], frames a video, each at least 1 and at most F; N = counts.sum()
    ids: Tensor  # int64 [B,L], tokens padded with 0

    def __len__(self) -> int:
        return len(self.counts)

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        return Batch(self.frames.to(device), self.counts.to(device), self.ids.to(device))


class Source(Protocol):
    """``source[step]`` is a pure function of the source's seed and ``step``: runs resume anywhere and repeat.

    ``len(source)`` is the number of steps, of all epochs together.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, step: int) -> Batch: ...
