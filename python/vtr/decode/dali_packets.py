"""The packets that PyAV's decoder would get for the wanted frames, as a small video file of their own.

DALI never sees the file that somebody sent. It sees a Matroska file that is written here, with nothing in it
but the packets of the wanted frames and of those that they refer to, 40 ms apart in the order of showing. So
places in it are numbers that DALI and this module agree on, whatever the timestamps were, and no container,
playlist, edit list or sound track of a stranger reaches DALI's own reader.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise

import av
from av.packet import Packet
from av.video.frame import VideoFrame

from vtr.decode.dali_doubts import Doubt, check_segments, never_referred
from vtr.decode.frames import FrameReader, Shown
from vtr.decode.source import Source
from vtr.errors import DecodeError

MOST_BYTES = 256 << 20  # of packets for one file: they travel to another process and wait there
MILLISECONDS = Fraction(1, 1000)
APART = 40  # milliseconds between frames


class PacketRecorder(FrameReader[None]):
    """Goes the way of a ``FrameReader`` and keeps the packets; only the first frame is really decoded."""

    def __init__(self, source: Source) -> None:
        self._begun = False  # whether the first frame is out
        self._bytes = 0
        self._segments: list[list[Packet]] = [[]]  # runs of packets; between them the decoder is emptied
        super().__init__(source, lambda frame: None)

    def record(self, numbers: Sequence[int]) -> tuple[dict[int, Shown[int]], bytes]:
        """The small file, and for each of these ascending numbers the frame's place in it.

        Raises ``Doubt`` where DALI might not find the same frames there.
        """
        on_screen = self._visit(numbers)
        segments = [_without_leading(run) for run in self._segments if run]
        check_segments(self._source, segments)
        stamps = [_stamp(packet) for segment in segments for packet in segment]
        order = sorted(stamps)
        if len(set(order)) < len(order):
            raise Doubt("two of its packets have the same time")
        ends = [(min(map(_stamp, segment)), max(map(_stamp, segment))) for segment in segments]
        if any(after[0] <= before[1] for before, after in pairwise(ends)):
            raise Doubt("its keyframes are not in the order of showing")
        place = {stamp: i for i, stamp in enumerate(order)}
        shown: dict[int, Shown[int]] = {}
        hidden = {p.pts for segment in segments for p in segment if p.is_discard}
        latest = {self.numbering.number(t): t for t in order if t not in hidden}  # of several the last
        for number in numbers:
            wanted = on_screen.get(number)
            if wanted is None or wanted not in latest:
                raise Doubt(f"its container does not list frame {number}")
            stamp = latest[wanted]
            shown[number] = Shown(place[stamp], wanted, self.numbering.seconds(stamp))
        return shown, write_packets(self._source, segments, place)

    def _frames_of(self, packet: Packet | None, skip: bool = False) -> list[VideoFrame]:
        """Keeps the packet; gives what the decoder gives until that is a frame, and then nothing."""
        if packet is None:
            self._segments.append([])
            return [] if self._begun else self._begin(super()._frames_of(None))
        if not (skip and never_referred(self._source, packet)):
            self._keep_packet(packet)
        if not self._begun:
            return self._begin(super()._frames_of(packet))
        self._source.check_clock()
        self._decoded += 1
        if self._decoded > self._source.limits.frames:
            raise DecodeError(f"expected to decode at most {self._source.limits.frames} frames, needed more")
        return []

    def _begin(self, frames: list[VideoFrame]) -> list[VideoFrame]:
        self._begun = bool(frames)
        return frames

    def _keep_packet(self, packet: Packet) -> None:
        if packet.pts is None or packet.is_corrupt:
            raise Doubt("a packet is cut off" if packet.is_corrupt else "a packet has no time of showing")
        self._bytes += packet.size
        if self._bytes > MOST_BYTES:
            raise Doubt(f"its frames need more than {MOST_BYTES >> 20} MiB of packets")
        self._segments[-1].append(packet)


def write_packets(source: Source, segments: Sequence[Sequence[Packet]], place: dict[int, int]) -> bytes:
    """A Matroska file of these packets, each shown at its place."""
    packets = [(packet, i == 0) for segment in segments for i, packet in enumerate(segment)]
    # How far showing runs ahead of decoding at most; a packet may not be shown before it is decoded.
    ahead = max(i - place[_stamp(packet)] for i, (packet, _) in enumerate(packets))
    file = io.BytesIO()
    with av.open(file, "w", format="matroska") as container:
        stream = container.add_stream_from_template(source.stream)
        for i, (packet, entry) in enumerate(packets):
            copy = Packet(bytes(packet))
            copy.stream, copy.time_base = stream, MILLISECONDS
            copy.dts, copy.pts = i * APART, (place[_stamp(packet)] + ahead) * APART
            copy.duration, copy.is_keyframe = APART, entry
            container.mux(copy)
    return file.getvalue()


def _without_leading(segment: list[Packet]) -> list[Packet]:
    """A run from its keyframe on, as shown: what is shown before it lacks frames to refer to."""
    return [packet for packet in segment if _stamp(packet) >= _stamp(segment[0])]


def _stamp(packet: Packet) -> int:
    assert packet.pts is not None, "packets without one are not kept"
    return packet.pts
