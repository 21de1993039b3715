"""Texts and frames to features: batching, padding and checking around the encoders' graphs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vtr.bundle import Bundle
from vtr.encoders import Encoders
from vtr.errors import UsageError
from vtr.types import Clip, TextFeatures, VideoFeatures

TEXT_BATCH = 32  # texts encoded in one run of the text tower
FRAME_BATCH = 48  # frames encoded in one run of the vision tower
QUERY_CACHE = 1024  # encoded queries kept: a repeated search skips the text tower …
CACHED_LENGTH = 1000  # … unless the text is longer than this, in characters


class FeatureEncoder:
    """One model's encoders, taking whatever number of texts and clips comes. Safe from many threads."""

    def __init__(self, model: Bundle, encoders: Encoders) -> None:
        self.model = model
        self.encoders = encoders
        self._padding: NDArray[np.float32] | None = None
        self._queries: OrderedDict[str, TextFeatures] = OrderedDict()
        self._lock = threading.Lock()

    def text(self, texts: Sequence[str]) -> TextFeatures:
        """See :meth:`vtr.Engine.encode_text`."""
        texts = list(texts)
        for text in texts:
            if not isinstance(text, str):
                raise UsageError(f"expected texts as str, got {type(text).__name__}: {text!r:.80}")
        length, width = self.model.sizes["words"], self.model.sizes["dim"]
        ids = self.model.tokenizer.encode(texts, length)
        sentence = np.empty((len(ids), width), np.float32)
        words = np.empty((len(ids), length, width), np.float32)
        for start in range(0, len(ids), TEXT_BATCH):
            rows = slice(start, start + TEXT_BATCH)
            sentence[rows], words[rows] = self.encoders.text(ids[rows])
        return TextFeatures(ids, sentence, words)

    def query(self, text: str) -> TextFeatures:
        """One text, from the cache if it was asked for before."""
        with self._lock:
            if text in self._queries:
                self._queries.move_to_end(text)
                return self._queries[text]
        features = self.text([text])
        if len(text) > CACHED_LENGTH:
            return features
        with self._lock:
            self._queries[text] = features
            while len(self._queries) > QUERY_CACHE:
                self._queries.popitem(last=False)
        return features

    def frames(self, frames: ArrayLike, mask: ArrayLike | None = None) -> VideoFeatures:
        """See :meth:`vtr.Engine.encode_frames`."""
        pixels, real = self._checked(frames, mask)
        if not len(pixels):
            raise UsageError("expected frames of at least one video, got none")
        return self._heads(self._vision(pixels, real), real)

    def clips(self, clips: Sequence[Clip]) -> VideoFeatures:
        """See :meth:`vtr.Engine.encode_clips`. Frames on the encoders' device are taken from there."""
        if not clips:
            raise UsageError("expected frames of at least one video, got none")
        count, size = self.model.sizes["frames"], self.model.sizes["image"]
        mask = np.zeros((len(clips), count), np.float32)
        for row, clip in enumerate(clips):
            if not 1 <= len(clip.frames) <= count or clip.frames.shape[1:] != (size, size, 3):
                raise UsageError(
                    f"expected a clip of 1..{count} frames of {size}×{size}, got {list(clip.frames.shape)}; "
                    "decode with engine.model.sampling"
                )
            mask[row, : len(clip.frames)] = 1
        features = np.empty((len(clips), count, self.model.sizes["dim"]), np.float32)
        on_cuda = self.encoders.device == "cuda"
        away = np.array([on_cuda and hasattr(clip.frames, "__cuda_array_interface__") for clip in clips])
        for row in np.flatnonzero(away).tolist():
            features[row] = self._vision_of_device(clips[row].frames, mask[row])
        if not away.all():
            here = np.flatnonzero(~away).tolist()
            pixels = np.zeros((len(here), count, size, size, 3), np.uint8)
            for frames, row in zip(pixels, here, strict=True):
                given = np.asarray(clips[row].frames)
                if given.dtype != np.uint8:
                    raise UsageError(f"expected a clip of uint8 frames, RGB in 0..255, got {given.dtype}")
                frames[: len(given)] = given
            features[here] = self._vision(pixels, mask[here])
        return self._heads(features, mask)

    def _heads(self, features: NDArray[np.float32], mask: NDArray[np.float32]) -> VideoFeatures:
        outputs = self.encoders.temporal(features, mask)
        return VideoFeatures(outputs["frames"], mask, outputs.get("video"), outputs.get("weights"))

    def _checked(
        self, frames: ArrayLike, mask: ArrayLike | None
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Frames and mask of full length F, checked."""
        pixels = np.asarray(frames)
        count, size = self.model.sizes["frames"], self.model.sizes["image"]
        if pixels.dtype != np.uint8:
            raise UsageError(
                f"expected frames as uint8 RGB in 0..255, got {pixels.dtype}; convert them first"
            )
        if pixels.ndim != 5 or pixels.shape[2:] != (size, size, 3) or not 1 <= pixels.shape[1] <= count:
            raise UsageError(
                f"expected frames of shape [B, 1..{count}, {size}, {size}, 3], got {list(pixels.shape)}"
            )
        given = np.ones(pixels.shape[:2], np.float32) if mask is None else np.asarray(mask, np.float32)
        if given.shape != pixels.shape[:2]:
            raise UsageError(f"expected a mask of shape {list(pixels.shape[:2])}, got {list(given.shape)}")
        if (
            not np.isin(given, (0, 1)).all()
            or (np.diff(given, axis=1) > 0).any()
            or (given[:, :1] != 1).any()
        ):
            raise UsageError(
                "expected a mask of ones (real frames, at least one) followed by zeros (padding)"
            )
        missing = count - pixels.shape[1]
        if missing:
            pixels = np.pad(pixels, [(0, 0), (0, missing), (0, 0), (0, 0), (0, 0)])
            given = np.pad(given, [(0, 0), (0, missing)])
        return pixels, given

    def _vision(self, pixels: NDArray[np.uint8], mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frame features ``[B, F, D]``. Where frames do not see each other only real ones are encoded:
        a padded frame is zero after normalisation, so its feature is one constant of the model."""
        videos, count = mask.shape
        features = np.empty((videos, count, self.model.sizes["dim"]), np.float32)
        if self.model.frame_coupling:
            step = max(1, FRAME_BATCH // count)
            for start in range(0, videos, step):
                rows = slice(start, start + step)
                features[rows] = self.encoders.vision(pixels[rows], mask[rows])
            return features
        real = mask > 0
        chosen = (pixels.reshape(-1, *pixels.shape[2:]) if real.all() else pixels[real])[:, None]
        encoded = np.empty((len(chosen), features.shape[2]), np.float32)
        for start in range(0, len(chosen), FRAME_BATCH):
            part = chosen[start : start + FRAME_BATCH]
            encoded[start : start + len(part)] = self.encoders.vision(
                part, np.ones((len(part), 1), np.float32)
            )[:, 0]
        features[real] = encoded
        if not real.all():
            features[~real] = self._padding_feature()
        return features

    def _vision_of_device(self, frames: Any, mask: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frame features ``[F, D]`` of one clip whose frames lie on a device, and stay there."""
        if self.model.frame_coupling:
            if not hasattr(frames, "padded"):
                raise UsageError(
                    "expected frames in main memory, or on the GPU by DALI: this model sees a video's frames "
                    "together, padded ones too"
                )
            whole = frames.padded()
            return self.encoders.vision(whole.reshape(1, *whole.shape), mask[None])[0]
        count = len(frames)
        features = np.empty((len(mask), self.model.sizes["dim"]), np.float32)
        chosen = frames.reshape(count, 1, *frames.shape[1:])
        features[:count] = self.encoders.vision(chosen, np.ones((count, 1), np.float32))[:, 0]
        if count < len(mask):
            features[count:] = self._padding_feature()
        return features

    def _padding_feature(self) -> NDArray[np.float32]:
        with self._lock:
            if self._padding is None:
                size = self.model.sizes["image"]
                blank = np.zeros((1, 1, size, size, 3), np.uint8)
                self._padding = self.encoders.vision(blank, np.zeros((1, 1), np.float32))[0, 0]
            return self._padding
