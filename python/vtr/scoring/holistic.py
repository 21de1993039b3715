"""CLIP4Clip, EA-CLIP4Clip, TeachCLIP: one vector a video (Luo et al. 2021; Jing et al.; Tian et al. 2024).

logit = exp(logit_scale) · n(sentence) · n(video),    video = Σ_f weights_f · frames_f
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtr.columns import ColumnSpec
from vtr.scoring.base import Rows, VectorScorer, frame_products, frame_relevance, required
from vtr.scoring.head import Head, read_head, read_scale, read_sizes
from vtr.scoring.numerics import Floats, to_float32, unit
from vtr.types import TextFeatures, VideoFeatures

TINY_WEIGHT = np.float32(1e-30)  # its logarithm, −69, is finite: a frame that weighs nothing has no say


@dataclass(frozen=True)
class HolisticQuery:
    directions: Floats  # [T, D], n(sentence)

    def __len__(self) -> int:
        return len(self.directions)


class HolisticScorer(VectorScorer):
    """Scores by one dot product; keeps frames besides, only to say which of them matched."""

    score_columns: tuple[str, ...] = ("video",)
    relevance_columns: tuple[str, ...] = ("frames", "weights", "mask")

    def __init__(self, head: Head, sizes: Mapping[str, Any]) -> None:
        frames, dim = read_sizes(sizes, "frames", "dim")
        self.scale = read_scale(read_head(head, {"logit_scale": (1,)}))
        own = {"frames": ColumnSpec((frames, dim), "float16"), "weights": ColumnSpec((frames,), "float32")}
        super().__init__(frames, dim, own)

    def rows(self, video: VideoFeatures) -> dict[str, Any]:
        """``video`` n(video) [B, D], ``frames`` n(frames) [B, F, D], ``weights`` [B, F], ``mask`` [B, F].

        ``weights`` are each frame's part in the video vector, weight times length, summing to 1: frames
        need not be normalised (EA-CLIP4Clip scales them by its gate).
        """
        self.check_video(video)
        vector = required(video.video, "video", "holistic")
        parts = required(video.weights, "weights", "holistic") * np.linalg.norm(video.frames, axis=-1)
        return {
            "video": unit(vector).astype(np.float32, copy=False),
            "frames": unit(video.frames).astype(np.float32, copy=False),
            "weights": (parts / np.maximum(parts.sum(1, keepdims=True), TINY_WEIGHT)).astype(np.float32),
            "mask": (video.mask > 0).astype(np.uint8),
        }

    def prepare(self, text: TextFeatures) -> HolisticQuery:
        self.check_text(text)
        return HolisticQuery(unit(text.sentence))

    def score(self, query: HolisticQuery, rows: Rows) -> Floats:
        """Logits ``[T, V]``."""
        scores = self.holistic(query, rows)
        scores *= self.scale
        return scores

    def relevance(self, text: TextFeatures, rows: Rows) -> Floats:
        """Frame relevance ``[T, V, F]``: sm_F(log weights + exp(logit_scale) · n(s)·n(frame))."""
        frames = to_float32(rows["frames"])
        logits = self.scale * frame_products(unit(text.sentence), frames)
        logits += np.log(np.maximum(rows["weights"], TINY_WEIGHT))
        return frame_relevance(logits, rows["mask"])
