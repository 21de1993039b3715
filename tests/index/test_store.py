"""One writer, one reader: what each verb does, and what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from index_library import COLUMNS, FINGERPRINT, add, content_of, features, new_store, record, sha

from vtr.errors import IndexStoreError, UsageError
from vtr.index import ColumnSpec, IndexStore, verify_index


def test_what_goes_in_comes_out(store):
    given = [record(i, metadata={"n": i, "of": {"deep": ["é", None, 1.5, True]}}) for i in range(19)]
    with store.writer() as writer:
        ids = writer.add(given, features(list(range(19))))
    snapshot = store.snapshot()
    assert ids == snapshot.ids.tolist() == list(range(1, 20))
    assert snapshot.ids.dtype == np.int64 and len(snapshot) == 19
    for video, expected in zip(snapshot.records(), given, strict=True):
        assert video == replace(expected, id=video.id, added_at=video.added_at)
        assert abs(video.added_at - os.stat(store.path / "catalog.sqlite").st_mtime) < 60
    for name, expected in features(list(range(19))).items():
        got = snapshot.gather(name)
        assert got.dtype == expected.dtype and got.flags.c_contiguous
        np.testing.assert_array_equal(got, expected)
    assert verify_index(store.path) == []


def test_an_empty_index_is_an_index(store):
    snapshot = store.snapshot()
    assert len(snapshot) == 0 and snapshot.records() == [] and snapshot.select("n>1").tolist() == []
    assert snapshot.gather("frames").shape == (0, 3, 5)
    assert list(snapshot.blocks(["video"])) == []
    assert store.failures() == [] and store.version() == 0 and verify_index(store.path) == []
    with store.writer() as writer:
        assert writer.add([], features([])) == []
        assert writer.remove([]) == 0
        writer.compact()
    assert store.version() == 0, "nothing was changed, so nothing was committed"


def test_settings_survive(store):
    again = IndexStore.open(store.path)
    assert again.fingerprint == FINGERPRINT
    assert again.model == {"name": "tiny", "family": "clip4clip"}
    assert dict(again.columns) == COLUMNS
    assert again.columns["frames"].shape == (3, 5) and again.columns["frames"].dtype == np.float16
    with pytest.raises(TypeError):
        again.model["name"] = "other"


def test_another_model_is_refused_by_both_names(store):
    store.check_model(FINGERPRINT)
    with pytest.raises(IndexStoreError, match=r"tiny \(abab.*not with larger \(cdcd"):
        store.check_model("cd" * 32, "larger")


def test_version_counts_commits_of_every_process(store):
    assert store.version() == 0
    with store.writer() as writer:
        add(writer, range(2))
        assert store.version() == 1
    code = (
        "import sys; from vtr.index import IndexStore\n"
        "with IndexStore.open(sys.argv[1]).writer() as w: w.set_metadata(1, {'a': 1})"
    )
    subprocess.run([sys.executable, "-c", code, store.path], check=True)
    assert store.version() == 2
    assert store.snapshot().record(1).metadata == {"a": 1}


# ---- contents and paths ------------------------------------------------------------------------------


def test_equal_contents_share_one_row(store):
    with store.writer() as writer:
        twins = [record(1), record(2, content=1), record(3)]
        writer.add(twins, features([1, 1, 3]))
        known = writer.find_hash(sha(3))
        assert writer.link(record(4, content=3), known) == 4
        add(writer, [5], content=3)  # whatever features come along, content 3 has its own already
    snapshot = store.snapshot()
    np.testing.assert_array_equal(snapshot.gather("video"), features([1, 1, 3, 3, 3])["video"])
    assert store.stats()["rows"] == 2 and store.stats()["videos"] == 5


def test_link_needs_stored_features(store):
    with store.writer() as writer:
        with pytest.raises(UsageError, match="not stored"):
            writer.link(record(1))
        add(writer, [1])
        with pytest.raises(UsageError, match="differ in content"):
            writer.link(record(2), writer.find(record(1).path))
        writer.link(record(2, content=1))
        writer.remove([1, 2])
        writer.link(record(3, content=1))  # its features are still there
        writer.remove(3)
        writer.compact()
        assert writer.find_hash(sha(1)) is None
        with pytest.raises(UsageError, match="not stored"):
            writer.link(record(2, content=1))
        assert add(writer, [1]) == [4]
    assert content_of(store)["videos"].keys() == {record(1).path}


def test_changed_content_replaces_in_one_commit(store):
    with store.writer() as writer:
        (old,) = add(writer, [1])
        before = store.version()
        (new,) = add(writer, [1], content="other")
        assert store.version() == before + 1 and new != old
        assert writer.find(record(1).path).id == new
        (same,) = add(writer, [1], content="other", size=5, metadata={})
        assert same == new, "same content, same video"
    (video,) = store.snapshot().records()
    assert (video.id, video.size, video.metadata) == (new, 5, {})
    assert store.stats()["dead_rows"] == 1


def test_ids_are_never_used_again(store):
    with store.writer() as writer:
        assert add(writer, range(3)) == [1, 2, 3]
        assert writer.remove([3, 2, 1]) == 3
        writer.compact()
    with store.writer() as writer:
        assert add(writer, range(3)) == [4, 5, 6]


def test_touch_and_metadata_keep_the_video(store):
    with store.writer() as writer:
        add(writer, range(3))
        writer.touch(2, 77, 88)
        writer.set_metadata(2, {"new": [1]})
        commits = store.version()
        writer.touch(2, 77, 88)
        assert store.version() == commits, "nothing changed"
        for call in (lambda: writer.touch(9, 1, 1), lambda: writer.set_metadata(9, {})):
            with pytest.raises(UsageError, match="no video with id 9"):
                call()
    assert store.snapshot().record(2) == replace(
        record(1),
        size=77,
        mtime_ns=88,
        metadata={"new": [1]},
        id=2,
        added_at=store.snapshot().record(2).added_at,
    )
    assert store.snapshot().ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("what", [2, "/videos/00001.mp4", Path("/videos/00001.mp4"), [2, "/nowhere.mp4", 99]])
def test_remove_by_id_or_path(store, what):
    with store.writer() as writer:
        add(writer, range(3))
        assert writer.remove(what) == 1
        assert writer.remove(what) == 0
        assert writer.find("/videos/00001.mp4") is None
    assert store.snapshot().ids.tolist() == [1, 3]


def test_failures_come_and_go(store):
    path = record(1).path
    with store.writer() as writer:
        assert writer.find_failure(path) is None
        writer.fail(path, 10, 20, sha(1), "no video stream")
        writer.fail(path, 11, 21, None, "odd name \udcff")
        writer.fail(record(2).path, 1, 2, None, "empty")
        found = writer.find_failure(path)
        assert (found.reason, found.size, found.mtime_ns, found.sha256) == ("odd name \\udcff", 11, 21, None)
        assert [failure.path for failure in store.failures()] == [path, record(2).path]
        add(writer, [1])
        writer.remove(record(2).path)
    assert store.failures() == []


def test_paths_are_bytes(store):
    odd = [Path(os.fsdecode(name)) for name in (b"/v/\xff\xfe.mp4", b"/v/new\nline", "/v/é '\"; --".encode())]
    odd.append(Path("/v/" + "x" * 4000))
    with store.writer() as writer:
        writer.add([record(i, path=path) for i, path in enumerate(odd)], features(list(range(len(odd)))))
        writer.fail(odd[0].with_name("bad\udcff"), 1, 1, None, "x")
        assert [writer.find(path).id for path in odd] == [1, 2, 3, 4]
        assert writer.remove([odd[0]]) == 1
    assert [video.path for video in store.snapshot().records()] == odd[1:]
    assert store.failures()[0].path == odd[0].with_name("bad\udcff")
    assert verify_index(store.path) == []


# ---- transactions ------------------------------------------------------------------------------------


def test_a_transaction_is_all_or_nothing(store):
    before = content_of(store)
    with store.writer() as writer:
        with pytest.raises(FileNotFoundError), writer.transaction():
            add(writer, range(5))
            writer.fail("/x", 1, 1, None, "y")
            assert content_of(store) == before, "nothing shows before the commit"
            raise FileNotFoundError("the caller's own")
        assert content_of(store) == before and store.version() == 0
        assert os.listdir(store.path / "segments") == []
        with writer.transaction():
            add(writer, range(5))
            writer.remove(2)
            with pytest.raises(UsageError), writer.transaction():
                add(writer, range(10, 15))
                writer.touch(99, 0, 0)
            assert writer.find(record(10).path) is None
        assert store.version() == 1
    assert store.snapshot().ids.tolist() == [1, 3, 4, 5]
    assert len(os.listdir(store.path / "segments")) == 1 and verify_index(store.path) == []


def test_small_segments_are_merged_on_the_way(store):
    with store.writer() as writer:
        for i in range(60):
            add(writer, [i])
    assert store.stats()["segments"] < 20
    assert len(os.listdir(store.path / "segments")) == store.stats()["segments"]
    np.testing.assert_array_equal(store.snapshot().gather("gram"), features(list(range(60)))["gram"])
    assert verify_index(store.path) == []


def test_stats(store):
    with store.writer() as writer:
        add(writer, range(10))
        writer.remove([1, 2])
        writer.fail("/x", 1, 1, None, "y")
    stats = store.stats()
    size = sum(file.stat().st_size for file in (store.path / "segments").iterdir())
    counts = ("videos", "contents", "segments", "rows", "dead_rows", "failures", "version")
    assert [stats[name] for name in counts] == [8, 8, 1, 10, 2, 1, 3]
    assert stats["bytes"] == size and stats["seconds"] == sum(range(2, 10)) / 4
    assert stats["columns"] == {"video": 100, "frames": 300, "gram": 80}
    json.dumps(stats)


# ---- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"path": Path("relative.mp4")}, "absolute path"),
        ({"path": "/a\0b"}, "absolute path"),
        ({"sha256": "abc"}, "64 hexadecimal"),
        ({"size": 1.5}, "size as a whole number"),
        ({"mtime_ns": 1 << 63}, "within 64 bits"),
        ({"duration": float("nan")}, "duration as a finite number"),
        ({"fps": "25"}, "fps as a finite number"),
        ({"metadata": {"x": float("inf")}}, "metadata that JSON can hold"),
        ({"metadata": {"x": b"bytes"}}, "metadata that JSON can hold"),
        ({"metadata": {"x": "\ud800"}}, "metadata that JSON can hold"),
        ({"metadata": [1]}, "metadata as a mapping"),
        ({"metadata": {"x": "y" * (1 << 20)}}, "bytes of metadata"),
        ({"metadata": json.loads('{"a":' * 80 + "1" + "}" * 80)}, "levels deep"),
        ({"metadata": json.loads('{"a":' * 700 + "1" + "}" * 700)}, "levels deep|recursion"),
        ({"fps": np.complex64(1)}, "fps as a finite number"),
    ],
)
def test_records_that_cannot_be_stored(store, changes, message):
    with store.writer() as writer:
        with pytest.raises(UsageError, match=message):
            writer.add([record(0), record(1, **changes)], features([0, 1]))
        assert len(store.snapshot()) == 0 and os.listdir(store.path / "segments") == []


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.pop("gram"), "expected the columns"),
        (lambda a: a.update(extra=a["gram"]), "expected the columns"),
        (lambda a: a.update(video=a["video"][:1]), r"float16 \[2, 5\], got float16 \[1, 5\]"),
        (lambda a: a.update(video=a["video"].astype(np.float32)), "float16.*got float32"),
        (lambda a: a.update(video=a["video"].tolist()), "got list"),
        (lambda a: a["gram"].__setitem__((1, 1), np.nan), "finite"),
        (lambda a: a["frames"].__setitem__((0, 2, 4), -np.inf), "finite"),
    ],
)
def test_arrays_that_cannot_be_stored(store, change, message):
    arrays = features([0, 1])
    change(arrays)
    with store.writer() as writer, pytest.raises(UsageError, match=message):
        writer.add([record(0), record(1)], arrays)


def test_strided_and_read_only_arrays_are_stored(store):
    arrays = features(list(range(6)))
    strided = {name: np.asfortranarray(array)[::2] for name, array in arrays.items()}
    for array in strided.values():
        array.flags.writeable = False
    with store.writer() as writer:
        writer.add([record(i) for i in (0, 2, 4)], strided)
    np.testing.assert_array_equal(store.snapshot().gather("frames"), arrays["frames"][::2])


@pytest.mark.parametrize("name", ["", "a.b", "_pad", "row.sha256", "1a", "a b"])
def test_column_names_are_plain(tmp_path, name):
    with pytest.raises(UsageError, match="cannot name a column"):
        IndexStore.create(tmp_path / "i", FINGERPRINT, {}, {name: ColumnSpec((1,), "float32")})


@pytest.mark.parametrize("shape, dtype", [((0,), "float16"), ((2,), "bool"), ((2,), "object"), ((2,), ">f4")])
def test_column_types_are_numbers(shape, dtype):
    with pytest.raises(UsageError, match="expected a column"):
        ColumnSpec(shape, dtype)


# ---- opening and making ------------------------------------------------------------------------------


def test_open_refuses_what_is_no_index(tmp_path):
    with pytest.raises(IndexStoreError, match="does not exist"):
        IndexStore.open(tmp_path / "none")
    with pytest.raises(IndexStoreError, match=r"holds no catalog\.sqlite"):
        IndexStore.open(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(IndexStoreError, match="not a directory"):
        IndexStore.open(tmp_path / "file")


def test_create_refuses_to_overwrite(tmp_path):
    new_store(tmp_path / "a")
    with pytest.raises(IndexStoreError, match="an index already"):
        new_store(tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "holiday.txt").write_text("x")
    with pytest.raises(IndexStoreError, match="not empty"):
        new_store(tmp_path / "b")
    with pytest.raises(IndexStoreError, match=r"File exists|Not a directory"):
        new_store(tmp_path / "b" / "holiday.txt")


def test_create_carries_on_after_an_interrupted_one(tmp_path):
    for name in ("catalog.sqlite.new", "catalog.sqlite.new-journal", "catalog.sqlite.new-wal", "writer.lock"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "segments").mkdir()
    assert not IndexStore.exists(tmp_path)
    new_store(tmp_path)
    assert IndexStore.exists(tmp_path) and verify_index(tmp_path) == []
    assert sorted(set(os.listdir(tmp_path)) - {"catalog.sqlite-shm", "catalog.sqlite-wal"}) == [
        "catalog.sqlite",
        "segments",
        "writer.lock",
    ]


def test_odd_directory_names(tmp_path):
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in ?dex#%41\xff&mode=ro"))
    store = new_store(path)
    with store.writer() as writer:
        add(writer, range(3))
    assert len(IndexStore.open(path).snapshot()) == 3 and verify_index(path) == []
    assert os.listdir(tmp_path) == [path.name]


def test_an_index_that_was_replaced_is_noticed(tmp_path):
    store = new_store(tmp_path / "index")
    store.version()
    os.rename(tmp_path / "index", tmp_path / "old")
    with pytest.raises(IndexStoreError, match="does not exist"):
        store.version()
    new_store(tmp_path / "index")
    with pytest.raises(IndexStoreError, match="replaced by another"):
        store.version()


def test_orphans_are_collected_and_foreign_files_are_left(store):
    folder = store.path / "segments"
    with store.writer() as writer:
        add(writer, range(3))
    for name in ("0123456789abcdef.safetensors", "0123456789abcdef.safetensors.tmp", "notes.txt"):
        (folder / name).write_bytes(b"x")
    notes = []
    assert verify_index(store.path, notes=notes) == [] and len(notes) == 3
    with store.writer():
        pass
    left = sorted(os.listdir(folder))
    assert len(left) == 2 and left[1] == "notes.txt" and not left[0].startswith("0123")
    assert len(store.snapshot()) == 3
