"""Which videos are left to PyAV, and why: whatever DALI is not known to decode to the same frames."""

from __future__ import annotations

from collections.abc import Sequence

from av.packet import Packet
from av.video.frame import VideoFrame

from vtr.decode.colour import mapped_colours
from vtr.decode.dali_bitstream import Unreadable, pictures, unit_type, units
from vtr.decode.source import Source

CODECS = {
    "cpu": ("vp8", "vp9", "mjpeg"),
    "cuda": ("h264", "hevc", "vp8", "vp9", "mjpeg"),
}
NVDEC_SIDES = range(144, 4097)  # pixels a side that every generation takes, of every codec above
BT601 = frozenset({2, 5, 6})  # H.273: unspecified, which libswscale takes for BT.601, BT.470BG, SMPTE 170M
BT709 = 1
FULL_RANGE = 2
H264_IDR = frozenset({5})
HEVC_RANDOM_ACCESS = frozenset(range(16, 22))  # BLA, IDR, CRA
PARAMETERS = {"h264": frozenset({7}), "hevc": frozenset({32, 33})}  # SPS; VPS and SPS


class Doubt(Exception):
    """Why a file is decoded by PyAV although DALI was asked for."""


def check_source(source: Source, device: str) -> None:
    """Raise ``Doubt`` for a codec or a container that DALI is not given."""
    if source.codec not in CODECS[device]:
        where = "on NVDEC" if device == "cuda" else "on the CPU"
        raise Doubt(f"{source.codec} is not among what DALI decodes {where}: {', '.join(CODECS[device])}")
    sides = source.stream.codec_context.width, source.stream.codec_context.height
    if device == "cuda" and not all(side in NVDEC_SIDES for side in sides):
        raise Doubt(f"its size is {sides[0]}x{sides[1]}, and not every NVDEC takes that")
    if not source.times_survive_seeking or source.container.format.name == "avi":
        raise Doubt(f"{source.container.format.name} does not say when each frame is shown")
    extradata = source.stream.codec_context.extradata or b""
    if source.codec in PARAMETERS and _length_prefixed(extradata):
        size = extradata[21:22] if source.codec == "hevc" else extradata[4:5]
        if not size or size[0] & 3 != 3:
            raise Doubt("the lengths of its NAL units are not of four bytes, which DALI expects")


def check_frame(frame: VideoFrame, source: Source) -> str:
    """The frame's colours, as a plan names them.

    Raises ``Doubt`` for pictures that DALI would show otherwise: turned, in fields, in other colours.
    """
    context = source.stream.codec_context
    if frame.rotation:
        raise Doubt(f"it is to be turned by {frame.rotation} degrees")
    if frame.interlaced_frame:
        raise Doubt("its pictures are interlaced")
    if frame.width % 2 or frame.height % 2:
        raise Doubt(f"its size is odd, {frame.width}x{frame.height}")
    if (frame.width, frame.height) != (context.width, context.height):
        raise Doubt(
            f"its container says {context.width}x{context.height}, its pictures {frame.width}x{frame.height}"
        )
    full = frame.format.name == "yuvj420p"
    if frame.format.name != "yuv420p" and not full:
        raise Doubt(f"its pixel format is {frame.format.name}, not 4:2:0 in 8 bits")
    matrix, primaries, curve = int(frame.colorspace), int(frame.color_primaries), int(frame.color_trc)
    if mapped_colours(primaries, curve) or (matrix != BT709 and matrix not in BT601):
        raise Doubt(f"its colours are of matrix {matrix}, primaries {primaries}, transfer {curve} (H.273)")
    if (full and matrix == BT709) or (not full and int(frame.color_range) == FULL_RANGE):
        raise Doubt(f"its colours are of matrix {matrix} in full range")
    return "bt601 full range" if full else "bt709" if matrix == BT709 else "bt601"


def check_segments(source: Source, segments: Sequence[Sequence[Packet]]) -> None:
    """Raise ``Doubt`` for runs of packets that DALI might count or begin otherwise.

    Each run has to begin where decoding may begin, every packet has to show one picture, and all pictures
    have to be of one size.
    """
    extradata = source.stream.codec_context.extradata or b""
    size = source.stream.codec_context.width, source.stream.codec_context.height
    parameters: set[bytes] = set()
    try:
        for segment in segments:
            if not segment[0].is_keyframe or not _begins_anew(source.codec, bytes(segment[0]), extradata):
                raise Doubt("decoding cannot begin at what its container calls a keyframe")
            for packet in segment:
                if packet.has_sidedata("new_extradata"):
                    raise Doubt("its coding changes on the way")
                data = bytes(packet)
                _check_pictures(source.codec, data, size)
                if source.codec in PARAMETERS:
                    parameters |= {unit for unit in _parameters(source.codec, data, extradata)}
    except Unreadable as error:
        raise Doubt(f"its bitstream is not as expected: {error}") from None
    if len(parameters) > (0 if extradata else 1):
        raise Doubt("its coding changes on the way")


def never_referred(source: Source, packet: Packet) -> bool:
    """Whether no other picture needs this one, where that can be read off: H.264's ``nal_ref_idc`` of 0."""
    if source.codec != "h264":
        return False
    extradata = source.stream.codec_context.extradata or b""
    try:
        return not any(
            unit[0] >> 5 & 3
            for unit in units(bytes(packet), _length_prefixed(extradata))
            if 1 <= unit_type("h264", unit) <= 5
        )
    except Unreadable as error:
        raise Doubt(f"its bitstream is not as expected: {error}") from None


def _length_prefixed(extradata: bytes) -> bool:
    """Whether these are the decoder configurations avcC or hvcC, of version 1 both."""
    return len(extradata) > 6 and extradata[0] == 1


def _begins_anew(codec: str, data: bytes, extradata: bytes) -> bool:
    if codec not in PARAMETERS:
        return True
    wanted = H264_IDR if codec == "h264" else HEVC_RANDOM_ACCESS
    return any(unit_type(codec, unit) in wanted for unit in units(data, _length_prefixed(extradata)))


def _parameters(codec: str, data: bytes, extradata: bytes) -> set[bytes]:
    """Parameter sets in a packet that the container did not announce."""
    found = units(data, _length_prefixed(extradata))
    return {unit for unit in found if unit_type(codec, unit) in PARAMETERS[codec] and unit not in extradata}


def _check_pictures(codec: str, data: bytes, size: tuple[int, int]) -> None:
    shown = 0
    for visible, stated in pictures(codec, data):
        shown += visible
        if stated not in (None, size):
            raise Doubt(f"its pictures change size, from {size[0]}x{size[1]} to {stated[0]}x{stated[1]}")
    if codec not in PARAMETERS and shown != 1:
        raise Doubt(f"one of its packets shows {shown} pictures")
