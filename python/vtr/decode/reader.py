"""Reading a video: how long it is, and the frames a model sees, with as little decoding as is exact.

Frames are numbered as OpenCV numbers them after a seek: by time. With ``rate`` the frame rate that OpenCV
reports, the frame shown at ``t`` seconds after the first decodable one has the number ``round(t * rate)``.
Where the frame rate is constant that is its place in the sequence. Where it varies, a number may belong to
no frame or to several: frame ``i`` is then the first with the number ``i``, or else the one on screen, which
has the greatest number below ``i``. (OpenCV counts on from whatever keyframe its seek met, so what it
returns for such files depends on where the keyframes lie.)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np

from vtr.decode.colour import to_image
from vtr.decode.limits import Limits
from vtr.decode.numbered import NumberedFrames
from vtr.decode.resize import centre_square
from vtr.decode.rotate import upright, upright_size
from vtr.decode.sampling import check_sampling, sample_indices
from vtr.decode.source import Source, open_source
from vtr.errors import DecodeError
from vtr.types import Clip, Sampling


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
        frames, last = _open_frames(source)
        return _info(source, frames, last)


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
    with open_source(path, limits, threads) as source:
        frames, last = _open_frames(source)
        info = _info(source, frames, last)
        indices = sample_indices(info.frames, source.frame_rate, sampling)

        def picture(frame: av.VideoFrame) -> np.ndarray:
            return centre_square(upright(to_image(frame), frame.rotation), sampling.size, limits.pixels)

        found = frames.read(indices.tolist(), picture)
        if not found:
            raise DecodeError(f"expected frames {indices.tolist()}, and none of them could be decoded")
        kept = [index for index in indices.tolist() if index in found]
        return Clip(
            frames=np.stack([found[index].picture for index in kept]),
            indices=np.array(kept, dtype=np.int64),
            timestamps=np.array([found[index].seconds for index in kept]),
            duration=info.duration,
            fps=info.fps,
            width=info.width,
            height=info.height,
            codec=info.codec,
        )


def _open_frames(source: Source) -> tuple[NumberedFrames, int]:
    """The stream's frames, the first one decoded, and the last timestamp of the stream."""
    last = source.last_timestamp()
    source.rewind()
    frames = NumberedFrames(source)
    return frames, frames.origin if last is None else max(last, frames.origin)


def _info(source: Source, frames: NumberedFrames, last: int) -> VideoInfo:
    width, height = upright_size(frames.first)
    end = float((last - frames.origin) * source.time_base + 1 / source.frame_rate)
    duration = _duration(source, end)
    for seconds in (duration, end):
        if seconds > source.limits.duration:
            raise DecodeError(f"expected at most {source.limits.duration:g} s of video, got {seconds:.6g} s")
    return VideoInfo(
        codec=source.codec,
        width=width,
        height=height,
        fps=float(source.frame_rate),
        duration=duration,
        frames=frames.number(last) + 1,
        container=source.container.format.name,
    )


def _duration(source: Source, end: float) -> float:
    """Seconds, from the stream, else from the container, else to the end of the last frame."""
    if source.stream.duration is not None and source.stream.duration > 0:
        return float(source.stream.duration * source.time_base)
    if source.container.duration is not None and source.container.duration > 0:
        return float(Fraction(source.container.duration, av.time_base))
    return end
