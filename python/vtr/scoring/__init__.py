"""Scoring in NumPy: what an index keeps of a video, and the logits of texts against it.

A scorer is made from a bundle's head and answers for one kind of scoring: ``holistic`` (CLIP4Clip,
EA-CLIP4Clip, TeachCLIP), ``xclip``, ``tcmgc`` or ``cross`` (tightTransf).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vtr.columns import ColumnSpec
from vtr.errors import UsageError
from vtr.scoring.base import Rows
from vtr.scoring.cross import CrossEncoder, CrossScorer
from vtr.scoring.head import Head
from vtr.scoring.holistic import HolisticScorer
from vtr.scoring.numerics import Floats
from vtr.scoring.tcmgc import TCMGCScorer
from vtr.scoring.topk import TopK, topk
from vtr.scoring.xclip import XClipScorer
from vtr.types import TextFeatures, VideoFeatures

__all__ = ["ColumnSpec", "Scorer", "TopK", "make_scorer", "topk"]


class Scorer(Protocol):
    """One kind of scoring. It holds a model's parameters and no videos, and is safe from many threads.

    T texts, V videos, F frames. ``rows`` maps the names of :attr:`columns` to arrays ``[V, …]``, float32 as
    :meth:`rows` makes them or as they were stored, read-only or mapped; methods look only at what they need.
    """

    columns: dict[str, ColumnSpec]
    """What an index keeps of every video; ``mask`` (1 on real frames) and ``video`` are always there."""
    score_columns: tuple[str, ...]
    """The columns that :meth:`score` looks at."""
    holistic_columns: tuple[str, ...]
    """The columns that :meth:`holistic` and :meth:`similarity` look at."""
    relevance_columns: tuple[str, ...]
    """The columns that :meth:`relevance` looks at."""

    def rows(self, video: VideoFeatures) -> dict[str, Any]:
        """The columns of encoded videos, features in float32. Storing them as declared may round them."""

    def prepare(self, text: TextFeatures) -> Any:
        """Texts made ready to meet videos: a query to use as often as wanted; ``len`` is T."""

    def score(self, query: Any, rows: Rows) -> Floats:
        """The family's logits, float32 ``[T, V]``, exp(logit_scale) included."""

    def holistic(self, query: Any, rows: Rows) -> Floats:
        """Scores ``[T, V]`` for choosing candidates: one product with one vector a video."""

    def similarity(self, rows: Rows, others: Rows) -> Floats:
        """Cosines ``[Va, Vb]`` of the videos' holistic vectors."""

    def relevance(self, text: TextFeatures, rows: Rows) -> Floats:
        """How much each frame matters to each sentence, ``[T, V, F]``: sums to 1 over the real frames."""


def make_scorer(
    head: Head, scoring: str, sizes: Mapping[str, Any], cross: CrossEncoder | None = None
) -> Scorer:
    """The scorer of a bundle.

    Args:
        head: the tensors of ``head.safetensors``.
        scoring: ``"holistic"``, ``"xclip"``, ``"tcmgc"`` or ``"cross"``, as in the manifest.
        sizes: ``frames``, ``dim`` and, by the kind, ``words`` and ``keep``, as in the manifest.
        cross: for ``"cross"``, what gives the logits of aligned pairs.

    Raises:
        BundleError: head or sizes do not fit the kind of scoring.
        UsageError: there is no such kind.
    """
    if scoring == "cross":
        return CrossScorer(head, sizes, cross)
    kinds: dict[str, Callable[[Head, Mapping[str, Any]], Scorer]] = {
        "holistic": HolisticScorer,
        "xclip": XClipScorer,
        "tcmgc": TCMGCScorer,
    }
    if scoring not in kinds:
        raise UsageError(f"expected scoring as one of {', '.join([*kinds, 'cross'])}, got {scoring!r}")
    return kinds[scoring](head, sizes)
