"""TC-MGC (Jing et al., 2025, "Text-Conditioned Multi-Grained Contrastive Learning for Text-Video Retrieval").

The sentence pools a video's frames into V, word j into the text-conditioned frame R_j, both normalised
(:mod:`vtr.scoring.gram` says how, and how it is done without ever making V or R_j). With s = n(sentence),
w = n(words) [L, D]:

    video-sentence   (s·G)·V
    video-word       w·V [L], the K highest → isa
    sentence-frame   s·R_j [L], the K highest and one more that fuses the rest, Σ sm(rest)·rest → isa
    frame-word       (w_i·Lm)·R_j [L, L], the K highest along words, of these the K highest along frames;
                     c = isa over words [K], r = isa over frames [K];  (isa(c) + isa(r)) / 2
    logit            l = exp(logit_scale) · the four;  Σ sm(l @ logit_weight) ∘ l
    isa(a, M)      = Σ sm(λ·(sm(λ·a) @ M)) ∘ a,   λ = 100

The model lists the highest similarities downwards. Here they go upwards, as ``np.sort`` leaves them; every
matrix M is turned round once instead, for isa(reversed a, M) = isa(a, M reversed in both axes).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vtr.columns import ColumnSpec
from vtr.errors import BundleError
from vtr.scoring.base import Rows, VectorScorer, frame_products, frame_relevance, mean_weights
from vtr.scoring.gram import EPS, Pooling, gram_rows, pool_shapes
from vtr.scoring.head import Head, read_head, read_scale, read_sizes
from vtr.scoring.numerics import Floats, dots, for_blocks, softmax, to_float32, transform, unit
from vtr.types import TextFeatures, VideoFeatures

LAMBDA = np.float32(100)
HALF = np.float32(0.5)


def isa(a: Floats, weight: Floats) -> Floats:
    """Interactive similarity attention on the axis before the last: ``[…, n, V]`` -> ``[…, V]``."""
    attention = weight.T @ softmax(LAMBDA * a, axis=-2)
    attention *= LAMBDA
    attention = softmax(attention, axis=-2)
    attention *= a
    return attention.sum(axis=-2)


@dataclass(frozen=True)
class TCMGCQuery:
    """Texts as a video's frames meet them, 0.2 MB a text at L = 32, D = 512."""

    attention: Floats  # [T, 1 + L, D]: LN1 of sentence and words, over √D
    frame_probes: Floats  # [T, 1 + L, D]: s and w·Lm, folded, for the R_j
    frame_offsets: Floats  # [T, 2, 1 + L]: e and d of these
    video_probes: Floats  # [T, 1 + L, D]: s·G and w, folded, for V
    video_offsets: Floats  # [T, 2, 1 + L]
    directions: Floats  # [T, D]: s·G, for the pre-selection

    def __len__(self) -> int:
        return len(self.directions)


class TCMGCScorer(VectorScorer):
    """The stored ``video`` is V under equal attention to all real frames. Pre-selection by (s·G)·video is a
    heuristic: it is the family's video-sentence score as far as the text moves the attention little."""

    score_columns: tuple[str, ...] = ("frames", "gram")

    def __init__(self, head: Head, sizes: Mapping[str, Any]) -> None:
        frames, words, dim, keep = read_sizes(sizes, "frames", "words", "dim", "keep")
        self.words = words
        if keep > words:
            raise BundleError(f"expected to keep at most all {words} words, got keep {keep}: export again")
        squares = [f"attentive_{name}" for name in ("word_logit_weight", *_FRAME_WORD)]
        shapes = {
            "logit_scale": (1,),
            "global_mat_weight": (dim, dim),
            "local_mat_weight": (dim, dim),
            "concat_frame_word_logit_weight": (keep + 1, keep + 1),
            **{name: (keep, keep) for name in squares},
            **pool_shapes(dim),
        }
        if "logit_weight" in head:  # some published files lack it; then it is the identity
            shapes["logit_weight"] = (4, 4)
        tensors = read_head(head, shapes)
        self.head = {
            name: np.ascontiguousarray(tensors[name][::-1, ::-1])
            for name in [*squares, "concat_frame_word_logit_weight"]
        }
        self.global_mat, self.local_mat = tensors["global_mat_weight"], tensors["local_mat_weight"]
        self.logit_weight = tensors.get("logit_weight", np.eye(4, dtype=np.float32))
        self.scale = read_scale(tensors)
        self.keep = keep
        self.pooling = Pooling(tensors)
        own = {
            "frames": ColumnSpec((frames, dim), "float16"),
            "gram": ColumnSpec((gram_rows(frames), frames), "float32"),
        }
        super().__init__(frames, dim, own)

    def rows(self, video: VideoFeatures) -> dict[str, Any]:
        """``frames`` k [B, F, D], ``gram`` [B, 3F + 3, F], ``video`` [B, D], ``mask`` [B, F]."""
        self.check_video(video)
        k, gram, pooled = self.pooling.statistics(video.frames, mean_weights(video.mask))
        return {"frames": k, "gram": gram, "video": pooled, "mask": (video.mask > 0).astype(np.uint8)}

    def prepare(self, text: TextFeatures) -> TCMGCQuery:
        self.check_text(text, self.words)
        s, w = unit(text.sentence)[:, None], unit(text.words)
        attention = self.pooling.queries(np.concatenate([text.sentence[:, None], text.words], axis=1))
        frame_probes, frame_offsets = self.pooling.fold(
            np.concatenate([s, transform(w, self.local_mat)], axis=1)
        )
        directions = transform(s, self.global_mat)
        video_probes, video_offsets = self.pooling.fold(np.concatenate([directions, w], axis=1))
        return TCMGCQuery(
            attention=attention,
            frame_probes=frame_probes,
            frame_offsets=frame_offsets.swapaxes(1, 2),
            video_probes=video_probes,
            video_offsets=video_offsets.swapaxes(1, 2),
            directions=directions[:, 0],
        )

    def score(self, query: TCMGCQuery, rows: Rows) -> Floats:
        """Logits ``[T, V]``."""
        frames, gram = rows["frames"], rows["gram"]
        logits = np.empty((len(query), len(frames)), np.float32)

        def work(block: slice) -> None:
            k = to_float32(frames[block].swapaxes(0, 1))  # [F, V, D]
            statistics = to_float32(gram[block])
            for text in range(len(query)):
                logits[text, block] = self._score(query, text, k, statistics)

        for_blocks(work, len(frames), 4 * self.frames * self.dim, self.keep + 1)
        return logits

    def _score(self, query: TCMGCQuery, text: int, k: Floats, gram: Floats) -> Floats:
        """One text against a block: ``k [F, V, D]``, ``gram [V, 3F + 3, F]`` -> ``[V]``."""
        flat, shape = k.reshape(-1, self.dim), (*k.shape[:2], -1)
        a = softmax(dots(flat, query.attention[text]).reshape(shape), axis=0)  # [F, V, 1 + L]
        probed = dots(flat, query.frame_probes[text]).reshape(shape)  # k·p̂
        # p·n(z) = (i2·i3/‖z‖)·a·(k·p̂) + (i3/‖z‖)·e + (1/‖z‖)·d
        factors = self._normalisers(a, gram)  # [3, V, 1 + L]
        a *= factors[0]
        rest = factors[1:].transpose(1, 2, 0)  # [V, 1 + L, 2]
        of_frames = a[..., 1:].transpose(1, 2, 0) @ probed.swapaxes(0, 1)
        of_frames += rest[:, 1:] @ query.frame_offsets[text]  # [V, L, 1 + L]: the R_j by s and w·Lm
        pooled = a[..., 0].T[:, None] @ k.swapaxes(0, 1)  # [V, 1, D]
        of_video = dots(pooled[:, 0], query.video_probes[text])
        of_video += rest[:, 0] @ query.video_offsets[text]  # [V, 1 + L]: V by s·G and w
        four = [
            of_video[:, 0],
            self._video_word(of_video[:, 1:]),
            self._sentence_frame(of_frames[..., 0]),
            self._frame_word(of_frames[..., 1:]),
        ]
        scores = self.scale * np.stack(four)  # [4, V]
        shares = softmax(self.logit_weight.T @ scores, axis=0)
        shares *= scores
        return shares.sum(axis=0)

    def _normalisers(self, a: Floats, gram: Floats) -> Floats:
        """i2·i3/‖z‖, i3/‖z‖ and 1/‖z‖ for attention rows ``a [F, V, n]``: ``[3, V, n]``."""
        pooling, frames = self.pooling, self.frames
        rows = a.swapaxes(0, 1)

        def form(number: int) -> Floats:
            """aᵀ·G·a of one of the three Gram matrices, ``[V, n]``."""
            applied = np.empty_like(a)
            matrices = gram[:, number * frames : (number + 1) * frames]
            np.matmul(matrices, rows, out=applied.swapaxes(0, 1))
            applied *= a
            return np.maximum(applied.sum(axis=0), 0)

        h3, n1, n2 = (gram[:, 3 * frames :] @ rows).swapaxes(0, 1)
        i2 = 1 / np.sqrt(form(0) + np.float32(EPS))
        i3 = 1 / np.sqrt(np.maximum((form(1) * i2 + 2 * h3) * i2 + pooling.variance, np.float32(EPS)))
        norm = ((form(2) * i2 + 2 * n1) * i2 + pooling.norm) * i3 + 2 * (n2 * i2 + pooling.cross)
        # Where z is almost nothing the sum has no digits left; the floor keeps it from blowing up.
        inverse = 1 / np.sqrt(np.maximum(norm * i3 + pooling.bias, pooling.floor))
        return np.stack([i2 * i3 * inverse, i3 * inverse, inverse])

    def _video_word(self, a: Floats) -> Floats:
        """``a [V, L]`` -> ``[V]``."""
        kept = np.sort(a, axis=-1)[:, -self.keep :]
        return isa(np.ascontiguousarray(kept.T), self.head["attentive_word_logit_weight"])

    def _sentence_frame(self, a: Floats) -> Floats:
        """``a [V, L]`` -> ``[V]``. Where all words are kept the rest is empty and its fusion 0."""
        a = np.ascontiguousarray(np.sort(a, axis=-1).T)  # [L, V]
        rest, kept = a[: -self.keep], a[-self.keep :]
        fused = (softmax(rest.copy(), axis=0) * rest).sum(axis=0) if len(rest) else np.zeros_like(a[0])
        return isa(np.concatenate([fused[None], kept]), self.head["concat_frame_word_logit_weight"])

    def _frame_word(self, a: Floats) -> Floats:
        """``a [V, L, L]``, text-conditioned frames by words -> ``[V]``."""
        kept = np.sort(a, axis=2)[:, :, -self.keep :]  # along words
        kept = np.sort(kept, axis=1)[:, -self.keep :]  # along frames
        kept = np.ascontiguousarray(kept.transpose(1, 2, 0))  # [frames, words, V]
        word, frame, word2, frame2 = (self.head[f"attentive_{name}"] for name in _FRAME_WORD)
        c = isa(kept, word)  # over words: [frames, V]
        r = isa(kept.swapaxes(0, 1), frame)  # over frames: [words, V]
        return HALF * (isa(c, frame2) + isa(r, word2))

    def relevance(self, text: TextFeatures, rows: Rows) -> Floats:
        """Frame relevance ``[T, V, F]``: the sentence's own attention, sm_F(LN1(sentence)·LN1(y)ᵀ/√D)."""
        k = to_float32(rows["frames"])
        logits = frame_products(self.pooling.queries(text.sentence), k)
        return frame_relevance(logits, rows["mask"])


_FRAME_WORD = ("word_mat_weight", "frame_word_mat_weight", "word_mat_weight2", "frame_word_mat_weight2")
