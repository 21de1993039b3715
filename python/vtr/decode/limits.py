"""What a video file may ask for, and which containers and codecs are read at all."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vtr.errors import UsageError

# Containers by libavformat's names. Playlists and scripts (hls, dash, concat, sdp, image sequences) are
# left out on purpose: they name other files or addresses, which a reader would then open.
CONTAINERS = ("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "ogg", "asf", "gif", "yuv4mpegpipe")

# Video codecs by libavcodec's decoder names. What is not here is not even opened: rare decoders are the
# least tested ones.
CODECS = (
    *("h264", "hevc", "vvc", "vp8", "vp9", "av1", "libdav1d", "libaom-av1"),
    *("mpeg1video", "mpeg2video", "mpegvideo", "mpeg4", "h261", "h263", "h263p", "h263i", "flv", "theora"),
    *("vc1", "wmv1", "wmv2", "wmv3", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "vp3", "vp6", "vp6f", "svq3"),
    *("mjpeg", "dvvideo", "prores", "dnxhd", "ffv1", "huffyuv", "ffvhuff", "utvideo", "gif", "png"),
    *("rawvideo", "cinepak", "qtrle", "msvideo1"),
)


@dataclass(frozen=True)
class Limits:
    """Limits on one file. What exceeds one ends in a ``DecodeError`` that names the limit.

    ``memory`` is enforced in the workers of a ``DecodePool`` only; the others everywhere. ``read_clip``
    looks at the clock between packets, a pool also kills a worker that hangs inside a decoder.
    """

    seconds: float = 60.0  # wall-clock time for one file
    duration: float = 86_400.0  # seconds from the first frame to the last
    pixels: int = 8192 * 4352  # of one decoded picture, and of one resized picture
    streams: int = 256  # video, audio, subtitle and other streams together
    frames: int = 100_000  # pictures decoded on the way to the wanted ones
    bytes: int = 256 << 30  # length of the file
    memory: int = 4 << 30  # bytes of address space a worker may take beyond what it starts with

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            kinds = (int, float) if limit.type == "float" else (int,)
            most = 1_000_000 if limit.name == "seconds" else 1 << 60
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value <= most:
                kind = "number" if float in kinds else "integer"
                raise UsageError(
                    f"Limits.{limit.name}: expected a {kind} above 0 and at most {most}, got {value!r}"
                )
