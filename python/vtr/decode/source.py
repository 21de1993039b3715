"""Opening a video file that nobody vouches for.

The file is opened by us, as a plain regular file, and libavformat gets the open file, never a name: a path
that looks like a URL or an option stays a path, and no protocol is allowed, so that nothing in the file can
make the reader open another file or address.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import BinaryIO

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Discard, Disposition
from av.video.stream import VideoStream

from vtr.decode.limits import CODECS, CONTAINERS, Limits
from vtr.errors import DecodeError

UNKNOWN_RATE = Fraction(25)  # numbers the frames of a file that declares no frame rate, as FFmpeg does


@dataclass
class Source:
    """An open video file, its video stream, and the clock of its limits."""

    container: InputContainer
    stream: VideoStream
    file: BinaryIO
    limits: Limits
    threads: int  # of the decoder
    frame_rate: Fraction  # as OpenCV's CAP_PROP_FPS
    deadline: float  # on the monotonic clock
    _first: Packet | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._set_threads()

    @property
    def codec(self) -> str:
        return self.stream.codec_context.codec.canonical_name

    @property
    def time_base(self) -> Fraction:
        return self.stream.time_base or Fraction(1, 1)

    @property
    def times_survive_seeking(self) -> bool:
        """Whether packets have the same timestamps after a seek as when everything before them was read.

        An MPEG program stream gives times to some packets only; the others are guessed from those before.
        """
        return self.container.format.name != "mpeg"

    def ticks(self, seconds: float) -> int:
        """Seconds in the units of the stream's timestamps."""
        return int(seconds / self.time_base)

    def packets(self) -> Iterator[Packet]:
        """The video stream's packets in decoding order, from where the file stands to its last readable one.

        Damage that libavformat cannot step over ends the packets as the end of the file does.
        """
        try:
            for packet in self.container.demux(self.stream):
                self.check_clock()
                if packet.size:  # an empty packet would tell the decoder that the stream ends
                    yield packet
        except (FFmpegError, IndexError) as error:  # IndexError: PyAV, when a stream turns up late
            if isinstance(error, MemoryError):
                raise

    def seek(self, timestamp: int) -> bool:
        """Move to the keyframe before ``timestamp``, as far as the container can; False if it cannot seek."""
        self.check_clock()
        if abs(timestamp) >= 1 << 62:  # no time that a file means, and near the end of 64 bits
            return False
        try:
            self.container.seek(timestamp, stream=self.stream)
        except (FFmpegError, OSError) as error:
            if isinstance(error, MemoryError):
                raise
            return False
        return True

    def rewind(self) -> None:
        """Move to the first packet of the file, which some containers' seeking misses."""
        first = self.first_packet()
        if first is not None and self.seek(_time(first)):
            again = next(self.packets(), None)
            if again is not None and _identity(again) == _identity(first) and self.seek(_time(first)):
                return
        self.container.close()
        self.file.seek(0)
        self.container, self.stream = _open_container(self.file, self.limits)
        self._set_threads()

    def _set_threads(self) -> None:
        context = self.stream.codec_context
        context.thread_count, context.thread_type = self.threads, "AUTO"

    def first_packet(self) -> Packet | None:
        """The packet the file begins with; to be called before anything else is read."""
        if self._first is None:
            self._first = next(self.packets(), None)
        return self._first

    def last_timestamp(self) -> int | None:
        """The greatest presentation timestamp of the stream; leaves the file anywhere.

        Read off the packets behind the last keyframe; the whole file where seeking does not work.
        """
        first = self.first_packet()
        if first is None:
            return None
        claimed = self.stream.duration or self.ticks((self.container.duration or 0) / av.time_base)
        begin = _time(first)
        far = begin + self.ticks(self.limits.duration)
        for target in (far, *(begin + claimed - self.ticks(s) for s in (1, 5, 25, 125))):
            if self.times_survive_seeking and target > begin and self.seek(target):
                last = _latest(self.packets(), whole_group=True)
                if last is not None:
                    return last
        self.rewind()
        return _latest(self.packets(), whole_group=False)

    def check_clock(self) -> None:
        if time.monotonic() > self.deadline:
            raise DecodeError(
                f"expected to be read within {self.limits.seconds:g} s; gave up after that time"
            )


@contextmanager
def open_source(path: str | os.PathLike[str], limits: Limits, threads: int = 1) -> Iterator[Source]:
    """Open a video file within ``limits``; libavcodec gets ``threads`` threads. Raises ``DecodeError``."""
    deadline = time.monotonic() + limits.seconds
    with _open_regular(path, limits) as file:
        source = None
        try:
            container, stream = _open_container(file, limits)
            source = Source(container, stream, file, limits, threads, _frame_rate(stream), deadline)
            yield source
        except MemoryError:
            raise DecodeError(
                "expected a video that can be decoded in the memory there is (in a DecodePool "
                f"{limits.memory} bytes, by Limits.memory); this one asks for more"
            ) from None
        except (FFmpegError, OSError) as error:
            raise DecodeError(f"expected a file that can be read: {error.strerror}") from None
        finally:
            if source is not None:
                source.container.close()


def _open_regular(path: str | os.PathLike[str], limits: Limits) -> BinaryIO:
    """Open a regular file for reading. A pipe, a device or a folder is refused and never waited for."""
    try:
        # O_NONBLOCK: opening a named pipe that nobody writes to would otherwise wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "; URLs are not read" if "://" in os.fspath(path) else ""
        raise DecodeError(f"expected a file that can be opened: {error.strerror}{hint}") from None
    except ValueError as error:  # a zero byte in the name
        raise DecodeError(f"expected the path of a file: {error}") from None
    status = os.fstat(handle)
    problem = None
    if not stat.S_ISREG(status.st_mode):
        problem = f"expected a regular file, got a {_kind(status.st_mode)}"
    elif status.st_size == 0:
        problem = "expected a video, got an empty file"
    elif status.st_size > limits.bytes:
        problem = f"expected at most {limits.bytes} bytes, got a file of {status.st_size}"
    if problem:
        os.close(handle)
        raise DecodeError(problem)
    return os.fdopen(handle, "rb", buffering=0)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _open_container(file: BinaryIO, limits: Limits) -> tuple[InputContainer, VideoStream]:
    try:
        container = av.open(
            file,
            mode="r",
            container_options={
                "format_whitelist": ",".join(CONTAINERS),
                "codec_whitelist": ",".join(CODECS),
                "protocol_whitelist": "none",
                "max_streams": str(limits.streams + 1),  # some containers stop there without an error
            },
            options={"max_pixels": str(limits.pixels)},
            metadata_errors="replace",
            timeout=limits.seconds,
        )
    except (FFmpegError, OSError) as error:
        if isinstance(error, MemoryError):
            raise
        raise DecodeError(
            f"expected a video in one of the containers {', '.join(CONTAINERS)}: {error.strerror}"
        ) from None
    try:
        stream = _video_stream(container, limits)
    except DecodeError:
        container.close()
        raise
    for other in container.streams:
        if other.index != stream.index:
            other.discard = Discard.all
    stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    return container, stream


def _video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The first video stream that is not a cover picture, as OpenCV takes it."""
    if len(container.streams) > limits.streams:
        raise DecodeError(f"expected at most {limits.streams} streams, got {len(container.streams)}")
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        kinds = ", ".join(sorted({stream.type for stream in container.streams})) or "nothing"
        raise DecodeError(f"expected a video stream, found none (the file holds {kinds})")
    stream = streams[0]
    context = stream.codec_context
    if context is None or context.codec.name not in CODECS:
        name = "an unknown codec" if context is None else context.codec.canonical_name
        raise DecodeError(f"expected a codec that vtr decodes, got {name}")
    if stream.width * stream.height > limits.pixels:
        raise DecodeError(
            f"expected pictures of at most {limits.pixels} pixels, got {stream.width}x{stream.height}"
        )
    return stream


def _frame_rate(stream: VideoStream) -> Fraction:
    for rate in (stream.guessed_rate, stream.average_rate, stream.base_rate):
        if rate is not None and rate > 0:
            return Fraction(rate)
    return UNKNOWN_RATE


def _time(packet: Packet) -> int:
    """Where to seek to find this packet: containers compare decoding timestamps."""
    return next((t for t in (packet.dts, packet.pts) if t is not None), 0)


def _identity(packet: Packet) -> tuple[int | None, int | None, int]:
    return packet.pts, packet.dts, packet.size


def _latest(packets: Iterator[Packet], whole_group: bool) -> int | None:
    """The greatest timestamp of ``packets``.

    With ``whole_group``, None unless they begin with a keyframe or are many: of a few packets from the
    middle of a group, the one shown last may lie before them.
    """
    latest, sound = None, not whole_group
    for count, packet in enumerate(packets, start=1):
        sound = sound or packet.is_keyframe or count > 32
        shown = packet.pts if packet.pts is not None else packet.dts
        if shown is not None and not packet.is_discard and (latest is None or shown > latest):
            latest = shown
    return latest if sound else None
