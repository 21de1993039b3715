"""Bytes that changed, files that were cut, swapped or forged: found when opened, read or verified."""

import json
import os
import shutil
import sqlite3

import numpy as np
import pytest
from index_library import add, content_of, features, new_store, record

from vtr.errors import IndexStoreError
from vtr.index import IndexStore, catalog, verify_index

FLIPS = int(os.environ.get("VTR_FLIPS", "100"))  # of one bit, in each kind of file


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """An index with some of everything, closed, so that the catalog is one file."""
    path = tmp_path_factory.mktemp("damage") / "index"
    with new_store(path) as store, store.writer() as writer:
        add(writer, range(300))
        add(writer, range(300, 311), metadata={"a": {"b": ["c", 1]}})
        writer.link(record(400, content=7))
        writer.remove([3, 5])
        writer.set_metadata(9, {"n": "new"})
        writer.fail("/videos/bad.mp4", 1, 2, "ef" * 32, "no video stream")
    # The connection that closes last folds the log into the catalog; readers may not write.
    with sqlite3.connect(path / "catalog.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    assert sorted(os.listdir(path)) == ["catalog.sqlite", "segments", "writer.lock"]
    assert verify_index(path) == []
    return path


@pytest.fixture
def index(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "copy")


def segments(path):
    return sorted((path / "segments").iterdir(), key=lambda file: file.stat().st_size)


def flip(file, position, bit=0):
    with open(file, "r+b") as stream:
        stream.seek(position)
        byte = stream.read(1)[0]
        stream.seek(position)
        stream.write(bytes([byte ^ 1 << bit]))


def verdict(path):
    """Problems as verify sees them, and what a reader gets: content, or the error it was refused with."""
    try:
        with IndexStore.open(path) as store:
            got = content_of(store)
    except IndexStoreError as error:
        got = error
    return verify_index(path), got


# ---- bit rot -----------------------------------------------------------------------------------------


def test_every_flipped_bit_of_a_segment_is_found(sound, index):
    expected = content_of(IndexStore.open(sound))
    generator = np.random.default_rng(0)
    served = 0
    for number in range(FLIPS):
        file = segments(index)[number % 2]
        size = file.stat().st_size
        position = (
            number if number < 60 else int(generator.integers(size))
        )  # the header's length and start too
        bit = int(generator.integers(8))
        flip(file, position, bit)
        problems, got = verdict(index)
        assert problems, f"bit {bit} of byte {position} of {size} flipped unnoticed"
        assert any(file.name in problem for problem in problems)
        if not isinstance(got, IndexStoreError):
            served += 1
            assert got == expected, "flipped bytes were served"
        flip(file, position, bit)
    assert verdict(index) == ([], expected)
    assert served < FLIPS / 2, "readers check what they read; only gaps and dead rows may pass"


def test_no_flipped_bit_of_the_catalog_is_served(sound, index):
    """Bytes that hold nothing may flip unnoticed; what a reader gets is always what was written."""
    expected = content_of(IndexStore.open(sound))
    file = index / "catalog.sqlite"
    size = file.stat().st_size
    generator = np.random.default_rng(0)
    found = 0
    for number in range(FLIPS):
        position = number if number < 60 else int(generator.integers(size))
        bit = int(generator.integers(8))
        flip(file, position, bit)
        problems, got = verdict(index)
        found += bool(problems)
        unharmed = got == expected if not isinstance(got, IndexStoreError) else False
        assert problems or unharmed, f"bit {bit} of byte {position} of {size} changed what is read, unnoticed"
        flip(file, position, bit)
        for extra in ("-wal", "-shm"):
            (index / f"catalog.sqlite{extra}").unlink(missing_ok=True)
    assert found > FLIPS / 4


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.99, 1.5])
def test_cut_or_grown_files_are_found(index, share):
    for file in (*segments(index), index / "catalog.sqlite"):
        whole = file.read_bytes()
        size = int(len(whole) * share)
        file.write_bytes(whole[:size] + b"\0" * max(0, size - len(whole)))
        problems, got = verdict(index)
        if share < 1 or file.suffix == ".safetensors":
            assert problems and isinstance(got, IndexStoreError), (file, size)
            assert "index again" in str(got) or "of another program" in str(got), "it says what to do"
        file.write_bytes(whole)
        for extra in ("-wal", "-shm"):
            (index / f"catalog.sqlite{extra}").unlink(missing_ok=True)


def test_damage_is_named_by_rows(index):
    file = segments(index)[1]
    flip(file, file.read_bytes().index(features([290])["frames"].tobytes()))
    (problem,) = verify_index(index)
    assert problem == f"{file}: frames: rows 256 to 299 do not match their checksum"
    assert verify_index(index, fast=True) == [], "fast does not read features"
    snapshot = IndexStore.open(index).snapshot()
    np.testing.assert_array_equal(snapshot.gather("gram", [0]), features([0])["gram"])
    with pytest.raises(IndexStoreError, match=r"frames: rows 256 to 299.*index again"):
        snapshot.gather("frames", [0])


def test_damage_stops_compaction_and_keeps_the_index(index):
    file = segments(index)[1]
    flip(file, file.stat().st_size // 2)
    names = sorted(os.listdir(index / "segments"))
    with IndexStore.open(index) as store, store.writer() as writer:
        before = store.version()
        with pytest.raises(IndexStoreError, match="checksum"):
            writer.compact()
        assert store.version() == before and sorted(os.listdir(index / "segments")) == names


def test_swapped_segments_are_found(index):
    one, two = segments(index)
    os.rename(one, one.with_suffix(".x"))
    os.rename(two, one)
    os.rename(one.with_suffix(".x"), two)
    problems, got = verdict(index)
    assert len(problems) == 2 and isinstance(got, IndexStoreError)


# ---- forgery -----------------------------------------------------------------------------------------


def forge(path, script):
    """Change the catalog as SQLite would; rows that change are sealed again, as a forger would do."""
    db = sqlite3.connect(path / "catalog.sqlite", isolation_level=None)
    script(db)
    db.execute("BEGIN")
    for kind in catalog.TABLES:
        for row in db.execute(f"SELECT {', '.join(kind._fields)} FROM {catalog.TABLES[kind]}").fetchall():
            catalog.update(db, kind._make(row))
    db.execute("COMMIT")
    db.close()


def sql(*statements):
    return lambda db: [db.execute(*statement) for statement in statements]


@pytest.mark.parametrize(
    "script, message",
    [
        (sql(("UPDATE segments SET name = '../../../../etc/passwd' WHERE id = 1",)), "damaged or forged"),
        (sql(("UPDATE segments SET name = '/etc/passwd' WHERE id = 1",)), "damaged or forged"),
        (sql(("UPDATE segments SET bytes = bytes + 64",)), "truncated or altered"),
        (sql(("UPDATE segments SET rows = rows + 1",)), "header is not that of"),
        (sql(("UPDATE segments SET rows = 'many' WHERE id = 1",)), "does not match its checksum"),
        (sql(("DELETE FROM segments WHERE id = 1",)), "does not say where"),
        (sql(("UPDATE videos SET content = 999 WHERE id = 1",)), "does not say where"),
        (sql(("UPDATE videos SET id = 1 WHERE id = 2",)), "does not say where"),
        (sql(("UPDATE settings SET value = '[]' WHERE key = 'columns'",)), "settings are damaged"),
        (sql(("UPDATE settings SET value = '{' WHERE key = 'model'",)), "settings are damaged"),
        (sql(("UPDATE settings SET value = '{\"video\": {\"shape\": [6], \"dtype\": \"float16\"}}' "
              "WHERE key = 'columns'",)), "header is not that of"),
        (sql(("UPDATE settings SET value = '{\"a\": {\"shape\": [1], \"dtype\": \"object\"}}' "
              "WHERE key = 'columns'",)), "settings are damaged"),
        (sql(("DELETE FROM settings WHERE key = 'version'",)), "no setting 'version'"),
        (sql(("PRAGMA user_version = 2",)), "format 2, this vtr reads format 1: use a newer"),
        (sql(("PRAGMA user_version = 0",)), "format 0, this vtr reads format 1: index again"),
        (sql(("PRAGMA application_id = 7",)), "of another program"),
        (sql(("CREATE TRIGGER t AFTER UPDATE ON videos BEGIN DELETE FROM videos; END",)), "was altered"),
        (sql(("CREATE VIEW w AS SELECT 1",)), "was altered"),
        (sql(("ALTER TABLE failures ADD COLUMN extra",)), "was altered"),
        (sql(("DROP INDEX videos_live_path",)), "was altered"),
    ],
)  # fmt: skip
def test_forged_catalogs_are_refused(index, script, message):
    forge(index, script)
    problems, got = verdict(index)
    assert isinstance(got, IndexStoreError) and problems
    assert message in str(got) and str(index) in str(got)


@pytest.mark.parametrize(
    "script, message",
    [
        (sql(("UPDATE contents SET row = 999 WHERE id = 1",)), "points outside"),
        (sql(("UPDATE contents SET row = 2 WHERE id = 1",)), "belongs to two contents"),
        (sql(("UPDATE contents SET row = 200 - row WHERE row <= 200 AND segment = 1",)), "is not of content"),
        (sql(("UPDATE videos SET content = 4 WHERE id = 9",)), None),  # a forger may rename a video
        (sql(("UPDATE videos SET born = 900 WHERE id = 9",)), "numbers that no commit gave it"),
        (sql(("UPDATE videos SET metadata = '7' WHERE id = 9",)), "metadata that is not an object"),
        (sql(("UPDATE videos SET id = 1 WHERE id = 2",)), "two videos have the id 1"),
    ],
)  # fmt: skip
def test_verify_sees_what_does_not_fit_together(index, script, message):
    forge(index, script)
    problems = verify_index(index)
    assert (problems == []) if message is None else any(message in problem for problem in problems), problems


def test_rows_that_were_changed_without_their_checksum(index):
    db = sqlite3.connect(index / "catalog.sqlite", isolation_level=None)
    db.execute("UPDATE videos SET duration = duration + 1 WHERE id = 10 AND died IS NULL")
    db.execute("UPDATE failures SET reason = 'other'")
    db.close()
    problems = verify_index(index)
    assert len(problems) == 2 and all("does not match its checksum" in problem for problem in problems)
    with IndexStore.open(index) as store:
        assert store.snapshot().record(11).duration == 10 / 4
        snapshot = store.snapshot()
        for call in (lambda: snapshot.record(10), lambda: snapshot.labels([9, 10]), store.failures):
            with pytest.raises(IndexStoreError, match="checksum"):
                call()
        with store.writer() as writer, pytest.raises(IndexStoreError, match="checksum"):
            writer.find(record(9).path)


def test_few_rows_are_checked_by_their_blocks(tmp_path, monkeypatch):
    """Damage in a block is found by whoever looks into it, every time, and by nobody else."""
    monkeypatch.setattr("vtr.index.segment.BLOCK_ROWS", 4)
    monkeypatch.setattr("vtr.index.segment._checked", set())
    monkeypatch.setattr("vtr.index.segment._checked_blocks", {})
    store = new_store(tmp_path / "index")
    with store.writer() as writer:
        add(writer, range(10))
    (file,) = (tmp_path / "index" / "segments").iterdir()
    video = store.snapshot().gather("video")
    content = file.read_bytes()
    at = content.index(video[5].tobytes())
    file.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    snapshot = IndexStore.open(tmp_path / "index").snapshot()
    for _ in range(2):
        assert np.array_equal(snapshot.rows(["video"], [9, 0, 3])["video"], video[[9, 0, 3]])
        for positions in ([4], [0, 7], range(10)):
            with pytest.raises(IndexStoreError, match="video: rows 4 to 7 do not match their checksum"):
                snapshot.rows(["video"], np.array(positions))
        with pytest.raises(IndexStoreError, match="rows 4 to 7"):
            snapshot.gather("video", [0])  # reads the column whole


def test_a_video_that_points_at_the_features_of_another(index):
    """A flip in the index of the live rows, which a reader of ids takes: the record says otherwise."""
    with IndexStore.open(index) as store:
        snapshot = store.snapshot()
        contents = snapshot.contents.copy()
        contents[[0, 1]] = contents[[1, 0]]
        snapshot.contents = contents
        with pytest.raises(IndexStoreError, match="different things about a video"):
            snapshot.records([1, 2])
        with pytest.raises(IndexStoreError, match="different things about a video"):
            snapshot.labels([1])


# ---- things in the place of files --------------------------------------------------------------------


def test_links_and_pipes_are_not_followed(index, tmp_path):
    file = segments(index)[0]
    outside = tmp_path / "outside.safetensors"
    os.rename(file, outside)
    file.symlink_to(outside)
    problems, got = verdict(index)
    assert problems and "expected a plain file" in str(got)
    file.unlink()
    os.mkfifo(file)
    assert "expected a plain file" in str(verdict(index)[1])
    file.unlink()
    os.rename(outside, file)
    assert verify_index(index) == []
    os.rename(index / "catalog.sqlite", tmp_path / "c")
    (index / "catalog.sqlite").symlink_to(tmp_path / "c")
    assert "expected a plain file" in verify_index(index)[0]


def test_a_linked_segments_folder_is_refused(index, tmp_path):
    os.rename(index / "segments", tmp_path / "elsewhere")
    assert "segments is missing" in verify_index(index)[0]
    (index / "segments").symlink_to(tmp_path / "elsewhere")
    assert "expected a folder" in verify_index(index)[0]


def test_foreign_files_in_the_place_of_the_catalog(tmp_path):
    path = tmp_path / "index"
    (path / "segments").mkdir(parents=True)
    file = path / "catalog.sqlite"
    for data, message in (
        (b"", "another program"),
        (b"text " * 300, "damaged"),
        (b"\0" * 5000, "damaged|another"),
    ):
        file.write_bytes(data)
        with pytest.raises(IndexStoreError, match=message):
            IndexStore.open(path)
    file.unlink()
    with sqlite3.connect(file) as db:
        db.execute("CREATE TABLE bookmarks (url)")
    db.close()
    with pytest.raises(IndexStoreError, match="another program"):
        IndexStore.open(path)
    assert verify_index(path) and json.dumps(verify_index(path))
    file.unlink()
    file.mkdir()
    with pytest.raises(IndexStoreError, match="expected a plain file"):
        IndexStore.open(path)
