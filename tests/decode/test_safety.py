"""Files made to do harm, and paths that are no files."""

from __future__ import annotations

import os
import random
import resource
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from vtr.decode import Limits, probe, read_clip
from vtr.decode.limits import CODECS, CONTAINERS
from vtr.errors import DecodeError, UsageError

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{url}\n#EXT-X-ENDLIST\n"
CONCAT = "ffconcat version 1.0\nfile '{url}'\n"
SESSION = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
MANIFEST = (
    '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
    '<Representation id="1" mimeType="video/mp4"><BaseURL>{url}</BaseURL></Representation></AdaptationSet>'
    "</Period></MPD>"
)


@pytest.mark.parametrize("script", [PLAYLIST, CONCAT, SESSION, MANIFEST])
@pytest.mark.parametrize("suffix", [".m3u8", ".ffconcat", ".sdp", ".mpd", ".mp4", ".mkv"])
def test_scripts_that_name_other_files(
    make_video: Callable[..., Path], tmp_path: Path, script: str, suffix: str
) -> None:
    victim = make_video("victim.mp4", count=3)
    path = tmp_path / f"script{suffix}"
    path.write_text(script.format(url=victim))
    with pytest.raises(DecodeError, match="expected a video in one of the containers"):
        read_clip(path)


def test_the_scripts_would_be_followed_otherwise(make_video: Callable[..., Path], tmp_path: Path) -> None:
    """The tests above can fail: without our whitelist the same script opens the victim."""
    victim = make_video("victim.mp4", count=3)
    path = tmp_path / "script.ffconcat"
    path.write_text(CONCAT.format(url=victim))
    with av.open(str(path), container_options={"safe": "0"}) as container:
        assert sum(1 for _ in container.decode(video=0)) == 3


def with_external_reference(video: Path, target: Path) -> bytes:
    """The video with its data reference, "in this file", replaced by an alias to ``target``."""
    data = video.read_bytes()
    place = data.index(b"dref")
    (size,) = struct.unpack(">I", data[place - 4 : place])
    name = os.fsencode(target)
    entry = struct.pack(">H", 2) + struct.pack(">H", len(name)) + name + b"\0" * (len(name) % 2)
    record = struct.pack(">4sHHH", b"\0" * 4, 0, 2, 0).ljust(150, b"\0") + entry + struct.pack(">Hh", 0, -1)
    alias = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    box = struct.pack(">I4sII", 16 + len(alias), b"dref", 0, 1) + alias
    grown = len(box) - size
    data = data[: place - 4] + box + data[place - 4 + size :]
    for name in (b"moov", b"trak", b"mdia", b"minf", b"dinf"):  # the boxes around it
        at = data.index(name) - 4
        data = (
            data[:at] + struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + grown) + data[at + 4 :]
        )
    return data


def test_external_data_references_are_not_followed(make_video: Callable[..., Path], tmp_path: Path) -> None:
    video = make_video("v.mp4", count=3)  # its moov box comes last, so the frames stay where they are
    secret = make_video("secret.mp4", count=3)
    forged = tmp_path / "forged.mov"
    forged.write_bytes(with_external_reference(video, secret))
    opened: list[str] = []
    with av.open(
        str(forged),
        options={"enable_drefs": "1", "use_absolute_path": "1"},
        io_open=lambda url, flags, options: opened.append(url) or open(url, "rb"),
    ) as container:
        list(container.demux())
    assert any("secret" in url for url in opened), "the forgery was expected to work where it is allowed"
    with pytest.raises(DecodeError, match="not one frame could be decoded"):
        read_clip(forged)


def test_paths_are_only_paths(
    make_video: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = make_video("v.mp4", count=3)
    monkeypatch.chdir(tmp_path)
    for name in ("-i", "http:", "file:v.mp4", "concat:v.mp4|v.mp4", "pipe:0", "a:b", "%d.mp4"):
        Path(name).write_bytes(video.read_bytes())
        assert len(read_clip(name).frames) == 1, name
    for name in (
        "http://127.0.0.1:9/v.mp4",
        f"file:{video}",
        f"concat:{video}",
        "data:video/mp4;base64,AAAA",
    ):
        with pytest.raises(DecodeError, match="expected a file that can be opened"):
            read_clip(name)
    with pytest.raises(DecodeError, match="URLs are not read"):
        read_clip("https://example.org/v.mp4")


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty.mp4").touch()
    cases = {
        tmp_path: "a folder",
        tmp_path / "pipe": "a named pipe",
        Path("/dev/zero"): "a device",
        tmp_path / "empty.mp4": "an empty file",
        tmp_path / "missing.mp4": "No such file",
    }
    for path, reason in cases.items():
        begin = time.monotonic()
        with pytest.raises(DecodeError, match=reason):
            read_clip(path)
        assert time.monotonic() - begin < 2
    with pytest.raises(DecodeError, match="null byte"):
        read_clip("a\0b")


def png(width: int, height: int) -> bytes:
    """A black picture: 100 megapixels are about 100 kilobytes."""
    pack = zlib.compressobj(1)
    row = bytes(1 + width)
    pixels = b"".join(pack.compress(row) for _ in range(height)) + pack.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


@pytest.mark.parametrize("claimed", [32, 10000])
def test_a_huge_picture_takes_no_memory(tmp_path: Path, claimed: int) -> None:
    """Refused whether the container admits its size or not."""
    path = tmp_path / "huge.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=1, width=claimed, height=claimed, pix_fmt="gray")
        packet = av.Packet(png(10000, 10000))
        packet.stream, packet.pts, packet.dts, packet.is_keyframe = stream, 0, 0, True
        container.mux(packet)
    assert path.stat().st_size < 1 << 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError, match="pixels"):
        read_clip(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KiB
    assert probe(path, Limits(pixels=1 << 27)).width == 10000  # this test can fail


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(pixels=64 * 48 - 1), "pixels"),
        (Limits(duration=1.0), "at most 1 s of video, got 3.96"),
        (Limits(frames=10), "at most 10 frames"),
        (Limits(bytes=1000), "at most 1000 bytes"),
        (Limits(seconds=1e-6), "within 1e-06 s"),
    ],
)
def test_limits(make_video: Callable[..., Path], limits: Limits, reason: str) -> None:
    path = make_video("v.mp4", count=100, gop=250)
    read_clip(path)
    with pytest.raises(DecodeError, match=reason):
        read_clip(path, limits=limits)


def test_limit_of_streams(tmp_path: Path) -> None:
    path = tmp_path / "v.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25, width=32, height=32) for _ in range(5)]
        for stream in streams:
            container.mux(stream.encode(av.VideoFrame(32, 32, "yuv420p")))
            container.mux(stream.encode(None))
    assert len(read_clip(path).frames) == 1
    with pytest.raises(DecodeError, match="at most 4 streams, got 5"):
        read_clip(path, limits=Limits(streams=4))


@pytest.mark.parametrize("wrong", [{"pixels": 0}, {"memory": -1}, {"frames": 1.5}, {"seconds": float("inf")}])
def test_meaningless_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"Limits.{next(iter(wrong))}"):
        Limits(**wrong)  # type: ignore[arg-type]


def test_the_whitelists_hold_nothing_that_reads_other_files() -> None:
    assert not {"hls", "dash", "concat", "image2", "sdp", "rtsp", "lavfi", "tee"} & set(CONTAINERS)
    for name in CONTAINERS:
        assert av.ContainerFormat(name, "r").is_input
    known = {av.Codec(name, "r").name for name in CODECS if name in av.codecs_available}
    assert {"h264", "hevc", "vp9", "mpeg4"} <= known


def test_codecs_beyond_the_list_are_refused(make_video: Callable[..., Path]) -> None:
    path = make_video("v.mkv", count=2, codec="snow", options={"strict": "experimental"})
    with pytest.raises(DecodeError, match="codec that vtr decodes, got snow"):
        read_clip(path)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi", "v.flv", "v.gif"])
def test_flipped_bits_end_in_a_clip_or_one_clear_error(make_video: Callable[..., Path], name: str) -> None:
    codec = {"codec": "gif", "pixels": "rgb8"} if name == "v.gif" else {}
    path = make_video(name, count=20, **codec)
    data = path.read_bytes()
    rng = random.Random(name)
    for _ in range(25):
        damaged = bytearray(data)
        for _ in range(rng.choice([1, 5, 50])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            clip = read_clip(path, limits=Limits(seconds=10))
        except DecodeError as error:
            assert "\n" not in str(error)
        else:
            assert 1 <= len(clip.frames) <= 12
    path.write_bytes(data)
    assert probe(path).frames == 20
