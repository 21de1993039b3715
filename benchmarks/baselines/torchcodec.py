"""Decoding with torchcodec: one decoder a file, the sampled frames in one batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torchcodec.decoders import VideoDecoder

from vtr.decode.sampling import sample_indices
from vtr.types import Sampling

from .sampled import Sampled, prepare


def load(path: Path, sampling: Sampling, threads: int) -> Sampled:
    """Sampled frames of one file, in torchcodec's fast way: no scan of all packets beforehand.

    ``threads`` are FFmpeg's.
    """
    decoder = VideoDecoder(
        str(path), dimension_order="NHWC", num_ffmpeg_threads=threads, seek_mode="approximate"
    )
    wanted = sample_indices(decoder.metadata.num_frames, decoder.metadata.average_fps, sampling)
    frames = decoder.get_frames_at(indices=wanted.tolist()).data.numpy()
    return Sampled(wanted, np.stack([prepare(Image.fromarray(frame), sampling.size) for frame in frames]))
