"""tightTransf of CLIP4Clip (Luo et al. 2021): a cross encoder reads every text together with every video.

There is no video vector, so it ranks candidates. They are chosen as CLIP4Clip's meanP would choose them, by
n(sentence) · n(mean of n(frames)): a heuristic, for the cross encoder never learnt that product.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtr.columns import ColumnSpec
from vtr.errors import UsageError
from vtr.scoring.base import Rows, VectorScorer, frame_products, frame_relevance, mean_weights
from vtr.scoring.head import Head, read_head, read_scale, read_sizes
from vtr.scoring.numerics import Floats, to_float32, unit
from vtr.types import TextFeatures, VideoFeatures

CrossEncoder = Callable[[Floats, Floats, Floats], Floats]
"""Aligned pairs: sentence ``[B, D]``, frames ``[B, F, D]``, mask ``[B, F]`` -> logit ``[B]``."""

BATCH = 64  # pairs in one run of the cross encoder


@dataclass(frozen=True)
class CrossQuery:
    sentence: Floats  # [T, D], un-normalised, for the cross encoder
    directions: Floats  # [T, D], n(sentence)

    def __len__(self) -> int:
        return len(self.sentence)


class CrossScorer(VectorScorer):
    """Runs the cross encoder that it is given; without one it still chooses candidates and moments."""

    score_columns: tuple[str, ...] = ("frames", "mask")

    def __init__(self, head: Head, sizes: Mapping[str, Any], encoder: CrossEncoder | None = None) -> None:
        frames, dim = read_sizes(sizes, "frames", "dim")
        self.scale = read_scale(read_head(head, {"logit_scale": (1,)}))
        self.encoder = encoder
        super().__init__(frames, dim, {"frames": ColumnSpec((frames, dim), "float16")})

    def rows(self, video: VideoFeatures) -> dict[str, Any]:
        """``frames`` as the cross encoder takes them [B, F, D], ``video`` [B, D], ``mask`` [B, F]."""
        self.check_video(video)
        mean = (mean_weights(video.mask)[:, :, None] * unit(video.frames)).sum(axis=1)
        return {
            "frames": np.asarray(video.frames, np.float32),
            "video": unit(mean).astype(np.float32, copy=False),
            "mask": (video.mask > 0).astype(np.uint8),
        }

    def prepare(self, text: TextFeatures) -> CrossQuery:
        self.check_text(text)
        return CrossQuery(text.sentence, unit(text.sentence))

    def score(self, query: CrossQuery, rows: Rows) -> Floats:
        """Logits ``[T, V]``, one run of the cross encoder for each text and :data:`BATCH` videos.

        Raises:
            UsageError: the scorer was made without a cross encoder.
        """
        if self.encoder is None:
            raise UsageError(
                "expected a cross encoder to score with: pass cross=encoders.cross to make_scorer"
            )
        frames, mask = rows["frames"], rows["mask"]
        logits = np.empty((len(query), len(frames)), np.float32)
        for start in range(0, len(frames), BATCH):
            part = slice(start, start + BATCH)
            features, real = to_float32(frames[part]), to_float32(mask[part])
            for row, sentence in enumerate(query.sentence):
                repeated = np.repeat(sentence[None], len(features), axis=0)
                logits[row, part] = self.encoder(repeated, features, real)
        return logits

    def relevance(self, text: TextFeatures, rows: Rows) -> Floats:
        """Frame relevance ``[T, V, F]``: sm_F(exp(logit_scale) · n(s)·n(frame)), all weights equal."""
        frames = unit(to_float32(rows["frames"]))
        logits = self.scale * frame_products(unit(text.sentence), frames)
        return frame_relevance(logits, rows["mask"])
