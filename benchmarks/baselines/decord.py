"""Decoding with decord: one reader a file, the sampled frames in one batch."""

from __future__ import annotations

from pathlib import Path

import decord
import numpy as np
from PIL import Image

from vtr.decode.sampling import sample_indices
from vtr.types import Sampling

from .sampled import Sampled, prepare


def load(path: Path, sampling: Sampling, threads: int) -> Sampled:
    """Sampled frames of one file. ``threads`` are decord's decoding threads."""
    reader = decord.VideoReader(str(path), num_threads=threads)
    wanted = sample_indices(len(reader), reader.get_avg_fps(), sampling)
    frames = reader.get_batch(wanted).asnumpy()
    return Sampled(wanted, np.stack([prepare(Image.fromarray(frame), sampling.size) for frame in frames]))
