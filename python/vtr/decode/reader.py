"""Reading a video: what it holds, and the frames that a model sees."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeVar

import av
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vtr.decode.colour import to_image
from vtr.decode.frames import FrameReader, Shown
from vtr.decode.limits import Limits
from vtr.decode.resize import centre_square
from vtr.decode.rotate import upright, upright_size
from vtr.decode.sampling import check_sampling, sample_indices
from vtr.decode.source import Source, open_source
from vtr.errors import DecodeError
from vtr.types import Clip, Sampling

Reader = TypeVar("Reader", bound=FrameReader[Any])


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds."""

    codec: str
    width: int  # as displayed, after rotation; the pixel aspect ratio is ignored
    height: int
    fps: float
    duration: float  # seconds
    frames: int  # the number of the last frame, plus one
    container: str


def probe(path: str | os.PathLike[str], limits: Limits | None = None) -> VideoInfo:
    """Look at a video file and decode its first frame. Raises ``DecodeError``."""
    with open_source(path, limits or Limits()) as source:
        return video_info(
            source, *open_frames(source, lambda source: FrameReader(source, lambda frame: None))
        )


def read_clip(
    path: str | os.PathLike[str],
    sampling: Sampling | None = None,
    limits: Limits | None = None,
    *,
    threads: int = 1,
) -> Clip:
    """The frames of a video file that a model with this ``sampling`` sees.

    ``Clip.indices`` are frame numbers as this module defines them; ``Clip.timestamps`` are seconds from the
    first frame. A frame that cannot be decoded is replaced by the one before it, so a truncated or damaged
    file gives what is left of it. ``threads`` are libavcodec's; they change no pixel.

    Raises ``DecodeError`` for a file that cannot be read or exceeds ``limits``, ``UsageError`` for a
    ``sampling`` that means nothing.
    """
    sampling = check_sampling(sampling or Sampling())
    limits = limits or Limits()

    def picture(frame: VideoFrame) -> NDArray[np.uint8]:
        return centre_square(upright(to_image(frame), frame.rotation), sampling.size, limits.pixels)

    with open_source(path, limits, threads) as source:
        frames, last = open_frames(source, lambda source: FrameReader(source, picture))
        info = video_info(source, frames, last)
        numbers = sample_indices(info.frames, source.frame_rate, sampling)
        found = frames.read(numbers.tolist())
        if not found:
            raise DecodeError(f"expected frames {numbers.tolist()}, but none of them could be decoded")
        return make_clip(np.stack([shown.picture for shown in found.values()]), found, info)


def make_clip(frames: NDArray[np.uint8], found: Mapping[int, Shown[Any]], info: VideoInfo) -> Clip:
    """A clip of ``frames``, where ``found`` says what is shown for each number that was asked for."""
    return Clip(
        frames=frames,
        indices=np.array(list(found), dtype=np.int64),
        timestamps=np.array([seconds_of(number, shown, info.fps) for number, shown in found.items()]),
        duration=info.duration,
        fps=info.fps,
        width=info.width,
        height=info.height,
        codec=info.codec,
    )


def open_frames(source: Source, make: Callable[[Source], Reader]) -> tuple[Reader, int]:
    """A reader of the stream's frames, and when the last of them is shown."""
    last = source.last_timestamp()
    source.rewind()
    frames = make(source)
    origin = frames.numbering.origin
    return frames, origin if last is None else max(last, origin)


def seconds_of(number: int, shown: Shown[Any], fps: float) -> float:
    """When the frame appears or, where it is on screen since before, when it was asked for."""
    return shown.seconds if shown.number == number else number / fps


def video_info(source: Source, frames: FrameReader[Any], last: int) -> VideoInfo:
    """What the stream holds, whose last frame is shown at the timestamp ``last``."""
    width, height = upright_size(frames.first)
    end = frames.numbering.seconds(last)
    if end > source.limits.duration:
        raise DecodeError(f"expected at most {source.limits.duration:g} s of video, got {end:.6g} s")
    return VideoInfo(
        codec=source.codec,
        width=width,
        height=height,
        fps=float(source.frame_rate),
        duration=_duration(source, end),
        frames=frames.numbering.number(last) + 1,
        container=source.container.format.name,
    )


def _duration(source: Source, last: float) -> float:
    """Seconds: the stream's claim, else the container's, else to the end of the last frame.

    A claim that ends before the last frame begins, or beyond the limit, is not believed.
    """
    stream, container = source.stream, source.container
    for claim in ((stream.duration or 0) * source.time_base, Fraction(container.duration or 0, av.time_base)):
        if 0 < claim <= source.limits.duration and claim >= last:
            return float(claim)
    return last + float(1 / source.frame_rate)
