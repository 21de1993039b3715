"""Which number a frame has: by time, as OpenCV numbers frames after a seek.

With ``rate`` the frame rate that OpenCV reports, the frame shown ``t`` seconds after the first decodable one
has the number ``round(t * rate)``. Where the frame rate is constant that is its place in the sequence. Where
it varies, a number may belong to no frame or to several; asked for frame ``i`` we give the frame on screen
then, which is the last whose number is at most ``i``. (OpenCV counts on from whatever keyframe its seek met,
so what it returns for such files depends on where the keyframes lie.)
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property


@dataclass(frozen=True)
class Numbering:
    """Timestamps to frame numbers and back, exact in integers."""

    origin: int  # timestamp of frame 0
    time_base: Fraction  # seconds a tick
    rate: Fraction  # frames a second

    def number(self, timestamp: int) -> int:
        """Number of the frame shown at ``timestamp``; halves round up, as in OpenCV."""
        frames, ticks = self._frames_in_ticks
        return (2 * (timestamp - self.origin) * frames + ticks) // (2 * ticks)

    def timestamp(self, number: int) -> int:
        """When frame ``number`` is due, rounded down to a tick."""
        frames, ticks = self._frames_in_ticks
        return self.origin + number * ticks // frames

    @cached_property
    def _frames_in_ticks(self) -> tuple[int, int]:
        scale = self.rate * self.time_base
        return scale.numerator, scale.denominator

    def seconds(self, timestamp: int) -> float:
        """Seconds from frame 0 to ``timestamp``."""
        return float((timestamp - self.origin) * self.time_base)
