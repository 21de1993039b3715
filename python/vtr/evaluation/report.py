"""What an evaluation found, as an object, a table and JSON."""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.evaluation.annotations import Annotations
from vtr.evaluation.metrics import METRICS

TITLES = {"text_to_video": "text → video", "video_to_text": "video → text"}
DECIMALS = {"R@1": 1, "R@5": 1, "R@10": 1, "MdR": 1, "MnR": 1, "MRR": 3}


@dataclass(frozen=True)
class Direction:
    """The ranks of one direction and what they come to."""

    name: str  # "text_to_video" or "video_to_text"
    ranks: NDArray[np.int64]  # [Q], from 1
    videos: NDArray[np.int64]  # [Q], the video column of each query
    candidates: int  # how many answers each query has to choose from
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]] | None = None
    dual_softmax: bool = False

    @property
    def title(self) -> str:
        return TITLES[self.name] + (" (dual softmax)" if self.dual_softmax else "")

    def as_json(self) -> dict[str, Any]:
        return {
            "direction": self.name,
            "dual_softmax": self.dual_softmax,
            "queries": len(self.ranks),
            "candidates": self.candidates,
            "metrics": dict(self.metrics),
            "intervals": None
            if self.intervals is None
            else {name: list(pair) for name, pair in self.intervals.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All directions of one evaluation, with how they were measured."""

    protocol: str
    texts: int
    videos: int
    directions: list[Direction]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Direction:
        """The plain (not re-weighted) direction "text_to_video" or "video_to_text"."""
        for direction in self.directions:
            if direction.name == name and not direction.dual_softmax:
                return direction
        raise KeyError(name)

    def as_json(self) -> dict[str, Any]:
        return {
            "protocol": self.protocol,
            "texts": self.texts,
            "videos": self.videos,
            "results": [direction.as_json() for direction in self.directions],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }

    def table(self) -> str:
        """Title, metrics and below each line its interval; the same on a terminal and in a file."""
        lines = [["", *METRICS]]
        for direction in self.directions:
            values = [f"{direction.metrics[name]:.{DECIMALS[name]}f}" for name in METRICS]
            lines.append([direction.title, *values])
            if direction.intervals is not None:
                pairs = [direction.intervals[name] for name in METRICS]
                lines.append(
                    [f"  {self.settings.get('level', 0.95):.0%} interval"]
                    + [_span(pair, DECIMALS[name]) for pair, name in zip(pairs, METRICS, strict=True)]
                )
        heading = f"{self.protocol}: {self.texts:,} captions, {self.videos:,} videos"
        return "\n".join([heading, "", *_aligned(lines)])


def _span(pair: tuple[float, float], decimals: int) -> str:
    return f"{pair[0]:.{decimals}f}–{pair[1]:.{decimals}f}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            [line[0].ljust(widths[0])]
            + [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        ).rstrip()
        for line in lines
    ]


def write_ranks(
    path: str | os.PathLike[str],
    annotations: Annotations,
    scores: NDArray[np.floating],
    ranks: NDArray[np.int64],
) -> None:
    """A CSV line for each caption: its video, rank and score, and the video that came first instead."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["video", "caption", "rank", "score", "first", "first_score"])
        for row, (text, target) in enumerate(zip(annotations.texts, annotations.targets, strict=True)):
            line = scores[row]
            first = int(np.argmax(np.where(np.isnan(line), -np.inf, line)))
            writer.writerow(
                [annotations.videos[target], text, ranks[row], f"{line[target]:.6g}",
                 annotations.videos[first], f"{line[first]:.6g}"]
            )  # fmt: skip
