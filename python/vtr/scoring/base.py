"""What all scorers share: checks, the pre-selection by one vector a video, video-to-video similarity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vtr.columns import ColumnSpec
from vtr.errors import UsageError
from vtr.scoring.numerics import Floats, dots, softmax
from vtr.scoring.similarity import cosine, products
from vtr.types import TextFeatures, VideoFeatures

Rows = Mapping[str, NDArray[Any]]


class HasDirections(Protocol):
    """What the pre-selection needs of a query."""

    @property
    def directions(self) -> Floats: ...


class VectorScorer:
    """The half of a scorer that deals with the columns ``video`` and ``mask``, which every one stores."""

    score_columns: tuple[str, ...]
    holistic_columns: tuple[str, ...] = ("video",)
    relevance_columns: tuple[str, ...] = ("frames", "mask")

    def __init__(self, frames: int, dim: int, own: Mapping[str, ColumnSpec]) -> None:
        self.frames, self.dim = frames, dim
        self.columns = {
            **own,
            "video": ColumnSpec((dim,), "float16"),
            "mask": ColumnSpec((frames,), "uint8"),
        }

    def holistic(self, query: HasDirections, rows: Rows) -> Floats:
        """Pre-selection scores ``[T, V]``: one product of each text's direction with ``rows["video"]``."""
        return products(query.directions, rows["video"])

    def similarity(self, rows: Rows, others: Rows) -> Floats:
        """Cosines ``[Va, Vb]`` of two lots of videos; see :mod:`vtr.scoring.similarity`."""
        return cosine(rows["video"], others["video"])

    def check_text(self, text: TextFeatures, words: int | None = None) -> None:
        """Refuse texts of another width and, where ``words`` says so, of another length."""
        _check("sentences", text.sentence, (None, self.dim))
        if words is not None:
            _check("words", text.words, (len(text.sentence), words, self.dim))

    def check_video(self, video: VideoFeatures) -> None:
        _check("frames", video.frames, (None, self.frames, self.dim))
        _check("the frames' mask", video.mask, (len(video.frames), self.frames))


def frame_products(sentences: Floats, frames: Floats) -> Floats:
    """Every sentence ``[T, D]`` with every frame ``[V, F, D]``, ``[T, V, F]``; on the calling thread."""
    videos, count, dim = frames.shape
    products = np.empty((len(sentences), videos * count), np.float32)
    dots(frames.reshape(-1, dim), sentences, products.T)
    return products.reshape(len(sentences), videos, count)


def frame_relevance(logits: Floats, mask: NDArray[Any]) -> Floats:
    """Softmax over the real frames: ``logits [T, V, F]``, ``mask [V, F]`` -> shares that sum to 1.

    Padded frames get 0, and so do all frames of a video without real ones.
    """
    real = np.asarray(mask) > 0
    shares = softmax(np.where(real, logits, np.float32(-1e30)), axis=-1)
    return shares * real


def mean_weights(mask: NDArray[Any]) -> Floats:
    """Each frame's share in the masked mean, ``[B, F]``; a video without frames gets zeros."""
    real = np.asarray(mask, np.float32)
    return real / np.maximum(real.sum(axis=1, keepdims=True), 1)


def required(array: NDArray[Any] | None, name: str, scoring: str) -> NDArray[Any]:
    if array is None:
        raise UsageError(
            f"expected VideoFeatures with {name} for {scoring} scoring, got None: encode with this model"
        )
    return array


def _check(what: str, array: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    got = np.shape(array)
    if len(got) != len(shape) or any(want not in (None, have) for want, have in zip(shape, got, strict=True)):
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise UsageError(
            f"expected {what} of shape [{wanted}], got {list(got)}: encode them with this model's encoders"
        )
