"""What the first bytes of coded pictures say: where decoding may begin, what is shown, and in what size.

DALI gives each packet one place in its numbering and allocates by the size that the container names. So a
packet that shows nothing, or a picture of another size, has to be found before DALI sees it.

Sources: RFC 6386 section 9.1 (VP8), the VP9 bitstream specification sections 6.2 and 7.2 and its annex B,
ITU-T T.81 annex B.2.2 (JPEG), ITU-T H.264 section 7.3.1, H.265 section 7.3.1.2, ISO/IEC 14496-15.
"""

from __future__ import annotations

from collections.abc import Iterator

VP9_KEY_COLOUR_BITS = 4  # of profile 0: three of colour space, one of range; sRGB has no range
VP9_SRGB = 7
JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, restarts and the start of the image
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Unreadable(Exception):
    """A header that does not read as its codec's."""


class Bits:
    """Bits of a byte string, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "big"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise Unreadable("the header ends too early")
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)


def pictures(codec: str, data: bytes) -> Iterator[tuple[bool, tuple[int, int] | None]]:
    """Of each picture in a VP8, VP9 or JPEG packet: whether it is shown, and its size if it names one."""
    if codec == "vp8":
        yield _vp8(data)
    elif codec == "vp9":
        for frame in vp9_frames(data):
            yield _vp9(frame[:64])
    elif codec == "mjpeg":
        yield True, _jpeg_size(data)


def units(data: bytes, length_prefixed: bool) -> Iterator[bytes]:
    """The NAL units of an H.264 or HEVC packet; lengths are of four bytes."""
    if not length_prefixed:
        for unit in data.split(b"\0\0\1")[1:]:
            yield unit.rstrip(b"\0")
        return
    place = 0
    while place + 4 < len(data):
        end = place + 4 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            raise Unreadable("a NAL unit is longer than its packet")
        yield data[place + 4 : end]
        place = end


def unit_type(codec: str, unit: bytes) -> int:
    if not unit:
        raise Unreadable("an empty NAL unit")
    return unit[0] & 31 if codec == "h264" else unit[0] >> 1 & 63


def _vp8(data: bytes) -> tuple[bool, tuple[int, int] | None]:
    if len(data) < 3:
        raise Unreadable("the header ends too early")
    shown, key = bool(data[0] & 16), not data[0] & 1
    if not key:
        return shown, None
    if data[3:6] != b"\x9d\x01\x2a" or len(data) < 10:
        raise Unreadable("a keyframe without its start code")
    width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (6, 8))
    return shown, (width, height)


def vp9_frames(data: bytes) -> list[bytes]:
    """The frames of a superframe, or the packet itself where it is none."""
    marker = data[-1] if data else 0
    count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
    index = 2 + count * width
    if marker >> 5 != 0b110 or len(data) < index or data[-index] != marker:
        return [data]
    begin, frames = 0, []
    for i in range(count):
        at = len(data) - index + 1 + i * width
        end = begin + int.from_bytes(data[at : at + width], "little")
        if end > len(data) - index:
            raise Unreadable("a superframe is longer than its packet")
        if end > begin:
            frames.append(data[begin:end])
        begin = end
    return frames


def _vp9(data: bytes) -> tuple[bool, tuple[int, int] | None]:
    bits = Bits(data)
    if bits.take(2) != 2:
        raise Unreadable("no VP9 frame marker")
    if bits.take(2):
        raise Unreadable("a VP9 profile other than 0, which is 4:2:0 in 8 bits")
    if bits.take(1):  # shows a frame decoded before
        return True, None
    inter, shown, resilient = bool(bits.take(1)), bool(bits.take(1)), bool(bits.take(1))
    if not inter:
        bits.take(24)  # sync code
        if bits.take(3) == VP9_SRGB:
            raise Unreadable("VP9 in RGB")
        bits.take(VP9_KEY_COLOUR_BITS - 3)
        return shown, _vp9_size(bits)
    intra_only = bool(not shown and bits.take(1))
    bits.take(0 if resilient else 2)  # which contexts to reset
    if intra_only:
        bits.take(24 + 8)  # sync code, which references it refreshes
        return shown, _vp9_size(bits)
    bits.take(8 + 3 * 4)  # which references it refreshes, and three that it uses
    if any(bits.take(1) for _ in range(3)):  # stops at the first: the size of that reference
        return shown, None
    return shown, _vp9_size(bits)


def _vp9_size(bits: Bits) -> tuple[int, int]:
    return bits.take(16) + 1, bits.take(16) + 1


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 0
    while place + 9 <= len(data):
        if data[place] != 0xFF:
            raise Unreadable("no JPEG marker where one is due")
        kind = data[place + 1]
        if kind in JPEG_FRAMES:
            height, width = (int.from_bytes(data[at : at + 2], "big") for at in (place + 5, place + 7))
            return width, height
        if kind == 0xFF:  # filling
            place += 1
        elif kind in JPEG_WITHOUT_LENGTH:
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    raise Unreadable("a JPEG without a frame header")
