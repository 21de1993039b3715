"""X-CLIP (Ma et al., 2022, "End-to-End Multi-grained Contrastive Learning for Video-Text Retrieval").

s = n(sentence), w = n(words) [L, D], v = n(video), f = n(raw frames) [F, D], no masks:

    video-sentence   (s·G)·v
    video-word       isa_L(w·v)
    sentence-frame   isa_F(s·f)
    frame-word       A = (w·Lm)·fᵀ;  c = isa_L(A) [F];  r = isa_F(A) [L];  (isa_F(c) + isa_L(r)) / 2
    logit            exp(logit_scale) · mean of the four

Seen from the video's side a text is 1 + L probes [s; w·Lm] against its F frames and 1 + L probes [s·G; w]
against its vector: two matrix products for a block of videos. Everything after them runs on arrays
``[…, similarities, videos]``, whose last axis is long and contiguous.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtr.columns import ColumnSpec
from vtr.scoring.base import Rows, VectorScorer, frame_products, frame_relevance, required
from vtr.scoring.head import Head, read_head, read_scale, read_sizes
from vtr.scoring.numerics import Floats, dots, for_blocks, softmax, to_float32, transform, unit
from vtr.types import TextFeatures, VideoFeatures

TEMPERATURE = np.float32(100)  # softmax at similarity / 0.01


def isa(a: Floats, weight: Floats) -> Floats:
    """Attention over the similarities on the axis before the last: ``[…, n, V]`` -> ``[…, V]``.

    isa(a, M) = Σ (sm(T·a) @ M) ∘ a
    """
    attention = weight.T @ softmax(TEMPERATURE * a, axis=-2)
    attention *= a
    return attention.sum(axis=-2)


@dataclass(frozen=True)
class XClipQuery:
    frame_probes: Floats  # [T, 1 + L, D]: s, then w·Lm
    video_probes: Floats  # [T, 1 + L, D]: s·G, then w

    @property
    def directions(self) -> Floats:
        """``[T, D]``, s·G: the pre-selection is the family's own video-sentence score."""
        return np.ascontiguousarray(self.video_probes[:, 0])

    def __len__(self) -> int:
        return len(self.frame_probes)


class XClipScorer(VectorScorer):
    score_columns: tuple[str, ...] = ("frames", "video")

    def __init__(self, head: Head, sizes: Mapping[str, Any]) -> None:
        frames, words, dim = read_sizes(sizes, "frames", "words", "dim")
        self.words = words
        shapes = {"logit_scale": (1,), "global_mat_weight": (dim, dim), "local_mat_weight": (dim, dim)}
        shapes |= {
            name: (words, words) for name in ("word_logit_weight", "word_mat_weight", "word_mat_weight2")
        }
        shapes |= {
            name: (frames, frames) for name in ("frame_logit_weight", "frame_mat_weight", "frame_mat_weight2")
        }
        self.head = read_head(head, shapes)
        self.scale = read_scale(self.head)
        super().__init__(frames, dim, {"frames": ColumnSpec((frames, dim), "float16")})

    def rows(self, video: VideoFeatures) -> dict[str, Any]:
        """``frames`` n(raw frames) [B, F, D], ``video`` n(video) [B, D], ``mask`` [B, F]."""
        self.check_video(video)
        return {
            "frames": unit(video.frames).astype(np.float32, copy=False),
            "video": unit(required(video.video, "video", "xclip")).astype(np.float32, copy=False),
            "mask": (video.mask > 0).astype(np.uint8),
        }

    def prepare(self, text: TextFeatures) -> XClipQuery:
        self.check_text(text, self.words)
        s, w = unit(text.sentence)[:, None], unit(text.words)
        frame_probes = np.concatenate([s, transform(w, self.head["local_mat_weight"])], axis=1)
        video_probes = np.concatenate([transform(s, self.head["global_mat_weight"]), w], axis=1)
        return XClipQuery(frame_probes, video_probes)

    def score(self, query: XClipQuery, rows: Rows) -> Floats:
        """Logits ``[T, V]``."""
        frames, video = rows["frames"], rows["video"]
        logits = np.empty((len(query), len(frames)), np.float32)

        def work(block: slice) -> None:
            f = to_float32(frames[block].swapaxes(0, 1))  # [F, V, D]
            v = to_float32(video[block])  # [V, D]
            for text in range(len(query)):
                logits[text, block] = self._score(query.frame_probes[text], query.video_probes[text], f, v)

        for_blocks(work, len(frames), 4 * (self.frames + 1) * self.dim, max(self.frames, self.words))
        return logits

    def _score(self, frame_probes: Floats, video_probes: Floats, f: Floats, v: Floats) -> Floats:
        """One text against a block: ``f [F, V, D]``, ``v [V, D]`` -> ``[V]``."""
        head, videos = self.head, len(v)
        with_frames = np.empty((len(frame_probes), self.frames, videos), np.float32)
        dots(f.reshape(-1, self.dim), frame_probes, with_frames.reshape(len(frame_probes), -1).T)
        with_video = np.empty((len(video_probes), videos), np.float32)
        dots(v, video_probes, with_video.T)
        a = with_frames[1:]  # [L, F, V]
        c = isa(a.swapaxes(0, 1), head["word_mat_weight"])  # over words: [F, V]
        r = isa(a, head["frame_mat_weight"])  # over frames: [L, V]
        frame_word = (isa(c, head["frame_mat_weight2"]) + isa(r, head["word_mat_weight2"])) / 2
        sentence_frame = isa(with_frames[0], head["frame_logit_weight"])
        video_word = isa(with_video[1:], head["word_logit_weight"])
        return (with_video[0] + video_word + sentence_frame + frame_word) * (self.scale / 4)

    def relevance(self, text: TextFeatures, rows: Rows) -> Floats:
        """Frame relevance ``[T, V, F]``: sm_F(T · s·f) over the real frames."""
        frames = to_float32(rows["frames"])
        logits = frame_products(unit(text.sentence), frames)
        return frame_relevance(TEMPERATURE * logits, rows["mask"])
