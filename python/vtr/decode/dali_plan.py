"""Plans: what a worker process finds out about a file so that DALI can decode it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vtr.types import Clip

COLOURS = ("bt601", "bt601 full range", "bt709")


@dataclass(frozen=True)
class Plan:
    """One file's frames, chosen but not decoded."""

    outline: Clip  # as PyAV gives it; its frames are the clip's first alone, or none
    stream: bytes  # a Matroska file of the packets that the frames need
    places: NDArray[np.int32]  # [n] of the clip's frames in the stream, in the order of showing
    colours: str  # one of COLOURS


@dataclass(frozen=True)
class Declined:
    """A file that is not for DALI, decoded by PyAV instead."""

    clip: Clip
    reason: str
