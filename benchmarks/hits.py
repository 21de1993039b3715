"""Hits of a search in a synthetic index, against NumPy's scorer on the same rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vtr.scoring import Scorer
from vtr.types import Hit, TextFeatures

from . import synthetic
from .case import Disagreement

BOUND = 0.05  # of a logit, on a scale of 100: the core and NumPy both compute in float32 on these rows


def reference(scorer: Scorer, rows: synthetic.Arrays, text: TextFeatures) -> NDArray[np.float32]:
    """Logits ``[block]`` of one text and the videos that an index repeats."""
    scores: NDArray[np.float32] = scorer.score(scorer.prepare(text), rows)[0]
    return scores


def last_best(expected: NDArray[np.float32], videos: int, k: int) -> NDArray[np.float32]:
    """Each text's k-th best logit, ``[T, 1]``, of ``videos`` that repeat those of ``expected [T, V]``."""
    different = expected.shape[1]
    copies = videos // different + (np.arange(different) < videos % different)
    if (copies > 1).any():
        expected = np.repeat(expected, np.minimum(copies, k), axis=1)
    k = min(k, expected.shape[1])
    return np.partition(expected, -k, axis=1)[:, -k:].min(axis=1, keepdims=True)


def check(hits: Sequence[Hit], expected: NDArray[np.float32], videos: int, k: int, ranked: bool) -> float:
    """The largest difference of a hit's score from the reference's.

    Args:
        expected: logits of the block that the index of ``videos`` repeats.
        ranked: whether the hits are to be the best of all, not of some candidates.

    Raises:
        Disagreement: other scores, too few hits, or hits that others should stand before.
    """
    if len(hits) != min(k, videos):
        raise Disagreement(f"expected {min(k, videos)} hits among {videos} videos, got {len(hits)}")
    rows = [int(hit.path.stem) % synthetic.BLOCK for hit in hits]
    difference = float(np.abs(expected[rows] - [hit.score for hit in hits]).max())
    last = last_best(expected[None], videos, k).item()
    short = last - float(expected[rows].min()) if ranked else 0.0
    if not difference <= BOUND or short > 2 * BOUND:
        raise Disagreement(
            f"expected the scores of NumPy's scorer within {BOUND}, got a difference of {difference:.4f}, "
            f"and a hit {short:.4f} below the last that belongs there"
        )
    return difference
