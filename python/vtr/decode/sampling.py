"""Which frames of a video a model sees: the rule of the published CLIP4Clip data loader.

With ``fps = int(frame rate)`` (29.97 becomes 29), the candidates of second ``s`` are the frames
``s * fps + k * (fps // rate)`` for ``k < rate``, while they exist. Of more than F candidates, "uniform" keeps
``np.linspace(0, n - 1, F, dtype=int)`` (``slice_framepos`` 2), "head" the first F (0), "tail" the last F (1).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vtr.errors import UsageError
from vtr.types import Sampling

SLICES = ("uniform", "head", "tail")


def check_sampling(sampling: Sampling) -> Sampling:
    """Return ``sampling``, or raise ``UsageError`` for a value that means nothing."""
    for name, most in (("frames", 4096), ("fps", 1000), ("size", 4096)):
        value = getattr(sampling, name)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
            raise UsageError(f"Sampling.{name}: expected an integer from 1 to {most}, got {value!r}")
    if sampling.slice not in SLICES:
        raise UsageError(f"Sampling.slice: expected one of {', '.join(SLICES)}, got {sampling.slice!r}")
    return sampling


def sample_indices(count: int, frame_rate: Fraction | float, sampling: Sampling) -> NDArray[np.int64]:
    """Numbers of the frames to read, ascending, of a video whose frames are numbered 0 to ``count - 1``.

    A frame rate below 1 counts as 1, and a sampling rate above the frame rate takes every frame: there
    the published loader stops with an exception.
    """
    second = max(int(frame_rate), 1)
    rate = min(sampling.fps, second)
    step = second // rate
    whole, rest = divmod(count, second)
    candidates = whole * rate + min(rate, -(-rest // step))  # counted, never listed: count may be huge

    if candidates <= sampling.frames:
        chosen = np.arange(candidates)
    elif sampling.slice == "uniform":
        chosen = np.linspace(0, candidates - 1, sampling.frames, dtype=int)
    elif sampling.slice == "head":
        chosen = np.arange(sampling.frames)
    else:
        chosen = np.arange(candidates - sampling.frames, candidates)
    return (chosen // rate * second + chosen % rate * step).astype(np.int64)
