"""Compiled graphs on disk: the same answers with them, without them, and whatever was done to them."""

import os
import time
from importlib.util import find_spec

import numpy as np
import pytest

from vtr.bundle import Bundle
from vtr.encoders import blobs, choice, open_encoders
from vtr.encoders.blobs import PAGE, read_blob, write_blob

KEY = {"graph": "ab" * 32, "settings": {"threads": 2, "pinned": False}}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of one's own, not there yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vtr" / "openvino"


def kept(folder):
    return sorted(folder.glob("*")) if folder.is_dir() else []


# ---- files -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 4095, 4096, 100_003])
def test_what_was_written_is_read(folder, size):
    content = np.random.default_rng(size).integers(0, 256, size, np.uint8)
    assert read_blob(KEY) is None
    write_blob(KEY, content.tobytes())
    assert np.array_equal(read_blob(KEY), content)
    assert read_blob({**KEY, "graph": "cd" * 32}) is None
    (file,) = kept(folder)
    assert (folder.stat().st_mode & 0o777, file.stat().st_mode & 0o777) == (0o700, 0o600)
    read_blob(KEY)[:] = 0  # a mapping of one's own: the file stays as it is
    assert np.array_equal(read_blob(KEY), content)


def flip(at):
    def change(file):
        content = bytearray(file.read_bytes())
        content[at] ^= 1
        file.write_bytes(content)

    return change


def cut(size):
    return lambda file: os.truncate(file, size)


def replace_by_folder(file):
    file.unlink()
    file.mkdir()


def let_the_group_write(file):
    file.chmod(0o660)


DAMAGE = {
    "a bit": flip(PAGE + 10),
    "the last bit": flip(-1),
    "the header": flip(20),
    "not JSON": flip(0),
    "truncated": cut(PAGE + 100),
    "no blob": cut(PAGE),
    "half a header": cut(100),
    "empty": cut(0),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "of others": let_the_group_write,
    "a folder": replace_by_folder,
    "gone": os.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damaged_files_are_passed_over_and_made_again(folder, damage):
    write_blob(KEY, b"x" * 5000)
    (file,) = kept(folder)
    damage(file)
    assert read_blob(KEY) is None
    write_blob(KEY, b"x" * 5000)
    found = read_blob(KEY)
    assert found is None if damage is replace_by_folder else found.tobytes() == b"x" * 5000
    assert kept(folder) == [file]  # and no half-written ones


def no_home(folder, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))


def a_file_in_its_place(folder, monkeypatch):
    folder.parent.mkdir(parents=True)
    folder.write_bytes(b"")


def open_to_the_group(folder, monkeypatch):
    folder.mkdir(parents=True)
    folder.chmod(0o770)


def no_room(folder, monkeypatch):
    monkeypatch.setattr(blobs, "SPARE", 1 << 60)


def read_only(folder, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder.mkdir(parents=True)
    folder.chmod(0o500)


@pytest.mark.parametrize("hinder", [no_home, a_file_in_its_place, open_to_the_group, no_room, read_only])
def test_without_a_folder_nothing_is_kept_and_nothing_raised(folder, monkeypatch, hinder):
    hinder(folder, monkeypatch)
    write_blob(KEY, b"x")
    assert read_blob(KEY) is None and kept(folder) == []


def test_the_latest_used_are_kept(folder, monkeypatch):
    monkeypatch.setattr(blobs, "MOST_BYTES", 3 * (PAGE + 1000))
    for number in range(3):
        write_blob({"graph": number}, bytes(1000))
        for file in kept(folder):
            os.utime(file, (time.time() - 100, file.stat().st_mtime - 100))  # each older than the next
    assert read_blob({"graph": 0}) is not None  # used just now
    write_blob({"graph": 3}, bytes(1000))
    assert [read_blob({"graph": number}) is not None for number in range(4)] == [True, False, True, True]
    write_blob({"graph": 4}, bytes(4 * PAGE))  # more than all may have
    assert read_blob({"graph": 4}) is None and len(kept(folder)) == 3


def test_what_killed_processes_left_goes(folder):
    folder.mkdir(parents=True, mode=0o700)
    for name, age in ((".old", 2 * blobs.STALE_SECONDS), (".new", 10)):
        (folder / name).write_bytes(b"half")
        os.utime(folder / name, (time.time() - age,) * 2)
    write_blob(KEY, b"x")
    assert [file.name for file in kept(folder) if file.name.startswith(".")] == [".new"]


# ---- OpenVINO ----------------------------------------------------------------------------------------


class Counted:
    """OpenVINO's core, and how often it compiled and imported."""

    def __init__(self, core):
        self._core, self.calls = core, []

    def __getattr__(self, name):
        self.calls += [name] if name in ("compile_model", "import_model") else []
        return getattr(self._core, name)


@pytest.fixture
def opened(models, monkeypatch):
    """``opened()`` → encoders as a new process has them, and what they ask of OpenVINO."""
    if find_spec("openvino") is None:
        pytest.skip("no openvino")
    import vtr.encoders.openvino as backend

    monkeypatch.setattr(backend, "KEPT_BYTES", 0)
    _, path = models("clip4clip-seqTransf")

    def open_(precision="fp32", verify=True, threads=1):
        encoders = open_encoders(
            Bundle.open(path, verify=verify), "openvino", precision=precision, threads=threads
        )
        core = encoders._backend._core = Counted(encoders._backend._core)
        return encoders, core.calls

    return open_


IDS = np.array([[49406, 320, 1125, 49407] + [0] * 28], np.int64)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_kept_graph_gives_the_same_bits(opened, folder, precision):
    if precision not in choice.openvino_precisions():
        pytest.skip(f"no {precision} on this processor")
    ids = np.repeat(IDS, 3, axis=0)
    first, calls = opened(precision)
    expected = first.text(ids)
    assert calls == ["compile_model"] and len(kept(folder)) == 1
    second, calls = opened(precision)
    answers = second.text(ids)
    assert calls == ["import_model"]
    assert all(np.array_equal(one, other) for one, other in zip(answers, expected, strict=True))


def test_only_verified_text_towers_are_kept_by_their_settings(opened, folder):
    opened(verify=False)[0].text(IDS)
    encoders, _ = opened()
    encoders.temporal(np.zeros((1, 12, 64), np.float32), np.ones((1, 12), np.float32))
    assert kept(folder) == []
    for threads in (1, 2, 1):
        opened(threads=threads)[0].text(IDS)
    assert len(kept(folder)) == 2


@pytest.mark.parametrize("damage", ["a bit", "truncated", "empty", "a folder"])
def test_searches_go_on_with_a_damaged_blob(opened, folder, damage):
    expected = opened()[0].text(IDS)
    (file,) = kept(folder)
    DAMAGE[damage](file)
    encoders, calls = opened()
    assert np.array_equal(encoders.text(IDS)[1], expected[1]) and calls == ["compile_model"]


def test_a_blob_that_openvino_refuses_is_made_again(opened, folder, monkeypatch):
    """As another build of the same version may: it is whole, and not what this one reads."""
    expected = opened()[0].text(IDS)
    written, import_blob = [], read_blob
    monkeypatch.setattr("vtr.encoders.openvino.write_blob", lambda key, content: written.append(key))
    monkeypatch.setattr("vtr.encoders.openvino.read_blob", lambda key: import_blob(key)[:0].copy())
    encoders, calls = opened()
    assert np.array_equal(encoders.text(IDS)[1], expected[1])
    assert calls == ["import_model", "compile_model"] and len(written) == 1
