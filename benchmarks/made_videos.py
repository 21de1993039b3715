"""Videos made on the spot: for machines without any, and for codecs and sizes that a folder lacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from numpy.typing import NDArray
from PIL import Image

RATE = 25  # frames a second
SPEED = {  # encoders at their fastest; keyframe intervals stay as the encoders have them unasked
    "libx264": {"preset": "veryfast"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
    "mpeg4": {"qscale": "5"},
}


@dataclass(frozen=True)
class Kind:
    encoder: str
    suffix: str
    width: int
    height: int
    seconds: int

    @property
    def file_name(self) -> str:
        return f"{self.encoder}-{self.width}x{self.height}-{self.seconds}s{self.suffix}"


KINDS = (
    Kind("libx264", ".mp4", 640, 360, 10),
    Kind("libx264", ".mp4", 640, 360, 60),
    Kind("libx264", ".mp4", 1920, 1080, 5),
    Kind("libvpx-vp9", ".webm", 640, 360, 10),
    Kind("mpeg4", ".avi", 640, 360, 10),
)
QUICK_KINDS = (
    Kind("libx264", ".mp4", 320, 240, 4),
    Kind("libvpx-vp9", ".webm", 320, 240, 4),
    Kind("mpeg4", ".avi", 320, 240, 4),
)


def make_videos(folder: Path, quick: bool) -> tuple[list[Path], dict[str, str]]:
    """Files in ``folder``, which is made; and what could not be made, with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    made, missing = [], {}
    for kind in QUICK_KINDS if quick else KINDS:
        path = folder / kind.file_name
        try:
            if not path.exists():
                write(path, kind)
            made.append(path)
        except UnknownCodecError:
            missing[kind.file_name] = f"this PyAV has no encoder {kind.encoder}"
    return made, missing


def write(path: Path, kind: Kind) -> None:
    """One file of moving pictures. It has its name when it is whole."""
    unfinished = path.with_name(f"unfinished-{path.name}")
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream(kind.encoder, rate=RATE, options=SPEED[kind.encoder])
        stream.width, stream.height, stream.pix_fmt = kind.width, kind.height, "yuv420p"
        for picture in pictures(kind.width, kind.height, kind.seconds * RATE):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    unfinished.rename(path)


def remuxed(path: Path, folder: Path, copies: int) -> list[Path]:
    """Files of the same packets as ``path`` and other bytes: to an index each is a video of its own.

    Empty where the container cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = [folder / f"{path.stem}-{number}{path.suffix}" for number in range(copies)]
    try:
        for copy in made:
            _remux(path, copy)
    except (FFmpegError, ValueError):
        return []
    return made


def _remux(path: Path, copy: Path) -> None:
    with av.open(str(path)) as source, av.open(str(copy), "w") as target:
        stream = source.streams.video[0]
        same = target.add_stream_from_template(stream)
        target.metadata["title"] = copy.stem
        packets = [packet for packet in source.demux(stream) if packet.size]
        _complete(packets, stream)
        for packet in packets:
            packet.stream = same
            target.mux(packet)


def _complete(packets: Sequence[av.Packet], stream: av.VideoStream) -> None:
    """Give the first packets the decoding times that Matroska leaves out where pictures are reordered."""
    first = next((number for number, packet in enumerate(packets) if packet.dts is not None), None)
    if first and stream.average_rate and stream.time_base:
        known, step = packets[first].dts, round(1 / (stream.average_rate * stream.time_base))
        for number in range(first):
            packets[number].dts = known - (first - number) * step


def pictures(width: int, height: int, count: int) -> Iterator[NDArray[np.uint8]]:
    """A coarse texture that slides two pixels a frame, each second over another part of it: a cut."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    size = (width + 40 * 16, height + 40 * 16)
    texture = np.asarray(Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC))
    for number in range(count):
        second, place = divmod(number, RATE)
        top, left = second * 97 % 500, second * 61 % 500 + 2 * place
        yield np.ascontiguousarray(texture[top : top + height, left : left + width])
