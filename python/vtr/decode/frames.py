"""Frames by number, decoding no more than the wanted ones need.

Three things save work and change no pixel of a wanted frame:

- Packets are read ahead of the decoder up to the wanted frame, so that the last keyframe before it is known
  and what precedes the keyframe is never decoded. Where the container has an index, or the way is long, it
  is not read either.
- Frames that no other frame refers to are skipped by the decoder, unless wanted themselves.
- Only wanted frames are turned into pictures.

What this does not find (keyframes that are none, periodic intra refresh, damage) is read a second time, from
further back and with nothing skipped.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar

from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame

from vtr.decode.numbering import Numbering
from vtr.decode.source import Source
from vtr.errors import DecodeError

T = TypeVar("T")

MOST_AHEAD = 256 << 20  # bytes of packets held back while looking for a keyframe
LONG_WAY = 20.0  # seconds after which seeking beats reading on, where the container has no index
STEPS_BACK = (0.0, 2.0, 10.0, 50.0)  # seconds, until a seek lands on a keyframe before the wanted frame
REORDERING = 32  # packets; decoding order strays from showing order by at most 16 frames (H.264, HEVC)
SECOND_LEAD = 300  # frames that a second attempt decodes before the wanted one


@dataclass(frozen=True)
class Shown(Generic[T]):
    """A frame that was found."""

    picture: T
    number: int
    seconds: float  # from frame 0


class FrameReader(Generic[T]):
    """Reads frames of one video stream by number and turns them into pictures.

    The first frame is decoded at once (``first``), since the numbering begins with it; ``read`` may be
    called once.
    """

    def __init__(self, source: Source, picture: Callable[[VideoFrame], T]) -> None:
        self._source = source
        self._picture = picture
        self._skips = _skips_exactly(source)
        # AVI says nothing of the order in which frames are shown. The decoder gives H.264 and HEVC frames in
        # that order, one a packet, so there the packet that brings a frame out numbers it, as in OpenCV.
        self._in_turn = source.container.format.name == "avi" and source.codec in ("h264", "hevc")
        self._decoded = 0
        self._wanted: set[int] = set()
        self._shown: dict[int, Shown[T]] = {}

        self._packets: Iterator[Packet] = source.packets()
        self._ahead: deque[Packet] = deque()  # read, not given to the decoder
        self._held = 0  # bytes in there
        self._behind: list[int] = []  # timestamps of what the decoder got, from the last wanted frame on
        self._anchored = True  # whether what is ahead can be decoded from where it begins
        self._entry: int | None = None  # number of the keyframe that decoding begins with, until it is out
        self._sound = True  # whether that keyframe was one
        self._read_to: int | None = None  # decoding timestamp of the last packet read
        self._last: int | None = None  # number of the last frame that the decoder gave since it was emptied

        frames = self._first_frames()
        self.first = frames[0]
        origin = next((t for t in (self.first.pts, self.first.dts) if t is not None), 0)
        self.numbering = Numbering(origin, source.time_base, source.frame_rate)
        self._early = [(frame, self._number(frame)) for frame in frames]

    def read(self, numbers: Sequence[int]) -> dict[int, Shown[T]]:
        """Pictures of the frames on screen at these ascending numbers.

        A frame that cannot be decoded is replaced by the one before it, or left out where there is none.
        """
        on_screen = self._visit(numbers)
        found: dict[int, Shown[T]] = {}
        for number in numbers:
            shown = self._shown.get(on_screen.get(number, number)) or self._second_attempt(number)
            if shown is not None:
                found[number] = shown
        return found

    def _visit(self, numbers: Sequence[int]) -> dict[int, int]:
        """Decode what is needed for these ascending numbers; for each the number of the frame on screen."""
        on_screen: dict[int, int] = {}
        for number in numbers:
            self._approach(number)
            wanted = self._on_screen(number)
            if wanted is not None:
                on_screen[number] = wanted
                self._wanted.add(wanted)
                for frame, early in self._early:
                    if early not in self._shown:
                        self._offer(frame, early)
                self._decode_to(wanted)
        self._empty_decoder()
        return on_screen

    # -- where to decode from -------------------------------------------------------------------------

    def _approach(self, number: int) -> None:
        """Have ahead what is needed: from a keyframe, or from where the decoder is, to past ``number``."""
        ahead, self._ahead, self._held = self._ahead, deque(), 0
        for packet in ahead:
            self._take(packet, number)
        if self._seeking_pays(number):
            for back in STEPS_BACK:
                if not self._seek(self.numbering.timestamp(number) - self._source.ticks(back)):
                    break
                self._read_past(number)
                if self._anchored:
                    return
            self._rewind()
        self._read_past(number)

    def _read_past(self, number: int) -> None:
        """Read until every packet shown at or before ``number`` was met."""
        due = self.numbering.timestamp(number + (REORDERING if self._in_turn else 1))
        later = 0  # for packets without decoding timestamps
        while self._read_to is None or self._read_to <= due:
            packet = next(self._packets, None)
            if packet is None:
                return
            self._take(packet, number)
            later += packet.dts is None and packet.pts is not None and packet.pts > due
            if later > REORDERING:
                return

    def _take(self, packet: Packet, number: int) -> None:
        """Add a packet to what is ahead. A keyframe at or before ``number`` makes all before it needless."""
        if packet.dts is not None:
            self._read_to = packet.dts
        shown = _timestamp(packet)
        latest = number - REORDERING if self._in_turn else number
        needless = bool(self._ahead) or not self._anchored
        if packet.is_keyframe and needless and shown is not None and self.numbering.number(shown) <= latest:
            self._empty_decoder()
            self._ahead.clear()
            self._held = 0
            self._anchored = True
            self._entry = None if self._in_turn else self.numbering.number(shown)
        self._ahead.append(packet)
        self._held += packet.size
        while self._held > MOST_AHEAD:
            self._decode(self._pop(), skip=False)

    def _pop(self) -> Packet:
        packet = self._ahead.popleft()
        self._held -= packet.size
        return packet

    def _seeking_pays(self, number: int) -> bool:
        due = self.numbering.timestamp(number)
        if not self._source.times_survive_seeking or self._read_to is None or due <= self._read_to:
            return False
        index = self._source.stream.index_entries
        if len(index) and index[-1].timestamp >= due:
            place = index.search_timestamp(due)
            return place >= 0 and index[place].timestamp > self._read_to + self._source.ticks(1)
        return due - self._read_to > self._source.ticks(LONG_WAY)

    def _seek(self, timestamp: int) -> bool:
        self._empty_decoder()
        if not self._source.seek(timestamp):
            return False
        self._restart_reading(anchored=False)
        return True

    def _rewind(self) -> None:
        self._empty_decoder()
        self._source.rewind()
        self._restart_reading(anchored=True)

    def _restart_reading(self, anchored: bool) -> None:
        self._packets = self._source.packets()
        self._ahead.clear()
        self._held, self._read_to, self._anchored = 0, None, anchored

    # -- what to decode -------------------------------------------------------------------------------

    def _on_screen(self, number: int) -> int | None:
        """The number of the frame on screen at ``number``, among the packets since the keyframe."""
        if self._in_turn:
            return number
        stamps = [*self._behind, *(t for t in map(_timestamp, self._ahead) if t is not None)]
        return max((n for n in map(self.numbering.number, stamps) if n <= number), default=None)

    def _decode_to(self, wanted: int) -> None:
        """Give the decoder the packets up to the wanted frame's, in decoding order."""
        while self._in_turn and self._ahead and (self._last is None or self._last < wanted):
            self._decode(self._pop(), skip=False)
        if self._in_turn:
            return
        stamps = [_timestamp(packet) for packet in self._ahead]
        numbers = [None if stamp is None else self.numbering.number(stamp) for stamp in stamps]
        stop = max((place + 1 for place, n in enumerate(numbers) if n == wanted), default=0)
        for n in numbers[:stop]:
            self._decode(self._pop(), skip=self._skips and n is not None and n < wanted)
        self._behind = [stamp for stamp in self._behind if self.numbering.number(stamp) >= wanted]

    def _decode(self, packet: Packet, skip: bool) -> None:
        self._receive(self._frames_of(packet, skip))
        self._note(packet)

    def _note(self, packet: Packet) -> None:
        stamp = _timestamp(packet)
        if stamp is not None:
            self._behind.append(stamp)

    def _frames_of(self, packet: Packet | None, skip: bool = False) -> list[VideoFrame]:
        """What the decoder gives for one packet; for None, what it still holds. Damage gives nothing."""
        self._source.check_clock()
        context = self._source.stream.codec_context
        context.skip_frame = "NONREF" if skip else "DEFAULT"
        try:
            frames = context.decode(packet)
        except FFmpegError as error:
            if isinstance(error, MemoryError):
                raise
            return []
        self._decoded += len(frames)
        if self._decoded > self._source.limits.frames:
            raise DecodeError(f"expected to decode at most {self._source.limits.frames} frames, needed more")
        return frames

    def _empty_decoder(self) -> None:
        """Take what the decoder holds, and forget the frames that later ones could refer to."""
        if self._source.stream.codec_context.is_open:
            self._receive(self._frames_of(None))
            self._source.stream.codec_context.flush_buffers()
        self._behind.clear()
        self._last, self._entry, self._sound = None, None, True

    # -- what comes out -------------------------------------------------------------------------------

    def _receive(self, frames: Sequence[VideoFrame]) -> None:
        for frame in frames:
            number = self._number(frame)
            if self._entry is not None:
                # What comes before the keyframe lacks frames to refer to. And where the keyframe itself does
                # not come, or is none, the frames after it may look right and not be.
                if number < self._entry:
                    continue
                self._sound = number == self._entry and frame.pict_type not in (PictureType.P, PictureType.B)
                self._entry = None
            if self._sound:
                self._offer(frame, number)

    def _offer(self, frame: VideoFrame, number: int) -> None:
        if number in self._wanted:  # of several with one number the last stays
            self._shown[number] = self._keep(frame, number)

    def _number(self, frame: VideoFrame) -> int:
        stamp = frame.pts
        if self._in_turn and frame.dts is not None and self.first.dts is not None:
            stamp = self.numbering.origin + frame.dts - self.first.dts
        elif self._in_turn:
            stamp = None  # one of the last, which come out after all packets
        if stamp is not None:
            self._last = self.numbering.number(stamp)
        else:
            self._last = 0 if self._last is None else self._last + 1
        return self._last

    def _keep(self, frame: VideoFrame, number: int) -> Shown[T]:
        if frame.pts is None or self._in_turn:
            seconds = float(number / self.numbering.rate)
        else:
            seconds = self.numbering.seconds(frame.pts)
        return Shown(self._picture(frame), number, seconds)

    def _first_frames(self) -> list[VideoFrame]:
        """Decode from the beginning until there is a frame."""
        for packet in self._packets:
            frames = self._frames_of(packet)
            self._note(packet)
            if packet.dts is not None:
                self._read_to = packet.dts
            if frames:
                return frames
        frames = self._frames_of(None) if self._source.stream.codec_context.is_open else []
        if not frames:
            raise DecodeError(
                "expected a video, but not one frame could be decoded: it is damaged, "
                f"or its pictures have more than {self._source.limits.pixels} pixels"
            )
        return frames

    def _second_attempt(self, number: int) -> Shown[T] | None:
        """The frame on screen at ``number``, by decoding everything from well before it."""
        self._begin_before(number - SECOND_LEAD)
        on_screen: tuple[VideoFrame, int] | None = None
        for frame in self._every_frame():
            at = self._number(frame)
            if at > number:
                break
            on_screen = frame, at
        self._empty_decoder()
        return None if on_screen is None else self._keep(*on_screen)

    def _begin_before(self, number: int) -> None:
        """Move to a keyframe at or before ``number``, or to the beginning of the file."""
        if self._source.times_survive_seeking and number > 0 and self._seek(self.numbering.timestamp(number)):
            packet = next(self._packets, None)
            stamp = None if packet is None else _timestamp(packet)
            if packet is not None and packet.is_keyframe and stamp is not None:
                self._ahead.append(packet)
                if self.numbering.number(stamp) <= number:
                    return
        self._rewind()

    def _every_frame(self) -> Iterator[VideoFrame]:
        for packet in chain(self._ahead, self._packets):
            yield from self._frames_of(packet)
        yield from self._frames_of(None)


def _timestamp(packet: Packet) -> int | None:
    """When a packet's frame is shown; None for a frame that an edit list hides."""
    if packet.is_discard:
        return None
    return packet.pts if packet.pts is not None else packet.dts


def _skips_exactly(source: Source) -> bool:
    """Whether the decoder's ``skip_frame=NONREF`` skips only frames that no other frame refers to.

    HEVC marks frames that none of their own temporal layer refers to, so only one layer is safe; hvcC, the
    decoder configuration of ISO/IEC 14496-15, says how many there are.
    """
    if source.codec in ("h264", "mpeg1video", "mpeg2video"):
        return True
    extradata = source.stream.codec_context.extradata or b""
    return (
        source.codec == "hevc" and len(extradata) > 22 and extradata[0] == 1 and extradata[21] >> 3 & 7 == 1
    )
