"""Decoding with PyAV from the first frame to the last, keeping the sampled ones: simple and slow."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vtr.decode.sampling import sample_indices
from vtr.types import Sampling

from .sampled import Sampled, prepare


def load(path: Path, sampling: Sampling, threads: int) -> Sampled:
    """Sampled frames of one file. ``threads`` are libavcodec's.

    Two passes, since what is sampled depends on the number of frames: packets alone, then every frame.
    """
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.guessed_rate or stream.average_rate or 25)
        stamps = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        seconds = (max(stamps) - min(stamps)) * stream.time_base
        wanted = sample_indices(_number(seconds, rate) + 1, rate, sampling)
    return Sampled(wanted, np.stack(_pictures(path, rate, wanted, sampling.size, threads)))


def _pictures(
    path: Path, rate: Fraction, wanted: NDArray[np.int64], size: int, threads: int
) -> list[NDArray[np.uint8]]:
    """For each wanted number the frame on screen then: the last one that does not come later."""
    on_screen, pictures, origin = None, [], None
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = threads
        for frame in container.decode(stream):
            origin = frame.pts if origin is None else origin
            number = _number((frame.pts - origin) * frame.time_base, rate)
            while len(pictures) < len(wanted) and wanted[len(pictures)] < number:
                pictures.append(prepare(on_screen.to_image(), size))
            on_screen = frame
    while len(pictures) < len(wanted):
        pictures.append(prepare(on_screen.to_image(), size))
    return pictures


def _number(seconds: Fraction, rate: Fraction) -> int:
    """The frame's place at a constant frame rate, halves rounded up."""
    return int(seconds * rate + Fraction(1, 2))
