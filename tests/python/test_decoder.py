"""The engine's decoder: what is chosen, what reaches the index, and frames that lie on a device."""

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

import vtr
from vtr.choices import choose_decoder
from vtr.decode.dali_frames import DeviceFrames
from vtr.errors import BackendError, UsageError
from vtr.types import Clip


@pytest.mark.parametrize(("asked", "chosen"), [("auto", "pyav"), ("pyav", "pyav"), ("dali", "dali")])
def test_what_is_chosen(monkeypatch, asked, chosen):
    monkeypatch.setattr("vtr.choices.find_spec", lambda name: SimpleNamespace())
    assert choose_decoder(asked) == chosen


def test_dali_by_name_where_it_is_missing(models, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)  # as where no package nvidia is there at all

    for absent in (missing, lambda name: None):
        monkeypatch.setattr("vtr.choices.find_spec", absent)
        with pytest.raises(BackendError, match="pip install nvidia-dali-cuda130"):
            vtr.Engine(models("clip4clip-meanP")[1], precision="fp32", decoder="dali")
    with pytest.raises(UsageError, match="auto, pyav or dali"):
        choose_decoder("opencv")


def test_dali_that_cannot_be_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    with pytest.raises(BackendError, match="pip install nvidia-dali-cuda130"):
        vtr.decode.DaliPool(1)


def write_vp9(path, seed, pictures=25, size=(192, 128)):
    """A VP9 file of coloured blocks that move, different for each seed."""
    import av

    blocks = np.random.default_rng(seed).integers(0, 256, (size[1] // 32, size[0] // 32, 3), dtype=np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=8, options={"crf": "10", "b": "0"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for number in range(pictures):
            picture = np.roll(blocks, number // 8, axis=1).repeat(32, 0).repeat(32, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def test_an_index_by_dali_is_that_by_pyav(models, tmp_path):
    """Pixels differ by a grey level, and features of a tower with random weights by some hundredths."""
    pytest.importorskip("nvidia.dali", reason="no DALI")
    folder = tmp_path / "videos"
    folder.mkdir()
    for seed, pictures in enumerate((1, 17, 130)):
        write_vp9(folder / f"{seed}.webm", seed, pictures)
    (folder / "bad.mp4").write_text("no video")
    rows = {}
    for decoder in ("pyav", "dali"):
        engine = vtr.Engine(
            models("clip4clip-meanP")[1], tmp_path / decoder, device="cpu", precision="fp32", decoder=decoder
        )
        report = engine.index(folder, workers=1)
        assert [failure.path.name for failure in report.failed] == ["bad.mp4"]
        assert len(report.added) == 3 and report.not_by_dali == {}
        assert ("DALI on cpu" in repr(engine)) == (decoder == "dali")
        snapshot = engine.bank().snapshot
        for record in snapshot.records():
            position = snapshot.positions([record.id])
            rows[decoder, record.path.name] = (
                snapshot.gather("video", position)[0].astype(np.float64),
                snapshot.gather("timestamps", position)[0],
            )
    names = ("0.webm", "1.webm", "2.webm")
    for name in names:
        np.testing.assert_array_equal(rows["pyav", name][1], rows["dali", name][1])
    one, other = (np.stack([rows[decoder, name][0] for name in names]) for decoder in ("pyav", "dali"))
    one, other = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (one, other))
    cosines = one @ other.T
    assert (cosines.argmax(1) == np.arange(3)).all()  # each is most like itself
    assert cosines.diagonal().min() > 0.98


def test_what_dali_is_not_given_is_in_the_report(models, clips, tmp_path):
    pytest.importorskip("nvidia.dali", reason="no DALI")
    engine = vtr.Engine(models("clip4clip-meanP")[1], tmp_path / "index", device="cpu", decoder="dali")
    report = engine.index(clips / "clip0.mp4", workers=1)
    assert [path.name for path in report.added] == ["clip0.mp4"]
    assert "h264 is not among" in report.not_by_dali[clips / "clip0.mp4"]


class Tensor:
    """Stands in for DALI's tensor on a device: its memory is not NumPy's to see."""

    def __init__(self, pixels):
        self.pixels, self.copies = np.ascontiguousarray(pixels), 0

    def shape(self):
        return list(self.pixels.shape)

    def data_ptr(self):
        return self.pixels.ctypes.data

    def as_cpu(self):
        self.copies += 1
        return self.pixels


def on_device(pixels, count):
    """The first frames of ``pixels`` ``[F, S, S, 3]`` as DALI leaves them, zeros after them."""
    tensor = Tensor(np.where(np.arange(len(pixels))[:, None, None, None] < count, pixels, 0).astype(np.uint8))
    return DeviceFrames(tensor.data_ptr(), (count, *pixels.shape[1:]), tensor)


def test_frames_on_a_device():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 4, 4, 3), dtype=np.uint8)
    frames = on_device(pixels, 5)
    assert frames.owner.copies == 0 and len(frames) == 5 and frames.ndim == 4 and frames.nbytes == 240
    interface = frames.__cuda_array_interface__
    assert interface["data"] == (frames.owner.data_ptr(), True) and interface["shape"] == (5, 4, 4, 3)
    assert interface["typestr"] == "|u1" and interface["version"] == 3 and interface["strides"] is None
    np.testing.assert_array_equal(np.asarray(frames), pixels[:5])
    np.testing.assert_array_equal(np.asarray(frames.first()), pixels[:1])
    np.testing.assert_array_equal(np.asarray(frames.reshape(5, 1, 4, 12)), pixels[:5].reshape(5, 1, 4, 12))
    padded = np.asarray(frames.padded())
    assert padded.shape == (12, 4, 4, 3) and not padded[5:].any()
    with pytest.raises(ValueError, match="240 bytes"):
        frames.reshape(6, 4, 4, 3)
    with pytest.raises(ValueError, match="without copying"):
        np.asarray(frames, copy=False)


@pytest.mark.parametrize("name", ["clip4clip-meanP", "clip4clip-3d"])
def test_clips_on_a_device_are_encoded_as_those_on_the_host(models, name, monkeypatch):
    """With some of both kinds, where frames see each other in the tower (3d) and where not."""
    engine = vtr.Engine(models(name)[1], device="cpu", precision="fp32")
    count, size = engine.model.sizes["frames"], engine.model.sizes["image"]
    pixels = np.random.default_rng(1).integers(0, 256, (4, count, size, size, 3), dtype=np.uint8)
    nothing = np.zeros(0)
    host = [
        Clip(frames[:length], nothing, nothing, 1, 25, 64, 48, "vp9")
        for frames, length in zip(pixels, (count, 1, 5, count), strict=True)
    ]
    mixed = [
        replace(clip, frames=on_device(frames, len(clip.frames))) if row != 2 else clip
        for row, (clip, frames) in enumerate(zip(host, pixels, strict=True))
    ]
    expected, seen, real = engine.encode_clips(host), [], engine.encoders.vision

    def vision(frames, mask):
        """Of an encoder that takes frames on a device; here it has to fetch them."""
        seen.append(type(frames))
        return real(np.asarray(frames), mask)

    for device, taken_there in (("cpu", 0), ("cuda", 3)):
        seen.clear()
        monkeypatch.setattr(engine.encoders, "device", device)
        monkeypatch.setattr(engine.encoders, "vision", vision)
        got = engine.encode_clips(mixed)
        assert seen.count(DeviceFrames) == taken_there
        np.testing.assert_array_equal(got.mask, expected.mask)
        np.testing.assert_allclose(got.frames, expected.frames, atol=1e-4)
    with pytest.raises(UsageError, match="at least one video"):
        engine.encode_clips([])
