"""Video to video: the cosine of the videos' holistic vectors.

Every scorer stores one vector a video in the column ``video``. It is, by the kind of scoring,

* holistic: the family's own video vector, so videos are alike as texts see them;
* xclip: the family's normalised mean of temporally encoded frames;
* tcmgc: what the family makes of the video under equal attention to all its frames; its own video vector
  depends on a text, which there is none of here;
* cross: the mean of the normalised frames, as in CLIP4Clip's meanP; the cross encoder has no video vector.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vtr.scoring.numerics import Floats, dots, for_blocks, to_float32, unit


def products(vectors: Floats, stored: NDArray[Any]) -> Floats:
    """Dot products of ``vectors [N, D]`` with stored rows ``[V, D]``, float16 or float32: ``[N, V]``."""
    result = np.empty((len(vectors), len(stored)), np.float32)

    def work(block: slice) -> None:
        dots(to_float32(stored[block]), vectors, result[:, block].T)

    for_blocks(work, len(stored), 4 * stored.shape[1])
    return result


def cosine(vectors: NDArray[Any], others: NDArray[Any]) -> Floats:
    """Cosines ``[Va, Vb]`` of ``vectors [Va, D]`` with ``others [Vb, D]``, whatever their lengths."""
    result = np.empty((len(vectors), len(others)), np.float32)
    left = unit(to_float32(vectors))

    def work(block: slice) -> None:
        dots(unit(to_float32(others[block])), left, result[:, block].T)

    for_blocks(work, len(others), 4 * others.shape[1])
    return np.clip(result, -1, 1, out=result)  # rounding may pass 1 by 1e-7
