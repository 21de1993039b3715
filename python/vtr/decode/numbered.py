"""Frames by number: decoding from the nearest keyframe, and no more than the wanted frames need.

Three things save work and change no pixel of a wanted frame:

- Packets are read ahead of the decoder up to the wanted frame, so the last keyframe before it is known and
  whatever precedes that keyframe is dropped undecoded; where the container has an index, or the way is long,
  the file is not even read in between.
- Frames that no other frame refers to are skipped by the decoder unless wanted themselves.
- Only wanted frames are converted to RGB.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame

from vtr.decode.source import Source
from vtr.errors import DecodeError

T = TypeVar("T")

READ_AHEAD = 256 << 20  # bytes of packets held back while looking for a keyframe
LONG_WAY = 20.0  # seconds; past this, seeking beats reading on even where the container has no index
LEAD = 300  # frames; how far before a frame a second attempt starts (periodic intra refresh, bad keyframes)
DEEPEST_REORDERING = 16  # frames, in H.264 and HEVC


@dataclass(frozen=True)
class Found(Generic[T]):
    """One frame that was asked for."""

    picture: T
    seconds: float  # from the first frame: when it is shown, or when it was asked for if shown before


class NumberedFrames:
    """The frames of one video stream. ``first`` is decoded at once; ``read`` may be called once."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._context = source.stream.codec_context
        self._decoded = 0
        self._skippable = _skips_exactly(source)
        # In AVI, H.264 and HEVC frames have no timestamps of their own: count them from each keyframe.
        self._counted = source.container.format.name == "avi" and source.codec in ("h264", "hevc")

        self._packets: Iterator[Packet] = source.packets()
        self._ahead: deque[Packet] = deque()  # read, not decoded
        self._fed: list[Packet] = []
